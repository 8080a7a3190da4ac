"""A scan as the opinion's network takes it: means and maxima on a coarse grid of the whole head, scaled.

Volumes are thinned and averaged before anything costs time: the grid is 3 mm wide, and a scan of 100 million voxels
shows no more on it than one of a million.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from glioserve_dicom.volumes.geometry import SequenceVolume, canonical_view
from glioserve_preprocess.arrays import DoubleArray, FloatArray

GRID_MM = 3.0
"""Spacing of the network's grid."""
GRID_SHAPE = (64, 80, 64)
"""Size of the network's grid, [z, y, x]: 192 x 240 x 192 mm."""
FINE_MM = 2.0
"""Width up to which about voxels are averaged before the grid's cells are filled: noise goes, vessels stay."""
THINNED_MM = 0.75
"""Distance up to which voxels are left out: two thirds of a millimetre hold nothing that the grid shows."""
LEAST_SIZE_VOXELS = 8
"""Least size of a scan in-plane, and of the two longest axes of any."""
SCALED_PERCENTILES = (1.0, 99.5)
"""Percentiles of the means in the field of view that become 0 and 1."""
HIGHEST = 3.0
"""Value at which scaled intensities are clipped: flowing blood may be far brighter than all tissue."""
BRIGHT = 0.12
"""Scaled intensity from which a cell counts as head when the grid is placed."""
SPECKS = 0.005
"""Share of the bright cells that may lie outside the head, at either end of an axis."""
ABOVE_HEAD_CELLS = 3
"""Cells kept above the top of the head, where a field of view is higher than the grid."""
FLAT = 1e-5
"""Least range of the intensities over the largest magnitude; a smaller one is rounding."""


def coarse_head(volume: SequenceVolume) -> FloatArray | None:
    """Return the scan on the network's grid, FP32 [2, 64, 80, 64] (z, y, x); None where it shows nothing.

    The first channel holds means, the second the largest of the finer voxels about each cell, which keeps thin bright
    vessels. Axes are the scan's own, nearest to L, P and S. Both are 0 outside the field of view.

    Args:
        volume: A scan of any orientation and spacing; voxels that are not finite count as 0.
    """
    turned = canonical_view(volume)
    if sorted(turned.voxels.shape)[1] < LEAST_SIZE_VOXELS:
        return None
    fine, spacing_mm, first_mm = _fine(turned.voxels, np.array(turned.geometry.spacing_mm)[::-1])
    means, maxima = fine, fine
    for axis in range(3):
        extent_mm = turned.voxels.shape[axis] * turned.geometry.spacing_mm[2 - axis]
        cells = max(1, round(extent_mm / GRID_MM))
        centres_mm = extent_mm / 2 + GRID_MM * (np.arange(cells) - (cells - 1) / 2)
        places = (centres_mm - first_mm[axis]) / spacing_mm[axis]
        means = _interpolated(means, axis, places)
        is_fine = spacing_mm[axis] < GRID_MM
        maxima = _larger(maxima, axis, places) if is_fine else _interpolated(maxima, axis, places)
    return _placed(means, maxima)


def _fine(voxels: npt.NDArray[np.float32], spacing_mm: DoubleArray) -> tuple[FloatArray, DoubleArray, DoubleArray]:
    """Return means of neighbouring voxels, their spacing, and the place of the first from the volume's edge, in mm."""
    fine, spacing, first = voxels, spacing_mm.copy(), spacing_mm / 2
    for axis in range(3):
        step = max(1, int(THINNED_MM // spacing[axis]))
        start = (fine.shape[axis] - 1) % step // 2
        fine = fine[_along(axis, slice(start, None, step))]
        first[axis] += start * spacing[axis]
        spacing[axis] *= step
    for axis in range(3):
        block = min(max(1, round(FINE_MM / spacing[axis])), fine.shape[axis])
        if block > 1:
            count = fine.shape[axis] // block
            start = (fine.shape[axis] - count * block) // 2
            parts = [fine[_along(axis, slice(start + i, start + count * block, block))] for i in range(block)]
            total = parts[0] + parts[1]
            for part in parts[2:]:
                total += part
            fine = total / np.float32(block)
            first[axis] += (start + (block - 1) / 2) * spacing[axis]
            spacing[axis] *= block
    if not np.isfinite(fine).all():
        fine = np.nan_to_num(fine, nan=0.0, posinf=0.0, neginf=0.0)
    return np.ascontiguousarray(fine), spacing, first


def _along(axis: int, part: slice) -> tuple[slice, ...]:
    return (slice(None),) * axis + (part,)


def _neighbours(count: int, places: DoubleArray) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], DoubleArray]:
    """Return the indices below and above each place, and the weight of the one above."""
    at = np.clip(places, 0, count - 1)
    lower = np.minimum(at.astype(np.intp), max(count - 2, 0))
    return lower, np.minimum(lower + 1, count - 1), at - lower


def _interpolated(array: FloatArray, axis: int, places: DoubleArray) -> FloatArray:
    lower, upper, weight = _neighbours(array.shape[axis], places)
    w = weight.astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
    return np.asarray(array.take(lower, axis) * (1 - w) + array.take(upper, axis) * w)


def _larger(array: FloatArray, axis: int, places: DoubleArray) -> FloatArray:
    lower, upper, _ = _neighbours(array.shape[axis], places)
    return np.maximum(array.take(lower, axis), array.take(upper, axis))


def _placed(means: FloatArray, maxima: FloatArray) -> FloatArray | None:
    """Return both channels scaled and cut or padded to the network's grid."""
    low, high = _ends(means)
    if not high - low > FLAT * max(abs(low), abs(high)):
        return None
    bright = means > low + BRIGHT * (high - low)
    target, source = [], []
    for axis, size in enumerate(GRID_SHAPE):
        start = _start(bright, axis, size)
        count = min(size, means.shape[axis])
        target.append(slice(max(0, -start), max(0, -start) + count))
        source.append(slice(max(0, start), max(0, start) + count))
    low, high = _ends(means[tuple(source)])
    if not high - low > FLAT * max(abs(low), abs(high)):
        return None
    placed = np.zeros((2, *GRID_SHAPE), dtype=np.float32)
    for channel, array in enumerate((means, maxima)):
        scaled = (array[tuple(source)] - np.float32(low)) / np.float32(high - low)
        placed[(channel, *target)] = np.clip(scaled, 0, HIGHEST)
    return placed


def _ends(means: FloatArray) -> tuple[float, float]:
    """Return the percentiles that become 0 and 1, of every third cell: the others say the same."""
    low, high = np.percentile(means.ravel()[::3], SCALED_PERCENTILES)
    return float(low), float(high)


def _start(bright: npt.NDArray[np.bool_], axis: int, size: int) -> int:
    """Return the first cell of the grid along an axis; below 0 where the scan is smaller than the grid."""
    count = bright.shape[axis]
    if count <= size:
        return -((size - count) // 2)
    along = bright.sum(axis=tuple(a for a in range(3) if a != axis)).cumsum()
    first = int(np.searchsorted(along, along[-1] * SPECKS, side="right"))
    last = int(np.searchsorted(along, along[-1] * (1 - SPECKS)))
    # The head's top is kept and the neck goes; sideways the head's middle is the grid's.
    start = last + ABOVE_HEAD_CELLS + 1 - size if axis == 0 and last - first >= size else (first + last + 1 - size) // 2
    return min(max(start, 0), count - size)
