"""``glioserve phantom OUT --seed N --label necrosis``: a synthetic DICOM study to try things with, or a cohort."""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from glioserve_cli import argtypes
from glioserve_phantom.lesion import DIAGNOSES

COHORT_FILE = "cohort.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write the study's DICOM files into")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same study (default 0)")
    parser.add_argument("--label", choices=DIAGNOSES, help="what the lesion is (default: drawn from the seed)")
    parser.add_argument("--deidentified", action="store_true", help="pseudonyms only, no fictitious identity")
    parser.add_argument("--truth", type=Path, metavar="FILE", help="write the ground truth to this JSON file")
    parser.add_argument(
        "--cohort",
        type=argtypes.count,
        metavar="N",
        help=f"write N studies, from SEED on, each in a folder of its own, and {COHORT_FILE} with their labels",
    )


def run(args: argparse.Namespace) -> int:
    """Write the study, or the cohort, and say what it is."""
    from glioserve_phantom import make_phantom
    from glioserve_phantom.dicom import write_study
    from glioserve_phantom.truth import write_truth

    if args.cohort is not None:
        if args.label or args.truth:
            print("--cohort goes without --label and --truth: leave them out, or leave out --cohort", file=sys.stderr)
            return 2
        file = write_cohort(args.out, range(args.seed, args.seed + args.cohort), identified=not args.deidentified)
        print(f"{file}: {args.cohort} phantom studies")
        return 0
    phantom = make_phantom(args.seed, args.label)
    count = write_study(phantom, args.out, identified=not args.deidentified)
    if args.truth:
        write_truth(phantom, args.truth)
    print(f"{args.out}: {count} DICOM files of phantom {args.seed} ({phantom.diagnosis})")
    return 0


def write_cohort(folder: Path, seeds: Sequence[int], *, identified: bool = False) -> Path:
    """Write a study for each seed into ``folder/phantom-<seed>``; return the file with the table of their labels.

    Studies that are there already are kept.
    """
    from tqdm import tqdm

    from glioserve_dicom.files.replacing import replacing
    from glioserve_phantom import make_phantom
    from glioserve_phantom.dicom import write_study

    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in tqdm(seeds, desc="phantoms", unit="study"):
        phantom = make_phantom(seed)
        name = f"phantom-{seed}"
        if not (folder / name).is_dir():
            with tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}-") as scratch:
                fresh = Path(scratch) / name
                write_study(phantom, fresh, identified=identified)
                try:
                    fresh.rename(folder / name)
                except OSError:  # another process has just made the same study
                    if not (folder / name).is_dir():
                        raise
        rows.append({"case": name, "study": name, "label": phantom.diagnosis})
    with replacing(folder / COHORT_FILE) as beside, beside.open("x", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ("case", "study", "label"))
        writer.writeheader()
        writer.writerows(rows)
    return folder / COHORT_FILE
