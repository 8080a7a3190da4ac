"""Evidence in the headers of one series: the table of real-world combinations, and what holds for every one."""

import math
import warnings
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage

from glioserve_contract import Modality
from glioserve_dicom.words import DESCRIPTION_WORDS, kept_text
from glioserve_preprocess.series.acquisition import Acquisition, acquisition_of
from glioserve_preprocess.series.evidence import DECIDED, Evidence, judge
from preprocess.series.header_table import AMBIGUOUS, EXCLUDED, OPEN, ROWS, T1, T1CE, Row
from support.studies.dicom_files import mr_dataset, sent


def seen(evidence: Evidence) -> str:
    """The table's word for what the evidence says."""
    if evidence.contrast_open:
        return OPEN
    if evidence.modality is not None:
        return evidence.modality.value
    other = 1 - sum(evidence.scores.values())
    return EXCLUDED if evidence.excluded or other > 0.5 else AMBIGUOUS


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.name)
def test_the_table(row: Row) -> None:
    evidence = judge(acquisition_of(row.dataset()))
    assert seen(evidence) == row.expected, evidence
    assert evidence.reasons


def test_the_table_covers_what_it_should() -> None:
    assert len(ROWS) >= 60
    assert len({row.name for row in ROWS}) == len(ROWS), "the benchmark finds a row's two ways by its name"
    assert all(len(row.source) > 20 for row in ROWS)
    makers = {acquisition_of(row.dataset()).manufacturer for row in ROWS}
    assert makers == {"SIEMENS", "GE", "PHILIPS", "CANON", "TOSHIBA", "HITACHI", "UIH", ""}
    assert min(Counter(row.expected for row in ROWS).values()) >= 5


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.name)
def test_evidence_is_the_same_after_the_client_took_the_patient_out(row: Row) -> None:
    dataset = mr_dataset(SeriesDescription=None, Manufacturer=None, ImageType=None, RepetitionTime=None, EchoTime=None)
    dataset.update(row.dataset())
    before, after = acquisition_of(dataset), acquisition_of(sent(dataset))
    assert judge(after) == judge(before)
    untimed = {"started_s": None, "acquired_s": None}  # times are sent relative to the study's first
    assert {**vars(after), **untimed} == {**vars(before), **untimed}


def test_shares_are_shares() -> None:
    for row in ROWS:
        evidence = judge(acquisition_of(row.dataset()))
        assert all(0 <= share <= 1 for share in evidence.scores.values())
        assert sum(evidence.scores.values()) <= 1 + 1e-9


def test_clues_that_agree_add_up_and_clues_that_contradict_leave_nothing() -> None:
    timings = Acquisition(repetition_time_ms=4500, echo_time_ms=100, scanning_sequence=frozenset({"SE"}))
    words = Acquisition(description=("t2",))
    both = Acquisition(
        repetition_time_ms=4500, echo_time_ms=100, scanning_sequence=frozenset({"SE"}), description=("t2",)
    )
    against = Acquisition(
        repetition_time_ms=4500, echo_time_ms=100, scanning_sequence=frozenset({"SE"}), description=("t1",)
    )
    assert judge(timings).confidence == pytest.approx(math.exp(2) / (math.exp(2) + 3))
    assert judge(words).confidence == pytest.approx(judge(timings).confidence)
    assert judge(both).confidence == pytest.approx(math.exp(4) / (math.exp(4) + 3))
    assert judge(against).modality is None


def test_a_derived_image_is_believed_less() -> None:
    original, derived = (
        Acquisition(description=("t2",), image_type=(kind, "PRIMARY")) for kind in ("ORIGINAL", "DERIVED")
    )
    assert judge(derived).confidence == pytest.approx(0.8 * judge(original).confidence)


@pytest.mark.parametrize(
    ("description", "agent", "points"),
    [
        (("t1", "post", "gad"), None, 3.0),
        (("t1", "without", "gad"), None, -4.0),
        (("t1", "with", "without", "contrast"), None, -1.0),
        (("t1", "with", "fat", "sat"), None, -1.0),
        (("t1", "no", "contrast"), None, -4.0),
        (("t1", "post", "op"), None, -1.0),
        (("t1",), True, 3.0),
        (("t1",), False, -2.5),
        (("t1", "pre"), True, 0.0),
        (("t1", "+c"), True, 6.0),
    ],
)
def test_points_for_contrast(description: tuple[str, ...], agent: bool | None, points: float) -> None:
    evidence = judge(Acquisition(description=description, agent=agent))
    assert evidence.contrast_points == pytest.approx(points)
    assert evidence.contrast_open is (abs(points) < DECIDED)


OTHER_KINDS = {
    "a localiser": "Scanogram|3-axis|Lokalisation|LOCALIZACION|Übersicht|pilote|FastView|разметка|suuntakuva",
    "a computed image": "T1 Differenz|T1 POST-PRE|AX T1 Post minus Pre|T1CE minus T1|T1 差分|T1 brain mask|"
    "T1 key images",
    "a quantitative map": "mp2rage_T1_Images|T1rho|QALAS T1|T1 synth",
    "perfusion": "T1 dynamic|dyn T1|T1 DCE|T1 wash-in|washout T1|AUC90 T1|iAUC|Kep",
    "a phase-sensitive inversion recovery": "PSIR ax|T1 PSIR",
    "a fat or opposed-phase image of a Dixon acquisition": "T2 IDEAL FAT|T1 dixon fat|T1 fat fraction|T1 vibe dixon F",
    "calibration or a field map": "gre_field|Ref scan|calib|MRAC",
    "not of the whole head": "T1 Felsenbein|T1 sella|T1 Gehörgang|T1 rochers",
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind, texts in OTHER_KINDS.items() for text in texts.split("|")]
)
def test_names_of_other_images(kind: str, text: str) -> None:
    described = Acquisition(description=tuple(kept_text(text, 64).split()), repetition_time_ms=500, echo_time_ms=10)
    assert judge(described).excluded.startswith(kind)


