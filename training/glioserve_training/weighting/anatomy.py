"""Structures that tell images with and without an agent apart, painted into the brain network's heads.

Arteries (which flow makes bright or dark in its own way), the choroid plexus, the pituitary gland and its stalk. Labels
go on where :class:`~glioserve_training.brain.head.HeadTissue` ends.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from glioserve_training.brain.head import BOX_LOW_MM, SPACING_MM, HeadTissue, Labels, SyntheticHead
from glioserve_training.brain.surgery import operate

ARTERY, CHOROID, PITUITARY = (len(HeadTissue) + i for i in range(3))
LABELS = len(HeadTissue) + 3
"""Number of labels."""

_TREE = (
    # points of the large arteries in the template's LPS, mm, for the left side
    ((16.0, -4.0, -62.0), (20.0, 2.0, -44.0), (12.0, 0.0, -34.0), (10.0, -10.0, -26.0), (12.0, -8.0, -16.0)),
    ((12.0, -8.0, -16.0), (24.0, -6.0, -14.0), (38.0, -2.0, -8.0), (44.0, 8.0, 4.0), (50.0, 28.0, 16.0)),
    ((12.0, -8.0, -16.0), (3.0, -18.0, -12.0), (2.0, -38.0, 4.0), (2.0, -22.0, 28.0), (2.0, 10.0, 34.0)),
    ((1.0, 14.0, -20.0), (14.0, 20.0, -14.0), (22.0, 44.0, -4.0), (12.0, 70.0, 2.0)),
)
_BASILAR = ((0.0, 20.0, -62.0), (0.0, 15.0, -40.0), (0.0, 13.0, -20.0))


def prepared(head: SyntheticHead, rng: np.random.Generator) -> Labels:
    """Return labels [z, y, x] with lesions and surgery, arteries, choroid plexus and pituitary; some left out."""
    labels = operate(head, rng)
    _name_arteries(labels)
    if rng.random() < 0.9:
        radius = float(rng.uniform(0.9, 1.9))
        for side in (-1, 1):
            for branch in _TREE:
                _tube(labels, [(side * x, y, z) for x, y, z in branch], radius * float(rng.uniform(0.8, 1.1)), rng)
        _tube(labels, list(_BASILAR), radius * 1.2, rng)
    if rng.random() < 0.9:
        _choroid(labels, rng)
    if rng.random() < 0.9:
        _ball(labels, np.array([0.0, -6.0, -28.0]) + rng.normal(0, 1.5, 3), float(rng.uniform(3.0, 5.5)), PITUITARY)
    return labels


def _voxels(points_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return voxel coordinates (z, y, x) of points (x, y, z)."""
    return np.asarray(((points_mm - BOX_LOW_MM) / SPACING_MM - 0.5)[..., ::-1])


def _name_arteries(labels: Labels) -> None:
    """Turn the vessels of the skull base, which heads have as one tissue, into arteries."""
    low, high = np.rint(_voxels(np.array([[-30.0, -20.0, -180.0], [30.0, 24.0, -27.0]]))).astype(int)
    part = labels[tuple(slice(max(0, a), b) for a, b in zip(low, high, strict=True))]
    part[part == HeadTissue.VESSEL] = ARTERY


def _tube(labels: Labels, points: list[tuple[float, float, float]], radius_mm: float, rng: np.random.Generator) -> None:
    """Paint a bent tube through the points, each moved a little, wherever there is no air or bone."""
    moved = np.array(points) + rng.normal(0, 2.5, (len(points), 3))
    lengths = np.linalg.norm(np.diff(moved, axis=0), axis=1)
    along = np.concatenate([[0], np.cumsum(lengths)])
    at = np.arange(0, along[-1], SPACING_MM / 2)
    line = np.stack([np.interp(at, along, moved[:, i]) for i in range(3)], axis=1)
    reach = radius_mm / SPACING_MM
    offsets = np.mgrid[-1:2, -1:2, -1:2].reshape(3, -1).T
    centres = _voxels(line)
    voxels = np.rint(centres)[:, None] + offsets[None]
    near = ((voxels - centres[:, None]) ** 2).sum(axis=-1) <= max(reach, 0.55) ** 2
    _paint(labels, voxels[near].astype(int), ARTERY)


def _choroid(labels: Labels, rng: np.random.Generator) -> None:
    """Paint plexus into the trigones and the bodies of the ventricles."""
    for side in (-1, 1):
        for centre, radius in (((26 * side, 42, 6), 8.0), ((14 * side, 20, 20), 5.0), ((0, 50, -26), 4.0)):
            low, high = (np.rint(_voxels(np.array(centre) + s * radius)).astype(int) for s in (-1, 1))
            part = labels[tuple(slice(max(0, a), b + 1) for a, b in zip(low, high, strict=True))]
            part[(part == HeadTissue.VENTRICLE) & (rng.random(part.shape) < rng.uniform(0.25, 0.7))] = CHOROID


def _ball(labels: Labels, centre_mm: npt.NDArray[np.float64], radius_mm: float, label: int) -> None:
    reach = int(np.ceil(radius_mm / SPACING_MM))
    offsets = np.mgrid[(slice(-reach, reach + 1),) * 3].reshape(3, -1).T
    offsets = offsets[(offsets**2).sum(axis=1) * SPACING_MM**2 <= radius_mm**2]
    _paint(labels, np.rint(_voxels(centre_mm)).astype(int) + offsets, label)


def _paint(labels: Labels, voxels: npt.NDArray[np.int_], label: int) -> None:
    inside = voxels[((voxels >= 0) & (voxels < labels.shape)).all(axis=1)]
    z, y, x = inside.T
    kept = np.isin(labels[z, y, x], (HeadTissue.AIR, HeadTissue.SKIN), invert=True)
    labels[z[kept], y[kept], x[kept]] = label
