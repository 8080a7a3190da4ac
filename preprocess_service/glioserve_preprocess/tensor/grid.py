"""One resampling from a sequence's native voxels to another grid, anti-aliased where it shrinks.

All transforms are composed first. A target voxel is then one weighted sum of native voxels: linear interpolation of
the source smoothed by the Gaussian that makes up the difference of voxel widths. Constants come out as they are up to
the very border, linear ramps wherever the smoothing does not reach beyond it; nothing overshoots. Where the grid
shrinks by two or more, at most 0.47 of a wave at the target's Nyquist frequency passes, 0.13 from 1.7 times that,
0.09 at twice that (0.04 from a shrinking by three): the sampling frequency, which would alias to a constant.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt

from glioserve_contract.records.grid import Vector
from glioserve_dicom.volumes.geometry import Geometry, Matrix
from glioserve_preprocess.arrays import ByteArray, DoubleArray, FloatArray
from glioserve_preprocess.kernel.resampling import sample_axis, sample_places

FWHM_TO_SIGMA = 1 / (2 * np.sqrt(2 * np.log(2)))
REACH_SIGMAS = 3.0
"""Radius of the Gaussian: 0.3 % of its mass is left out, and made up for by the rest."""
MAX_SIGMA_VOXELS = 4.0
"""Largest sigma; a source much finer than the target is averaged over blocks first, which bounds a voxel's cost."""
PARALLEL_VOXELS = 1e-4
"""Part of a source voxel by which parallel axes may drift apart over the whole target."""


def sample(
    voxels: npt.NDArray[np.generic],
    source: Geometry,
    target: Geometry,
    source_lps_from_target_lps: Matrix,
    where: ByteArray | None = None,
    outside: float = 0.0,
    threads: int = 1,
) -> FloatArray:
    """Sample ``voxels`` on another grid, linearly and anti-aliased; any number of Python threads may call it at once.

    Args:
        voxels: The source's voxels [z, y, x].
        source: The grid of ``voxels``.
        target: The grid to sample on.
        source_lps_from_target_lps: Carries the target's points into the source's own space (the registration).
        where: Mask [z, y, x] on the target's grid; voxels where it is 0 become 0 and cost nothing.
        outside: Value beyond the source's field of view, 0 or NaN.
        threads: Number of threads; the bits are the same on any number.

    Returns:
        FP32 [z, y, x] on the target's grid.
    """
    source_from_target = source.voxel_from_lps @ source_lps_from_target_lps @ target.lps_from_voxel
    sigmas = np.array(antialias_sigma_mm(source, target, source_lps_from_target_lps)) / source.spacing_mm
    array = voxels.astype(np.float32, copy=False)
    factors = np.maximum(1, np.floor(sigmas / MAX_SIGMA_VOXELS * 2)).astype(int)
    limit = np.array(source.size_voxels) - 0.5
    if factors.max() > 1:
        array = _block_means(array, factors)
        source_from_target = np.diag([*1 / factors, 1.0]) @ source_from_target
        source_from_target[:3, 3] -= (factors - 1) / (2 * factors)
        limit = np.array(source.size_voxels) / factors - 0.5
        sigmas = np.sqrt(sigmas**2 - (factors**2 - 1) / 12) / factors  # what the blocks have smoothed already
    kernels = cast(tuple[DoubleArray, ...], tuple(_gaussian(float(s)) for s in sigmas))
    axes = _parallel_axes(source_from_target, target)
    if axes is None:
        x, y, z = kernels
        limits = cast(Vector, tuple(limit.tolist()))
        return sample_places(array, (x, y, z), limits, source_from_target, target.shape, where, outside, threads)
    return _sample_parallel(array, kernels, limit, source_from_target, target, axes, where, outside)


def sample_mask(mask: ByteArray, source: Geometry, target: Geometry, threads: int = 1) -> ByteArray:
    """Sample a 0/1 mask [z, y, x] on another grid of its space: 1 where the interpolated mask is at least a half."""
    return (sample(mask, source, target, np.eye(4), threads=threads) >= 0.5).astype(np.uint8)


def antialias_sigma_mm(source: Geometry, target: Geometry, source_lps_from_target_lps: Matrix) -> Vector:
    """Return the Gaussian sigma along each source axis: FWHM² = target extent² - source spacing², 0 if it grows.

    The target's extent along a source axis is that of its voxel, as the transform turns it.
    """
    along_source = source.lps_from_voxel[:3, :3] / np.array(source.spacing_mm)
    extent_mm2 = ((along_source.T @ source_lps_from_target_lps[:3, :3] @ target.lps_from_voxel[:3, :3]) ** 2).sum(1)
    missing = extent_mm2 - np.array(source.spacing_mm) ** 2
    missing[missing < 1e-6 * extent_mm2] = 0  # equal but for rounding
    x, y, z = np.sqrt(missing) * FWHM_TO_SIGMA
    return float(x), float(y), float(z)


def _gaussian(sigma_voxels: float) -> DoubleArray:
    """Return taps of sum 1, odd in number; a single one for no smoothing."""
    radius = int(np.ceil(REACH_SIGMAS * sigma_voxels)) if sigma_voxels > 0 else 0
    if radius == 0:
        return np.ones(1)
    taps: DoubleArray = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_voxels) ** 2)
    taps /= taps.sum()
    return taps


def _block_means(array: FloatArray, factors: npt.NDArray[np.int_]) -> FloatArray:
    """Return means over blocks of ``factors`` (x, y, z) voxels; beyond the border the volume goes on as it ends."""
    for axis, factor in zip((2, 1, 0), factors, strict=True):
        padding = [(0, -array.shape[axis] % factor if a == axis else 0) for a in range(3)]
        padded = np.pad(array, padding, mode="edge") if any(after for _, after in padding) else array
        shape = (*padded.shape[:axis], -1, int(factor), *padded.shape[axis + 1 :])
        array = padded.reshape(shape).mean(axis=axis + 1, dtype=np.float32) if factor > 1 else array
    return array


def _parallel_axes(source_from_target: Matrix, target: Geometry) -> tuple[int, int, int] | None:
    """Return, for each source axis (x, y, z), the target axis parallel to it; None if the grids are turned."""
    extents = np.abs(source_from_target[:3, :3]) * np.array(target.size_voxels)
    axes = extents.argmax(axis=1)
    rest = extents.copy()
    rest[range(3), axes] = 0
    if len(set(axes.tolist())) < 3 or rest.max() >= PARALLEL_VOXELS:
        return None
    x, y, z = axes.tolist()
    return x, y, z


def _sample_parallel(
    array: FloatArray,
    kernels: tuple[DoubleArray, ...],
    limit: DoubleArray,
    source_from_target: Matrix,
    target: Geometry,
    axes: tuple[int, int, int],
    where: ByteArray | None,
    outside: float,
) -> FloatArray:
    """Sample axis by axis, which is the same sum in fewer steps, the axis that shrinks most first."""
    sizes = [target.size_voxels[a] for a in axes]
    for axis in sorted(range(3), key=lambda a: (sizes[a] / array.shape[2 - a], -a)):
        places = source_from_target[axis, axes[axis]] * np.arange(sizes[axis]) + source_from_target[axis, 3]
        array = sample_axis(array, 2 - axis, kernels[axis], float(limit[axis]), places, outside)
    # array's axes [z, y, x] are the source's; bring them into the target's order
    ordered = np.ascontiguousarray(array.transpose([2 - axes.index(2 - a) for a in range(3)]))
    return ordered if where is None else np.where(where > 0, ordered, np.float32(0))
