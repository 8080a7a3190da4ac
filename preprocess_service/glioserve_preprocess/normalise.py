"""Intensities to [0, 1] inside the brain, 0 outside, on the network's grid (Front Oncol 2025: min-max)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.recipe import Intensity


def normalise(
    image: npt.NDArray[np.float32], brain_mask: npt.NDArray[np.uint8], intensity: Intensity, what: str
) -> npt.NDArray[np.float32]:
    """``image`` [D, H, W] scaled by its minimum and maximum inside ``brain_mask`` [D, H, W]; 0 outside.

    ``what`` names the sequence in the error (GLIO-1701) that a constant or empty one gets.
    """
    assert intensity.method == "minmax"  # the schema knows no other yet
    inside = image[brain_mask > 0]
    low, high = (float(inside.min()), float(inside.max())) if inside.size else (0.0, 0.0)
    if not high > low:
        raise GlioserveError(ErrorCode.CONSTANT_INTENSITY, f"{what} has no contrast inside the brain.")
    return np.where(brain_mask > 0, (image - np.float32(low)) / np.float32(high - low), np.float32(0))
