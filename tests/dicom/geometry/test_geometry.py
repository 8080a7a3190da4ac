"""Geometry of voxels: however a file stores its axes, every voxel stays at its place."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.recipe import Grid
from glioserve_dicom.volumes.geometry import (
    Geometry,
    apply,
    canonical,
    checked_affine,
    checked_geometry,
    geometry_of_record,
    isotropic_cover,
    network_geometry,
)
from support.studies.geometries import axis_flips, axis_orders, geometries, reordered, volumes


@given(volumes(), axis_orders, axis_flips)
def test_canonical_form_does_not_depend_on_how_axes_are_stored(volume, order, flips):
    a, b = canonical(volume), canonical(reordered(volume, order, flips))
    assert np.array_equal(a.voxels, b.voxels)
    assert a.geometry.size_voxels == b.geometry.size_voxels
    np.testing.assert_allclose(a.geometry.lps_from_voxel, b.geometry.lps_from_voxel, atol=1e-9)


@given(volumes(), st.integers(0, 2**32 - 1))
def test_canonical_form_keeps_every_voxel_at_its_place(volume, seed):
    turned = canonical(volume)
    index = np.random.default_rng(seed).integers(0, volume.geometry.size_voxels)
    x, y, z = index
    place = apply(volume.geometry.lps_from_voxel, index[np.newaxis].astype(float))
    found = apply(turned.geometry.voxel_from_lps, place)[0]
    i, j, k = np.rint(found).astype(int)
    np.testing.assert_allclose(found, (i, j, k), atol=1e-6)
    assert turned.voxels[k, j, i] == volume.voxels[z, y, x]


@given(volumes())
def test_canonical_axes_point_to_left_posterior_superior(volume):
    affine = canonical(volume).geometry.lps_from_voxel
    assert (np.diag(affine)[:3] >= 0).all()


@given(geometries(), st.floats(0.8, 4.0))
def test_isotropic_cover_spans_the_same_box(geometry, spacing_mm):
    cover = isotropic_cover(geometry, spacing_mm)
    corner = apply(geometry.lps_from_voxel, np.full((1, 3), -0.5))
    np.testing.assert_allclose(apply(cover.lps_from_voxel, np.full((1, 3), -0.5)), corner, atol=1e-6)
    extent = np.array(geometry.size_voxels) * geometry.spacing_mm
    covered = np.array(cover.size_voxels) * spacing_mm
    assert (covered >= extent - 1e-3).all()
    np.testing.assert_allclose(cover.spacing_mm, spacing_mm)


@given(geometries())
def test_a_record_brings_the_same_grid_back(geometry):
    back = geometry_of_record(geometry.record())
    assert back.size_voxels == geometry.size_voxels
    assert np.array_equal(back.lps_from_voxel, geometry.lps_from_voxel)


def test_network_grid_is_lps_aligned_and_centred():
    geometry = network_geometry(Grid((48, 40, 32), (4.0, 3.0, 2.0)), np.array([10.0, -20.0, 30.0]))
    assert geometry.shape == (32, 40, 48)
    middle = apply(geometry.lps_from_voxel, (np.array([[48, 40, 32]]) - 1) / 2)
    np.testing.assert_allclose(middle[0], (10, -20, 30))
    assert np.array_equal(geometry.lps_from_voxel[:3, :3], np.diag([4.0, 3.0, 2.0]))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda a: a.__setitem__((0, 0), np.nan),
        lambda a: a.__setitem__((3, 0), 1.0),
        lambda a: a.__setitem__((slice(0, 3), 2), 0.0),
        lambda a: a.__setitem__((0, 1), 0.5),
        lambda a: a.__setitem__((slice(0, 3), 0), [1000, 0, 0]),
    ],
    ids=["not finite", "projective", "singular", "sheared", "metre voxels"],
)
def test_a_bad_affine_is_refused(spoil):
    affine = np.eye(4)
    spoil(affine)
    with pytest.raises(GlioserveError, match="GLIO-1107"):
        checked_affine(affine, "The t1 volume")


@given(geometries())
@settings(max_examples=30)
def test_spacing_is_the_length_of_the_axes(geometry):
    step = apply(geometry.lps_from_voxel, np.eye(3)) - apply(geometry.lps_from_voxel, np.zeros((1, 3)))
    np.testing.assert_allclose(np.linalg.norm(step, axis=1), geometry.spacing_mm)


def test_shape_is_the_size_backwards():
    assert Geometry((2, 3, 4), np.eye(4)).shape == (4, 3, 2)


def test_a_field_of_view_of_over_a_metre_is_no_heads():
    affine = np.diag([1.0, 1.0, 20.0, 1.0])
    assert checked_geometry((256, 256, 50), affine, "The t1 volume").size_voxels == (256, 256, 50)
    with pytest.raises(GlioserveError, match=r"1020\.0") as caught:
        checked_geometry((256, 256, 51), affine, "The t1 volume")
    assert caught.value.code is ErrorCode.INVALID_AFFINE
