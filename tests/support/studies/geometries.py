"""Hypothesis strategies for the grids that scanners and file formats produce. Use them in tests of your own.

    from hypothesis import given
    from support.studies.geometries import geometries, volumes

    @given(volumes())
    def test_my_stage_keeps_every_voxel_at_its_place(volume): ...

All are oblique (axes turned at random about every axis), anisotropic and of either handedness, as NIfTI files and
coronal or sagittal stacks are; arrays are [z, y, x], sizes and spacings (x, y, z), positions LPS mm.

- :func:`geometries`: any small grid, anywhere. For what must hold for every grid.
- :func:`covering_geometries`: a grid whose field of view holds a given ball. For what goes from grid to grid.
- :func:`volumes`: random voxels on any small grid.
- :func:`rigid_motions`: how a head moves between two sequences.
- :func:`reordered` with ``axis_orders`` and ``axis_flips``: the same voxels at the same places, stored otherwise.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from glioserve_contract import Modality
from glioserve_dicom.volumes.geometry import Geometry, SequenceVolume, apply

spacings_mm = st.floats(0.4, 7.0)
"""Spacings from high-resolution 3D to thick clinical slices with gaps."""
sizes = st.integers(2, 9)
axis_orders = st.permutations(range(3)).map(tuple)
axis_flips = st.tuples(st.booleans(), st.booleans(), st.booleans())
seeds = st.integers(0, 2**32 - 1)
"""Seeds of NumPy's generators, which shrink, unlike arrays drawn number by number."""


@st.composite
def directions(draw: st.DrawFn) -> npt.NDArray[np.float64]:
    """3 x 3, columns the unit vectors of the voxel axes in LPS; proper or mirrored."""
    axes, _ = np.linalg.qr(np.random.default_rng(draw(seeds)).normal(size=(3, 3)))
    return np.asarray(axes * np.array([-1.0 if mirrored else 1.0 for mirrored in draw(axis_flips)]))


@st.composite
def geometries(
    draw: st.DrawFn,
    sizes: st.SearchStrategy[int] = sizes,
    spacings_mm: st.SearchStrategy[float] = spacings_mm,
) -> Geometry:
    """Any size, anisotropic spacing, oblique axes of either handedness, anywhere within half a metre."""
    affine = np.eye(4)
    affine[:3, :3] = draw(directions()) * [draw(spacings_mm) for _ in range(3)]
    affine[:3, 3] = np.random.default_rng(draw(seeds)).uniform(-500, 500, 3)
    return Geometry((draw(sizes), draw(sizes), draw(sizes)), affine)


@st.composite
def covering_geometries(
    draw: st.DrawFn,
    centre_lps_mm: tuple[float, float, float],
    radius_mm: float,
    spacings_mm: st.SearchStrategy[float] = spacings_mm,
) -> Geometry:
    """A grid of any orientation, handedness and spacing that holds the ball, with up to three voxels to spare."""
    spacing = np.array([draw(spacings_mm) for _ in range(3)])
    before, after = (np.array([draw(st.floats(1, 3)) for _ in range(3)]) for _ in range(2))
    affine = np.eye(4)
    affine[:3, :3] = draw(directions()) * spacing
    size = np.ceil(2 * radius_mm / spacing + before + after).astype(int)
    affine[:3, 3] = np.array(centre_lps_mm) - affine[:3, :3] @ (radius_mm / spacing + before - 0.5)
    x, y, z = (int(n) for n in size)
    return Geometry((x, y, z), affine)


@st.composite
def volumes(draw: st.DrawFn) -> SequenceVolume:
    """Random voxels on any such grid."""
    geometry = draw(geometries())
    rng = np.random.default_rng(draw(seeds))
    return SequenceVolume(Modality.T1, rng.random(geometry.shape, dtype=np.float32), geometry)


@st.composite
def rigid_motions(
    draw: st.DrawFn, about_lps_mm: tuple[float, float, float] = (0.0, 0.0, 0.0), degrees: float = 30.0, mm: float = 30.0
) -> npt.NDArray[np.float64]:
    """4 x 4: up to so many degrees about each axis through a point, then up to so many mm along each."""
    rng = np.random.default_rng(draw(seeds))
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", rng.uniform(-degrees, degrees, 3), degrees=True).as_matrix()
    centre = np.array(about_lps_mm)
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + rng.uniform(-mm, mm, 3)
    return matrix


def places_lps_mm(geometry: Geometry) -> npt.NDArray[np.float64]:
    """Centre of every voxel, [z, y, x, 3]."""
    z, y, x = np.indices(geometry.shape)
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3).astype(np.float64)
    return apply(geometry.lps_from_voxel, points).reshape(*geometry.shape, 3)


def reordered(volume: SequenceVolume, order: tuple[int, ...], flips: tuple[bool, ...]) -> SequenceVolume:
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
    return SequenceVolume(volume.modality, np.ascontiguousarray(array.transpose(2, 1, 0)), Geometry((x, y, z), affine))
