"""The brain mask by thresholds, distances and morphology: the classical method, no weights.

It works on an isotropic grid in the reference's own axes: the head against air, then tissue of brain-like intensity
deep enough under the scalp, cut loose from the skull by an opening, the largest piece kept and closed.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_dicom.volumes.geometry import Geometry, SequenceVolume, isotropic_cover
from glioserve_preprocess.arrays import BoolArray, ByteArray, DoubleArray, FloatArray
from glioserve_preprocess.brain.limits import refuse_volume
from glioserve_preprocess.tensor.grid import sample, sample_mask

WORKING_SPACING_MM = 2.5
AIR_SHARE = 0.35
"""Share of Otsu's threshold below which a voxel is air. Skull is dark too, hence the closing after it."""
SKULL_CLOSING_MM = 15.0
CORE_DEPTH_MM = 15.0
"""Depth under the skin beyond which voxels give the brain's typical intensity."""
MIN_DEPTH_MM = 6.0
"""Least thickness of scalp and skull together."""
DARK_SHARE = 0.65
"""Share of the typical intensity below which a voxel is bone, air or vessel."""
BRIGHT_SPREADS = 4.0
"""Robust standard deviations above the typical intensity: brighter voxels are fat."""
OPENING_MM = 8.0
REGROWTH_MM = 9.0
SULCUS_CLOSING_MM = 12.0
HEIGHT_MM = 165.0
"""Height from the top of the head down to below the brain stem; the neck lies beyond."""


def classical_mask(reference: SequenceVolume) -> ByteArray:
    """Return the brain mask on ``reference``'s own grid, 0/1 [z, y, x].

    Raises:
        GlioserveError: GLIO-1601 where there is no brain.
    """
    working = isotropic_cover(reference.geometry, WORKING_SPACING_MM)
    voxels = sample(reference.voxels, reference.geometry, working, np.eye(4))
    voxels = np.minimum(voxels, np.percentile(voxels, 99))
    head = _head(voxels)
    if not head.any():
        raise GlioserveError(ErrorCode.BRAIN_NOT_FOUND, "The reference sequence shows no head.")
    mask = _brain_in_head(voxels, head & _upper_part(head, working))
    refuse_volume(int(mask.sum()), WORKING_SPACING_MM**3)
    return sample_mask(mask.astype(np.uint8), working, reference.geometry)


def _head(voxels: FloatArray) -> BoolArray:
    """Return everything inside the skin; the border of the field of view does not count as skin."""
    otsu = sitk.OtsuThresholdImageFilter()
    otsu.Execute(sitk.GetImageFromArray(voxels))
    head = largest_piece(_closed(voxels > AIR_SHARE * otsu.GetThreshold(), 5.0))
    head = _closed(head, SKULL_CLOSING_MM)
    for axis in range(3):
        for plane in np.moveaxis(head, axis, 0):
            plane |= ndimage.binary_fill_holes(plane)
    return head


def _upper_part(head: BoolArray, geometry: Geometry) -> BoolArray:
    """Return the voxels at most HEIGHT_MM below the top of the head, along the patient's superior axis."""
    z, y, x = np.ogrid[: head.shape[0], : head.shape[1], : head.shape[2]]
    along_x, along_y, along_z, start = geometry.lps_from_voxel[2]
    up_mm = along_x * x + along_y * y + along_z * z + start
    upper: BoolArray = up_mm >= float(up_mm[head].max()) - HEIGHT_MM
    return upper


def _brain_in_head(voxels: FloatArray, head: BoolArray) -> BoolArray:
    depth_mm = _depth_mm(head)
    core = voxels[depth_mm > CORE_DEPTH_MM]
    if not core.size:
        raise GlioserveError(ErrorCode.BRAIN_NOT_FOUND, "The reference sequence shows no whole head.")
    typical = float(np.median(core))
    spread = 1.4826 * float(np.median(np.abs(core - typical)))
    deep = depth_mm > MIN_DEPTH_MM
    tissue = deep & (voxels > DARK_SHARE * typical) & (voxels < typical + BRIGHT_SPREADS * spread)
    loose = largest_piece(_depth_mm(tissue) > OPENING_MM)
    grown = deep & (_distance_mm(loose) <= REGROWTH_MM)
    mask = _closed(grown, SULCUS_CLOSING_MM)
    for plane in mask:
        plane |= ndimage.binary_fill_holes(plane)
    return mask


def _depth_mm(mask: BoolArray) -> DoubleArray:
    """Return the distance of each voxel inside ``mask`` to its nearest outside voxel.

    Beyond the border the mask goes on.
    """
    margin = int(np.ceil(SKULL_CLOSING_MM / WORKING_SPACING_MM)) + 2
    padded = ndimage.distance_transform_edt(np.pad(mask, margin, mode="edge")) * WORKING_SPACING_MM
    inner = (slice(margin, -margin),) * 3
    depth: DoubleArray = padded[inner]
    return depth


def _distance_mm(mask: BoolArray) -> DoubleArray:
    """Return the distance of each voxel outside ``mask`` to it; 0 inside, infinite where the mask is empty."""
    if not mask.any():
        return np.full(mask.shape, np.inf)
    distance: DoubleArray = ndimage.distance_transform_edt(~mask) * WORKING_SPACING_MM
    return distance


def _closed(mask: BoolArray, radius_mm: float) -> BoolArray:
    """Close ``mask`` by a ball; beyond the border the mask goes on as it ends."""
    margin = int(np.ceil(radius_mm / WORKING_SPACING_MM)) + 2
    grown = _distance_mm(np.pad(mask, margin, mode="edge")) <= radius_mm
    shrunk: BoolArray = (
        ndimage.distance_transform_edt(np.pad(grown, 1, mode="edge"))[1:-1, 1:-1, 1:-1] * WORKING_SPACING_MM > radius_mm
    )
    return shrunk[(slice(margin, -margin),) * 3] | mask


def largest_piece(mask: BoolArray) -> BoolArray:
    """Return the largest piece of face neighbours of a mask [z, y, x]; an empty mask as it is."""
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest: BoolArray = labels == sizes.argmax()
    return largest
