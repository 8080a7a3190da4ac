"""Rigid motion as six numbers, and the mutual information of two volumes as a function of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial.transform import Rotation

from glioserve_preprocess.geometry import Matrix, apply
from glioserve_preprocess.kernel import MutualInformation
from glioserve_preprocess.pyramid import Level

RADIUS_MM = 70.0
"""A rotation is counted in mm at this distance from the pivot, so that all six numbers are of one size."""
BINS = 40
CLIPPED_PERCENTILES = (0.2, 99.5)
"""Of a volume's voxels: what is outside shares the outermost bins."""
_WINDOW = 3
"""Bins that the moving histogram keeps free for the Parzen window's flanks."""

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rigid:
    """``p -> pivot + R(rotation) (p - pivot) + shift``: [3] rotation vector x RADIUS_MM, then [3] shift, in mm."""

    pivot_lps_mm: Doubles
    parameters_mm: Doubles

    @property
    def matrix(self) -> Matrix:
        """4 x 4, reference LPS mm to moving LPS mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_rotvec(self.parameters_mm[:3] / RADIUS_MM).as_matrix()
        matrix[:3, 3] = self.pivot_lps_mm + self.parameters_mm[3:] - matrix[:3, :3] @ self.pivot_lps_mm
        return matrix


def rotation_slopes(rotation: Doubles) -> Doubles:
    """d R(rotation) / d rotation, [3, 3, 3], the parameter first (Gallego, Yezzi, J Math Imaging Vis 51, 2015, 378)."""
    angle2 = float(rotation @ rotation)
    if angle2 < 1e-16:
        return np.stack([_cross(axis) for axis in np.eye(3)])
    matrix = Rotation.from_rotvec(rotation).as_matrix()
    rest = np.eye(3) - matrix
    slopes = [
        (rotation[k] * _cross(rotation) + _cross(np.cross(rotation, rest[:, k]))) @ matrix / angle2 for k in range(3)
    ]
    return np.stack(slopes)


def _cross(v: Doubles) -> Doubles:
    return np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])


class Similarity:
    """Mutual information of one level's fixed samples and moving voxels. Deterministic; not for several threads.

    ``samples``: how many points are drawn from ``region`` [z, y, x] of the fixed grid, each moved off its voxel by
    up to half a voxel: points on the grid would lock onto the slices of a moving volume of the same spacing.
    """

    def __init__(
        self, fixed: Level, region: npt.NDArray[np.bool_], moving: Level, pivot_lps_mm: Doubles, samples: int, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        inside = np.argwhere(region)
        picked = inside[rng.choice(len(inside), samples, replace=len(inside) < samples)].astype(np.float64)
        picked += rng.uniform(-0.5, 0.5, picked.shape)
        values = ndimage.map_coordinates(fixed.voxels, picked.T, order=1, mode="nearest")
        points = apply(fixed.geometry.lps_from_voxel, picked[:, ::-1]) - pivot_lps_mm
        low, high = np.percentile(fixed.voxels, CLIPPED_PERCENTILES)
        fixed_bins = np.clip((values - low) / max(high - low, 1e-9) * BINS, 0, BINS - 1).astype(np.uint8)
        self._information = MutualInformation(points.astype(np.float32), fixed_bins, _in_bins(moving.voxels), BINS)
        self._voxel_from_lps = moving.geometry.voxel_from_lps
        self._pivot_lps_mm = pivot_lps_mm

    def __call__(self, parameters_mm: Doubles) -> tuple[float, Doubles]:
        """Nats and their gradient by the six parameters, per mm."""
        rotation = parameters_mm[:3] / RADIUS_MM
        nats, by_affine, _ = self._information(self._affine(parameters_mm))
        turn, step = self._voxel_from_lps[:3, :3], by_affine[:, 3]
        by_matrix = turn.T @ by_affine[:, :3]
        by_rotation = np.tensordot(rotation_slopes(rotation), by_matrix, axes=2) / RADIUS_MM
        return nats, np.concatenate([by_rotation, turn.T @ step])

    def overlap(self, parameters_mm: Doubles) -> float:
        """Share of the samples that lie in the moving field of view."""
        return self._information(self._affine(parameters_mm))[2]

    def _affine(self, parameters_mm: Doubles) -> Doubles:
        """Point relative to the pivot -> moving voxel, [3, 4]."""
        affine = np.empty((3, 4))
        turn = self._voxel_from_lps[:3, :3]
        affine[:, :3] = turn @ Rotation.from_rotvec(parameters_mm[:3] / RADIUS_MM).as_matrix()
        affine[:, 3] = turn @ (self._pivot_lps_mm + parameters_mm[3:]) + self._voxel_from_lps[:3, 3]
        return affine


def _in_bins(voxels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    low, high = (np.float32(p) for p in np.percentile(voxels, CLIPPED_PERCENTILES))
    scale = np.float32((BINS - 1 - _WINDOW) / max(high - low, np.float32(1e-9)))
    return np.clip((voxels - low) * scale, 0, BINS - 1 - _WINDOW) + np.float32(1)
