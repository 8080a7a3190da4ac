"""One resampling to the network's grid, and intensities inside the brain."""

import numpy as np
import pytest
from hypothesis import given, settings

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.recipe import Grid, Intensity
from glioserve_preprocess.geometry import Geometry, apply, network_geometry
from glioserve_preprocess.grid import antialias_sigma_mm, sample, sample_mask
from glioserve_preprocess.normalise import normalise
from support.geometries import axis_flips, axis_orders, reordered, volumes


def linear_field(geometry, slope=(0.3, -0.2, 0.5)):
    z, y, x = np.indices(geometry.shape)
    points = apply(geometry.lps_from_voxel, np.stack([x.ravel(), y.ravel(), z.ravel()], 1).astype(float))
    return (points @ slope).reshape(geometry.shape).astype(np.float32)


def test_a_linear_field_is_sampled_exactly_through_a_rigid_motion():
    angle = np.deg2rad(12)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:2, :2] = 2 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    source = Geometry((40, 40, 40), affine)
    motion = np.eye(4)
    motion[:3, 3] = (3.0, -2.0, 5.0)
    centre = apply(affine, np.array([[19.5, 19.5, 19.5]]))[0] - motion[:3, 3]
    target = network_geometry(Grid((8, 8, 8), (2.0, 2.0, 2.0)), centre)
    found = sample(linear_field(source), source, target, motion)
    z, y, x = np.indices(target.shape)
    places = apply(motion @ target.lps_from_voxel, np.stack([x.ravel(), y.ravel(), z.ravel()], 1).astype(float))
    np.testing.assert_allclose(found.ravel(), places @ (0.3, -0.2, 0.5), atol=1e-3)


@given(volumes(), axis_orders, axis_flips)
@settings(max_examples=40)
def test_however_axes_are_stored_the_sample_is_the_same(volume, order, flips):
    other = reordered(volume, order, flips)
    centre = apply(volume.geometry.lps_from_voxel, (np.array([volume.geometry.size_voxels]) - 1) / 2)[0]
    target = network_geometry(Grid((8, 8, 8), (1.5, 1.5, 1.5)), centre)
    a = sample(volume.voxels, volume.geometry, target, np.eye(4))
    b = sample(other.voxels, other.geometry, target, np.eye(4))
    # A point on the very border of the box may fall in or out by rounding.
    assert np.mean(np.abs(a - b) > 1e-4) < 0.02


def test_what_is_finer_than_the_grid_does_not_alias():
    fine = Geometry((64, 64, 64), np.diag([1.0, 1.0, 1.0, 1.0]))
    checkers = (np.indices(fine.shape).sum(0) % 2).astype(np.float32)
    coarse = network_geometry(Grid((8, 8, 8), (4.0, 4.0, 4.0)), np.full(3, 31.5))
    np.testing.assert_allclose(sample(checkers, fine, coarse, np.eye(4)), 0.5, atol=0.02)


def test_antialiasing_makes_up_the_difference_of_widths_only():
    thick = Geometry((10, 10, 10), np.diag([1.0, 1.0, 5.0, 1.0]))
    target = network_geometry(Grid((8, 8, 8), (4.0, 4.0, 4.0)), np.zeros(3))
    x, y, z = antialias_sigma_mm(thick, target)
    assert x == y == pytest.approx(np.sqrt(15) / 2.3548, rel=1e-3)
    assert z == 0


def test_outside_the_field_of_view_is_zero():
    small = Geometry((4, 4, 4), np.eye(4))
    target = network_geometry(Grid((16, 16, 16), (1.0, 1.0, 1.0)), np.full(3, 1.5))
    found = sample(np.ones((4, 4, 4), np.float32), small, target, np.eye(4))
    assert found[0, 0, 0] == 0
    assert found[8, 8, 8] == 1


def test_a_mask_stays_a_mask():
    source = Geometry((10, 10, 10), np.diag([2.0, 2.0, 2.0, 1.0]))
    mask = np.zeros((10, 10, 10), np.uint8)
    mask[3:7, 3:7, 3:7] = 1
    target = network_geometry(Grid((20, 20, 20), (1.0, 1.0, 1.0)), np.full(3, 9.0))
    found = sample_mask(mask, source, target)
    assert set(np.unique(found)) == {0, 1}
    assert found.sum() == pytest.approx(mask.sum() * 8, rel=0.1)


def test_minmax_inside_the_mask_and_zero_outside():
    image = np.arange(27, dtype=np.float32).reshape(3, 3, 3) * 10
    mask = np.zeros((3, 3, 3), np.uint8)
    mask[1] = 1
    found = normalise(image, mask, Intensity(), "The t1 sequence")
    assert found[1].min() == 0
    assert found[1].max() == 1
    assert found[0].max() == found[2].max() == 0
    np.testing.assert_allclose(np.diff(found[1].ravel()), 1 / 8, rtol=1e-5)


@pytest.mark.parametrize("mask", [np.ones((3, 3, 3), np.uint8), np.zeros((3, 3, 3), np.uint8)])
def test_no_contrast_is_an_error_that_names_the_sequence(mask):
    with pytest.raises(GlioserveError, match="The t2 sequence") as caught:
        normalise(np.full((3, 3, 3), 7, np.float32), mask, Intensity(), "The t2 sequence")
    assert caught.value.code is ErrorCode.CONSTANT_INTENSITY
