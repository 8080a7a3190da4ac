"""``glioserve audit verify`` and ``show``: the audit log of a server or a bridge, held to its hashes, or read.

Exit codes of ``verify``: 0 where every byte is as it was written, 1 where something is wrong, or there is no log.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from glioserve_cli import argtypes
from glioserve_cli.watching.times import time_of
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.metrics import OUTCOMES
from glioserve_watch.audit.lines import ENDS, EVENT, STUDY, Line, parse_head
from glioserve_watch.audit.read import lines_in
from glioserve_watch.audit.verify import Verified, logs_in, verify


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one subcommand for each action."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("verify", help="every byte of the log against its hashes")
    check.add_argument(
        "--head",
        type=argtypes.checked(parse_head),
        metavar="SEQ:HASH",
        help="a head from the server's own log, which must still be in the audit log: a tail that was cut off is found",
    )
    show = actions.add_parser("show", help="the studies or the bridge's steps, a line each")
    for name, what in (("since", "from this time on"), ("until", "before this time")):
        show.add_argument(f"--{name}", type=argtypes.checked(time_of), metavar="TIME", help=f"those that ended {what}")
    show.add_argument("--outcome", choices=OUTCOMES, help="those that ended so")
    show.add_argument("--code", metavar="GLIO-NNNN", help="those that ended with this error code")
    for action in (check, show):
        action.add_argument(
            "folder",
            type=Path,
            metavar="DIR",
            help="a study log, several servers', a bridge's state, or the log's own",
        )
        action.add_argument("--json", action="store_true", help="machine-readable")


def run(args: argparse.Namespace) -> int:
    """Do the action: exit code 0, or 1 where ``verify`` found a problem."""
    with _readable():
        logs = logs_in(args.folder)
    if not logs:
        raise GlioserveError(ErrorCode.INVALID_STUDY_LOG, f"{args.folder}: there is not any audit log in it.")
    if args.action == "show":
        return _show(args, logs)
    if args.head and len(logs) > 1:
        named = ", ".join(str(log.parent) for log in logs)
        raise GlioserveError(ErrorCode.INVALID_STUDY_LOG, "A head belongs to one log.", f"Name one of {named}.")
    with _readable():
        verified = [verify(log, args.head) for log in logs]
    return _verify(verified, as_json=args.json)


@contextmanager
def _readable() -> Iterator[None]:
    """Turn a failure to read the log into our error; what is printed must fail outside."""
    try:
        yield
    except OSError as error:
        raise GlioserveError(ErrorCode.INVALID_STUDY_LOG, f"{error.filename}: {error.strerror}.") from error


def _lines(log: Path) -> Iterator[tuple[str, Line]]:
    with _readable():
        yield from lines_in(log)


def _verify(found: list[Verified], *, as_json: bool) -> int:
    if as_json:
        print(json.dumps([_as_json(log) for log in found], indent=2))
    else:
        for log in found:
            print("\n".join(_as_text(log)))
    return 1 if any(log.problems for log in found) else 0


def _as_json(log: Verified) -> dict[str, Any]:
    fields = asdict(log)
    return {**fields, "folder": str(log.folder), "first": str(log.first), "head": str(log.head)}


def _as_text(log: Verified) -> Iterator[str]:
    for problem in log.problems:
        yield f"PROBLEM  {problem}"
    ends = f"{log.studies} studies and {log.counted} that Triton ended"
    what = f"{log.events} events of a bridge" if log.events else ends
    yield f"{log.folder}: {log.lines} lines in {log.files} files, {what}, {len(log.problems)} problems"
    if log.first is not None and log.first.seq:
        why = "" if log.problems else "; older files were removed for their age"
        yield f"begins after line {log.first.seq}{why}"
    yield f"head {log.head}"


def _show(args: argparse.Namespace, logs: list[Path]) -> int:
    for log in logs:
        for text, line in _lines(log):
            ended_at = line.body.get("ended_at", line.at)
            wanted = (
                line.kind in (STUDY, ENDS, EVENT)
                and (args.since or "") <= ended_at
                and (args.until is None or ended_at < args.until)
                and args.outcome in (None, line.body.get("outcome"))
                and args.code in (None, line.body.get("code"))
            )
            if wanted:
                print(text if args.json else _row(line, ended_at))
    return 0


def _row(line: Line, ended_at: str) -> str:
    body = line.body
    if line.kind == EVENT:
        return f"{ended_at}  {body['event']:20}  {body.get('code', ''):9}  {body.get('subject', '')}".rstrip()
    if line.kind == ENDS:
        return f"{ended_at}  {body['outcome']:9}  {body['code']:9}  {body['studies']} studies that no model saw"
    score = "" if body.get("score") is None else f"{body['score']:.4f}"
    version = (body.get("model") or {}).get("version", "")
    words = (body["outcome"].ljust(9), body["code"].ljust(9), score.ljust(6), body["label"].ljust(10))
    return f"{ended_at}  {'  '.join(words)}  {'v' + version if version else '':4}  {body['request_id']}".rstrip()
