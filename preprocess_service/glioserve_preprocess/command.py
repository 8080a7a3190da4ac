"""``glioserve preprocess STUDY --recipe R --out DIR``: the pipeline offline, every step as a file to look at."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from glioserve_contract import ErrorCode, GlioserveError, Modality, SchemaError, from_dict, to_dict
from glioserve_contract.records.preprocess import PreprocessRecord
from glioserve_contract.records.recipe import Recipe
from glioserve_dicom.files.folder import study_files
from glioserve_dicom.volumes.geometry import SequenceVolume, geometry_of_record
from glioserve_preprocess.brain.model import site_folder
from glioserve_preprocess.files import load_recipe
from glioserve_preprocess.itk import to_sitk
from glioserve_preprocess.overrides import SeriesName
from glioserve_preprocess.pipeline import Preprocessed, preprocess_dicom, preprocess_volumes
from glioserve_preprocess.tensor.grid import sample, sample_mask
from glioserve_preprocess.tensor.provenance import image_digest, replay

RECORD, MASK = "preprocess.json", "brain_mask.nii.gz"

NiftiReader = Callable[[Mapping[Modality, Path]], Mapping[Modality, SequenceVolume]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of the command line."""
    study = parser.add_argument_group("study", "one of the two")
    study.add_argument("study", nargs="?", type=Path, metavar="STUDY", help="folder or zip archive of DICOM files")
    study.add_argument(
        "--volume",
        action="append",
        default=[],
        type=_volume,
        metavar="NAME=FILE",
        help=f"a sequence as a NIfTI file; NAME is one of {', '.join(Modality)}; once per sequence",
    )
    parser.add_argument(
        "--series",
        action="append",
        default=[],
        type=_series,
        metavar="NAME=UID",
        help="take the DICOM series of this SeriesInstanceUID (or UID#part) for a sequence; may be repeated",
    )
    parser.add_argument("--recipe", type=Path, required=True, help="recipe.json of the network")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results; made if it is not there")
    parser.add_argument(
        "--replay",
        type=Path,
        metavar="RECORD",
        help=f"a {RECORD} of this study, with its {MASK} beside it: compute that input again and compare",
    )


def run(args: argparse.Namespace, read_nifti: NiftiReader) -> int:
    """Writes NIfTI files and ``preprocess.json`` into ``--out``; the folder's DICOM may be identified."""
    result = _preprocess(args, load_recipe(args.recipe), read_nifti)
    args.out.mkdir(parents=True, exist_ok=True)
    write(result, args.out)
    for name, seconds in result.record.timings_s.items():
        print(f"{name:>10} {seconds:7.2f} s")
    for warning in result.record.warnings:
        print(f"warning: {warning}")
    print(f"quality: {result.record.quality.verdict}; written to {args.out}")
    return 0 if args.replay is None else _replay(args.replay, result)


def write(result: Preprocessed, out: Path) -> None:
    """Each sequence on the reference's grid and the mask there, each channel of the network's input, the record.

    ``reference_brain_mask.nii.gz`` lies on the reference's grid as it was stored, which is the heat map's; all else
    on grids whose axes point nearest to L, P and S.
    """
    reference = result.volumes[result.record.reference].geometry
    stored, network = geometry_of_record(result.record.reference_grid), geometry_of_record(result.record.network_grid)
    to_moving = {r.modality: np.array(r.moving_lps_from_reference_lps) for r in result.record.registrations}
    for modality, volume in result.volumes.items():
        registered = sample(volume.voxels, volume.geometry, reference, to_moving.get(modality, np.eye(4)))
        sitk.WriteImage(to_sitk(registered, reference), out / f"registered_{modality}.nii.gz")
    sitk.WriteImage(to_sitk(result.native_mask, reference), out / MASK)
    on_stored = sample_mask(result.native_mask, reference, stored)  # the same voxels in another order
    sitk.WriteImage(to_sitk(on_stored, stored), out / f"reference_{MASK}")
    for series, channel in zip(result.record.series, result.image, strict=True):
        sitk.WriteImage(to_sitk(channel, network), out / f"input_{series.modality}.nii.gz")
    sitk.WriteImage(to_sitk(result.brain_mask, network), out / "input_brain_mask.nii.gz")
    (out / RECORD).write_text(json.dumps(to_dict(result.record), indent=2) + "\n", encoding="utf-8")


def load_replayable(path: Path) -> tuple[PreprocessRecord, npt.NDArray[np.uint8]]:
    """A record and the mask on the reference's canonical grid, as :func:`write` left them. Raises GLIO-1704."""
    try:
        record = from_dict(PreprocessRecord, json.loads(path.read_text(encoding="utf-8")), ignore_unknown=True)
        mask = sitk.GetArrayFromImage(sitk.ReadImage(path.with_name(MASK), sitk.sitkUInt8))
    except (OSError, ValueError, RuntimeError, SchemaError) as error:
        raise GlioserveError(
            ErrorCode.PROVENANCE_MISMATCH, f"{path.name} or the {MASK} beside it cannot be read."
        ) from error
    return record, np.asarray(mask, dtype=np.uint8)


def _preprocess(args: argparse.Namespace, recipe: Recipe, read_nifti: NiftiReader) -> Preprocessed:
    if args.study is not None and args.volume:
        raise GlioserveError(ErrorCode.BOTH_INPUTS, "STUDY and --volume exclude each other.")
    if args.volume:
        paths = dict(args.volume)
        if len(paths) < len(args.volume):
            raise GlioserveError(ErrorCode.INVALID_VOLUME, "--volume names a sequence twice.")
        return preprocess_volumes(read_nifti(paths), recipe, brain_models=site_folder())
    if args.study is None:
        raise GlioserveError(ErrorCode.NO_INPUT, "Name a STUDY, or one --volume per sequence.")
    files, others = study_files(args.study)
    if others:
        print(f"warning: {others} file(s) that are not DICOM were left aside")
    return preprocess_dicom(files, recipe, accept_identified=True, series=dict(args.series), brain_models=site_folder())


def _replay(path: Path, result: Preprocessed) -> int:
    """Exit code 0 where the recorded input came out to the bit, 1 where it did not."""
    record, mask = load_replayable(path)
    image = replay(record, result.volumes, mask)
    same = record.provenance is not None and image_digest(image) == record.provenance.image_sha256
    print(f"replay: {'the recorded input, to the bit' if same else 'NOT the recorded input: other software?'}")
    return 0 if same else 1


def _series(text: str) -> tuple[Modality, SeriesName]:
    name, _, uid = text.partition("=")
    if name not in {m.value for m in Modality} or not uid:
        raise argparse.ArgumentTypeError(f"must be NAME=UID with NAME one of {', '.join(Modality)}")
    try:
        return Modality(name), SeriesName.parse(uid)
    except GlioserveError as error:
        raise argparse.ArgumentTypeError(error.detail) from error


def _volume(text: str) -> tuple[Modality, Path]:
    name, _, path = text.partition("=")
    if name not in {m.value for m in Modality} or not path:
        raise argparse.ArgumentTypeError(f"must be NAME=FILE with NAME one of {', '.join(Modality)}, not {text!r}")
    return Modality(name), Path(path)
