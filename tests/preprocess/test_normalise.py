"""Intensities inside the brain, by extremes or by percentiles; nothing outside counts or shows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.recipe import Intensity
from glioserve_preprocess.tensor.normalise import intensity_range, normalise, scale

RAMP = np.arange(-270, 1730, 2, dtype=np.float32).reshape(10, 10, 10)
MASK = np.zeros(RAMP.shape, np.uint8)
MASK[2:7] = 1
INSIDE = MASK > 0
METHODS = [Intensity(), Intensity("percentile"), Intensity("percentile", (5.0, 90.0))]


def test_minmax_takes_the_extremes_inside_the_mask_to_0_and_1():
    found = normalise(RAMP, MASK, Intensity(), "The t1 sequence")
    assert found.dtype == np.float32
    assert (found[INSIDE].min(), found[INSIDE].max()) == (0, 1)
    assert (found[~INSIDE] == 0).all()
    np.testing.assert_allclose(np.diff(found[INSIDE]), 1 / 499, rtol=1e-3)


def test_percentiles_are_taken_inside_the_mask_and_what_lies_beyond_is_clipped():
    low, high = intensity_range(RAMP, MASK, METHODS[2], "The t1 sequence")
    inside = np.sort(RAMP[INSIDE])
    assert low == pytest.approx(inside[0] + 0.05 * (inside[-1] - inside[0]))
    assert high == pytest.approx(inside[0] + 0.90 * (inside[-1] - inside[0]))
    found = normalise(RAMP, MASK, METHODS[2], "The t1 sequence")
    assert (found[INSIDE] == 0).sum() == 25
    assert (found[INSIDE] == 1).sum() == 50
    assert (found[~INSIDE] == 0).all()
    image = RAMP.copy()
    between = (image > low) & (image < high) & INSIDE
    np.testing.assert_allclose(found[between], (image[between] - low) / (high - low), atol=1e-6)


def test_all_of_it_by_percentiles_is_minmax():
    by_percentiles = normalise(RAMP, MASK, Intensity("percentile", (0.0, 100.0)), "The t1 sequence")
    assert np.array_equal(by_percentiles, normalise(RAMP, MASK, Intensity(), "The t1 sequence"))


def test_a_hot_voxel_darkens_the_rest_by_minmax_but_not_by_percentiles():
    hot = RAMP.copy()
    hot[4, 4, 4] = 1e6
    darkened = normalise(hot, MASK, Intensity(), "The t1 sequence")[INSIDE]
    kept = normalise(hot, MASK, Intensity("percentile"), "The t1 sequence")[INSIDE]
    assert np.median(darkened) < 0.01
    assert np.median(kept) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("intensity", METHODS)
@given(st.floats(1e-3, 1e3), st.floats(-1e4, 1e4), st.integers(0, 1000))
def test_neither_unit_nor_offset_of_the_scanner_matters_nor_anything_outside(intensity, unit, offset, seed):
    rng = np.random.default_rng(seed)
    image = rng.normal(500, 100, MASK.shape).astype(np.float32)
    other = np.where(INSIDE, image, rng.normal(0, 1e5, MASK.shape)).astype(np.float32)
    found = normalise((other * unit + offset * unit).astype(np.float32), MASK, intensity, "The t2 sequence")
    np.testing.assert_allclose(found, normalise(image, MASK, intensity, "The t2 sequence"), atol=1e-4)
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize("intensity", METHODS)
@pytest.mark.parametrize(
    ("image", "mask"),
    [
        (np.full(RAMP.shape, 7, np.float32), MASK),
        (np.full(RAMP.shape, -1e6, np.float32) * np.linspace(1, 1 + 3e-7, 10, dtype=np.float32), MASK),
        (np.where(INSIDE, np.float32(0), RAMP), MASK),
        (RAMP, np.zeros_like(MASK)),
    ],
    ids=["constant", "but for rounding", "constant inside", "empty mask"],
)
def test_no_contrast_is_an_error_that_names_the_sequence(image, mask, intensity):
    with pytest.raises(GlioserveError, match="The t2 sequence") as caught:
        normalise(image, mask, intensity, "The t2 sequence")
    assert caught.value.code is ErrorCode.CONSTANT_INTENSITY


@pytest.mark.parametrize("intensity", METHODS)
def test_what_lies_beyond_the_field_of_view_has_no_part_in_the_range(intensity):
    """A sequence may hold negative values, where 0 is not dark."""
    cut = RAMP - 5000
    cut[:, :, 8:] = np.nan
    found = normalise(cut, MASK, intensity, "The t1 sequence")
    assert (found[:, :, 8:] == 0).all()
    assert np.array_equal(found[:, :, :8], normalise(cut[:, :, :8], MASK[:, :, :8], intensity, "The t1 sequence"))
    with pytest.raises(GlioserveError, match="no voxel inside"):
        normalise(np.full_like(cut, np.nan), MASK, intensity, "The t1 sequence")


def test_a_range_found_once_gives_the_same_bits_again():
    for intensity in METHODS:
        low, high = intensity_range(RAMP, MASK, intensity, "The t1 sequence")
        assert np.array_equal(scale(RAMP, MASK, low, high), normalise(RAMP, MASK, intensity, "The t1 sequence"))
