"""The pipeline's results as files to look at, and the replay of a record that was written so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from glioserve_contract import ErrorCode, GlioserveError, SchemaError, from_dict, to_dict
from glioserve_contract.records.preprocess import PreprocessRecord
from glioserve_dicom.volumes.geometry import geometry_of_record
from glioserve_preprocess.itk import to_sitk
from glioserve_preprocess.pipeline import Preprocessed
from glioserve_preprocess.tensor.grid import sample, sample_mask
from glioserve_preprocess.tensor.provenance import image_digest, replay

RECORD_FILE, MASK_FILE = "preprocess.json", "brain_mask.nii.gz"


def write_files(result: Preprocessed, folder: Path) -> None:
    """Write each sequence on the reference's grid and the mask there, each channel of the input, and the record.

    ``reference_brain_mask.nii.gz`` lies on the reference's grid as it was stored, which is the heat map's; all else
    on grids whose axes point nearest to L, P and S.
    """
    reference = result.volumes[result.record.reference].geometry
    stored, network = geometry_of_record(result.record.reference_grid), geometry_of_record(result.record.network_grid)
    to_moving = {r.modality: np.array(r.moving_lps_from_reference_lps) for r in result.record.registrations}
    for modality, volume in result.volumes.items():
        registered = sample(volume.voxels, volume.geometry, reference, to_moving.get(modality, np.eye(4)))
        sitk.WriteImage(to_sitk(registered, reference), folder / f"registered_{modality}.nii.gz")
    sitk.WriteImage(to_sitk(result.native_mask, reference), folder / MASK_FILE)
    on_stored = sample_mask(result.native_mask, reference, stored)  # the same voxels in another order
    sitk.WriteImage(to_sitk(on_stored, stored), folder / f"reference_{MASK_FILE}")
    for series, channel in zip(result.record.series, result.image, strict=True):
        sitk.WriteImage(to_sitk(channel, network), folder / f"input_{series.modality}.nii.gz")
    sitk.WriteImage(to_sitk(result.brain_mask, network), folder / "input_brain_mask.nii.gz")
    (folder / RECORD_FILE).write_text(json.dumps(to_dict(result.record), indent=2) + "\n", encoding="utf-8")


def load_replayable(path: Path) -> tuple[PreprocessRecord, npt.NDArray[np.uint8]]:
    """Read a record and the mask on the reference's canonical grid, as :func:`write_files` left them.

    Raises GLIO-1704 where either cannot be read.
    """
    try:
        record = from_dict(PreprocessRecord, json.loads(path.read_text(encoding="utf-8")), ignore_unknown=True)
        mask = sitk.GetArrayFromImage(sitk.ReadImage(path.with_name(MASK_FILE), sitk.sitkUInt8))
    except (OSError, ValueError, RuntimeError, SchemaError) as error:
        raise GlioserveError(
            ErrorCode.PROVENANCE_MISMATCH, f"{path.name} or the {MASK_FILE} beside it cannot be read."
        ) from error
    return record, np.asarray(mask, dtype=np.uint8)


def is_replayed(record: PreprocessRecord, mask: npt.NDArray[np.uint8], result: Preprocessed) -> bool:
    """Return whether the input that a record and its mask describe comes out of these volumes to the bit.

    Raises GLIO-1704 where the record is another study's.
    """
    image = replay(record, result.volumes, mask)
    return record.provenance is not None and image_digest(image) == record.provenance.image_sha256
