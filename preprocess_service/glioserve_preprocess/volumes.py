"""The other way in: volumes with their affines, instead of DICOM files."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.limits import MAX_VOLUME_VOXELS
from glioserve_preprocess.geometry import Geometry, Matrix, Volume, checked_affine


def volume_of_array(modality: Modality, voxels: npt.NDArray[np.generic], lps_from_voxel: Matrix) -> Volume:
    """A checked :class:`Volume` of an array [z, y, x] and its voxel (x, y, z) to LPS affine.

    Raises GLIO-1104, GLIO-1106 and GLIO-1107.
    """
    what = f"The {modality} volume"
    if voxels.ndim != 3 or min(voxels.shape) < 2:
        raise GlioserveError(ErrorCode.INVALID_VOLUME, f"{what} has shape {list(voxels.shape)}.")
    if voxels.size > MAX_VOLUME_VOXELS:
        raise GlioserveError(ErrorCode.STUDY_TOO_LARGE, f"{what} has {voxels.size} voxels.")
    array = voxels.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        raise GlioserveError(ErrorCode.INVALID_VOLUME, f"{what} has voxels that are NaN or infinite.")
    z, y, x = array.shape
    affine = checked_affine(np.asarray(lps_from_voxel, dtype=np.float64), what)
    return Volume(modality, array, Geometry((x, y, z), affine))


def pick_volumes(
    volumes: Mapping[Modality, Volume], channels: tuple[Modality, ...], min_slices: int
) -> tuple[dict[Modality, Volume], tuple[str, ...]]:
    """The recipe's sequences among those sent, and a warning for each other (GLIO-1301, GLIO-1303).

    The slice axis of a volume is the one of largest spacing: NIfTI files come with their axes in any order.
    """
    missing = [m for m in channels if m not in volumes]
    if missing:
        raise GlioserveError(
            ErrorCode.MISSING_SEQUENCE,
            f"No {', '.join(missing)} among the volumes ({', '.join(volumes) or 'none'}).",
        )
    for modality in channels:
        geometry = volumes[modality].geometry
        slices = slice_axis_size(geometry)
        if slices < min_slices:
            raise GlioserveError(
                ErrorCode.TOO_FEW_SLICES, f"The {modality} volume has {slices} slices; the recipe needs {min_slices}."
            )
    warnings = tuple(f"The {m} volume is not in the recipe; left out." for m in volumes if m not in channels)
    return {m: volumes[m] for m in channels}, warnings


def slice_axis_size(geometry: Geometry) -> int:
    """Voxels along the axis of largest spacing; along z where spacings are equal."""
    spacings = np.round(geometry.spacing_mm, 3)
    axis = 2 if spacings[2] >= spacings.max() else int(spacings.argmax())
    return geometry.size_voxels[axis]
