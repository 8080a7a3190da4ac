"""Figures of merit. Necrosis is the study's positive class."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage, stats

HIT_MM = 8.0
"""A heat map hits where its peak lies in the lesion or this near to it."""


def auc(scores: npt.NDArray[np.floating[Any]], positive: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative (ties count half); nan if one
    class is missing."""
    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m:
        return float("nan")
    ranks = stats.rankdata(scores)
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))


def peak_distance_mm(
    cam: npt.NDArray[np.floating[Any]],
    lesion: npt.NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
    lattice: tuple[float, float],
) -> float:
    """Distance from the peak of ``cam`` [d, h, w] to ``lesion`` [D, H, W]: 0 inside, nan for an empty lesion.

    ``spacing_mm`` (x, y, z) of the lesion's voxels; ``lattice`` (start, step) is the network's ``cam_lattice``.
    """
    if not lesion.any():
        return float("nan")
    start, step = lattice
    cell = np.unravel_index(int(cam.argmax()), cam.shape)
    voxel = tuple(min(max(round(start + step * int(c)), 0), n - 1) for c, n in zip(cell, lesion.shape, strict=True))
    return float(ndimage.distance_transform_edt(lesion == 0, spacing_mm[::-1])[voxel])
