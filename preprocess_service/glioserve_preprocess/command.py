"""``glioserve preprocess STUDY --recipe R --out DIR``: the pipeline offline, every step as a file to look at."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from glioserve_contract import ErrorCode, GlioserveError, to_dict
from glioserve_contract.recipe import load_recipe
from glioserve_preprocess.geometry import geometry_of_record, to_sitk
from glioserve_preprocess.grid import sample
from glioserve_preprocess.pipeline import Preprocessed, preprocess_dicom


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument("study", type=Path, metavar="STUDY", help="folder with the study's DICOM files")
    parser.add_argument("--recipe", type=Path, required=True, help="recipe.json of the network")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results; made if it is not there")


def run(args: argparse.Namespace) -> int:
    """Writes NIfTI files and ``preprocess.json`` into ``--out``; the folder's DICOM may be identified."""
    if not args.study.is_dir():
        raise GlioserveError(ErrorCode.EMPTY_STUDY, f"{args.study} is no folder.")
    recipe = load_recipe(args.recipe)
    files = [path.read_bytes() for path in sorted(args.study.rglob("*")) if path.is_file()]
    result = preprocess_dicom(files, recipe, accept_identified=True)
    args.out.mkdir(parents=True, exist_ok=True)
    write(result, args.out)
    for name, seconds in result.record.timings_s.items():
        print(f"{name:>10} {seconds:7.2f} s")
    print(f"quality: {result.record.quality.verdict}; written to {args.out}")
    return 0


def write(result: Preprocessed, out: Path) -> None:
    """Each sequence on the reference's own grid, the mask there, each channel of the network's input, the record."""
    reference = result.volumes[result.record.reference].geometry
    network = geometry_of_record(result.record.network_grid)
    to_moving = {r.modality: np.array(r.moving_lps_from_reference_lps) for r in result.record.registrations}
    for modality, volume in result.volumes.items():
        registered = sample(volume.voxels, volume.geometry, reference, to_moving.get(modality, np.eye(4)))
        sitk.WriteImage(to_sitk(registered, reference), out / f"registered_{modality}.nii.gz")
    sitk.WriteImage(to_sitk(result.native_mask, reference), out / "brain_mask.nii.gz")
    for series, channel in zip(result.record.series, result.image, strict=True):
        sitk.WriteImage(to_sitk(channel, network), out / f"input_{series.modality}.nii.gz")
    sitk.WriteImage(to_sitk(result.brain_mask, network), out / "input_brain_mask.nii.gz")
    (out / "preprocess.json").write_text(json.dumps(to_dict(result.record), indent=2) + "\n", encoding="utf-8")
