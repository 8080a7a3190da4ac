"""The comparison of a candidate with what served: agreement, flips and scores, over all and by subgroup."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from glioserve_contract.records.studies.shadow import ShadowRecord
from glioserve_watch.drift.distance import psi
from glioserve_watch.outcomes.evidence import interval
from glioserve_watch.parts import parts_of
from glioserve_watch.record_file import RecordFile

SHADOW_FILE = "shadow.jsonl"
Scores = npt.NDArray[np.float64]
_BINS = 10


@dataclass(frozen=True)
class Comparison:
    """A candidate against what served, over the studies of one group."""

    studies: int
    """Studies that both answered with a label."""
    flips: int
    """Those of them that got another label."""
    flips_lower: float
    """Lower end of the interval of the share of flips that holds at every look, 95%."""
    flips_upper: float
    """Upper end of that interval."""
    mean_difference: float | None
    """Mean of the candidate's score less the served one, over all studies; None without one."""
    largest_difference: float | None
    """Largest distance of the scores, over all studies; None without one."""
    score_psi: float | None
    """Population stability index of the candidate's scores against the served ones in ten bins; None without one."""

    @property
    def flip_share(self) -> float | None:
        """Share of flips, 0 to 1; None without a study."""
        return self.flips / self.studies if self.studies else None


@dataclass(frozen=True)
class CandidateStanding:
    """One candidate against one version that served."""

    candidate: str
    """Version of the candidate."""
    candidate_digest: str
    """Digest of its weights."""
    served: str
    """Version that served."""
    served_digest: str
    """Digest of its weights."""
    over_all: Comparison
    """Comparison over all studies."""
    subgroups: dict[str, Comparison] = field(default_factory=dict)
    """Comparisons by subgroup (``manufacturer SIEMENS``)."""


def shadow_file(folder: Path) -> RecordFile[ShadowRecord]:
    """Return the file of the comparisons in a study log."""
    return RecordFile(folder / SHADOW_FILE, ShadowRecord)


def shadow_records(study_log: Path) -> list[ShadowRecord]:
    """Return the comparisons of a study log, those of all servers that share its folder.

    Raises:
        GlioserveError: GLIO-5134 where the folder is not there, or a file in it is unfit.
    """
    return [record for folder in parts_of(study_log) for record in shadow_file(folder).read()]


def compared(records: Iterable[ShadowRecord]) -> tuple[CandidateStanding, ...]:
    """Return the standing of each pair of weights, in the order in which they first appear; a study counts once."""
    pairs: dict[tuple[str, str], dict[str, ShadowRecord]] = defaultdict(dict)
    for record in records:
        pairs[record.candidate.digest, record.served.digest][record.image_digest] = record
    return tuple(_standing(list(own.values())) for own in pairs.values())


def _standing(records: list[ShadowRecord]) -> CandidateStanding:
    groups: dict[str, list[ShadowRecord]] = defaultdict(list)
    for record in records:
        for name, value in sorted(record.groups.items()):
            groups[f"{name} {value}"].append(record)
    last = records[-1]
    return CandidateStanding(
        last.candidate.version,
        last.candidate.digest,
        last.served.version,
        last.served.digest,
        _comparison(records),
        {group: _comparison(own) for group, own in sorted(groups.items())},
    )


def _comparison(records: list[ShadowRecord]) -> Comparison:
    results = [record.result for record in records]
    flips, same = results.count("flip"), results.count("same")
    lower, upper = interval(flips, same)
    candidate = np.array([record.candidate.score for record in records])
    served = np.array([record.served.score for record in records])
    difference = candidate - served
    return Comparison(
        flips + same,
        flips,
        lower,
        upper,
        float(difference.mean()) if records else None,
        float(np.abs(difference).max()) if records else None,
        _psi(candidate, served) if records else None,
    )


def _psi(actual: Scores, expected: Scores) -> float:
    counts = (np.histogram(scores, _BINS, (0.0, 1.0))[0].astype(np.float64) for scores in (expected, actual))
    return psi(*counts)
