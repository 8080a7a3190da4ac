"""Studies that come as volumes with their affines, instead of DICOM files.

Any axes (order, flips, oblique), any real dtype, any sign. NaN is accepted as what tools write outside the field of
view: where it reaches the volume's border and fills at most half of it, it becomes the darkest voxel and is counted
in a warning. NaN inside the image and infinite voxels are refused: they hide what was there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from scipy import ndimage

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.limits import MAX_NAN_SHARE, MIN_RANGE
from glioserve_dicom.volumes.geometry import Geometry, SequenceVolume
from glioserve_preprocess.arrays import BoolArray


def fill_outside(volume: SequenceVolume) -> tuple[SequenceVolume, tuple[str, ...]]:
    """Replace the NaN outside the field of view by the darkest voxel's value; return the volume and a warning of it.

    Raises:
        GlioserveError: GLIO-1109 where NaN does not reach the volume's border or fills more than ``MAX_NAN_SHARE``.
    """
    missing = np.isnan(volume.voxels)
    count = int(missing.sum())
    if count == 0:
        return volume, ()
    what = f"The {volume.modality} volume"
    if count > MAX_NAN_SHARE * missing.size:
        raise GlioserveError(ErrorCode.NON_FINITE_VOXELS, f"{what} is {count / missing.size:.0%} NaN.")
    enclosed = _enclosed(missing)
    if enclosed:
        raise GlioserveError(ErrorCode.NON_FINITE_VOXELS, f"{what} has {enclosed} NaN voxels inside its field of view.")
    filled = np.where(missing, np.nanmin(volume.voxels), volume.voxels)
    warning = f"{what}: {count} NaN voxels ({count / missing.size:.1%}) outside its field of view count as its darkest."
    return replace(volume, voxels=filled), (warning,)


def _enclosed(missing: BoolArray) -> int:
    """Return the number of voxels in pieces that do not touch the border."""
    labels, _ = ndimage.label(missing)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    for axis in range(3):
        for end in (0, -1):
            sizes[np.unique(labels.take(end, axis))] = 0
    return int(sizes.sum())


def check_contrast(volume: SequenceVolume) -> None:
    """Refuse a blank volume, before registration and brain extraction look for a head in it.

    Raises:
        GlioserveError: GLIO-1702 where all voxels are equal, GLIO-1703 where they span next to nothing.
    """
    low, high = float(volume.voxels.min()), float(volume.voxels.max())
    if high == low:
        raise GlioserveError(ErrorCode.CONSTANT_VOLUME, f"All voxels of the {volume.modality} sequence are {low:g}.")
    if high - low < MIN_RANGE:
        raise GlioserveError(ErrorCode.EXTREME_INTENSITY, f"The {volume.modality} sequence spans only {high - low:g}.")


def pick_volumes(
    volumes: Mapping[Modality, SequenceVolume], channels: tuple[Modality, ...], min_slices: int
) -> tuple[dict[Modality, SequenceVolume], tuple[str, ...]]:
    """Return the recipe's sequences among those sent, and warnings for the others and for NaN outside fields of view.

    The slice axis of a volume is the one of largest spacing: NIfTI files come with their axes in any order.

    Raises:
        GlioserveError: GLIO-1109 for NaN inside a volume, GLIO-1301 for a missing sequence, GLIO-1303 for too few
            slices.
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
    warnings = [f"The {m} volume is not in the recipe; left out." for m in volumes if m not in channels]
    picked = {}
    for modality in channels:
        picked[modality], said = fill_outside(volumes[modality])
        warnings.extend(said)
    return picked, tuple(warnings)


def slice_axis_size(geometry: Geometry) -> int:
    """Return the voxels along the axis of largest spacing; along z where spacings are equal."""
    spacings = np.round(geometry.spacing_mm, 3)
    axis = 2 if spacings[2] >= spacings.max() else int(spacings.argmax())
    return geometry.size_voxels[axis]
