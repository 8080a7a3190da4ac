"""``glioserve outcome``: add the truth about a study that was answered, and say how the model does in operation."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from glioserve_contract import ErrorCode, GlioserveError, to_dict
from glioserve_contract.records.studies.outcome import Source, Truth
from glioserve_contract.records.studies.study import plain_request_id
from glioserve_triton.served.evaluated import evaluated_rates
from glioserve_watch.audit.studies import find_answer
from glioserve_watch.outcomes.book import OutcomeBook, outcome_of
from glioserve_watch.outcomes.standing import Rate, RateName, Standing, standings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``add`` and ``report``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="add the truth about one study that was answered")
    add.add_argument(
        "request_id", metavar="REQUEST_ID", help="request id of the answer, as the caller or the log has it"
    )
    add.add_argument("truth", choices=get_args(Truth))
    add.add_argument("--source", choices=get_args(Source), required=True, help="tissue, or follow-up and a decision")
    add.add_argument("--correct", action="store_true", help="replace an outcome that was wrong; both are kept")
    report = actions.add_parser("report", help="sensitivity and specificity since a version serves")
    report.add_argument(
        "--repository", type=Path, metavar="DIR", help="holds the rates against the versions' evaluations"
    )
    report.add_argument("--json", action="store_true", help="a JSON object instead of tables")
    for action in (add, report):
        action.add_argument("--study-log", type=Path, required=True, metavar="DIR", help="the server's --study-log")


def run(args: argparse.Namespace) -> int:
    """Exit code 0; 1 where the outcome cannot be added."""
    if not args.study_log.is_dir():
        raise GlioserveError(ErrorCode.INVALID_STUDY_LOG, f"{args.study_log} is not a folder.")
    book = OutcomeBook(args.study_log)
    if args.action == "add":
        return _add(args, book)
    found = standings(book.read(), evaluated_rates(args.repository) if args.repository else {})
    if args.json:
        print(
            json.dumps({"versions": [{**to_dict(standing), "worse": standing.worse} for standing in found]}, indent=2)
        )
    elif not found:
        print(f"{book.file} has no outcomes; `glioserve outcome add` adds one.")
    else:
        print("\n\n".join(_table(standing) for standing in found))
    return 0


def _add(args: argparse.Namespace, book: OutcomeBook) -> int:
    named = (args.request_id, plain_request_id(args.request_id))  # as the records have it, or as the caller sent it
    study = next(filter(None, (find_answer(args.study_log, request_id) for request_id in named)), None)
    if study is None:
        raise GlioserveError(
            ErrorCode.INVALID_OUTCOME,
            f"The study log {args.study_log} has no answer to the request {args.request_id!r}.",
        )
    outcome = outcome_of(study, args.truth, args.source, corrects=args.correct)
    added = book.add(outcome)
    answer = outcome.label or "abstained"
    print(
        f"{args.request_id}: {outcome.truth} by {outcome.source}; version {outcome.version} answered {answer} on "
        f"{outcome.answered_at[:10]} (score {outcome.score:.3f}){'' if added else '; it was there already'}."
    )
    return 0


def _table(standing: Standing) -> str:
    lines = [
        f"Version {standing.version} ({standing.digest[:19]}…), abstained: {standing.abstained}",
        *_rows("", standing.rates),
    ]
    for group, rates in standing.subgroups.items():
        lines += _rows(group, rates)
    if standing.worse:
        lines.append("WORSE than its evaluation said: docs/runbooks/GlioserveModelWorse.md says what to do.")
    return "\n".join(lines)


def _rows(group: str, rates: Mapping[RateName, Rate]) -> list[str]:
    return [f"  {name:<12} {_told(rate)}{'  ' + group if group else ''}" for name, rate in rates.items() if rate.n]


def _told(rate: Rate) -> str:
    text = f"{rate.right}/{rate.n} = {rate.value:.3f} (95% at every look: {rate.lower:.3f} to {rate.upper:.3f})"
    if rate.expected is None or rate.evidence is None:
        return text
    after = f", worse after {rate.worse_after}" if rate.worse_after else ""
    return f"{text}, evaluated {rate.expected:.3f}, evidence of a fall {rate.evidence:.2g}{after}"