@pytest.mark.parametrize("text", ["T1 post - T1 fs", "T1 post-T1", "T1 dixon fat sat", "T1 black blood", "T1 UNI-DEN"])
def test_names_that_only_look_like_those_of_other_images(text: str) -> None:
    described = Acquisition(description=tuple(kept_text(text, 64).split()), repetition_time_ms=500, echo_time_ms=10)
    assert judge(described).is_t1_weighted


def test_more_points_may_be_added_with_their_reason() -> None:
    alone = judge(Acquisition(description=("t1",)))
    later = alone.with_contrast(4.0, "acquired later")
    assert (alone.modality, later.modality) == (Modality.T1, Modality.T1CE)
    assert later.reasons == (*alone.reasons, "acquired later")


BROKEN = {
    "RepetitionTime": "slow",
    "EchoTime": "10\\20\\30",
    "InversionTime": "NaN",
    "FlipAngle": "inf",
    "EchoTrainLength": "many",
    "AcquisitionTime": "99xx",
    "AcquisitionDate": "yesterday",
}


@pytest.mark.parametrize("keyword", BROKEN)
def test_a_malformed_value_counts_as_absent(keyword: str) -> None:
    dataset = Dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.add_new(keyword, "LO", BROKEN[keyword])
    assert acquisition_of(dataset) == Acquisition()


def test_a_sequence_that_is_none_counts_as_absent() -> None:
    dataset = Dataset()
    dataset.add_new("SharedFunctionalGroupsSequence", "LO", "nothing")
    dataset.add_new("PerFrameFunctionalGroupsSequence", "LO", "nothing")
    assert acquisition_of(dataset, 7) == Acquisition()


def test_each_frame_has_its_own_echo() -> None:
    dataset, frames = Dataset(), []
    dataset.SOPClassUID, dataset.NumberOfFrames = EnhancedMRImageStorage, 2
    for echo_ms in (12.0, 96.0):
        frame, echo = Dataset(), Dataset()
        echo.EffectiveEchoTime = echo_ms
        frame.MREchoSequence = [echo]
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames
    assert [acquisition_of(dataset, i).echo_time_ms for i in (0, 1)] == [12.0, 96.0]


@pytest.mark.parametrize("is_enhanced", [False, True])
def test_timings_stand_where_the_sop_class_has_them(is_enhanced: bool) -> None:
    dataset, group, timing = Dataset(), Dataset(), Dataset()
    dataset.SOPClassUID = EnhancedMRImageStorage if is_enhanced else MRImageStorage
    dataset.RepetitionTime, timing.RepetitionTime, dataset.ImagePositionPatient = 500.0, 9000.0, [0, 0, 0]
    group.MRTimingAndRelatedParametersSequence = [timing]
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [group], [Dataset()]
    for read in (dataset, sent(mr_dataset(**{e.keyword: e.value for e in dataset}))):
        assert acquisition_of(read).repetition_time_ms == (9000.0 if is_enhanced else 500.0)


def test_united_imagings_effective_echo_time_is_not_the_echo_time() -> None:
    """It holds the echo spacing there (dcm2niix, UIH notes); a classic EchoTime goes first."""
    dataset = Dataset()
    dataset.EchoTime, dataset.EffectiveEchoTime = 23.0, 0.315
    assert acquisition_of(dataset).echo_time_ms == 23.0


@pytest.mark.parametrize(
    ("attributes", "seconds"),
    [
        ({"AcquisitionTime": "000130.5"}, 90.5),
        ({"AcquisitionDateTime": "20240229000130.500000+0100"}, 738945 * 86400 + 90.5),
        ({"AcquisitionDate": "20240229", "AcquisitionTime": "000130"}, 738945 * 86400 + 90),
        ({"SeriesTime": "0002"}, 120.0),
        ({}, None),
    ],
)
def test_when_it_began(attributes: dict[str, str], seconds: float | None) -> None:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    assert acquisition_of(dataset).started_s == (None if seconds is None else pytest.approx(seconds))


@given(
    st.lists(st.sampled_from(sorted(DESCRIPTION_WORDS)), max_size=8),
    st.floats(0.1, 20000) | st.none(),
    st.floats(0.1, 900) | st.none(),
    st.floats(1, 4000) | st.none(),
    st.booleans() | st.none(),
)
def test_whatever_is_said_there_is_a_judgement(
    description: list[str], tr: float | None, te: float | None, ti: float | None, agent: bool | None
) -> None:
    evidence = judge(
        Acquisition(
            repetition_time_ms=tr, echo_time_ms=te, inversion_time_ms=ti, agent=agent, description=tuple(description)
        )
    )
    assert evidence.reasons
    assert 0 <= evidence.confidence <= 1
    assert evidence.modality is None or evidence.modality.value in (T1, T1CE, "t2", "flair")
