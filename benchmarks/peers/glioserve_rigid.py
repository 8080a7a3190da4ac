"""Ours, as the pipeline calls it."""

from __future__ import annotations

from typing import Any

from glioserve_contract import Modality
from glioserve_dicom.volumes.geometry import Geometry, SequenceVolume, canonical
from glioserve_preprocess.registration.register import register as register_volumes


def image(voxels: Any, lps_from_voxel: Any) -> SequenceVolume:
    """A volume of an array [z, y, x]. What it is called plays no part."""
    z, y, x = voxels.shape
    return SequenceVolume(Modality.T1, voxels, Geometry((x, y, z), lps_from_voxel))


def register(fixed: SequenceVolume, moving: SequenceVolume) -> tuple[Any, str]:
    """moving_lps_from_fixed_lps and the verdict of the self-check."""
    found = register_volumes(canonical(fixed), canonical(moving))
    return found.moving_lps_from_reference_lps, str(getattr(found, "verdict", ""))
