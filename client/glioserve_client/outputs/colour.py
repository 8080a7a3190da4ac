"""The heat map's colours: red most, green least, and clearer the less there is, so that anatomy stays visible."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

VISIBLE_FROM = 0.12
"""Heat below it is not drawn at all."""
STRONGEST_ALPHA = 0.62
"""Opacity at heat 1: the anatomy still shows through."""

_HEAT = np.array([0.0, 0.35, 0.6, 0.8, 1.0])
_RGB = np.array([[0, 170, 80], [70, 215, 60], [250, 220, 40], [250, 130, 25], [235, 25, 25]], dtype=np.float64)


def heat_rgb(heat: npt.NDArray[np.float32 | np.float64]) -> npt.NDArray[np.float64]:
    """Return colours [..., 3] in 0 to 255 of ``heat`` [...] in 0 to 1: green, yellow, orange, red."""
    return np.stack([np.interp(heat, _HEAT, _RGB[:, channel]) for channel in range(3)], axis=-1)


def heat_alpha(heat: npt.NDArray[np.float32 | np.float64]) -> npt.NDArray[np.float64]:
    """Return the opacity [...] in 0 to 1: nothing below :data:`VISIBLE_FROM`, then growing with heat."""
    above = np.clip((np.asarray(heat, dtype=np.float64) - VISIBLE_FROM) / (1 - VISIBLE_FROM), 0, 1)
    return STRONGEST_ALPHA * np.sqrt(above)


def blend(
    grey: npt.NDArray[np.float32 | np.float64], heat: npt.NDArray[np.float32 | np.float64]
) -> npt.NDArray[np.uint8]:
    """Return RGB [..., 3] in 0 to 255 of ``grey`` [...] in 0 to 255 under ``heat`` [...] in 0 to 1."""
    alpha = heat_alpha(heat)[..., None]
    mixed = (1 - alpha) * np.asarray(grey, dtype=np.float64)[..., None] + alpha * heat_rgb(heat)
    rgb: npt.NDArray[np.uint8] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return rgb


def window(voxels: npt.NDArray[np.float32 | np.float64]) -> npt.NDArray[np.float32]:
    """Return intensities as grey 0 to 255 over :func:`window_range`."""
    low, top = window_range(voxels)
    if top <= low:
        return np.zeros(voxels.shape, dtype=np.float32)
    grey: npt.NDArray[np.float32] = (np.clip((voxels - low) / (top - low), 0, 1) * 255).astype(np.float32)
    return grey


def window_range(voxels: npt.NDArray[np.float32 | np.float64]) -> tuple[float, float]:
    """Return the intensities shown black and white: the background, and the 99.5th percentile of what lies above it."""
    low, high = (float(v) for v in np.percentile(voxels, (1, 99.9)))
    inside = voxels[voxels > low + 0.1 * (high - low)]
    return low, float(np.percentile(inside, 99.5)) if inside.size else high
