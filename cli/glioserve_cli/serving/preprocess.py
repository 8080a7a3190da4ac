"""``glioserve preprocess STUDY --recipe R --out DIR``: the pipeline offline, every step as a file to look at."""

from __future__ import annotations

import argparse
from pathlib import Path

from glioserve_cli import argtypes
from glioserve_cli.study_arguments import add_named_series
from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.records.recipe import Recipe
from glioserve_dicom.files.folder import study_files
from glioserve_dicom.volumes.arrays import volume_of_nifti
from glioserve_preprocess.brain.model import site_folder
from glioserve_preprocess.files import load_recipe
from glioserve_preprocess.offline import MASK_FILE, RECORD_FILE, is_replayed, load_replayable, write_files
from glioserve_preprocess.pipeline import Preprocessed, preprocess_dicom, preprocess_volumes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    study = parser.add_argument_group("study", "one of the two")
    study.add_argument("study", nargs="?", type=Path, metavar="STUDY", help="folder or zip archive of DICOM files")
    study.add_argument(
        "--volume",
        action="append",
        default=[],
        type=argtypes.volume_file,
        metavar="NAME=FILE",
        help=f"a sequence as a NIfTI file; NAME is one of {', '.join(Modality)}; once per sequence",
    )
    add_named_series(parser)
    parser.add_argument("--recipe", type=Path, required=True, help="recipe.json of the network")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results; made if it is not there")
    parser.add_argument(
        "--replay",
        type=Path,
        metavar="RECORD",
        help=f"a {RECORD_FILE} of this study, with its {MASK_FILE} beside it: compute that input again and compare",
    )


def run(args: argparse.Namespace) -> int:
    """Write the results into ``--out``: exit code 0, or 1 where ``--replay`` gives another input than recorded.

    The folder's DICOM may be identified: nothing leaves this machine.
    """
    recorded = None if args.replay is None else load_replayable(args.replay)
    result = _preprocess(args, load_recipe(args.recipe))
    args.out.mkdir(parents=True, exist_ok=True)
    write_files(result, args.out)
    for name, seconds in result.record.timings_s.items():
        print(f"{name:>10} {seconds:7.2f} s")
    for warning in result.record.warnings:
        print(f"warning: {warning}")
    print(f"quality: {result.record.quality.verdict}; written to {args.out}")
    if recorded is None:
        return 0
    same = is_replayed(*recorded, result)
    print(f"replay: {'the recorded input, to the bit' if same else 'NOT the recorded input: other software?'}")
    return 0 if same else 1


def _preprocess(args: argparse.Namespace, recipe: Recipe) -> Preprocessed:
    if args.study is not None and args.volume:
        raise GlioserveError(ErrorCode.BOTH_INPUTS, "STUDY and --volume exclude each other.")
    if args.volume:
        paths = dict(args.volume)
        if len(paths) < len(args.volume):
            raise GlioserveError(ErrorCode.INVALID_VOLUME, "--volume names a sequence twice.")
        volumes = {modality: volume_of_nifti(modality, path) for modality, path in paths.items()}
        return preprocess_volumes(volumes, recipe, brain_models=site_folder())
    if args.study is None:
        raise GlioserveError(ErrorCode.NO_INPUT, "Name a STUDY, or one --volume per sequence.")
    files = study_files(args.study)
    return preprocess_dicom(files, recipe, accept_identified=True, series=dict(args.series), brain_models=site_folder())
