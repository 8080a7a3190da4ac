"""Describe voxels' places: a rectangular grid in the patient's LPS space (x to the Left, y Posterior, z Superior, mm).

Voxel indices are (x, y, z) = (column, row, slice); arrays are [z, y, x]. Affines are named target first, so that
products read correctly: ``lps_from_voxel @ voxel``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import cast

import numpy as np
import numpy.typing as npt

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.limits import MAX_EXTENT_MM, MAX_POSITION_MM, MAX_SHEAR_COSINE, MAX_SPACING_MM, MIN_SPACING_MM
from glioserve_contract.records.grid import Affine, GridRecord, Vector
from glioserve_contract.records.recipe import Grid

Matrix = npt.NDArray[np.float64]
"""An affine, 4 x 4, row-major, mm."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """A grid without voxels. ``size_voxels`` is (x, y, z); ``lps_from_voxel`` takes (x, y, z, 1) to LPS mm."""

    size_voxels: tuple[int, int, int]
    lps_from_voxel: Matrix

    @property
    def spacing_mm(self) -> Vector:
        """Distance of neighbouring voxels along (x, y, z), in mm."""
        lengths = np.linalg.norm(self.lps_from_voxel[:3, :3], axis=0)
        return cast(Vector, tuple(float(length) for length in lengths))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x) of the array."""
        x, y, z = self.size_voxels
        return z, y, x

    @property
    def voxel_from_lps(self) -> Matrix:
        """Inverse of :attr:`lps_from_voxel`."""
        return np.linalg.inv(self.lps_from_voxel)

    def record(self) -> GridRecord:
        """Return the grid as it travels in JSON."""
        return GridRecord(self.size_voxels, affine_record(self.lps_from_voxel))


@dataclass(frozen=True, eq=False)
class SequenceVolume:
    """Voxels of one sequence, FP32 [z, y, x] in the scanner's units, and where they are."""

    modality: Modality
    voxels: npt.NDArray[np.float32]
    geometry: Geometry


def affine_record(matrix: Matrix) -> Affine:
    """Return a 4 x 4 array as the nested tuples that records carry."""
    return cast(Affine, tuple(tuple(float(v) for v in row) for row in matrix))


def geometry_of_record(record: GridRecord) -> Geometry:
    """Return the grid of a record; the inverse of :meth:`Geometry.record`."""
    return Geometry(record.size_voxels, np.array(record.lps_from_voxel, dtype=np.float64))


def checked_affine(affine: npt.ArrayLike, what: str) -> Matrix:
    """Return ``affine`` as a matrix, if it is a finite, invertible, unsheared voxel-to-LPS map of 0.05 to 50 mm voxels.

    Args:
        affine: 4 x 4 numbers, voxel (x, y, z) to LPS mm.
        what: start of messages: ``The t1 volume``.

    Raises:
        InvalidAffineError: GLIO-1107.
    """
    try:
        given = np.asarray(affine)
        if given.dtype.kind == "c":
            raise TypeError
        matrix = np.array(given, dtype=np.float64, order="C")
    except (TypeError, ValueError):
        raise GlioserveError(ErrorCode.INVALID_AFFINE, f"{what}: its affine is not an array of numbers.") from None
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.allclose(matrix[3], (0, 0, 0, 1)):
        raise GlioserveError(
            ErrorCode.INVALID_AFFINE, f"{what}: its affine is not a finite 4 x 4 matrix that ends in 0, 0, 0, 1."
        )
    with np.errstate(over="ignore"):  # infinite lengths are too long
        lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if (lengths < MIN_SPACING_MM).any() or (lengths > MAX_SPACING_MM).any():
        raise GlioserveError(ErrorCode.INVALID_AFFINE, f"{what}: voxels of {np.round(lengths, 3).tolist()} mm.")
    cosines = (matrix[:3, :3] / lengths).T @ (matrix[:3, :3] / lengths) - np.eye(3)
    if np.abs(cosines).max() > MAX_SHEAR_COSINE:
        raise GlioserveError(ErrorCode.INVALID_AFFINE, f"{what}: its axes are not at right angles.")
    if np.abs(matrix[:3, 3]).max() > MAX_POSITION_MM:
        raise GlioserveError(ErrorCode.INVALID_AFFINE, f"{what}: it lies over {MAX_POSITION_MM:g} mm away.")
    return matrix


