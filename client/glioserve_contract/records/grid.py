"""Vectors, affines and voxel grids as the records carry them.

Units stand in the names; every affine is row-major 4 x 4 in mm, target first (``lps_from_voxel``), and takes
voxel indices in (x, y, z) order.
"""

from __future__ import annotations

from dataclasses import dataclass

Vector = tuple[float, float, float]
Row = tuple[float, float, float, float]
Affine = tuple[Row, Row, Row, Row]


@dataclass(frozen=True)
class GridRecord:
    """A rectangular voxel grid in the patient's LPS space."""

    size_voxels: tuple[int, int, int]
    """Voxels along (x, y, z)."""
    lps_from_voxel: Affine
    """Affine that takes a voxel's index (x, y, z) to its centre in LPS, in mm."""
