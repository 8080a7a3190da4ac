"""``glioserve drift reference | report``: what a network was trained on, and how a site's studies differ from it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from glioserve_cli import argtypes
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.tensors import CLASSIFIER_MODEL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one subcommand for each action."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    reference = actions.add_parser("reference", help="answer a cohort, and keep its figures beside the weights")
    reference.add_argument("network", type=Path, metavar="NETWORK", help="an artifact, or an exported version's folder")
    reference.add_argument(
        "--cohort", type=Path, required=True, metavar="CSV", help="training or validation studies (docs/evaluation.md)"
    )
    reference.add_argument(
        "--workers", type=argtypes.count, default=1, metavar="N", help="studies at a time (default 1)"
    )
    report = actions.add_parser("report", help="draw the last studies of each site beside the training")
    report.add_argument("--study-log", type=Path, required=True, metavar="DIR", help="as `glioserve serve` has it")
    report.add_argument(
        "--repository", type=Path, required=True, metavar="DIR", help="its versions have the references"
    )
    report.add_argument("--out", type=Path, required=True, metavar="HTML", help="page to write")


def run(args: argparse.Namespace) -> int:
    """Do the action: exit code 0."""
    return {"reference": _reference, "report": _report}[args.action](args)


def _reference(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from glioserve_evaluation.drift.make_reference import check_open, reference_of, values_of_cohort, write_reference
    from glioserve_evaluation.runs.cohort import load_cohort
    from glioserve_evaluation.runs.sources import open_offline_source
    from glioserve_export.version_files import RECIPE_FILE
    from glioserve_preprocess.files import load_recipe

    def left_out(case: str, error: GlioserveError) -> None:
        print(f"left out: {case} ({error.token}): {error.detail}", file=sys.stderr)

    check_open(args.network)
    cohort, source = load_cohort(args.cohort), open_offline_source(args.network, args.workers)
    with source.opened() as (_, executor):
        found = values_of_cohort(cohort.cases, source.predictor, executor, left_out)
        studies = list(tqdm(found, total=len(cohort.cases), desc="studies", unit="study"))
    words = f"{len(studies)} studies of the cohort {cohort.digest[:19]}"
    reference = reference_of(studies, load_recipe(args.network / RECIPE_FILE), source.model.weights_digest, words)
    file = write_reference(reference, args.network)
    features = len(reference.numbers) + len(reference.categories)
    print(f"{file}: {features} features of {reference.studies} of {len(cohort.cases)} studies")
    return 0


def _report(args: argparse.Namespace) -> int:
    from glioserve_evaluation.drift.page import as_html
    from glioserve_triton.served.drift import DriftReferences
    from glioserve_watch.drift.monitor import streams_of
    from glioserve_watch.drift.state import STATE_FILE, load_state
    from glioserve_watch.parts import parts_of

    def no_reference(version: str, reason: str) -> None:
        print(f"version {version} is left out: {reason}", file=sys.stderr)

    references = DriftReferences(args.repository / CLASSIFIER_MODEL.name, no_reference)
    states = {part: state for part in parts_of(args.study_log) if (state := load_state(part)) is not None}
    if not states:
        raise GlioserveError(ErrorCode.INVALID_STUDY_LOG, f"{args.study_log} has no {STATE_FILE}.")
    streams = {
        (version, site if part == args.study_log else f"{site} ({part.name})"): stream
        for part, state in states.items()
        for (version, site), stream in streams_of(state, references).items()
    }
    args.out.write_text(as_html(streams), encoding="utf-8")
    for (version, site), stream in streams.items():
        flagged = ", ".join(sorted(stream.flags)) or "nothing differs"
        print(f"version {version}, site {site}: {len(stream.studies)} studies: {flagged}")
    print(f"Look at: {args.out}")
    return 0
