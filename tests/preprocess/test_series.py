"""Which series stands for which sequence: by evidence, and never by force."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_preprocess.evidence import AGREED, CONTRADICTED, TIMINGS_ONLY, WORDS_ONLY, judge
from glioserve_preprocess.read import Instances
from glioserve_preprocess.series import choose_series
from support.scans import FLAIR_HEADER, T1_HEADER, T1CE_HEADER, T2_HEADER, instances_of, oblique, series

T1, T1CE, T2, FLAIR = Modality
HEADERS = {T1: T1_HEADER, T1CE: T1CE_HEADER, T2: T2_HEADER, FLAIR: FLAIR_HEADER}

# (what it is, header, expected modality, expected confidence)
CASES = [
    ("spin echo T1", T1_HEADER, T1, AGREED),
    ("T1 with agent", T1CE_HEADER, T1CE, AGREED),
    ("T2", T2_HEADER, T2, AGREED),
    ("FLAIR", FLAIR_HEADER, FLAIR, AGREED),
    ("timings alone", {"RepetitionTime": 4500, "EchoTime": 100}, T2, TIMINGS_ONLY),
    ("words alone", {"SeriesDescription": "Ax T2 FLAIR"}, FLAIR, WORDS_ONLY),
    (
        "T1 FLAIR is a T1",
        {"SeriesDescription": "AX T1 POST GD FLAIR", "ScanningSequence": ["SE", "IR"], "RepetitionTime": 2300,
         "EchoTime": 9, "InversionTime": 860},
        T1CE,
        AGREED,
    ),
    (
        "GE MP-RAGE",
        {"SeriesDescription": "MPRAGE", "ScanningSequence": ["GR", "IR"], "RepetitionTime": 2300, "EchoTime": 3,
         "InversionTime": 1000},
        T1,
        AGREED,
    ),
    (
        "GE IR-SPGR",
        {"SeriesDescription": "IRSPGR", "ScanningSequence": "GR", "RepetitionTime": 8, "EchoTime": 3,
         "InversionTime": 450},
        T1,
        AGREED,
    ),
    ("3D SPACE FLAIR", {"RepetitionTime": 5000, "EchoTime": 390, "InversionTime": 1800}, FLAIR, TIMINGS_ONLY),
    ("contrast in German", {**T1_HEADER, "SeriesDescription": "T1 tra nach KM"}, T1CE, AGREED),
    ("plain in German", {**T1_HEADER, "SeriesDescription": "T1 tra ohne KM"}, T1, AGREED),
    ("contrast in French", {**T1_HEADER, "SeriesDescription": "T1 AX APRÈS INJECTION"}, T1CE, AGREED),
    ("+C", {**T1_HEADER, "SeriesDescription": "Ax T1 +C"}, T1CE, AGREED),
    ("agent, but said to be plain", {**T1CE_HEADER, "SeriesDescription": "T1 PRE"}, T1CE, CONTRADICTED),
    ("words against timings", {**T2_HEADER, "SeriesDescription": "T1"}, T2, CONTRADICTED),
    ("localiser", {**T1_HEADER, "SeriesDescription": "LOCALIZER"}, None, 0.0),
    ("localiser by type", {**T1_HEADER, "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, None, 0.0),
    ("diffusion", {"SeriesDescription": "DWI b1000", "RepetitionTime": 6000, "EchoTime": 90}, None, 0.0),
    ("silence", {}, None, 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("what", "header", "modality", "confidence"), CASES, ids=[c[0] for c in CASES])
def test_evidence(what, header, modality, confidence):
    dataset = Dataset()
    for keyword, value in header.items():
        setattr(dataset, keyword, value)
    evidence = judge(dataset)
    assert evidence.modality is modality
    assert evidence.confidence == pytest.approx(confidence)
    assert evidence.reasons


def study(**slices):
    stored = np.ones((1, 4, 4))
    datasets = []
    for name, count in slices.items():
        stack = np.repeat(stored, count, axis=0)
        datasets += series(stack, oblique((4, 4, count), (1, 1, 4)), **HEADERS[Modality(name)])
    return instances_of(datasets)


def together(*studies):
    return Instances(tuple(i for s in studies for i in s.instances))


def refused(instances, channels, min_slices, code):
    with pytest.raises(GlioserveError) as caught:
        choose_series(instances, channels, min_slices)
    assert caught.value.code is code
    return str(caught.value)


def test_each_sequence_gets_its_series():
    chosen, warnings = choose_series(study(t1=5, t1ce=6, t2=7, flair=8), (T1, T1CE, T2), 5)
    assert {m: c.slices for m, c in chosen.items()} == {T1: 5, T1CE: 6, T2: 7}
    assert list(warnings) == ["The flair series of 8 slices is not in the recipe; left out."]


@pytest.mark.parametrize("missing", ["t1ce", "t2"])
def test_a_missing_sequence_is_named_with_what_was_found(missing):
    present = {m: 6 for m in ("t1", "t1ce", "t2") if m != missing}
    message = refused(study(**present), (T1, T1CE, T2), 5, ErrorCode.MISSING_SEQUENCE)
    assert f"No {missing} series" in message
    assert "6 slices (t1 at 0.95" in message


def test_too_few_slices():
    message = refused(study(t1=26, t1ce=26, t2=26), (T1, T1CE, T2), 32, ErrorCode.TOO_FEW_SLICES)
    assert "26 slices; the recipe needs 32" in message


def test_a_short_sequence_outside_the_recipe_does_no_harm():
    chosen, warnings = choose_series(study(t1=6, flair=2), (T1,), 5)
    assert set(chosen) == {T1}
    assert len(warnings) == 1


def test_the_series_of_more_slices_wins_and_the_other_is_reported():
    both = together(study(t1=6), study(t1=9))
    chosen, warnings = choose_series(both, (T1,), 5)
    assert chosen[T1].slices == 9
    assert "Another t1 series was left out: 6 slices" in warnings[0]


def test_an_original_wins_over_a_reformat_of_more_slices():
    reformat = study(t1=9)
    for dataset in reformat.datasets:
        dataset.ImageType = ["DERIVED", "SECONDARY", "MPR"]
    chosen, _ = choose_series(together(study(t1=6), reformat), (T1,), 5)
    assert chosen[T1].slices == 6


def test_a_tie_lists_the_candidates():
    both = together(study(t1=6), study(t1=6))
    message = refused(both, (T1,), 5, ErrorCode.AMBIGUOUS_SEQUENCE)
    assert message.count("6 slices (t1 at 0.95") == 2
