"""``glioserve dataset``: a cohort's studies as the network is shown them, to train on or to hold variants to."""

from __future__ import annotations

import argparse
from pathlib import Path

from glioserve_cli import argtypes
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_evaluation.grid.tables import without_names
from glioserve_preprocess.files import load_recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add = parser.add_argument
    add("--cohort", type=Path, required=True, metavar="CSV", help="columns study, label, and case or group if wanted")
    add("--recipe", type=Path, required=True, metavar="JSON", help="recipe.json of the network")
    add("--out", type=Path, required=True, metavar="DIR", help="a folder for each preprocessing comes in here")
    add("--workers", type=argtypes.count, default=2, help="processes that preprocess studies")


def run(args: argparse.Namespace) -> int:
    """Preprocess what is not there yet; refused studies are reported and left out. GLIO-5121 where none is left."""
    from glioserve_evaluation.runs.cohort import load_cohort
    from glioserve_training.cohort_dataset import LabelledStudy, make_cohort_dataset

    recipe = load_recipe(args.recipe)
    studies = [LabelledStudy(case.case, case.folder, case.label) for case in load_cohort(args.cohort).cases]
    dataset = without_names(make_cohort_dataset(studies, recipe, args.out, args.workers), studies)
    for left_out in dataset.excluded:
        print(f"left out: {left_out.case} ({left_out.code}): {left_out.detail}")
    if not dataset.files:
        raise GlioserveError(ErrorCode.INVALID_COHORT, "Not one study could be preprocessed.")
    print(f"{dataset.folder}: {len(dataset.files)} of {len(studies)} studies, for --dataset and --calibration")
    return 0
