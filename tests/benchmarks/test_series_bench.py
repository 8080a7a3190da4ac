"""The benchmark's arithmetic: what counts as right, as refused, and as wrong, and that faults change what they name."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from glioserve_contract import Modality
from glioserve_dicom.volumes.geometry import Geometry
from glioserve_phantom.clinical.series import ClinicalSeries

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))  # its modules are scripts, no package
import series.answers as series_answers
from series.answers import REFUSED, RIGHT, WRONG, StudyCase
from series.bench_series import disagreements, silent_swaps
from series.cases import AGENT_TEXTS, CASES
from series.studies import FAULTS, drawn_study, renamed_study

T1, T1CE, T2, FLAIR = Modality


def series(name, number, shows, **changes):
    geometry = Geometry((2, 2, 2), np.eye(4))
    return ClinicalSeries(name, number, np.zeros((2, 2, 2), np.float32), geometry, {}, shows, **changes)


NATIVE, ENHANCED = series("t1", 2, T1), series("t1ce", 3, T1CE)
SCOUT, RAW = series("scout", 1, None), series("raw", 4, T1, preferred=False)
BOTH = StudyCase("both", (SCOUT, NATIVE, ENHANCED, RAW), (T1, T1CE))
NO_AGENT = StudyCase("no agent", (SCOUT, NATIVE, RAW), (T1, T1CE))


def stack(*of):
    frames = [SimpleNamespace(dataset=SimpleNamespace(SeriesNumber=s.number, InstanceNumber=1)) for s in of]
    return SimpleNamespace(frames=frames)


def verdict(case, chosen=None, *, code="", review=False):
    answer = series_answers._Answer({m: stack(*s) for m, s in (chosen or {}).items()}, review, code)
    truth = {(s.number, 1): s.name for s in case.series}
    return series_answers._verdict(case, answer, truth)


def test_an_answer_is_right_where_every_image_shows_its_sequence():
    found = verdict(BOTH, {T1: [NATIVE], T1CE: [ENHANCED]})
    assert (found.verdict, found.preferred, found.chosen) == (RIGHT, True, {"t1": "t1", "t1ce": "t1ce"})
    assert verdict(BOTH, {T1: [RAW], T1CE: [ENHANCED]}).preferred is False
    assert verdict(BOTH, {T1: [NATIVE], T1CE: [ENHANCED]}, review=True).verdict == REFUSED


@pytest.mark.parametrize(
    "chosen",
    [
        {T1: [ENHANCED], T1CE: [NATIVE]},
        {T1: [SCOUT], T1CE: [ENHANCED]},
        {T1: [NATIVE, SCOUT], T1CE: [ENHANCED]},
    ],
    ids=["swapped", "scout", "mixed"],
)
def test_an_answer_is_wrong_where_one_image_does_not(chosen):
    assert verdict(BOTH, chosen).verdict == WRONG
    assert verdict(BOTH, chosen, review=True).verdict == REFUSED


@pytest.mark.parametrize(("case", "code", "expected"), [
    (BOTH, "GLIO-1302", REFUSED),
    (NO_AGENT, "GLIO-1301", RIGHT),
    (NO_AGENT, "GLIO-1302", RIGHT),
    (NO_AGENT, "GLIO-1402", REFUSED),
])  # fmt: skip
def test_a_refusal_is_right_where_a_sequence_is_missing(case, code, expected):
    assert verdict(case, code=code).verdict == expected


def test_whatever_is_answered_for_a_missing_sequence_is_wrong():
    assert verdict(NO_AGENT, {T1: [NATIVE], T1CE: [RAW]}).verdict == WRONG


def test_a_spoilt_input_must_be_refused_or_reviewed():
    spoilt = replace(BOTH, accept_review=True)
    right = {T1: [NATIVE], T1CE: [ENHANCED]}
    assert verdict(spoilt, right).verdict == WRONG
    assert verdict(spoilt, right, review=True).verdict == RIGHT
    assert verdict(spoilt, code="GLIO-1405").verdict == RIGHT


def test_swaps_and_disagreements_are_counted():
    right = replace(verdict(BOTH, {T1: [NATIVE], T1CE: [ENHANCED]}), way="offline")
    swapped = replace(verdict(BOTH, {T1: [ENHANCED], T1CE: [NATIVE]}), way="client")
    scout = verdict(BOTH, {T1: [SCOUT], T1CE: [ENHANCED]})
    assert silent_swaps([right, swapped, scout]) == 1
    assert len(disagreements([right, swapped])) == 1
    assert disagreements([right, replace(right, way="client", cpu_s=3.0)]) == []


def test_the_cases_and_texts_are_as_many_as_stated():
    assert len({name.partition(":")[0] for name in CASES}) >= 12
    assert len(AGENT_TEXTS) >= 75


@pytest.mark.parametrize("seed", range(4))
def test_a_study_is_the_same_for_the_same_seed_and_tells_every_image_apart(seed):
    one, again = drawn_study(seed), drawn_study(seed)
    assert [(s.name, s.number, s.shows, dict(s.attributes)) for s in one.series] == [
        (s.name, s.number, s.shows, dict(s.attributes)) for s in again.series
    ]
    assert all(np.array_equal(a.voxels, b.voxels) for a, b in zip(one.series, again.series, strict=True))
    assert 1 <= len(one.faults) <= 3
    assert set(one.faults) <= set(FAULTS)
    numbers = {(s.within or s.name): s.number for s in one.series}
    assert len(set(numbers.values())) == len(numbers)


def test_a_renamed_study_has_both_and_their_words_are_not_their_own():
    cases = [renamed_study(seed) for seed in range(4)]
    assert all(not case.missing for case in cases)
    for case in cases:
        (native,) = [s for s in case.series if s.shows is T1]
        swapped = "swapped descriptions" in case.faults
        text = native.attributes["SeriesDescription"]
        assert any(mark in text for mark in ("KM", "+C", "GD", "CE", "增强")) if swapped else text == ""
