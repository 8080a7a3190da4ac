"""Figures of merit. Necrosis is the study's positive class."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage, stats

FloatArray = npt.NDArray[np.float32 | np.float64]

HIT_MM = 8.0
"""Largest distance of a heat map's peak from the lesion, in mm, that counts as a hit."""


def auc(scores: FloatArray, positive: npt.NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve; nan if one class is missing.

    It is the chance that a positive scores above a negative; ties count half.
    """
    if positive.all() or not positive.any():
        return float("nan")
    return float(auc_of_samples(scores[positive], scores[~positive]))


def auc_of_samples(positive: FloatArray, negative: FloatArray, axis: int = -1) -> npt.NDArray[np.float64]:
    """Return Mann-Whitney's statistic as a share, over ``axis``; the other axes are samples of their own."""
    m, n = positive.shape[axis], negative.shape[axis]
    ranks = stats.rankdata(np.concatenate([positive, negative], axis=axis), axis=axis)
    of_positive = np.take(ranks, range(m), axis=axis).sum(axis=axis)
    return np.asarray((of_positive - m * (m + 1) / 2) / (m * n))


def peak_distance_mm(
    cam: FloatArray,
    lesion: npt.NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
    lattice: tuple[float, float],
) -> float:
    """Return the distance in mm from the peak of ``cam`` [d, h, w] to ``lesion`` [D, H, W].

    It is 0 inside the lesion and nan for an empty one. ``spacing_mm`` (x, y, z) is that of the lesion's
    voxels; ``lattice`` (start, step) is the network's ``cam_lattice``.
    """
    if not lesion.any():
        return float("nan")
    start, step = lattice
    cell = np.unravel_index(int(cam.argmax()), cam.shape)
    voxel = tuple(min(max(round(start + step * int(c)), 0), n - 1) for c, n in zip(cell, lesion.shape, strict=True))
    return float(ndimage.distance_transform_edt(lesion == 0, spacing_mm[::-1])[voxel])
