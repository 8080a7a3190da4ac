"""Answers of the choice of series to a study whose truth is known: right, refused or sent to review, or wrong.

Each study goes two ways: as its files are (an offline run), and through the client's de-identification.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pydicom.dataset import Dataset

from glioserve_client.deidentify import Pseudonyms, deidentify
from glioserve_client.study import DicomStudy
from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.records.recipe import RECIPE_SCHEMA, Architecture, Grid, Recipe
from glioserve_dicom.read import read
from glioserve_dicom.slices.assemble import assemble
from glioserve_dicom.slices.stacks import Stack
from glioserve_phantom.clinical.series import ClinicalSeries, ImageKey, files_of
from glioserve_preprocess.pipeline import compared_by_images, looked_at, preprocess_dicom, voxels_of
from glioserve_preprocess.series.enhancement import MIN_SHARE
from glioserve_preprocess.series.selection import Choice, choose_series

MIN_SLICES = 20
OFFLINE, CLIENT = "offline", "client"
RIGHT, REFUSED, WRONG = "right", "refused or review", "WRONG"
MISSING_CODES = frozenset(
    c.token for c in (ErrorCode.MISSING_SEQUENCE, ErrorCode.AMBIGUOUS_SEQUENCE, ErrorCode.TOO_FEW_SLICES)
)
"""Codes that are the right answer where a wanted sequence is not in the study."""
_KEY = Pseudonyms(b"glioserve benchmark of series, 32")


@dataclass(frozen=True, eq=False)
class StudyCase:
    """A study with its truth: each series says what it may stand for."""

    name: str
    series: tuple[ClinicalSeries, ...]
    channels: tuple[Modality, ...] = tuple(Modality)
    faults: tuple[str, ...] = ()
    whole: bool = False
    """True where the whole preprocessing runs, since only its quality checks can see the fault."""
    accept_review: bool = False
    """True where an answer is right only if it asks for a review, or is refused: the input is spoilt."""

    @property
    def missing(self) -> tuple[Modality, ...]:
        """Wanted sequences that no series of the study truly shows."""
        return tuple(m for m in self.channels if not any(s.shows is m for s in self.series))


@dataclass(frozen=True)
class Outcome:
    """One study, one way."""

    name: str
    faults: tuple[str, ...]
    way: str
    verdict: str
    """:data:`RIGHT`, :data:`REFUSED` or :data:`WRONG`."""
    code: str = ""
    """The error's code; empty where the study was answered."""
    detail: str = ""
    chosen: Mapping[str, str] = field(default_factory=dict)
    """Names of the series taken, by sequence."""
    preferred: bool = True
    """True where each one taken is the reconstruction that the stated criteria prefer."""
    missing: bool = False
    """True where a wanted sequence is not in the study."""
    cpu_s: float = 0.0

    @property
    def same_as(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """The code and the series taken, on which the two ways have to agree."""
        return self.code, tuple(sorted(self.chosen.items()))


@dataclass(frozen=True)
class _Answer:
    chosen: Mapping[Modality, Stack] = field(default_factory=dict)
    review: bool = False
    code: str = ""
    detail: str = ""


def judged(case: StudyCase, ways: tuple[str, ...] = (OFFLINE, CLIENT)) -> list[Outcome]:
    """Answer the study each way and compare with its truth."""
    files, truth = files_of(case.name, case.series)
    outcomes = []
    for way in ways:
        start = time.process_time()
        given = files if way == OFFLINE else deidentified(files)
        answer = _answered(given, case, identified=way == OFFLINE)
        taken = time.process_time() - start
        outcomes.append(replace(_verdict(case, answer, truth), way=way, cpu_s=taken))
    return outcomes


def deidentified(files: list[bytes]) -> list[bytes]:
    """Return the files as the client sends them; the pseudonyms are the same for the same study."""
    study = DicomStudy.from_bytes(files)
    return list(deidentify([f for f in study.files if not f.reason_not_sent], _KEY).contents)


def _answered(files: list[bytes], case: StudyCase, *, identified: bool) -> _Answer:
    try:
        instances = read(files, accept_identified=identified)
        choice = choose_series(
            instances, case.channels, MIN_SLICES, compare=compared_by_images, look=looked_at, voxels=voxels_of
        )
        for modality, candidate in choice.chosen.items():
            assemble(candidate.stack, modality)
        review = any(check.verdict == "review" for check in choice.checks) or _swapped(choice)
        if case.whole:
            result = preprocess_dicom(files, recipe(case.channels), accept_identified=identified, threads=1)
            review = result.record.quality.verdict == "review"
    except GlioserveError as error:
        return _Answer(code=error.code.token, detail=error.detail)
    return _Answer({m: c.stack for m, c in choice.chosen.items()}, review)


def _swapped(choice: Choice) -> bool:
    """Return whether the pipeline's last check of T1 and T1ce, by their images, would ask for a review."""
    if not choice.pair_is_comparable:
        return False
    found = compared_by_images(choice.chosen[Modality.T1CE].stack, choice.chosen[Modality.T1].stack)
    return found is not None and found.second_excess - found.first_excess > MIN_SHARE


def recipe(channels: tuple[Modality, ...]) -> Recipe:
    """Return a recipe of these sequences on a coarse grid."""
    return Recipe(
        schema=RECIPE_SCHEMA,
        name="series",
        architecture=Architecture("resnet10"),
        channels=channels,
        classes=("necrosis", "recurrence"),
        grid=Grid((48, 48, 48), (4.0, 4.0, 4.0)),
        min_slices=MIN_SLICES,
    )


def _verdict(case: StudyCase, answer: _Answer, truth: Mapping[ImageKey, str]) -> Outcome:
    missing = bool(case.missing)
    outcome = Outcome(case.name, case.faults, "", REFUSED, answer.code, answer.detail, missing=missing)
    if answer.code:
        right = (missing and answer.code in MISSING_CODES) or case.accept_review
        return replace(outcome, verdict=RIGHT if right else REFUSED)
    by_name = {s.name: s for s in case.series}
    names = {m: sorted({truth[image_key(frame.dataset)] for frame in s.frames}) for m, s in answer.chosen.items()}
    chosen = {m.value: " + ".join(found) for m, found in names.items()}
    true = all(by_name[n].shows is m for m, found in names.items() for n in found)
    preferred = all(by_name[n].preferred for found in names.values() for n in found)
    outcome = replace(outcome, chosen=chosen, preferred=preferred)
    if answer.review:
        return replace(outcome, verdict=RIGHT if true and case.accept_review else REFUSED, detail="sent to review")
    return replace(outcome, verdict=RIGHT if true and not missing and not case.accept_review else WRONG)


def image_key(dataset: Dataset) -> ImageKey:
    """Return what tells an image of the study from any other, before and after de-identification."""
    return int(dataset.SeriesNumber), int(dataset.InstanceNumber)


def shares(outcomes: list[Outcome]) -> dict[str, int]:
    """Return the number of each verdict, in a fixed order."""
    return {v: sum(o.verdict == v for o in outcomes) for v in (RIGHT, REFUSED, WRONG)}
