"""Make checked volumes of arrays with their affines, and of NIfTI files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.limits import MAX_MAGNITUDE, MAX_NAN_SHARE, MAX_VOLUME_VOXELS
from glioserve_dicom.volumes.geometry import SequenceVolume, checked_geometry
from glioserve_dicom.volumes.nifti import read_nifti


def volume_of_array(modality: Modality, voxels: npt.ArrayLike, lps_from_voxel: npt.ArrayLike) -> SequenceVolume:
    """Return a checked volume of an array [z, y, x] and its voxel (x, y, z) to LPS affine, 4 x 4 in mm.

    The array may be of any real type; further axes of length 1 are dropped. NaN is left in it.

    Raises:
        GlioserveError: as :func:`checked_voxels` and :func:`checked_geometry` do; messages name the sequence.
    """
    return _volume(modality, voxels, lps_from_voxel, f"The {modality} volume")


def volume_of_nifti(modality: Modality, path: Path) -> SequenceVolume:
    """Return a checked volume of a NIfTI file.

    Raises:
        GlioserveError: as :func:`glioserve_dicom.volumes.nifti.read_nifti` and :func:`volume_of_array` do; messages
            name the sequence and never the file.
    """
    try:
        return _volume(modality, *read_nifti(path), "The volume")
    except GlioserveError as problem:
        raise GlioserveError(problem.code, f"{modality}: {problem.detail}") from None


def checked_voxels(voxels: npt.ArrayLike, what: str, *, copy: bool = False) -> npt.NDArray[np.float32]:
    """Return the voxels as FP32 [z, y, x], if they are a volume.

    Args:
        voxels: numbers of any real type, byte order and layout, with any further axes of length 1.
        what: start of messages: ``The t1 volume``.
        copy: return a contiguous copy always, in which every NaN is the same one (its bits may carry anything);
            otherwise only where the type changes.

    Raises:
        StudyTooLargeError: GLIO-1104 over the limit on voxels.
        InvalidVolumeError: GLIO-1106 for fewer than three axes of two voxels or more.
        UnsupportedVoxelsError: GLIO-1108 for complex numbers, colours, texts or several volumes.
        NonFiniteVoxelsError: GLIO-1109 for infinite voxels, or more than half of them NaN.
        ExtremeIntensityError: GLIO-1703 for voxels that single precision cannot be trusted with.
    """
    if isinstance(voxels, np.ma.MaskedArray) and bool(np.any(voxels.mask)):
        detail, action = f"{what} has masked voxels.", "Fill them: voxels.filled(numpy.nan) for what was not measured."
        raise GlioserveError(ErrorCode.UNSUPPORTED_VOXELS, detail, action)
    try:
        array = np.asarray(voxels)
    except (TypeError, ValueError):
        raise GlioserveError(ErrorCode.UNSUPPORTED_VOXELS, f"{what} is not an array of numbers.") from None
    if array.dtype.kind not in "biuf":
        raise GlioserveError(ErrorCode.UNSUPPORTED_VOXELS, f"{what} has voxels of type {array.dtype.name}.")
    if array.size > MAX_VOLUME_VOXELS:
        raise GlioserveError(ErrorCode.STUDY_TOO_LARGE, f"{what} has {array.size} voxels, over {MAX_VOLUME_VOXELS}.")
    shape = list(array.shape)
    while array.ndim > 3 and 1 in (array.shape[0], array.shape[-1]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    if array.ndim > 3:
        detail = f"{what} has the shape {shape}: several volumes, or colours."
        raise GlioserveError(ErrorCode.UNSUPPORTED_VOXELS, detail)
    if array.ndim != 3 or min(array.shape) < 2:
        detail = f"{what} has the shape {shape}; three axes of two voxels or more are needed."
        raise GlioserveError(ErrorCode.INVALID_VOLUME, detail)
    return _single_precision(array, what, copy)


def _volume(modality: Modality, voxels: npt.ArrayLike, lps_from_voxel: npt.ArrayLike, what: str) -> SequenceVolume:
    array = checked_voxels(voxels, what)
    z, y, x = array.shape
    return SequenceVolume(modality, array, checked_geometry((x, y, z), lps_from_voxel, what))


def _single_precision(voxels: npt.NDArray[np.generic], what: str, copy: bool) -> npt.NDArray[np.float32]:
    if voxels.dtype.kind == "f" and np.isinf(voxels).any():
        raise GlioserveError(ErrorCode.NON_FINITE_VOXELS, f"{what} has infinite voxels.")
    with np.errstate(over="ignore"):
        array = voxels.astype(np.float32, order="C" if copy else "K", copy=copy)
    missing = float(np.isnan(array).mean())
    if missing > MAX_NAN_SHARE:
        raise GlioserveError(ErrorCode.NON_FINITE_VOXELS, f"{what} is {missing:.0%} NaN.")
    if copy and missing:
        array[np.isnan(array)] = np.nan
    if max(abs(float(np.fmin.reduce(array, axis=None))), abs(float(np.fmax.reduce(array, axis=None)))) > MAX_MAGNITUDE:
        raise GlioserveError(ErrorCode.EXTREME_INTENSITY, f"{what} has voxels beyond {MAX_MAGNITUDE:g}.")
    return array