def checked_geometry(size_voxels: tuple[int, int, int], lps_from_voxel: npt.ArrayLike, what: str) -> Geometry:
    """Return the grid, if :func:`checked_affine` holds and it spans at most a metre along each axis.

    Args:
        size_voxels: (x, y, z).
        lps_from_voxel: 4 x 4 numbers, from voxel (x, y, z) to LPS mm.
        what: start of messages: ``The t1 volume``.

    Raises:
        InvalidAffineError: GLIO-1107.
    """
    geometry = Geometry(size_voxels, checked_affine(lps_from_voxel, what))
    extents_mm = np.array(size_voxels) * geometry.spacing_mm
    if (extents_mm > MAX_EXTENT_MM).any():
        raise GlioserveError(ErrorCode.INVALID_AFFINE, f"{what}: a field of view of {extents_mm.round().tolist()} mm.")
    return geometry


def network_geometry(grid: Grid, centre_lps_mm: npt.NDArray[np.float64]) -> Geometry:
    """Return the recipe's grid: LPS-aligned axes, its middle (between the centre voxels) at ``centre_lps_mm``."""
    affine = np.diag([*grid.spacing_mm, 1.0])
    middle = (np.array(grid.size_voxels) - 1) / 2
    affine[:3, 3] = centre_lps_mm - np.array(grid.spacing_mm) * middle
    return Geometry(grid.size_voxels, affine)


def canonical(volume: SequenceVolume) -> SequenceVolume:
    """Return the same voxels at the same places, with axes ordered and turned to point nearest to L, P and S.

    However a file orders and turns its axes, everything computed from the canonical volume is the same to the bit.
    """
    turned = canonical_view(volume)
    return SequenceVolume(turned.modality, np.ascontiguousarray(turned.voxels), turned.geometry)


def canonical_view(volume: SequenceVolume) -> SequenceVolume:
    """Return the canonical volume without a copy: its array is a view of the given voxels, with any strides."""
    geometry = volume.geometry
    directions = geometry.lps_from_voxel[:3, :3] / np.array(geometry.spacing_mm)
    # permutations() lists in order, so a tie (45 degrees) is decided the same way every time
    order = max(permutations(range(3)), key=lambda o: round(sum(abs(directions[i, o[i]]) for i in range(3)), 6))
    array = volume.voxels.transpose(2, 1, 0).transpose(order)
    affine = geometry.lps_from_voxel.copy()
    affine[:3, :3] = geometry.lps_from_voxel[:3, list(order)]
    for axis in range(3):
        if affine[axis, axis] < 0:
            array = np.flip(array, axis)
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
    x, y, z = array.shape
    return SequenceVolume(volume.modality, array.transpose(2, 1, 0), Geometry((x, y, z), affine))


def isotropic_cover(geometry: Geometry, spacing_mm: float) -> Geometry:
    """Return a grid of cubic voxels over the same box, with the same axes."""
    size = np.array(geometry.size_voxels)
    x, y, z = (int(n) for n in np.maximum(np.ceil(size * np.array(geometry.spacing_mm) / spacing_mm - 1e-6), 8))
    affine = np.eye(4)
    affine[:3, :3] = geometry.lps_from_voxel[:3, :3] / np.array(geometry.spacing_mm) * spacing_mm
    corner = apply(geometry.lps_from_voxel, np.full((1, 3), -0.5))[0]
    affine[:3, 3] = corner + affine[:3, :3].sum(axis=1) / 2
    return Geometry((x, y, z), affine)


def apply(matrix: Matrix, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return ``points`` [n, 3] mapped by a 4 x 4 matrix.

    Sums of columns, not a matrix product: a BLAS would start threads for it, whose idle spinning costs more than
    the sums.
    """
    x, y, z = points[:, 0:1], points[:, 1:2], points[:, 2:3]
    mapped: npt.NDArray[np.float64] = x * matrix[:3, 0] + y * matrix[:3, 1] + z * matrix[:3, 2] + matrix[:3, 3]
    return mapped
