"""Volumes as they come: any real type, NaN outside the field of view, or a reason in a code."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_dicom.volumes import arrays
from glioserve_dicom.volumes.arrays import volume_of_array
from glioserve_dicom.volumes.geometry import Geometry, SequenceVolume
from glioserve_preprocess.tensor.volumes import check_contrast, fill_outside, pick_volumes, slice_axis_size
from support.studies.geometries import axis_flips, axis_orders, geometries, reordered

VOXELS = np.random.default_rng(0).normal(100, 30, (6, 7, 8)).astype(np.float32)
GEOMETRY = Geometry((8, 7, 6), np.diag([1.0, 1.0, 3.0, 1.0]))
CHANNELS = (Modality.T1, Modality.T1CE)


def t1(voxels, affine=GEOMETRY.lps_from_voxel):
    return volume_of_array(Modality.T1, np.asarray(voxels), affine)


def refused(code, match="t1"):
    return pytest.raises(GlioserveError, match=rf"{code.token}.*{match}")


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", ">i2", "u2", "i4", ">u4", "i8", "u8", "e", ">f4", "f8", "g"])
def test_any_real_type_becomes_single_precision(dtype):
    stored = (np.arange(336) % 120).reshape(6, 7, 8).astype(dtype)
    found = t1(stored)
    assert found.voxels.dtype == np.dtype("=f4")
    np.testing.assert_array_equal(found.voxels, stored.astype(np.float32))
    assert found.geometry.size_voxels == (8, 7, 6)


@given(geometries(st.integers(2, 6)))
@settings(max_examples=30)
def test_any_oblique_grid_of_either_handedness_is_kept_as_it_is(geometry):
    found = t1(np.ones(geometry.shape), geometry.lps_from_voxel)
    assert np.array_equal(found.geometry.lps_from_voxel, geometry.lps_from_voxel)


@pytest.mark.parametrize(
    ("voxels", "code"),
    [
        (VOXELS.astype(np.complex64), ErrorCode.UNSUPPORTED_VOXELS),
        (VOXELS.astype(object), ErrorCode.UNSUPPORTED_VOXELS),
        (np.zeros((4, 4, 4), [("r", "u1"), ("g", "u1")]), ErrorCode.UNSUPPORTED_VOXELS),
        (np.zeros((4, 4, 4), "M8[s]"), ErrorCode.UNSUPPORTED_VOXELS),
        (np.zeros((0, 4, 4)), ErrorCode.INVALID_VOLUME),
        (np.zeros((4, 4)), ErrorCode.INVALID_VOLUME),
        (np.zeros((4, 4, 4, 3)), ErrorCode.UNSUPPORTED_VOXELS),
        (np.zeros((1, 4, 4)), ErrorCode.INVALID_VOLUME),
        (np.where(VOXELS > 150, np.inf, VOXELS), ErrorCode.NON_FINITE_VOXELS),
        (np.where(VOXELS > 150, -np.inf, np.nan), ErrorCode.NON_FINITE_VOXELS),
        (VOXELS.astype(np.float64) * 1e300, ErrorCode.EXTREME_INTENSITY),
        (VOXELS * -1e11, ErrorCode.EXTREME_INTENSITY),
    ],
    ids=[
        "complex", "objects", "colour", "dates", "empty", "2D", "4D", "one slice", "infinite", "infinite and NaN",
        "beyond FP32", "huge",
    ],
)  # fmt: skip
def test_what_cannot_be_used_has_its_code(voxels, code):
    with refused(code):
        t1(voxels)


def test_a_volume_over_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr(arrays, "MAX_VOLUME_VOXELS", VOXELS.size - 1)
    with refused(ErrorCode.STUDY_TOO_LARGE):
        t1(VOXELS)


def test_negative_voxels_are_voxels():
    found = t1(VOXELS - 1000)
    check_contrast(found)
    assert fill_outside(found) == (found, ())


@given(axis_orders, axis_flips)
@settings(max_examples=20)
def test_nan_that_reaches_the_border_becomes_the_darkest_voxel_and_is_told(order, flips):
    with_nan = VOXELS.copy()
    with_nan[:2] = np.nan
    with_nan[3:, 0, 0] = np.nan
    volume = reordered(t1(with_nan), order, flips)
    found, warnings = fill_outside(volume)
    missing = np.isnan(volume.voxels)
    assert (found.voxels[missing] == np.nanmin(with_nan)).all()
    np.testing.assert_array_equal(found.voxels[~missing], volume.voxels[~missing])
    assert len(warnings) == 1
    assert "The t1 volume: 115 NaN voxels (34.2%)" in warnings[0]


def test_nan_inside_the_image_is_refused():
    holed = VOXELS.copy()
    holed[0, 0, 0] = holed[2, 3, 4] = holed[2, 3, 5] = np.nan
    with refused(ErrorCode.NON_FINITE_VOXELS, "2 NaN voxels inside"):
        fill_outside(t1(holed))


def test_nan_nearly_everywhere_is_refused():
    half = VOXELS.copy()
    half[:3] = np.nan
    assert len(fill_outside(t1(half))[1]) == 1
    half[3, 0, 0] = np.nan
    with refused(ErrorCode.NON_FINITE_VOXELS, "50% NaN"):
        fill_outside(t1(half))
    with refused(ErrorCode.NON_FINITE_VOXELS, "100% NaN"):
        fill_outside(t1(np.full((4, 4, 4), np.nan)))


@pytest.mark.parametrize("value", [0.0, -3.5, 1e11])
def test_a_blank_volume_is_refused(value):
    with refused(ErrorCode.CONSTANT_VOLUME):
        check_contrast(t1(np.full((4, 4, 4), value)))


def test_a_range_that_single_precision_cannot_work_with_is_refused():
    with refused(ErrorCode.EXTREME_INTENSITY):
        check_contrast(t1(VOXELS * 1e-20))
    check_contrast(t1(VOXELS * 1e-8))


def test_picking_tells_what_is_left_out_missing_filled_or_too_thin():
    with_nan = VOXELS.copy()
    with_nan[0] = np.nan
    sent = {m: SequenceVolume(m, with_nan, GEOMETRY) for m in (Modality.FLAIR, Modality.T1, Modality.T1CE)}
    picked, warnings = pick_volumes(sent, CHANNELS, 6)
    assert tuple(picked) == CHANNELS
    assert all(np.isfinite(v.voxels).all() for v in picked.values())
    assert [w.split()[1] for w in warnings] == ["flair", "t1", "t1ce"]
    with pytest.raises(GlioserveError, match=r"GLIO-1303.*6 slices; the recipe needs 7"):
        pick_volumes(sent, CHANNELS, 7)
    with pytest.raises(GlioserveError, match=r"GLIO-1301.*No t2"):
        pick_volumes(sent, (Modality.T2,), 6)


@given(axis_orders, axis_flips)
def test_slices_are_counted_along_the_coarsest_axis_however_it_is_stored(order, flips):
    assert slice_axis_size(reordered(t1(VOXELS), order, flips).geometry) == 6
