"""The mathematics of the registration benchmark: known motions, errors over brain points, a consensus of tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from glioserve_dicom.volumes.geometry import Geometry, Matrix, SequenceVolume, apply

Level = Literal["small", "large"]
Points = npt.NDArray[np.float64]

SMALL = 10.0
"""Degrees and mm per axis, uniform within plus and minus."""
LARGE = (18.0, 30.0)
"""Degrees and mm per axis, uniform, with a random sign each."""
MAX_POINTS = 2000


def draw_motion(rng: np.random.Generator, level: Level, centre_lps_mm: npt.NDArray[np.float64]) -> Matrix:
    """A random rigid motion 4 x 4: a turn about ``centre_lps_mm`` (x, then y, then z), then a shift."""
    if level == "small":
        angles_deg, shift_mm = rng.uniform(-SMALL, SMALL, 3), rng.uniform(-SMALL, SMALL, 3)
    else:
        angles_deg, shift_mm = (rng.uniform(*LARGE, 3) * rng.choice((-1.0, 1.0), 3) for _ in range(2))
    matrix = np.eye(4)
    for axis, angle in enumerate(np.deg2rad(angles_deg)):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix[:3, :3] = turn @ matrix[:3, :3]
    matrix[:3, 3] = centre_lps_mm - matrix[:3, :3] @ centre_lps_mm + shift_mm
    return matrix


def placed(moving: SequenceVolume, true: Matrix, wanted: Matrix) -> SequenceVolume:
    """``moving`` carried to where its true registration is ``wanted`` instead of ``true``.

    Only its affine changes, so no voxel is resampled. Both matrices are moving_lps_from_reference_lps.
    """
    carried = wanted @ np.linalg.inv(true) @ moving.geometry.lps_from_voxel
    return SequenceVolume(moving.modality, moving.voxels, Geometry(moving.geometry.size_voxels, carried))


def brain_points_lps_mm(mask: npt.NDArray[np.generic], geometry: Geometry, most: int = MAX_POINTS) -> Points:
    """Centres of at most ``most`` voxels of a mask [z, y, x], evenly picked, [n, 3]."""
    indices = np.argwhere(mask)[:, ::-1]
    picked = np.unique(np.linspace(0, len(indices) - 1, most).round().astype(np.int64))
    return apply(geometry.lps_from_voxel, indices[picked].astype(np.float64))


def mean_distance_mm(one: Matrix, other: Matrix, points: Points) -> float:
    """Mean distance of where two matrices carry ``points`` [n, 3]; against the truth, the target registration error."""
    return float(np.linalg.norm(apply(one, points) - apply(other, points), axis=1).mean())


def consensus(matrices: Sequence[Matrix], points: Points) -> Matrix:
    """The rigid transform nearest to where most of ``matrices`` carry ``points``.

    Per point the median position, per coordinate; then the rigid fit to those by least squares.
    """
    middle = np.median([apply(matrix, points) for matrix in matrices], axis=0)
    return fit_rigid(points, middle)


def fit_rigid(source: Points, target: Points) -> Matrix:
    """The rotation and shift that carry ``source`` [n, 3] nearest to ``target`` (Kabsch's method)."""
    from_centre, to_centre = source.mean(axis=0), target.mean(axis=0)
    left, _, right = np.linalg.svd((target - to_centre).T @ (source - from_centre))
    proper = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    matrix = np.eye(4)
    matrix[:3, :3] = left @ proper @ right
    matrix[:3, 3] = to_centre - matrix[:3, :3] @ from_centre
    return matrix
