"""Checks of the share of the brain that a sequence shows: its field of view, and within that its signal.

A transfer, an export or a reconstruction that failed leaves slices or parts of them empty (zero or one value), filled
with noise, or filled with a copy of another slice; headers and geometry know nothing of it. Native planes along all
three axes are looked at, at points all over the brain. Dark fluid, cavities, and whatever lies outside the brain (a
removed face or skull, empty corners) do not count.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from glioserve_contract.records.preprocess import QualityCheck
from glioserve_dicom.volumes.geometry import SequenceVolume, apply
from glioserve_preprocess.arrays import BoolArray, DoubleArray, FloatArray

USUAL_FIELD = (0.95, 1.0)
"""Share of the brain in the sequence's field of view."""
USUAL_SIGNAL = (0.75, 1.0)
"""Share of the brain in the field of view that has signal; fluid that the sequence shows dark has none."""
USUAL_BLANK = (0.0, 0.0)
"""Number of native planes through the brain without an image of their own."""
BRIGHT_PERCENTILE = 95.0
DARK_PERCENTILE = 1.0
AIR_LEVEL = 0.1
"""Part of the way from the volume's dark percentile to the brain's bright one at which signal begins."""
MIN_PLANE_SHARE, MIN_PLANE_POINTS = 0.15, 30
"""Least number of points of a plane that is judged, as a share of the largest plane's and absolute: towards its ends
a brain is stem or vertex, where cavities and fluid fill whole planes."""
EMPTY_SHARE = 0.3
"""Share of a plane's points with signal below which the plane is empty."""
FALL, FALL_OF_LARGEST = 0.85, 0.1
"""A part of a plane is missing where less than the first of the share that has signal in a plane beside it has signal,
and where that is more than the second of the largest plane."""
BLOCK_MM = 4.0
"""Width of the in-plane blocks whose means are compared from plane to plane."""
MIN_LIKENESS = 0.3
"""Correlation with the more similar of the planes beside it below which a plane shows something else: noise."""


def coverage_checks(volume: SequenceVolume, points_lps_mm: DoubleArray) -> tuple[QualityCheck, ...]:
    """Return the checks of one sequence's field of view and signal.

    Args:
        volume: The canonical native volume.
        points_lps_mm: Points all over the brain [n, 3], in the sequence's own space.
    """
    size = np.array(volume.geometry.size_voxels)
    places = apply(volume.geometry.voxel_from_lps, points_lps_mm)
    inside = ((places >= -0.5) & (places <= size - 0.5)).all(axis=1)
    covered = float(inside.mean()) if len(inside) else 0.0
    checks = [QualityCheck.judged(f"{volume.modality}_brain_coverage", covered, "share", USUAL_FIELD)]
    if inside.any():
        voxels = np.clip(np.rint(places[inside]).astype(np.intp), 0, size - 1)[:, ::-1]
        signal, blank = _signal(volume, voxels)
        checks.append(QualityCheck.judged(f"{volume.modality}_signal_coverage", signal, "share", USUAL_SIGNAL))
        checks.append(QualityCheck.judged(f"{volume.modality}_blank_slices", blank, "slices", USUAL_BLANK))
    return tuple(checks)


def _signal(volume: SequenceVolume, places: npt.NDArray[np.intp]) -> tuple[float, float]:
    """Return the share of ``places`` [n, 3] (z, y, x) with signal, and the number of blank planes along one axis."""
    voxels = volume.voxels
    own = voxels[tuple(places.T)]
    dark = float(np.percentile(voxels[::3, ::3, ::3], DARK_PERCENTILE))
    least = dark + AIR_LEVEL * (float(np.percentile(own, BRIGHT_PERCENTILE)) - dark)
    seen = np.ones(len(places), dtype=bool)
    blank = 0
    for axis in range(3):
        patches = _patches(voxels, places, axis)
        signal = (patches.mean(axis=1) > least) & (np.ptp(patches, axis=1) > 0)
        planes = _blank_planes(volume, places, signal, axis)
        seen &= signal & ~planes[places[:, axis]]
        blank = max(blank, int(planes.sum()))
    return float(seen.mean()), float(blank)


def _patches(voxels: FloatArray, places: npt.NDArray[np.intp], axis: int) -> FloatArray:
    """Return the 3 x 3 voxels around each place, in its plane across ``axis``: [n, 9]."""
    steps = np.indices((3, 3)).reshape(2, 9) - 1
    offsets = np.insert(steps, axis, 0, axis=0)
    around = np.clip(places[:, :, np.newaxis] + offsets, 0, np.array(voxels.shape)[:, np.newaxis] - 1)
    patches: FloatArray = voxels[around[:, 0], around[:, 1], around[:, 2]]
    return patches


def _blank_planes(volume: SequenceVolume, places: npt.NDArray[np.intp], signal: BoolArray, axis: int) -> BoolArray:
    """Return which planes across ``axis`` pass through the brain and hold no image of their own."""
    count = volume.voxels.shape[axis]
    points = np.bincount(places[:, axis], minlength=count)
    judged = (points >= MIN_PLANE_POINTS) & (points >= MIN_PLANE_SHARE * points.max())
    share = np.bincount(places[:, axis], weights=signal, minlength=count) / np.maximum(points, 1)
    beside = _larger_neighbour(np.where(judged, share, 0.0))
    torn = (share < FALL * beside) & ((beside - share) * points > FALL_OF_LARGEST * points.max())
    alike, copied = _likeness(volume, places, axis)
    likeness = np.maximum(np.append(alike, -1.0), np.insert(alike, 0, -1.0))
    blank: BoolArray = judged & ((share < EMPTY_SHARE) | torn | (likeness < MIN_LIKENESS) | np.insert(copied, 0, False))
    return blank


def _larger_neighbour(values: DoubleArray) -> DoubleArray:
    return np.maximum(np.append(values[1:], 0.0), np.insert(values[:-1], 0, 0.0))


def _likeness(volume: SequenceVolume, places: npt.NDArray[np.intp], axis: int) -> tuple[DoubleArray, BoolArray]:
    """Return, for each plane but the last, its correlation with the next one, and whether the next is its copy.

    Planes are compared within the brain's box, by means over blocks.
    """
    box = [slice(int(low), int(high) + 1) for low, high in zip(places.min(axis=0), places.max(axis=0), strict=True)]
    box[axis] = slice(None)
    blocks = np.moveaxis(volume.voxels[tuple(box)], axis, 0)
    spacing_mm = np.delete(np.array(volume.geometry.spacing_mm)[::-1], axis)
    for plane_axis, spacing in zip((1, 2), spacing_mm, strict=True):
        factor = min(max(1, round(BLOCK_MM / float(spacing))), blocks.shape[plane_axis])
        whole = blocks.shape[plane_axis] // factor * factor  # a smaller block at the end would be alike in all planes
        starts = np.arange(0, whole, factor)
        blocks = np.add.reduceat(blocks.take(range(whole), plane_axis), starts, axis=plane_axis)
    flat = blocks.reshape(len(blocks), -1).astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    norms = np.sqrt((flat**2).sum(axis=1))
    products = (flat[1:] * flat[:-1]).sum(axis=1)
    alike = products / np.maximum(norms[1:] * norms[:-1], 1e-30)
    copied: BoolArray = (flat[1:] == flat[:-1]).all(axis=1) & (norms[1:] > 0)
    return alike, copied
