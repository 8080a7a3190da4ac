"""Rigid motion as six numbers, and the mutual information of two volumes as a function of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from glioserve_dicom.volumes.geometry import Matrix, apply
from glioserve_preprocess.arrays import DoubleArray
from glioserve_preprocess.kernel import Information, Motion, MutualInformation
from glioserve_preprocess.registration.pyramid import BINS, LEVELS_MM, Prepared

RADIUS_MM = 70.0
"""Distance from the pivot at which a rotation is counted in mm, so that all six numbers are of one size."""
GRADIENT_TOLERANCE = 5e-4
"""Gain, in nats per voxel of the level, below which a search ends."""

_IDENTITY = np.eye(3)


@dataclass(frozen=True, eq=False)
class Rigid:
    """A rigid motion ``p -> pivot + R(rotation) (p - pivot) + shift`` as six parameters in mm.

    They are a rotation vector [3] x RADIUS_MM, then the shift [3].
    """

    pivot_lps_mm: DoubleArray
    parameters_mm: DoubleArray

    @classmethod
    def of_matrix(cls, matrix: Matrix, pivot_lps_mm: DoubleArray) -> Rigid:
        """Return the motion whose :attr:`matrix` is the given rigid one."""
        rotation = Rotation.from_matrix(matrix[:3, :3]).as_rotvec() * RADIUS_MM
        return cls(pivot_lps_mm, np.concatenate([rotation, apply(matrix, pivot_lps_mm[np.newaxis])[0] - pivot_lps_mm]))

    @property
    def matrix(self) -> Matrix:
        """The motion as a 4 x 4 matrix, reference LPS mm to moving LPS mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = rotation_of(self.parameters_mm[:3] / RADIUS_MM)[0]
        matrix[:3, 3] = self.pivot_lps_mm + self.parameters_mm[3:] - matrix[:3, :3] @ self.pivot_lps_mm
        return matrix


def rotation_of(vector: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Return the rotation matrix of a rotation vector [3] in radians, and its left Jacobian J.

    Turning by ``vector + d`` is turning by ``vector`` and then by ``J d``, for small d (Sola et al., A micro Lie
    theory, arXiv 1812.01537, eq. 143 to 145).
    """
    angle2 = float(vector @ vector)
    angle = math.sqrt(angle2)
    if angle < 1e-6:
        first, second, third = 1 - angle2 / 6, 0.5 - angle2 / 24, 1 / 6 - angle2 / 120
    else:
        first, second = math.sin(angle) / angle, (1 - math.cos(angle)) / angle2
        third = (1 - first) / angle2
    x, y, z = (float(v) for v in vector)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    squared = cross @ cross
    return _IDENTITY + first * cross + second * squared, _IDENTITY + second * cross + third * squared


class Similarity:
    """Mutual information of points drawn from a fixed head and a moving volume; an object serves one thread."""

    def __init__(self, fixed: Prepared, moving: Prepared, level: int, samples: int, seed: int) -> None:
        points, bins = fixed.draw(level, samples, seed)
        self._pivot_lps_mm = fixed.centre_lps_mm
        centred = (points - self._pivot_lps_mm).astype(np.float32)
        self._information = MutualInformation(centred, bins, moving.levels[level].voxels, BINS)
        voxel_from_lps = moving.levels[level].geometry.voxel_from_lps
        self._turn, self._start = voxel_from_lps[:3, :3], voxel_from_lps[:3, 3]
        self._motion = Motion(self._turn, self._start, self._pivot_lps_mm, RADIUS_MM)
        self._voxel_mm = LEVELS_MM[level]

    def nats(self, parameters_mm: DoubleArray) -> tuple[float, DoubleArray]:
        """Return the mutual information of what overlaps, and its gradient by the six parameters, per mm."""
        found, rotation, jacobian = self._at(parameters_mm)
        return found.nats, self._by_parameters(found.nats_gradient, rotation, jacobian)

    def shared_nats(self, parameters_mm: DoubleArray) -> tuple[float, DoubleArray]:
        """Return the mutual information times the overlap, and its gradient.

        Searches that start far off use it, since the information of a few samples in a corner can be larger than that
        of two heads on each other.
        """
        found, rotation, jacobian = self._at(parameters_mm)
        by_affine = found.overlap * found.nats_gradient + found.nats * found.overlap_gradient
        return found.overlap * found.nats, self._by_parameters(by_affine, rotation, jacobian)

    def climb(self, start_mm: DoubleArray, iterations: int, *, times_overlap: bool) -> tuple[DoubleArray, float]:
        """Return the six parameters and the value of the nearest maximum of :meth:`nats` or :meth:`shared_nats`."""
        return self._information.climb(
            self._motion,
            start_mm,
            voxel_mm=self._voxel_mm,
            tolerance=GRADIENT_TOLERANCE,
            iterations=iterations,
            times_overlap=times_overlap,
        )

    def overlap(self, parameters_mm: DoubleArray) -> float:
        """Return the share of the samples that lie in the moving field of view."""
        return self._at(parameters_mm)[0].overlap

    def _at(self, parameters_mm: DoubleArray) -> tuple[Information, DoubleArray, DoubleArray]:
        rotation, jacobian = rotation_of(parameters_mm[:3] / RADIUS_MM)
        voxel_from_point = np.empty((3, 4))  # points are relative to the pivot
        voxel_from_point[:, :3] = self._turn @ rotation
        voxel_from_point[:, 3] = self._turn @ (self._pivot_lps_mm + parameters_mm[3:]) + self._start
        return self._information(voxel_from_point), rotation, jacobian

    def _by_parameters(self, by_affine: DoubleArray, rotation: DoubleArray, jacobian: DoubleArray) -> DoubleArray:
        c = self._turn.T @ by_affine[:, :3] @ rotation.T
        torque = np.array([c[2, 1] - c[1, 2], c[0, 2] - c[2, 0], c[1, 0] - c[0, 1]])
        return np.concatenate([jacobian.T @ torque / RADIUS_MM, self._turn.T @ by_affine[:, 3]])
