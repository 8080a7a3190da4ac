"""One volume at several resolutions, in histogram bins, and the head in it: what registration looks at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from glioserve_dicom.volumes.geometry import Geometry, SequenceVolume, apply
from glioserve_preprocess.arrays import BoolArray, ByteArray, DoubleArray, FloatArray

LEVELS_MM = (8.0, 4.0, 1.0)
"""Voxel width of each level, from coarse to fine. An axis whose spacing is coarser than the level stays as it is."""
MAX_FINEST_VOXELS = 1 << 25
"""Voxels at 1 mm (twice a head's) above which the finest level is 2 mm, so that memory suffices for more studies."""
SMOOTHING_MM = (3.2, 1.6, 0.45)
"""Gaussian sigma on each level: it takes the steps off the box means, and noise off the finest. Along thick slices
that is less than MIN_SIGMA_VOXELS and nothing is done: smoothing them cost accuracy (0.09 to 0.15 mm on phantoms)."""
MIN_SIGMA_VOXELS = 0.3
BINS = 24
WINDOW_BINS = 3
"""Bins kept free for the flanks of the Parzen window: values lie from 1 to BINS - WINDOW_BINS."""
CLIPPED_PERCENTILES = (0.2, 99.5)
"""Percentiles of a volume's voxels on the middle level; values beyond them share the outermost bins."""
AIR_SHARE = 0.35
"""Share of Otsu's threshold below which a voxel is air."""
HALO_MM = 6.0
"""Width of the rim around the head that counts with it, so that its outline does."""


@dataclass(frozen=True, eq=False)
class PyramidLevel:
    """Smoothed voxels FP32 [z, y, x] in bins, 1 to BINS - WINDOW_BINS, and where they are."""

    voxels: FloatArray
    geometry: Geometry


@dataclass(frozen=True, eq=False)
class Prepared:
    """A volume made ready once for any number of pairs."""

    volume: SequenceVolume
    levels: tuple[PyramidLevel, ...]
    regions: tuple[BoolArray, ...]
    """The head with its halo, [z, y, x], on every level but the finest."""
    centre_lps_mm: DoubleArray
    """Centre of the head's outline; intensities differ too much between sequences for a centre of mass."""

    def head_points_lps_mm(self, most: int = 2000) -> DoubleArray:
        """Return at most about ``most`` points all over the head, evenly picked, [n, 3]."""
        inside = np.argwhere(self.regions[0])[:, ::-1]
        inside = inside[:: max(1, len(inside) // most)]
        return apply(self.levels[0].geometry.lps_from_voxel, inside.astype(np.float64))

    def draw(self, level: int, samples: int, seed: int) -> tuple[DoubleArray, ByteArray]:
        """Draw ``samples`` points of the head, LPS mm [n, 3], with the bins of the volume there on ``level``.

        Each is moved off its voxel by up to half a voxel: points on the grid would lock onto the slices of a moving
        volume of the same spacing. The finest level draws from the head of the one before.
        """
        region = self.regions[min(level, len(self.regions) - 1)]
        drawn_on = self.levels[min(level, len(self.regions) - 1)].geometry
        rng = np.random.default_rng(seed)
        inside = np.argwhere(region)
        chosen = np.sort(rng.choice(len(inside), samples, replace=len(inside) < samples))  # neighbours share caches
        picked = inside[chosen] + rng.uniform(-0.5, 0.5, (samples, 3))
        points = apply(drawn_on.lps_from_voxel, picked[:, ::-1])
        at = self.levels[level]
        indices = apply(at.geometry.voxel_from_lps, points).T[::-1]
        values = ndimage.map_coordinates(at.voxels, indices, order=1, mode="nearest")
        return points, ((values - 1) * ((BINS - 1) / (BINS - WINDOW_BINS - 1))).astype(np.uint8)


def prepare(volume: SequenceVolume) -> Prepared:
    """Compute the levels, by box means of whole voxels (no axis is refined) and a Gaussian, and the head on them."""
    levels = []
    voxels, geometry = volume.voxels, volume.geometry
    for spacing_mm, sigma_mm in sorted(zip(LEVELS_MM, SMOOTHING_MM, strict=True)):
        too_many = np.prod([min(n, n * s / spacing_mm) for n, s in _axes(geometry)]) > MAX_FINEST_VOXELS
        voxels, geometry = _shrink(voxels, geometry, 2 * spacing_mm if too_many else spacing_mm)
        levels.append((_smoothed(voxels, geometry, sigma_mm), geometry))
    levels.reverse()
    regions = tuple(_head_region(voxels, geometry) for voxels, geometry in levels[:-1])
    low, high = np.percentile(levels[len(levels) // 2][0], CLIPPED_PERCENTILES)
    for smoothed, _ in levels:
        _into_bins(smoothed, float(low), float(high))
    centre = np.argwhere(regions[0]).mean(axis=0)[np.newaxis, ::-1]
    done = tuple(PyramidLevel(voxels, geometry) for voxels, geometry in levels)
    return Prepared(volume, done, regions, apply(done[0].geometry.lps_from_voxel, centre)[0])


def _head_region(voxels: FloatArray, geometry: Geometry) -> BoolArray:
    """Return the head with its halo; everything where no head stands out."""
    labels, count = ndimage.label(voxels > AIR_SHARE * _otsu(voxels))
    if count == 0:
        return np.ones(voxels.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    distance_mm = ndimage.distance_transform_edt(labels != sizes.argmax(), sampling=geometry.spacing_mm[::-1])
    return np.asarray(ndimage.binary_fill_holes(distance_mm <= HALO_MM), dtype=bool)


def _otsu(voxels: FloatArray) -> float:
    """Return Otsu's threshold (IEEE SMC 9, 1979, 62) of 128 bins up to the 99.5th percentile.

    Not ITK's filter: SimpleITK keeps the interpreter's lock while it runs, and the sequences are prepared in threads.
    """
    low, high = float(voxels.min()), float(np.percentile(voxels, 99.5))
    if not high > low:
        return low
    counts, edges = np.histogram(voxels, bins=128, range=(low, high))
    centres = (edges[1:] + edges[:-1]) / 2
    below, sums = np.cumsum(counts)[:-1], np.cumsum(counts * centres)
    above = counts.sum() - below
    apart = sums[:-1] / np.maximum(below, 1) - (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    return float(edges[1 + int(np.argmax(below * above * apart**2))])


def _smoothed(voxels: FloatArray, geometry: Geometry, sigma_mm: float) -> FloatArray:
    """Smooth the voxels into a copy, always, since the levels are turned into bins in place."""
    sigmas = [s if s > MIN_SIGMA_VOXELS else 0.0 for s in (sigma_mm / np.array(geometry.spacing_mm[::-1])).tolist()]
    smoothed: FloatArray = ndimage.gaussian_filter(voxels, sigmas, mode="nearest", truncate=3.0)
    return smoothed if smoothed is not voxels else voxels.copy()


def _into_bins(voxels: FloatArray, low: float, high: float) -> None:
    voxels -= np.float32(low)
    voxels *= np.float32((BINS - WINDOW_BINS - 1) / max(high - low, 1e-9))
    np.clip(voxels, 0, BINS - WINDOW_BINS - 1, out=voxels)
    voxels += np.float32(1)


def _axes(geometry: Geometry) -> list[tuple[int, float]]:
    """Return (voxels, spacing in mm) of x, y and z."""
    return list(zip(geometry.size_voxels, geometry.spacing_mm, strict=True))


def _shrink(voxels: FloatArray, geometry: Geometry, spacing_mm: float) -> tuple[FloatArray, Geometry]:
    factors = [f if n >= 2 * (f := max(1, round(spacing_mm / s))) else 1 for n, s in _axes(geometry)]
    affine = geometry.lps_from_voxel.copy()
    for axis, factor in enumerate(factors):
        if factor > 1:
            voxels = _box_mean(voxels, 2 - axis, factor)
            affine[:3, 3] += affine[:3, axis] * (factor - 1) / 2
            affine[:3, axis] *= factor
    z, y, x = voxels.shape
    return voxels, Geometry((x, y, z), affine)


def _box_mean(voxels: FloatArray, axis: int, factor: int) -> FloatArray:
    """Return the means of ``factor`` voxels along ``axis``; a rest at the end is left out."""
    count = voxels.shape[axis] // factor
    trimmed = np.moveaxis(voxels, axis, 0)[: count * factor]
    total = trimmed[::factor].astype(np.float32)
    for offset in range(1, factor):
        total += trimmed[offset::factor]
    total /= np.float32(factor)
    return np.ascontiguousarray(np.moveaxis(total, 0, axis))
