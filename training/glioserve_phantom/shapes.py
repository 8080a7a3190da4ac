"""Signed distances (mm, negative inside) to the few solids that heads are made of, and smooth random fields.

Every function takes coordinates ``p`` = (x, y, z) in mm as arrays that broadcast against each other, so the same
code serves single points and whole grids.
"""

from __future__ import annotations

import numpy as np

from glioserve_contract.records.grid import Vector
from glioserve_preprocess.arrays import FloatArray

Coordinates = tuple[FloatArray, FloatArray, FloatArray]
"""x, y and z in mm, as arrays that broadcast against each other."""


def ellipsoid(p: Coordinates, centre: Vector, radii: Vector) -> FloatArray:
    """Return the approximate distance to an ellipsoid: exact on the surface, within a few per cent near it."""
    near: FloatArray | float = 0.0
    slope: FloatArray | float = 0.0
    for coordinate, c, r in zip(p, centre, radii, strict=True):
        offset = coordinate - np.float32(c)
        near = near + (offset / np.float32(r)) ** 2
        slope = slope + (offset / np.float32(r * r)) ** 2
    length = np.sqrt(near)
    return np.asarray(length * (length - 1) / np.maximum(np.sqrt(slope), np.float32(1e-6)), dtype=np.float32)


def capsule(p: Coordinates, start: Vector, end: Vector, radius: float) -> FloatArray:
    """Return the distance to a rod with round ends."""
    axis = np.subtract(end, start)
    offsets = [c - np.float32(s) for c, s in zip(p, start, strict=True)]
    along = sum(o * np.float32(a) for o, a in zip(offsets, axis, strict=True)) / np.float32(axis @ axis)
    along = np.clip(along, 0, 1)
    square = sum((o - along * np.float32(a)) ** 2 for o, a in zip(offsets, axis, strict=True))
    return np.asarray(np.sqrt(square) - np.float32(radius), dtype=np.float32)


def union(a: FloatArray, b: FloatArray, blend_mm: float = 0.0) -> FloatArray:
    """Join two solids; ``blend_mm`` rounds the crease where they meet."""
    if not blend_mm:
        return np.minimum(a, b)
    k = np.float32(blend_mm)
    crease = np.maximum(k - np.abs(a - b), 0) / k
    return np.asarray(np.minimum(a, b) - crease * crease * k / 4, dtype=np.float32)


class Noise:
    """A smooth random field of mean 0 and standard deviation 1 over a box, the same at any resolution.

    Cubic B-splines over a lattice of random numbers; ``wavelength_mm`` is about two lattice steps.
    """

    def __init__(self, rng: np.random.Generator, low_mm: Vector, high_mm: Vector, wavelength_mm: float) -> None:
        self._step = wavelength_mm / 2
        self._low = low_mm
        counts = [int(np.ceil((h - lo) / self._step)) + 4 for lo, h in zip(low_mm, high_mm, strict=True)]
        lattice = rng.standard_normal(counts[::-1]).astype(np.float32)
        # The B-spline averages its lattice: 0.4794 = sum over one step of the squared basis, per axis.
        self._lattice = lattice / np.float32(0.4794**1.5)

    def on_axes(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Return the field [z, y, x] at the grid spanned by three 1D coordinate arrays."""
        bx, by, bz = (self._basis(c.ravel(), axis) for axis, c in enumerate((x, y, z)))
        return np.asarray(
            np.einsum("zyx,cz,by,ax->cba", self._lattice, bz, by, bx, optimize="greedy"), dtype=np.float32
        )

    def at(self, p: Coordinates) -> FloatArray:
        """Return the field at single points (three equally long 1D arrays)."""
        bx, by, bz = (self._basis(c, axis) for axis, c in enumerate(p))
        return np.asarray(np.einsum("zyx,iz,iy,ix->i", self._lattice, bz, by, bx, optimize="greedy"), dtype=np.float32)

    def _basis(self, coordinates: FloatArray, axis: int) -> FloatArray:
        count = self._lattice.shape[2 - axis]
        t = np.abs((coordinates[:, None] - self._low[axis]) / self._step - (np.arange(count)[None] - 1))
        inner = 2 / 3 - t**2 + t**3 / 2
        outer = (2 - t) ** 3 / 6
        return np.where(t < 1, inner, np.where(t < 2, outer, 0)).astype(np.float32)
