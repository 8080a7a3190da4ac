"""``glioserve phantom OUT --seed N --label necrosis``: a synthetic DICOM study to try things with."""

from __future__ import annotations

import argparse
from pathlib import Path

from glioserve_training.phantom.lesion import DIAGNOSES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write the study's DICOM files into")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same study (default 0)")
    parser.add_argument("--label", choices=DIAGNOSES, help="what the lesion is (default: drawn from the seed)")
    parser.add_argument("--deidentified", action="store_true", help="pseudonyms only, no fictitious identity")
    parser.add_argument("--truth", type=Path, metavar="FILE", help="write the ground truth to this JSON file")


def run(args: argparse.Namespace) -> int:
    """Write the study and say what it is."""
    from glioserve_training.phantom import make_phantom
    from glioserve_training.phantom.dicom import write_study
    from glioserve_training.phantom.truth import write_truth

    phantom = make_phantom(args.seed, args.label)
    count = write_study(phantom, args.out, identified=not args.deidentified)
    if args.truth:
        write_truth(phantom, args.truth)
    print(f"{args.out}: {count} DICOM files of phantom {args.seed} ({phantom.diagnosis})")
    return 0
