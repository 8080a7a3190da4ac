"""Several reconstructions of one acquisition, and kinds of images that only the rest of the study gives away."""

from dataclasses import dataclass

import numpy as np
import pytest

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.sequences import PixelKind
from glioserve_dicom.volumes.geometry import Geometry
from glioserve_preprocess.pipeline import voxels_of
from glioserve_preprocess.series.enhancement import Enhancement
from glioserve_preprocess.series.selection import choose_series, judge_study
from support.studies import scans
from support.studies.enhanced_series import as_enhanced
from support.studies.scans import FLAIR_HEADER, T1_HEADER, T1CE_HEADER, T2_HEADER, instances_of, series

T1, T1CE, T2, FLAIR = Modality
AXIAL, SAGITTAL, CORONAL = (
    np.eye(3),
    np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]]),
    np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
)
SPACE = "1.2.826.0.1.3680043.8.498.1"
TOKENS = iter(range(4000))
MPRAGE = {
    "SeriesDescription": "t1_mprage_sag", "ScanningSequence": ["GR", "IR"], "RepetitionTime": 2300, "EchoTime": 2.3,
    "InversionTime": 900, "FlipAngle": 8, "MRAcquisitionType": "3D",
}  # fmt: skip
GRADIENT_ECHO = {
    "ScanningSequence": "GR", "RepetitionTime": 8, "EchoTime": 3, "FlipAngle": 12, "MRAcquisitionType": "3D",
}  # fmt: skip
SCOUT = {"ScanningSequence": "GR", "RepetitionTime": 3.15, "EchoTime": 1.37, "FlipAngle": 8, "MRAcquisitionType": "3D"}
FIELD_MAP = {"ScanningSequence": "GR", "RepetitionTime": 488, "FlipAngle": 60, "MRAcquisitionType": "2D"}


SLICES = 24
"""Slices of a series of which a test names no other number: writing and reading files is most of what a test costs."""


def scan(
    header, *, slices=SLICES, apart_mm=5.0, pixel_mm=1.0, side=4, axes=AXIAL, seconds=None, uid=None, **attributes
):
    """Datasets of one series in one frame of reference; pixels of no meaning."""
    affine = np.eye(4)
    affine[:3, :3] = axes * (pixel_mm, pixel_mm, apart_mm)
    stored = np.full((slices, side, side), next(TOKENS))
    clock = "" if seconds is None else f"10{seconds // 60:02d}{seconds % 60:02d}.250000"
    time = {"AcquisitionTime": clock} if clock else {}
    datasets = series(
        stored,
        Geometry((side, side, slices), affine),
        **{**header, "FrameOfReferenceUID": SPACE, "AcquisitionNumber": 1, **time, **attributes},
    )
    for dataset in datasets:
        dataset.SeriesInstanceUID = uid or dataset.SeriesInstanceUID
    return datasets


STORED = {
    "classic": (None, ()),
    "enhanced, an object a series": (True, pytest.mark.long),
    "enhanced, an object a type": (False, pytest.mark.slow),
}
"""Ways to store a study: True where an Enhanced MR object has all of a series, and the marks of the tests."""


@pytest.fixture(autouse=True, params=[pytest.param(name, marks=marks) for name, (_, marks) in STORED.items()])
def stored(request, monkeypatch):
    """Each study is stored as classic images and as Enhanced MR: what a series is does not depend on it."""
    whole_series, _ = STORED[request.param]
    if whole_series is not None:
        monkeypatch.setitem(
            globals(), "instances_of", lambda d: scans.instances_of(as_enhanced(d, whole_series=whole_series))
        )


def choose(datasets, channels, **options):
    return choose_series(instances_of(datasets), channels, 5, **options)


def refusal(datasets, channels, **options):
    with pytest.raises(GlioserveError) as caught:
        choose(datasets, channels, **options)
    assert caught.value.code in (ErrorCode.AMBIGUOUS_SEQUENCE, ErrorCode.MISSING_SEQUENCE)
    return str(caught.value)


def uid(datasets):
    return datasets[0].SeriesInstanceUID


def types(*values):
    return {"ImageType": ["ORIGINAL", "PRIMARY", "M", *values]}


def never(*stacks):
    raise AssertionError("these two say nothing of the agent")


def enhanced_second(first, second):
    return Enhancement(False, 0.9, 0.0, 0.01)


# --- one acquisition --------------------------------------------------------------------------------------------------

