"""Hypothesis strategies for the grids that scanners and file formats produce."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from glioserve_contract import Modality
from glioserve_preprocess.geometry import Geometry, Volume

spacings_mm = st.floats(0.4, 7.0)
sizes = st.integers(2, 9)
axis_orders = st.permutations(range(3)).map(tuple)
axis_flips = st.tuples(st.booleans(), st.booleans(), st.booleans())


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Any size, anisotropic spacing, oblique axes of either handedness, anywhere within half a metre."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    directions, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = directions * [draw(spacings_mm) for _ in range(3)]
    affine[:3, 3] = rng.uniform(-500, 500, 3)
    return Geometry((draw(sizes), draw(sizes), draw(sizes)), affine)


@st.composite
def volumes(draw: st.DrawFn) -> Volume:
    """Random voxels on any such grid."""
    geometry = draw(geometries())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return Volume(Modality.T1, rng.random(geometry.shape, dtype=np.float32), geometry)


def reordered(volume: Volume, order: tuple[int, ...], flips: tuple[bool, ...]) -> Volume:
    """The same voxels at the same places, stored with other axes: ``order`` of (x, y, z), then ``flips``."""
    array = volume.voxels.transpose(2, 1, 0).transpose(order)
    affine = volume.geometry.lps_from_voxel.copy()
    affine[:3, :3] = affine[:3, list(order)]
    for axis, flip in enumerate(flips):
        if flip:
            array = np.flip(array, axis)
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
    x, y, z = array.shape
    return Volume(volume.modality, np.ascontiguousarray(array.transpose(2, 1, 0)), Geometry((x, y, z), affine))
