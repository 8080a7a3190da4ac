"""One resampling from a sequence's native voxels to the network's grid, anti-aliased where it shrinks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from glioserve_preprocess.geometry import Geometry, Matrix, to_sitk, to_sitk_transform

FWHM_TO_SIGMA = 1 / (2 * np.sqrt(2 * np.log(2)))
MIN_SIGMA_VOXELS = 0.25
"""Below this a Gaussian changes nothing that linear interpolation does not change more."""


def sample(
    voxels: npt.NDArray[np.generic], source: Geometry, target: Geometry, source_lps_from_target_lps: Matrix
) -> npt.NDArray[np.float32]:
    """``voxels`` [z, y, x] of ``source``'s grid on ``target``'s grid, FP32 [z, y, x]; linear, 0 outside.

    ``source_lps_from_target_lps`` carries the target's points into the source's own space (the registration).
    Where the target's voxels are larger than the source's, the source is first smoothed by the Gaussian whose
    width (FWHM) makes up the difference, so that no detail finer than the grid can alias into it.
    """
    image = to_sitk(voxels.astype(np.float32, copy=False), source)
    for axis, sigma_mm in enumerate(antialias_sigma_mm(source, target)):
        if sigma_mm > MIN_SIGMA_VOXELS * source.spacing_mm[axis] and source.size_voxels[axis] >= 4:
            image = sitk.RecursiveGaussian(image, sigma_mm, False, sitk.RecursiveGaussianImageFilter.ZeroOrder, axis)
    return _resample(image, target, source_lps_from_target_lps)


def sample_mask(mask: npt.NDArray[np.uint8], source: Geometry, target: Geometry) -> npt.NDArray[np.uint8]:
    """A 0/1 mask [z, y, x] on another grid of the same space: 1 where the interpolated mask is at least a half."""
    return (sample(mask, source, target, np.eye(4)) >= 0.5).astype(np.uint8)


def antialias_sigma_mm(source: Geometry, target: Geometry) -> tuple[float, float, float]:
    """Gaussian sigma along each source axis: FWHM² = target extent² - source spacing², 0 if it grows."""
    directions = source.lps_from_voxel[:3, :3] / np.array(source.spacing_mm)
    extent_mm2 = (directions.T**2) @ np.array(target.spacing_mm) ** 2
    missing = np.maximum(extent_mm2 - np.array(source.spacing_mm) ** 2, 0)
    x, y, z = np.sqrt(missing) * FWHM_TO_SIGMA
    return float(x), float(y), float(z)


def _resample(image: sitk.Image, target: Geometry, matrix: Matrix) -> npt.NDArray[np.float32]:
    directions = target.lps_from_voxel[:3, :3] / np.array(target.spacing_mm)
    resampled = sitk.Resample(
        image,
        target.size_voxels,
        to_sitk_transform(matrix),
        sitk.sitkLinear,
        target.lps_from_voxel[:3, 3].tolist(),
        target.spacing_mm,
        directions.ravel().tolist(),
        0.0,
        sitk.sitkFloat32,
    )
    return np.asarray(sitk.GetArrayFromImage(resampled), dtype=np.float32)