PREFERRED = {
    "normalised": (types("NORM"), types("ND"), "not normalised"),
    "normalised, one more term": (types("ND", "NORM"), types("ND"), "not normalised"),
    "corrected": (types("NORM", "DIS2D"), types("NORM", "ND"), "distortion is not corrected"),
    "original": (types(), {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "derived from other images"),
    "lossless": ({}, {"LossyImageCompression": "01"}, "compressed with loss"),
    "first echo": ({"EchoTime": 1.7}, {"EchoTime": 3.6}, "a later echo"),
    "root mean square": (types("RMS"), {"EchoTime": 1.7}, "combines its echoes"),
    "root mean square, derived": (
        {"ImageType": ["DERIVED", "PRIMARY", "M", "RMS"]}, {"EchoTime": 1.7}, "combines its echoes",
    ),
    "clean background": (
        {"SeriesDescription": "mp2rage_UNI-DEN", **types("UNI")}, {"SeriesDescription": "mp2rage_UNI", **types("UNI")},
        "its background is noise",
    ),
    "in phase": (types("IN_PHASE"), types("WATER"), "the water image"),
}  # fmt: skip


ONE_SERIES = [name for name in PREFERRED if name not in ("lossless", "clean background")]
"""Pairs that are told apart within one series as well: by more than compression or description."""


@pytest.mark.parametrize(
    ("name", "seconds"), [*((name, 300) for name in PREFERRED), *((name, None) for name in ONE_SERIES)]
)
@pytest.mark.parametrize("turned", [False, True])
def test_one_of_two_reconstructions_is_taken(name, seconds, turned):
    better, worse, why = PREFERRED[name]
    pair = [scan(MPRAGE, seconds=seconds, **attributes) for attributes in (better, worse)]
    datasets = [d for part in (pair[::-1] if turned else pair) for d in part]
    if seconds is None:  # parts of one series, without times
        for dataset in datasets:
            dataset.SeriesInstanceUID = uid(pair[0])
        choice = choose(datasets, (T1,))
        assert len({c.acquisition_group for c in judge_study(instances_of(datasets), (T1,), 5).candidates}) == 1
    else:
        choice = choose(datasets, (T1,))
        assert choice.chosen[T1].series_instance_uid == uid(pair[0])
    (other,) = choice.runners_up[T1]
    assert "another reconstruction of the same acquisition" in other.why_not
    assert why in other.why_not
    assert other.reasons


@pytest.mark.parametrize("attributes", [better for better, _, _ in PREFERRED.values()], ids=PREFERRED)
def test_reconstructions_are_never_before_and_after_an_injection(attributes):
    pair = scan(MPRAGE, seconds=300, **types("ND")) + scan(MPRAGE, seconds=300, **attributes)
    refusal(pair, (T1, T1CE), compare=never)


@pytest.mark.parametrize(
    "attributes",
    [{"AcquisitionNumber": None}, {"AcquisitionTime": "100500"}, {"AcquisitionTime": "100500.3"}],
    ids=["no number", "no fraction", "rounded"],
)
def test_an_acquisition_s_number_and_fractions_may_be_left_out(attributes):
    pair = scan(MPRAGE, seconds=300, **types("NORM")), scan(MPRAGE, seconds=300, **types("ND"), **attributes)
    for dataset in pair[1] if "AcquisitionNumber" in attributes else ():
        del dataset.AcquisitionNumber
    choice = choose(pair[0] + pair[1], (T1,))
    assert choice.chosen[T1].series_instance_uid == uid(pair[0])
    refusal(pair[0] + pair[1], (T1, T1CE), compare=never)


@pytest.mark.parametrize(("kept", "other"), [(types("NORM"), types("ND")), (types("DIS3D", "NORM"), types("DIS3D"))])
def test_reconstructions_that_the_scanner_numbered_are_one_acquisition(kept, other):
    pair = scan(MPRAGE, seconds=300, **kept), scan(MPRAGE, seconds=300, AcquisitionNumber=2, **other)
    choice = choose(pair[1] + pair[0], (T1,))
    assert choice.chosen[T1].series_instance_uid == uid(pair[0])
    assert "not normalised" in choice.runners_up[T1][0].why_not
    refusal(pair[0] + pair[1], (T1, T1CE), compare=never)


@pytest.mark.parametrize(
    "attributes", [types("NORM"), {**types("ND"), "slices": 60}], ids=["equal types", "other grid"]
)
def test_numbers_count_where_processing_does_not_tell_two_series_apart(attributes):
    pair = scan(MPRAGE, seconds=300, **types("NORM")), scan(MPRAGE, seconds=300, AcquisitionNumber=2, **attributes)
    first, second = judge_study(instances_of(pair[0] + pair[1]), (T1,), 5).candidates
    assert first.acquisition_group != second.acquisition_group


@pytest.mark.parametrize("clocks", [(None, None), ("100500", "100503")])
def test_series_whose_acquisitions_have_no_time_may_be_one(clocks):
    """A filtered copy has its original's image type; only the time of its series may be its own."""
    pair = [scan(GRADIENT_ECHO, **({"SeriesTime": c} if c else {}), SeriesDescription="T1 BRAVO") for c in clocks]
    refusal(pair[0] + pair[1], (T1, T1CE), compare=never)


def test_an_agent_that_only_one_of_them_names_makes_two_acquisitions():
    pair = [scan({**T1_HEADER, "ContrastBolusAgent": text}) for text in ("none", "Gadovist")]
    (check,) = [
        c for c in choose(pair[0] + pair[1], (T1, T1CE), compare=enhanced_second).checks if "corroborations" in c.name
    ]
    assert check.verdict == "ok"


@pytest.mark.parametrize("clocks", [("235500", "001000"), ("100000", "103000")])
def test_times_without_dates_go_on_over_midnight(clocks):
    native, enhanced = (
        scan(header, AcquisitionTime=clock) for header, clock in zip((T1_HEADER, T1CE_HEADER), clocks, strict=True)
    )
    choice = choose(enhanced + native, (T1, T1CE))
    assert {m: choice.chosen[m].series_instance_uid for m in (T1, T1CE)} == {T1: uid(native), T1CE: uid(enhanced)}


def test_a_date_that_one_series_lacks_is_the_study_s():
    native = scan(T1_HEADER, seconds=0, AcquisitionDate="20260101", StudyDate="20260101")
    enhanced = scan(T1CE_HEADER, seconds=1800, StudyDate="20260101")
    assert choose(native + enhanced, (T1, T1CE)).chosen[T1].series_instance_uid == uid(native)


def test_a_native_t1_of_another_day_is_not_enhanced():
    """Its time counts for nothing, so that it does not come after the injection; the pair goes to review."""
    first, enhanced = scan(T1_HEADER, seconds=0, AcquisitionDate="20260101"), scan(T1CE_HEADER, seconds=1800)
    for dataset in enhanced:
        dataset.AcquisitionDate = "20260101"
    thin = scan(MPRAGE, seconds=3000, slices=160, apart_mm=1.0, AcquisitionDate="20260102")
    choice = choose(first + enhanced + thin, (T1, T1CE))
    assert choice.chosen[T1CE].series_instance_uid == uid(enhanced)
    verdicts = {c.name: c.verdict for c in choice.checks}
    assert choice.chosen[T1].series_instance_uid == uid(first) or verdicts["t1ce_corroborations"] == "review"


def test_dark_blood_is_not_preferred_for_its_thin_slices():
    usual = scan({**T1CE_HEADER, "SeriesDescription": "T1 post"}, seconds=900)
    walls = scan({**T1CE_HEADER, "SeriesDescription": "T1 SPACE dark blood post"}, seconds=1200, slices=120, apart_mm=1)
    choice = choose(usual + walls, (T1CE,))
    assert choice.chosen[T1CE].series_instance_uid == uid(usual)
    assert choice.runners_up[T1CE][0].why_not == "its blood is suppressed"


def test_a_series_that_was_stored_twice_is_one_acquisition():
    once = scan(T1_HEADER)
    again = scan(T1_HEADER, seconds=None)
    for one, other in zip(once, again, strict=True):
        other.PixelData = one.PixelData
    assert len(choose(once + again, (T1,)).runners_up[T1]) == 1
    refusal(once + again, (T1, T1CE), compare=never)


def test_distortion_is_corrected_only_where_that_of_the_others_is():
    pair = {kind: scan(T1_HEADER, seconds=300, **types(kind)) for kind in ("ND", "DIS2D")}
    both = [d for part in pair.values() for d in part]
    alone = choose(both, (T1,)).chosen[T1]
    beside = [scan(h, seconds=s, **types("ND")) for h, s in ((T2_HEADER, 600), (FLAIR_HEADER, 900))]
    uncorrected = choose([*both, *(d for part in beside for d in part)], (T1, T2, FLAIR)).chosen[T1]
    assert alone.series_instance_uid == uid(pair["DIS2D"])
    assert uncorrected.series_instance_uid == uid(pair["ND"])


def test_what_one_reconstruction_states_of_the_agent_holds_for_all():
    plain = scan(MPRAGE, seconds=900, **types("NORM"))
    told = scan({**MPRAGE, "ContrastBolusAgent": "Gadovist"}, seconds=900, **types("ND"))
    chosen = choose(plain + told, (T1CE,)).chosen[T1CE]
    assert chosen.series_instance_uid == uid(plain)
    assert any("of one acquisition with series" in reason for reason in chosen.evidence.reasons)


def test_reconstructions_that_disagree_on_the_agent_are_undecided():
    yes = scan({**MPRAGE, "ContrastBolusAgent": "Gadovist"}, seconds=900, **types("NORM"))
    no = scan({**MPRAGE, "ContrastBolusAgent": "none"}, seconds=900, **types("ND"))
    assert "disagree on the contrast agent" in refusal(yes + no, (T1CE,))


def test_a_time_that_several_protocols_share_is_not_a_time():
    """An anonymiser wrote one time into all files; words still tell before and after."""
    before, after = (scan({**T1_HEADER, "SeriesDescription": d}, seconds=0) for d in ("T1 AX PRE", "T1 AX POST GD"))
    choice = choose(before + after + scan(T2_HEADER, seconds=0), (T1, T1CE, T2))
    assert choice.chosen[T1].series_instance_uid == uid(before)
    assert choice.chosen[T1CE].series_instance_uid == uid(after)


def test_a_reformat_made_after_the_injection_is_as_native_as_its_original():
    native = scan(MPRAGE, seconds=300)
    enhanced = scan(T1CE_HEADER, seconds=1200)
    reformat = scan(MPRAGE, seconds=1500, slices=60, apart_mm=3.0, ImageType=["DERIVED", "SECONDARY", "MPR"])
    choice = choose(native + enhanced + reformat, (T1, T1CE))
    assert choice.chosen[T1].series_instance_uid == uid(native)
    assert choice.chosen[T1CE].series_instance_uid == uid(enhanced)
    assert [r.series_instance_uid for r in choice.runners_up[T1]] == [uid(reformat)]


def test_a_derived_t1_alone_is_native_if_it_was_made_before_the_injection():
    derived = {"ImageType": ["DERIVED", "SECONDARY"]}
    enhanced = scan(T1CE_HEADER, seconds=1200)
    before, after = (scan(MPRAGE, seconds=s, **derived) for s in (300, 1500))
    assert choose(before + enhanced, (T1, T1CE)).chosen[T1].series_instance_uid == uid(before)
    assert "from images of unknown time" in refusal(after + enhanced, (T1, T1CE))


# --- like with like ---------------------------------------------------------------------------------------------------

UNLIKE = {
    "another technique": {**MPRAGE},
    "a reformat": {"ImageType": ["DERIVED", "SECONDARY", "MPR"]},
    "other timings": {"RepetitionTime": 700},
    "fat suppression": {"ScanOptions": "FS"},
    "processing": types("NORM"),
    "no timings": {"RepetitionTime": None, "EchoTime": None},
}


@pytest.mark.parametrize("attributes", UNLIKE.values(), ids=UNLIKE)
def test_images_of_unlike_series_are_not_compared(attributes):
    pair = scan(T1_HEADER, seconds=300) + scan({**T1_HEADER, **attributes}, seconds=900)
    refusal(pair, (T1, T1CE), compare=never)


@pytest.mark.parametrize("grid", [{"apart_mm": 8.0}, {"pixel_mm": 2.0}, {"axes": SAGITTAL}], ids=str)
def test_images_of_other_voxels_are_not_compared(grid):
    refusal(scan(T1_HEADER, seconds=300) + scan(T1_HEADER, seconds=900, **grid), (T1, T1CE), compare=never)


def test_slabs_at_other_heights_are_not_compared():
    first, second = (scan(GRADIENT_ECHO, slices=n, seconds=s) for n, s in ((40, 300), (46, 900)))
    refusal(first + second, (T1, T1CE), compare=never)


def test_like_series_are_compared():
    first, second = scan(T1_HEADER, seconds=300), scan(T1_HEADER, seconds=900)
    choice = choose(first + second, (T1, T1CE), compare=enhanced_second)
    found = {m: choice.chosen[m].series_instance_uid for m in (T1, T1CE)}
    assert set(found.values()) == {uid(first), uid(second)}


def test_ends_of_slabs_are_compared_at_the_middle_of_their_slices():
    """Heads are planned a few degrees apart; that moves the corners of the slices, but not the slab."""
    header = {**GRADIENT_ECHO, "SeriesDescription": "T1"}
    first, second = (scan(header, side=64, pixel_mm=4.0, seconds=s) for s in (300, 900))
    centre = np.array([126.0, 126.0, 78.0])
    tilt = np.array([[1, 0, 0], [0, np.cos(0.1), -np.sin(0.1)], [0, np.sin(0.1), np.cos(0.1)]])
    for dataset in second:
        turned = tilt @ (np.array(dataset.ImagePositionPatient, dtype=float) - centre) + centre
        dataset.ImagePositionPatient = [f"{v:.6f}" for v in turned]
        dataset.ImageOrientationPatient = [f"{v:.9f}" for v in (*tilt[:, 0], *tilt[:, 1])]
    assert len(choose(first + second, (T1, T1CE), compare=enhanced_second).chosen) == 2


@pytest.mark.parametrize(
    ("kinds", "confidence", "decided"),
    [
        ((PixelKind.T1, PixelKind.T1CE), 0.9, True),
        ((PixelKind.OTHER, PixelKind.OTHER), 0.9, True),
        ((PixelKind.T1, PixelKind.T1), 0.4, True),
        ((PixelKind.T1, PixelKind.T1), 0.6, False),
        ((PixelKind.T1CE, PixelKind.T1CE), 0.6, False),
    ],
)
def test_a_comparison_does_not_count_where_the_voxels_of_one_lean_against_it(kinds, confidence, decided):
    native, enhanced = (scan(T1_HEADER, seconds=s) for s in (300, 900))

    def look(stack):
        return Opinion(kinds[stack.series_instance_uid == uid(enhanced)], confidence)

    def compare(first, second):
        return Enhancement(first.series_instance_uid == uid(enhanced), 0.9, 0.01, 0.0)

    judged = judge_study(instances_of(native + enhanced), (T1, T1CE), 5, compare=compare, look=look)
    assert {c.told_by_images for c in judged.candidates} == {decided}
    if not decided:
        assert all("voxels of one of them contradict" in str(c) for c in judged.candidates)


# --- undecided stays undecided ----------------------------------------------------------------------------------------


def test_a_series_marked_native_after_the_enhanced_one_is_undecided_and_asks_for_a_review():
    enhanced, native = scan(T1CE_HEADER, seconds=300), scan({**T1_HEADER, "ContrastBolusAgent": "none"}, seconds=900)
    assert "marked as native, but acquired after" in refusal(enhanced + native, (T1, T1CE))
    (check,) = choose(enhanced + native, (T1CE,)).checks
    assert (check.name, check.value, check.verdict) == ("t1ce_before_native", 1, "review")
    (check,) = choose(enhanced + scan({**T1_HEADER, "ContrastBolusAgent": "none"}, seconds=100), (T1CE,)).checks
    assert check.verdict == "ok"


def test_a_series_whose_headers_contradict_each_other_is_not_native_by_elimination():
    torn = scan({**T1_HEADER, "SeriesDescription": "T1 AX PRE", "ContrastBolusAgent": "Gadovist"})
    assert "contrast agent given, but described as pre" in refusal(torn + scan(T1CE_HEADER), (T1, T1CE))


def test_of_several_silent_t1_the_first_is_native():
    first, second = scan(T1_HEADER, seconds=300), scan(MPRAGE, seconds=900)
    assert choose(second + first, (T1,)).chosen[T1].series_instance_uid == uid(first)


def test_of_several_silent_t1_without_times_none_is_taken():
    assert "unknown order" in refusal(scan(T1_HEADER) + scan(MPRAGE), (T1,))


@pytest.mark.parametrize("header", [{"SeriesDescription": "T1 AX"}, {**T1_HEADER, "SeriesDescription": ""}], ids=str)
def test_a_derived_t1_is_as_good_as_a_derived_t2(header):
    derived = {"ImageType": ["DERIVED", "SECONDARY"]}
    t2 = {"SeriesDescription": "T2 AX"} if header["SeriesDescription"] else {**T2_HEADER, "SeriesDescription": ""}
    choice = choose(scan(header, **derived) + scan(t2, **derived), (T1, T2))
    assert set(choice.chosen) == {T1, T2}


# --- kinds that the study gives away ----------------------------------------------------------------------------------


def test_a_localiser_without_a_name_is_never_a_candidate():
    scout = scan(SCOUT, seconds=0, slices=128, apart_mm=1.6, pixel_mm=1.6, side=8)
    rest = scan(T1_HEADER, seconds=60) + scan(T2_HEADER, seconds=400) + scan(FLAIR_HEADER, seconds=800)
    message = refusal(scout + scan(T2_HEADER, seconds=400) + scan(FLAIR_HEADER, seconds=800), (T1,))
    assert "a localiser (TR 3.15 ms with a small flip angle" in message
    assert choose(scout + rest, (T1,)).chosen[T1].slices == SLICES


@pytest.mark.parametrize("seconds", [0, None])
def test_a_scout_is_none_the_less_one_for_being_called_t1(seconds):
    rest = scan(T2_HEADER, seconds=400) + scan(FLAIR_HEADER, seconds=800)
    named = {**SCOUT, "SeriesDescription": "T1 3D"}
    scout = scan(named, seconds=seconds, slices=64, apart_mm=3.2, pixel_mm=3.2, side=80)
    assert "a localiser (TR 3.15 ms with a small flip angle" in refusal(scout + rest, (T1,))
    fine = scan(named, seconds=seconds, slices=160, apart_mm=1.0, pixel_mm=1.0)
    assert choose(fine + rest, (T1,)).chosen[T1].slices == 160


def test_three_planes_of_one_series_are_a_localiser():
    series_uid = "1.2.826.0.1.3680043.8.498.2"
    header = {"ScanningSequence": "GR", "RepetitionTime": 60, "EchoTime": 5, "FlipAngle": 40}
    planes = [scan(header, slices=7, axes=a, apart_mm=6.0, uid=series_uid) for a in (AXIAL, SAGITTAL, CORONAL)]
    message = refusal([d for plane in planes for d in plane], (T1,))
    assert message.count("several views in one series") == 3


def test_a_usual_thick_t1_is_no_localiser():
    first = scan(T1_HEADER, seconds=0, slices=22, apart_mm=6.5)
    assert choose(first + scan(T2_HEADER, seconds=300) + scan(FLAIR_HEADER, seconds=600), (T1,)).chosen[T1].slices == 22


def test_a_short_or_broken_t1_is_no_localiser_but_short_or_broken():
    rest = scan(T2_HEADER, seconds=300) + scan(FLAIR_HEADER, seconds=600)
    short = scan(T1_HEADER, seconds=0, slices=10, apart_mm=9.0, pixel_mm=2.0, side=100)
    assert choose(short + rest, (T1,)).chosen[T1].slices == 10
    unnamed = scan({**T1_HEADER, "SeriesDescription": ""}, seconds=0, slices=40, pixel_mm=2.0)
    broken = [d for i, d in enumerate(unnamed[:16]) if i % 4]
    assert choose(broken + rest, (T1,)).chosen[T1].problem.code.token == "GLIO-1401"


def test_the_magnitude_of_a_field_map_is_told_by_its_phase():
    magnitude = scan(FIELD_MAP, EchoTime=4.92, seconds=100)
    phase = scan(FIELD_MAP, EchoTime=7.38, seconds=100, ImageType=["ORIGINAL", "PRIMARY", "P", "ND"])
    assert choose(magnitude, (T1,)).chosen[T1].slices == SLICES
    assert "phase images beside it" in refusal(magnitude + phase, (T1,))


def test_two_coarse_echoes_are_a_field_map_without_phase_images_too():
    echoes = [scan(FIELD_MAP, EchoTime=te, seconds=100, pixel_mm=3.0) for te in (4.92, 7.38)]
    assert "two echoes of coarse images, 4.9 and 7.4 ms" in refusal(echoes[0] + echoes[1], (T1,))


def test_a_coarse_gradient_echo_with_a_sequence_s_name_is_no_field_map():
    header = {**GRADIENT_ECHO, "SeriesDescription": "InPhase: Ax LAVA Flex"}
    assert choose(scan(header, pixel_mm=2.5), (T1,)).chosen[T1].slices == SLICES
    assert "without a sequence's name" in refusal(scan({**header, "SeriesDescription": "Ax"}, pixel_mm=2.5), (T1,))


def test_the_uniform_image_of_mp2rage_may_keep_an_inversion_time():
    made = inversions(700, 2500)
    uniform = scan(
        {**MPRAGE, "SeriesDescription": "mp2rage_UNI"}, seconds=300, ImageType=["DERIVED", "PRIMARY", "M", "ND", "UNI"]
    )
    choice = choose(made + uniform, (T1,))
    assert choice.chosen[T1].series_instance_uid == uid(uniform)


# --- images of a Dixon acquisition ------------------------------------------------------------------------------------


def dixon_images(kinds, scales, values=("QB", "QA", "QD", "QC")):
    """Images of a head with a rim of fat, a brain of water and a border of both, as one series; and their kinds."""
    z, y, x = np.mgrid[-1:1:24j, -1:1:32j, -1:1:32j]
    radius = np.sqrt(x**2 + y**2 + z**2)
    water = np.where(radius < 0.75, 400.0 + 60 * np.sin(9 * x), np.where(radius < 0.9, 40.0, 0.0))
    fat = np.where((radius > 0.68) & (radius < 0.9), 900.0, 0.0)
    noise = np.random.default_rng(3)
    shown = {"water": water, "fat": fat, "in phase": water + fat, "opposed": np.abs(water - fat)}
    datasets = []
    for kind, scale, value in zip(kinds, scales, values, strict=False):
        stored = np.abs(shown[kind] * scale + noise.normal(0, 8, water.shape)).astype(np.uint16)
        header = {**GRADIENT_ECHO, "SeriesDescription": "T1 fe3d", "FrameOfReferenceUID": SPACE}
        datasets += series(
            stored, Geometry((32, 32, 24), np.diag([6.0, 6.0, 6.0, 1.0])), **header,
            ImageType=["ORIGINAL", "PRIMARY", value], SeriesInstanceUID="1.2.3.9",
        )  # fmt: skip
    for number, dataset in enumerate(datasets, 1):
        dataset.SeriesInstanceUID, dataset.InstanceNumber = "1.2.3.9", number
    return datasets


@pytest.mark.parametrize(
    ("kinds", "taken"),
    [
        (("water", "fat", "in phase", "opposed"), "in phase"),
        (("opposed", "in phase", "fat", "water"), "in phase"),
        (("fat", "water"), "water"),
        (("opposed", "in phase"), "in phase"),
    ],
)
@pytest.mark.parametrize("scales", [(1.0, 1.0, 1.0, 1.0), (2.0, 0.5, 0.7, 1.6)], ids=["one scale", "own scales"])
def test_images_that_only_unknown_types_tell_apart_are_told_by_their_voxels(kinds, taken, scales):
    choice = choose(dixon_images(kinds, scales), (T1,), voxels=voxels_of)
    assert kind_of(choice.chosen[T1], kinds) == taken


def kind_of(candidate, kinds):
    """The kind of a candidate's images, by their numbers in the series."""
    frame = candidate.stack.frames[0]
    return kinds[(frame.dataset.InstanceNumber - 1 + frame.index) // 24]


def test_without_voxels_or_with_known_types_nothing_is_left_out():
    images = dixon_images(("water", "in phase"), (1.0, 1.0))
    assert all(not c.evidence.excluded for c in judge_study(instances_of(images), (T1,), 5).candidates)
    same = dixon_images(("in phase", "in phase"), (1.0, 1.0))
    assert all(not c.evidence.excluded for c in judge_study(instances_of(same), (T1,), 5, voxels=voxels_of).candidates)
    unread = judge_study(instances_of(images), (T1,), 5, voxels=lambda stack: None).candidates
    assert all(not c.evidence.excluded for c in unread)
    known = dixon_images(("water", "in phase"), (1.0, 1.0), ("W", "IP"))
    assert kind_of(choose(known, (T1,), voxels=never).chosen[T1], ("water", "in phase")) == "in phase"


def phases(count):
    header = {**GRADIENT_ECHO, "SeriesDescription": "T1 VIBE"}
    runs = [scan(header, seconds=300 + 6 * n, uid="1.2.3.7", TemporalPositionIdentifier=n) for n in range(1, count + 1)]
    return [d for run in runs for d in run]


def phases_apart(count):
    """The phases of a dynamic series, each as a series of its own."""
    header = {**GRADIENT_ECHO, "SeriesDescription": "T1 VIBE", "ContrastBolusAgent": "Gadobutrol"}
    return [d for n in range(count) for d in scan(header, seconds=300 + 12 * n)]


def inversions(first_ms, second_ms):
    both = (scan(MPRAGE, seconds=300, InversionTime=ms, SeriesDescription="mp2rage") for ms in (first_ms, second_ms))
    return [d for part in both for d in part]


def planes(slices):
    header = {**GRADIENT_ECHO, "SeriesDescription": "T1", "MRAcquisitionType": "2D"}
    views = (
        scan(header, seconds=10 * n, slices=slices, apart_mm=12.0, axes=axes, pixel_mm=45.0, side=7)
        for n, axes in enumerate((AXIAL, SAGITTAL, CORONAL))
    )
    return [d for view in views for d in view]


INFLOW = {**GRADIENT_ECHO, "SeriesDescription": "T1 3D", "RepetitionTime": 23, "EchoTime": 3.4, "FlipAngle": 18}
OTHER_KINDS = {
    "a dynamic series": (lambda: phases(6), "dynamic series (6 phases)"),
    "a dynamic series in series": (lambda: phases_apart(6), "dynamic series (6 phases)"),
    "flip angles of a map": (
        lambda: [d for angle in (2, 9, 15) for d in scan({**GRADIENT_ECHO, "FlipAngle": angle}, seconds=30 * angle)],
        "a part of a T1 map (3 flip angles of one technique)",
    ),
    "an ultrashort echo": (
        lambda: scan({**GRADIENT_ECHO, "SeriesDescription": "T1 3D", "EchoTime": 0.07}), "an echo of 0.07 ms",
    ),
    "two inversions": (lambda: inversions(700, 2500), "an inversion image of MP2RAGE (at 700 and 2500 ms)"),
    "an angiogram called T1": (
        lambda: scan(INFLOW, slices=120, apart_mm=0.7, pixel_mm=0.4),
        "a slab of small voxels with the timings of inflow",
    ),
    "a scout in three series": (lambda: planes(9), "three series of one view each"),
    "a coarse gradient echo": (lambda: scan(FIELD_MAP, EchoTime=4.9, pixel_mm=3.0), "without a sequence's name"),
    "a field map in 3D": (
        lambda: scan(GRADIENT_ECHO, pixel_mm=2.0) + scan(GRADIENT_ECHO, pixel_mm=2.0, ImageType=["ORIGINAL", "PHASE"]),
        "a field map (phase images beside it)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER_KINDS)
def test_kinds_that_no_name_gives_away(name):
    made, why = OTHER_KINDS[name]
    assert why in refusal(made(), (T1,))


@pytest.mark.parametrize(
    "made", [lambda: phases(2), lambda: scan(INFLOW, slices=160, apart_mm=1.0), lambda: scan(GRADIENT_ECHO)]
)
def test_kinds_that_are_nearly_so_are_t1_weighted(made):
    judged = judge_study(instances_of(made()), (T1,), 5)
    assert all(c.evidence.is_t1_weighted for c in judged.candidates)


def test_early_echoes_of_a_t2star_acquisition_are_no_t1():
    header = {"ScanningSequence": "GR", "RepetitionTime": 35, "FlipAngle": 15, "MRAcquisitionType": "3D"}
    echoes = [scan(header, EchoTime=te, seconds=100) for te in (5, 10, 15, 20)]
    assert "4 echoes, the last at 20 ms" in refusal([d for echo in echoes for d in echo], (T1,))


# --- what voxels look like --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Opinion:
    """A stand-in for what the network says of one series."""

    likeliest: PixelKind
    confidence: float

    @property
    def thresholds(self):
        return dict.fromkeys(PixelKind, 0.9)

    @property
    def shares(self):
        rest = (1 - self.confidence) / (len(PixelKind) - 1)
        return {k: self.confidence if k is self.likeliest else rest for k in PixelKind}

    @property
    def kind(self):
        return self.likeliest if self.confidence >= 0.9 else None


def looks(kinds):
    """A stand-in for the network: the kind of each series, by its SeriesInstanceUID."""

    def look(stack):
        kind = kinds.get(stack.series_instance_uid)
        return Opinion(kind or PixelKind.OTHER, 0.91 if kind else 0.4)

    return look


def test_voxels_that_agree_are_a_reason():
    native = scan(T1_HEADER)
    choice = choose(native, (T1,), look=looks({uid(native): PixelKind.T1}))
    assert "its voxels agree (0.91)" in choice.chosen[T1].evidence.reasons
    assert [c.verdict for c in choice.checks] == ["ok"]


def test_voxels_that_contradict_an_open_agent_refuse():
    stack = scan(T1_HEADER)
    message = refusal(stack, (T1,), look=looks({uid(stack): PixelKind.T1CE}))
    assert "Headers and voxels disagree" in message
    assert "its voxels look like T1ce (0.91)" in message


@pytest.mark.parametrize(
    ("header", "modality", "kind"),
    [
        (T1CE_HEADER, T1CE, PixelKind.T1),
        ({**T1_HEADER, "ContrastBolusAgent": "none"}, T1, PixelKind.T1CE),
        (T1CE_HEADER, T1CE, PixelKind.SCOUT),
    ],
)
def test_voxels_that_contradict_sure_headers_ask_for_a_review(header, modality, kind):
    stack = scan(header)
    check = choose(stack, (modality,), look=looks({uid(stack): kind})).checks[0]
    assert (check.name, check.verdict) == (f"{modality}_other_kind", "review")


@pytest.mark.parametrize(
    ("seconds", "kinds", "compare", "verdict"),
    [
        ((300, 900), {}, None, "ok"),
        ((None, None), {}, None, "review"),
        ((None, None), {T1: PixelKind.T1}, None, "ok"),
        ((None, None), {T1CE: PixelKind.T1CE}, None, "ok"),
        ((None, None), {}, lambda first, second: Enhancement(False, 0.9, 0.0, 0.01), "ok"),
        ((None, None), {}, lambda first, second: Enhancement(True, 0.9, 0.01, 0.0), "review"),
        ((None, None), {}, lambda first, second: None, "review"),
    ],
)
def test_something_beside_the_headers_has_to_tell_t1_from_t1ce(seconds, kinds, compare, verdict):
    native, enhanced = (
        scan(header, seconds=s)
        for header, s in zip(({**T1_HEADER, "ContrastBolusAgent": "none"}, T1CE_HEADER), seconds, strict=True)
    )
    look = looks({uid(part): kinds[m] for m, part in ((T1, native), (T1CE, enhanced)) if m in kinds})
    choice = choose(native + enhanced, (T1, T1CE), compare=compare, look=look)
    (check,) = [c for c in choice.checks if c.name == "t1ce_corroborations"]
    assert check.verdict == verdict


def test_voxels_of_one_do_not_count_where_those_of_the_other_lean_against():
    native, enhanced = scan({**T1_HEADER, "ContrastBolusAgent": "none"}), scan(T1CE_HEADER)

    def look(stack):
        return Opinion(PixelKind.T1, 0.99 if stack.series_instance_uid == uid(native) else 0.8)

    checks = choose(native + enhanced, (T1, T1CE), look=look).checks
    assert {c.name: c.verdict for c in checks}["t1ce_corroborations"] == "review"


def test_voxels_decide_where_headers_are_silent():
    silent = {kind: scan({}) for kind in (PixelKind.T1, PixelKind.T2, PixelKind.FLAIR)}
    datasets = [d for part in silent.values() for d in part]
    choice = choose(datasets, (T1, T2, FLAIR), look=looks({uid(part): kind for kind, part in silent.items()}))
    assert {m.value.upper(): c.series_instance_uid for m, c in choice.chosen.items()} == {
        kind.value: uid(part) for kind, part in silent.items()
    }


def test_voxels_alone_never_make_a_t1ce():
    silent = scan({})
    refusal(silent, (T1CE,), look=looks({uid(silent): PixelKind.T1CE}))
    plain = scan(T1_HEADER)
    refusal(plain, (T1CE,), look=looks({uid(plain): PixelKind.T1CE}))


def test_voxels_are_not_looked_at_where_headers_are_sure():
    def look(stack):
        raise AssertionError("headers are sure")

    choose(scan(T2_HEADER) + scan(FLAIR_HEADER), (T2, FLAIR), look=look)


def test_the_caller_s_word_counts_more_than_voxels():
    from glioserve_preprocess.overrides import SeriesName

    stack = scan(T1CE_HEADER)
    choice = choose(stack, (T1CE,), named={T1CE: SeriesName(uid(stack))}, look=looks({uid(stack): PixelKind.T1}))
    assert choice.checks == ()
    assert any("its voxels look like T1 (0.91)" in w for w in choice.warnings)
