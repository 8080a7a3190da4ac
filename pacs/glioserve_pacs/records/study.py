"""A study as the bridge knows it: its phase, its content, and the answers to it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Phase(str, Enum):
    """States of a study."""

    WAITING = "waiting"
    """Images are still coming, or a new look at the study is due."""
    INCOMPLETE = "incomplete"
    """Stable, but the recipe's sequences are not all there: new images make it wait again."""
    READY = "ready"
    """Complete and stable: to be answered."""
    ANSWERED = "answered"
    """Results are made and on the disk: to be stored."""
    STORED = "stored"
    """Results are in the PACS."""
    REFUSED = "refused"
    """The study, or its results, cannot be used: new images make it wait again."""


UNDER_WAY = (Phase.WAITING, Phase.READY, Phase.ANSWERED)
"""Phases that the bridge still works on; their number is bounded."""


@dataclass(frozen=True)
class Study:
    """A study as the bridge knows it."""

    study_instance_uid: str
    phase: Phase
    content: str
    """Digest of the images that were last seen (:func:`glioserve_pacs.archives.digest_of`)."""
    instances: int | None
    """Number of instances that the PACS reported last."""
    changed_at: float
    """Time of the content's last change, in seconds since 1970."""
    choice: str
    """Digest of the series that the recipe chose among ``content``; empty until it is complete."""
    attempts: int
    """Failures in a row since the last transition."""
    not_before: float
    """Time at which the next attempt is due, in seconds since 1970."""
    code: str
    """Token of the last failure."""


@dataclass(frozen=True)
class Report:
    """UIDs of a structured report, by which a later one names it as its predecessor."""

    sop_class_uid: str
    series_instance_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class Answer:
    """An answer to one content of a study by one model version."""

    number: int
    study_instance_uid: str
    content: str
    choice: str
    model_version: str
    report: Report
    results: tuple[str, ...]
    """SOPInstanceUIDs of the results, the report's among them."""
    supersedes: int | None
    """Number of the answer whose place it takes."""


@dataclass(frozen=True)
class NewAnswer:
    """Answer that :meth:`glioserve_pacs.records.state.State.answered` records."""

    model_version: str
    model_digest: str
    report: Report
    results: tuple[str, ...]
    supersedes: int | None
