"""Left is left: every acquisition is turned to the same radiological display, voxel by voxel."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from glioserve_client.outputs.display import axial_view, letters, onto_grid
from support.studies.heads import ORIENTATIONS, rotation

DEGREES = st.floats(-40, 40)
SIGNED_AXES = [
    np.eye(3)[list(order)] * np.array(signs)[:, None]
    for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    for signs in ((1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1), (-1, -1, 1), (-1, 1, -1), (1, -1, -1), (-1, -1, -1))
]


@st.composite
def grids(draw: st.DrawFn) -> tuple[tuple[int, int, int], np.ndarray]:
    """Any orientation up to 40 degrees off an axis order, left-handed ones too, with any spacing and origin."""
    shape = tuple(draw(st.integers(2, 5)) for _ in range(3))
    directions = draw(st.sampled_from(SIGNED_AXES)) @ rotation(0, draw(DEGREES) / 2) @ rotation(2, draw(DEGREES) / 2)
    affine = np.eye(4)
    affine[:3, :3] = directions * np.array([draw(st.floats(0.3, 6)) for _ in range(3)])
    affine[:3, 3] = draw(arrays(np.float64, 3, elements=st.floats(-200, 200)))
    return shape, affine


@given(grids())
def test_the_display_shows_each_voxel_at_its_place(grid: tuple[tuple[int, int, int], np.ndarray]) -> None:
    shape, lps_from_voxel = grid
    view = axial_view(shape, lps_from_voxel)
    numbered = np.arange(np.prod(shape)).reshape(shape)
    shown = view.of(numbered)
    assert shown.shape == view.shape
    for s, r, c in np.ndindex(*shown.shape):
        z, y, x = np.unravel_index(shown[s, r, c], shape)
        np.testing.assert_allclose(
            view.lps_from_display @ (c, r, s, 1), lps_from_voxel @ (x, y, z, 1), rtol=0, atol=1e-9
        )


@given(grids())
def test_columns_run_left_rows_posterior_slices_superior(grid: tuple[tuple[int, int, int], np.ndarray]) -> None:
    view = axial_view(*grid)
    directions = view.lps_from_display[:3, :3] / np.array(view.spacing_mm)
    assert (np.diag(directions) > 0).all()
    shares = [sum(abs(directions[i, order[i]]) for i in range(3)) for order in permutations(range(3))]
    assert np.diag(directions).sum() == pytest.approx(max(shares))  # no other assignment of the axes is nearer


@given(grids(), st.sampled_from(SIGNED_AXES))
def test_another_description_of_a_grid_is_recognised(
    grid: tuple[tuple[int, int, int], np.ndarray], axes: np.ndarray
) -> None:
    shape, lps_from_voxel = grid
    voxels = np.random.default_rng(0).normal(size=shape)
    source_from_other = np.eye(4)
    source_from_other[:3, :3] = axes
    sizes = np.array(shape[::-1])
    source_from_other[:3, 3] = [(sizes[i] - 1) if axes[i].min() < 0 else 0 for i in range(3)]
    other_shape = tuple(int(n) for n in (np.abs(axes).T @ sizes)[::-1])
    lps_from_other = lps_from_voxel @ source_from_other
    other = onto_grid(voxels, lps_from_voxel, other_shape, lps_from_other)
    assert other is not None
    for z, y, x in np.ndindex(*other_shape):
        sx, sy, sz = (source_from_other @ (x, y, z, 1))[:3].astype(int)
        assert other[z, y, x] == voxels[sz, sy, sx]
    np.testing.assert_array_equal(onto_grid(other, lps_from_other, shape, lps_from_voxel), voxels)


def test_another_grid_is_not_taken_for_the_same() -> None:
    voxels, affine = np.zeros((4, 5, 6)), np.diag([1.0, 1.0, 3.0, 1.0])
    shifted, scaled, turned = affine.copy(), affine.copy(), affine.copy()
    shifted[0, 3] = 0.4
    scaled[0, 0] = 1.05
    turned[:3, :3] = rotation(2, 5) @ affine[:3, :3]
    for other in (shifted, scaled, turned):
        assert onto_grid(voxels, affine, (4, 5, 6), other) is None
    assert onto_grid(voxels, affine, (5, 5, 6), affine) is None
    assert onto_grid(voxels, affine, (4, 4, 6), affine).shape == (4, 4, 6)


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ((1, 0, 0), "L"),
        ((-1, 0, 0), "R"),
        ((0, 1, 0), "P"),
        ((0, -1, 0), "A"),
        ((0, 0, 1), "H"),
        ((0, 0, -2), "F"),
        ((0.8, -0.6, 0), "LA"),
        ((0.1, 0.3, 0.95), "H"),
    ],
)
def test_letters_say_where_a_direction_points(direction: tuple[float, float, float], expected: str) -> None:
    assert letters(np.array(direction, dtype=np.float64)) == expected


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_orientations_of_these_tests_are_rotations_or_mirrorings(orientation: str) -> None:
    directions = ORIENTATIONS[orientation]
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-12)
