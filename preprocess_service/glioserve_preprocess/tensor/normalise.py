"""Intensities to [0, 1] inside the brain, 0 outside, on the network's grid (Front Oncol 2025: min-max).

NaN marks what lies beyond a sequence's field of view: it has no part in the range and becomes 0.
"""

from __future__ import annotations

import numpy as np

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.recipe import Intensity
from glioserve_preprocess.arrays import ByteArray, FloatArray

MIN_CONTRAST = 1e-5
"""Least range over the largest magnitude; a smaller one is the rounding of single precision."""


def normalise(image: FloatArray, brain_mask: ByteArray, intensity: Intensity, what: str) -> FloatArray:
    """Scale ``image`` [D, H, W] by its own :func:`intensity_range` inside ``brain_mask`` [D, H, W]; 0 outside.

    ``what`` names the sequence in the error (GLIO-1701) that a constant or empty one gets.
    """
    low, high = intensity_range(image, brain_mask, intensity, what)
    return scale(image, brain_mask, low, high)


def intensity_range(image: FloatArray, brain_mask: ByteArray, intensity: Intensity, what: str) -> tuple[float, float]:
    """Return the intensities that become 0 and 1: extremes or percentiles of ``image`` inside ``brain_mask``.

    Raises:
        GlioserveError: GLIO-1701, which names ``what``, where they are one or the mask is empty.
    """
    inside = image[(brain_mask > 0) & ~np.isnan(image)]
    if not inside.size:
        raise GlioserveError(ErrorCode.CONSTANT_INTENSITY, f"{what} has no voxel inside the brain.")
    if intensity.percentiles is None:
        low, high = float(inside.min()), float(inside.max())
    else:
        low, high = (float(p) for p in np.percentile(inside.astype(np.float64), intensity.percentiles))
    if not high - low > MIN_CONTRAST * max(abs(low), abs(high)):
        raise GlioserveError(ErrorCode.CONSTANT_INTENSITY, f"{what} has no contrast inside the brain.")
    return low, high


def scale(image: FloatArray, brain_mask: ByteArray, low: float, high: float) -> FloatArray:
    """Map ``low`` to 0 and ``high`` to 1 inside ``brain_mask``, clipped to them; 0 outside."""
    scaled = np.clip((image - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.where((brain_mask > 0) & ~np.isnan(image), scaled, np.float32(0))
