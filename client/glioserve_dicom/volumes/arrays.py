"""Arrays with their affines to checked volumes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.limits import MAX_MAGNITUDE, MAX_VOLUME_VOXELS
from glioserve_dicom.volumes.geometry import Matrix, SequenceVolume, checked_geometry


def volume_of_array(modality: Modality, voxels: npt.NDArray[np.generic], lps_from_voxel: Matrix) -> SequenceVolume:
    """A checked :class:`SequenceVolume` of an array [z, y, x] and its voxel (x, y, z) to LPS affine; NaN is left in it.

    Raises GLIO-1104, GLIO-1106 to GLIO-1109 and GLIO-1703.
    """
    what = f"The {modality} volume"
    if voxels.dtype.kind not in "biuf":
        raise GlioserveError(ErrorCode.UNSUPPORTED_VOXELS, f"{what} has voxels of type {voxels.dtype.name}.")
    if voxels.ndim != 3 or min(voxels.shape) < 2:
        raise GlioserveError(ErrorCode.INVALID_VOLUME, f"{what} has shape {list(voxels.shape)}.")
    if voxels.size > MAX_VOLUME_VOXELS:
        raise GlioserveError(ErrorCode.STUDY_TOO_LARGE, f"{what} has {voxels.size} voxels.")
    array = _single_precision(voxels, what)
    z, y, x = array.shape
    return SequenceVolume(
        modality, array, checked_geometry((x, y, z), np.asarray(lps_from_voxel, dtype=np.float64), what)
    )


def _single_precision(voxels: npt.NDArray[np.generic], what: str) -> npt.NDArray[np.float32]:
    if voxels.dtype.kind == "f" and np.isinf(voxels).any():
        raise GlioserveError(ErrorCode.NON_FINITE_VOXELS, f"{what} has infinite voxels.")
    with np.errstate(over="ignore"):
        array = voxels.astype(np.float32, copy=False)
    if max(abs(float(np.fmin.reduce(array, axis=None))), abs(float(np.fmax.reduce(array, axis=None)))) > MAX_MAGNITUDE:
        raise GlioserveError(ErrorCode.EXTREME_INTENSITY, f"{what} has voxels beyond {MAX_MAGNITUDE:g}.")
    return array
