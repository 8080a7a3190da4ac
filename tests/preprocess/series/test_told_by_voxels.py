"""Kinds that only voxels tell before the choice: differences of images, and two reconstructions of one measurement."""

import numpy as np
import pytest

from glioserve_contract import Modality
from glioserve_dicom.volumes.geometry import Geometry
from glioserve_preprocess.pipeline import voxels_of
from preprocess.series.test_acquisitions import MPRAGE, choose, refusal, scan, uid
from support.studies.scans import T1_HEADER, T1CE_HEADER, T2_HEADER, series

T1, T1CE, T2, FLAIR = Modality
Z, Y, X = np.mgrid[-1:1:24j, -1:1:64j, -1:1:64j]
RADIUS = np.sqrt(X**2 + Y**2 + Z**2)
SPACE = "1.2.826.0.1.3680043.8.498.1"
DERIVED = ["DERIVED", "SECONDARY"]


def measured(seed, agent=False):
    """A head with a rim of fat, a lesion that may take up an agent, and this measurement's own noise."""
    head = np.where(RADIUS < 0.75, 400.0 + 60 * np.sin(9 * X), np.where(RADIUS < 0.9, 900.0, 0.0))
    lesion = (X - 0.3) ** 2 + Y**2 + Z**2 < 0.03
    noise = np.random.default_rng(seed).normal(0, 8, head.shape)
    return np.abs(head * np.where(lesion & agent, 2.0, 1.0) + noise)


def field(strength=0.8):
    """The sensitivity of a receive coil: falling from the right to the left, and smooth."""
    return np.exp(-strength * (X + 0.5 * Y**2))


def stored(voxels, header, **attributes):
    """One series of these voxels."""
    datasets = series(
        np.round(voxels).astype(np.int32) & 0xFFFF,
        Geometry(voxels.shape[::-1], np.diag([3.0, 3.0, 6.0, 1.0])),
        **{**header, "FrameOfReferenceUID": SPACE, **attributes},
    )
    for dataset in datasets:
        dataset.BitsStored, dataset.HighBit = 16, 15
    return datasets


# --- differences ------------------------------------------------------------------------------------------------------

DIFFERENCES = {
    "signed": (lambda d: d, {"PixelRepresentation": 1}),
    "of positive values": (lambda d: np.maximum(d, 0), {}),
    "of amounts": (np.abs, {}),
    "with an offset": (lambda d: d + 2048, {}),
    "with an intercept": (lambda d: d + 1000, {"RescaleIntercept": -1000, "RescaleSlope": 1}),
    "reversed": (lambda d: -d, {"PixelRepresentation": 1}),
}


@pytest.mark.parametrize("name", DIFFERENCES)
@pytest.mark.parametrize("header", [T1CE_HEADER, {**T1CE_HEADER, "SeriesDescription": "Proc 1"}], ids=["words", "none"])
def test_a_difference_is_never_a_t1ce(name, header):
    turned, attributes = DIFFERENCES[name]
    difference = turned(measured(1, agent=True) - measured(2))
    image = stored(difference, header, ImageType=DERIVED, **attributes)
    assert "voxels show no brain" in refusal(image, (T1CE,), voxels=voxels_of)


def test_a_derived_t1ce_that_shows_a_brain_stays_one():
    image = stored(measured(1, agent=True), T1CE_HEADER, ImageType=DERIVED)
    assert choose(image, (T1CE,), voxels=voxels_of).chosen[T1CE].series_instance_uid == uid(image)


def test_a_derived_image_beside_its_original_is_not_looked_at():
    original, copy = scan(T1CE_HEADER), scan(T1CE_HEADER, ImageType=DERIVED)

    def unasked(stack):
        raise AssertionError("the original is preferred whatever the copy shows")

    assert choose(original + copy, (T1CE,), voxels=unasked).chosen[T1CE].series_instance_uid == uid(original)


# --- one measurement without times ------------------------------------------------------------------------------------


def types(*values):
    return {"ImageType": ["ORIGINAL", "PRIMARY", "M", *values]}


@pytest.mark.parametrize("kept", [types("NORM"), types("ND", "NORM")], ids=["NORM", "ND and NORM"])
@pytest.mark.parametrize("turned", [False, True])
def test_normalised_and_plain_images_of_one_measurement_need_no_time(kept, turned):
    one = measured(1)
    plain, normalised = stored(one * field(), MPRAGE, **types("ND")), stored(one, MPRAGE, **kept)
    files = plain + normalised if turned else normalised + plain
    choice = choose(files, (T1,), voxels=voxels_of)
    assert choice.chosen[T1].series_instance_uid == uid(normalised)
    assert "another reconstruction of the same acquisition" in choice.runners_up[T1][0].why_not


@pytest.mark.parametrize("agent", [False, True])
def test_two_measurements_stay_two(agent):
    first, second = measured(1) * field(), measured(2, agent)
    files = stored(first, MPRAGE, **types("ND")) + stored(second, MPRAGE, **types("NORM"))
    assert "several T1 of unknown order" in refusal(files, (T1,), voxels=voxels_of)


def test_three_stacks_of_two_measurements_stay_undecided():
    first = measured(1)
    files = (
        stored(first * field(), MPRAGE, **types("ND"))
        + stored(first, MPRAGE, **types("NORM"))
        + stored(measured(2, agent=True), MPRAGE, **types("NORM", "FIL"))
    )
    assert "several T1 of unknown order" in refusal(files, (T1,), voxels=voxels_of)


# --- series without an agent's part -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("clocks", "numbers"), [((None, None), ("4", "7")), ((300, 420), ("7", "4"))])
def test_of_two_equal_t2_the_later_one_is_taken(clocks, numbers):
    first, second = (
        scan({**T2_HEADER, "EchoTime": te}, seconds=seconds, SeriesNumber=number)
        for te, seconds, number in zip((100, 102), clocks, numbers, strict=True)
    )
    choice = choose(second + first, (T2,))
    assert choice.chosen[T2].series_instance_uid == uid(second)
    assert choice.runners_up[T2][0].why_not == "it was acquired earlier, and all else is equal"


def test_two_t1_without_times_are_not_told_by_their_numbers():
    """The later one may be the scan after an injection that no header mentions."""
    assert "several T1" in refusal(scan(T1_HEADER, SeriesNumber="4") + scan(T1_HEADER, SeriesNumber="7"), (T1,))


def dated(datasets, day):
    for dataset in datasets:
        dataset.StudyDate = dataset.AcquisitionDate = day
    return datasets


def test_a_finer_t2_of_another_day_is_not_preferred():
    t2 = dated(scan(T2_HEADER, seconds=100), "20260101")
    later = dated(scan(T2_HEADER, seconds=100, apart_mm=1.0, slices=160), "20260401")
    choice = choose(t2 + later, (T2,))
    assert choice.chosen[T2].series_instance_uid == uid(t2)
    assert choice.runners_up[T2][0].why_not == "its time is not known, or is another day's"


@pytest.mark.parametrize(("day", "verdict"), [("20260101", "ok"), ("20260401", "review")])
def test_sequences_of_two_days_ask_for_a_review(day, verdict):
    files = dated(scan(T1_HEADER, seconds=100), "20260101") + dated(scan(T2_HEADER, seconds=200), day)
    assert {c.name: c.verdict for c in choose(files, (T1, T2)).checks}["untimed_sequences"] == verdict


def test_sequences_without_any_times_ask_for_no_review():
    checks = choose(scan(T1_HEADER) + scan(T2_HEADER), (T1, T2)).checks
    assert {c.name: c.verdict for c in checks}["untimed_sequences"] == "ok"
