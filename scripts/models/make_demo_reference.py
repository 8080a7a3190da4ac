"""Makes the drift reference of ``examples/demo_model`` from fresh phantoms; the model itself stays as it is.

The phantoms are drawn as those of the training are, from seeds that neither training nor a test uses. Their DICOM
files are kept under ``build``, so an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from glioserve_cli.main import main as glioserve
from glioserve_cli.training.phantom import COHORT_FILE
from glioserve_evaluation.drift.make_reference import write_reference
from glioserve_triton.served.drift import load_drift_reference

ROOT = Path(__file__).resolve().parents[2]
FIRST_SEED = 900_000
PHANTOMS = 72


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 when the reference is in place and in the manifest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "examples" / "demo_model")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "demo_reference")
    parser.add_argument("--phantoms", type=int, default=PHANTOMS)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args(argv)
    cohort = ["phantom", str(args.work), "--cohort", f"{args.phantoms}", "--seed", f"{FIRST_SEED}"]
    reference = ["drift", "reference", str(args.model), "--cohort", str(args.work / COHORT_FILE)]
    failed = glioserve(cohort) or glioserve([*reference, "--workers", f"{args.workers}"])
    if not failed:
        name_source(args.model, args.phantoms)
    return failed


def name_source(model: Path, phantoms: int) -> None:
    """Write where the studies are from into the model's reference, in words in place of the cohort's digest."""
    made = load_drift_reference(model)
    assert made is not None
    words = f"{phantoms} synthetic phantoms, seeds {FIRST_SEED} to {FIRST_SEED + phantoms - 1}"
    write_reference(replace(made, source=words), model)


if __name__ == "__main__":
    sys.exit(main())
