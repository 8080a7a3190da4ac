"""Instances to the one series that stands for each sequence of the recipe, chosen by evidence, never by force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_preprocess.evidence import Evidence, judge
from glioserve_preprocess.read import Instances
from glioserve_preprocess.stacks import Stack, stacks_of

MIN_CONFIDENCE = 0.5
"""Below it a series is no candidate."""
CLEAR_LEAD = 0.1
"""How much more confident the best candidate must be for slices not to decide."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One stack, what it seems to be, and why. ``modality`` is None where nothing fits."""

    stack: Stack
    evidence: Evidence

    @property
    def series_instance_uid(self) -> str:
        """As the files have it."""
        return self.stack.series_instance_uid

    @property
    def slices(self) -> int:
        """Different slice positions."""
        return self.stack.slices

    @property
    def modality(self) -> Modality | None:
        """The sequence that the evidence names, if it is strong enough."""
        return self.evidence.modality if self.evidence.confidence >= MIN_CONFIDENCE else None

    def __str__(self) -> str:
        said = f"{self.evidence.modality or 'unknown'} at {self.evidence.confidence:.2f}"
        part = f", {self.stack.part}" if self.stack.part else ""
        return f"{self.slices} slices ({said}: {'; '.join(self.evidence.reasons)}{part})"


def choose_series(
    instances: Instances, channels: Sequence[Modality], min_slices: int
) -> tuple[dict[Modality, Candidate], tuple[str, ...]]:
    """One candidate for each of ``channels``, and warnings about what was left out.

    Criteria, in order: at least ``min_slices`` slices; the more confident by 0.1; the more slices. A tie is an
    error that lists the candidates (GLIO-1302), a gap one that lists what was found (GLIO-1301, GLIO-1303).
    """
    candidates = _candidates(instances)
    chosen, warnings = {}, []
    for modality in channels:
        fitting = [c for c in candidates if c.modality is modality]
        if not fitting:
            found = "; ".join(map(str, candidates)) or "nothing"
            raise GlioserveError(ErrorCode.MISSING_SEQUENCE, f"No {modality} series among {len(candidates)}: {found}.")
        enough = [c for c in fitting if c.slices >= min_slices or c.stack.problem is not None]
        if not enough:
            most = max(c.slices for c in fitting)
            raise GlioserveError(
                ErrorCode.TOO_FEW_SLICES, f"The {modality} series has {most} slices; the recipe needs {min_slices}."
            )
        best = _best(enough, modality)
        chosen[modality] = best
        warnings += [f"Another {modality} series was left out: {c}." for c in fitting if c is not best]
    for modality in Modality:
        short = [c for c in candidates if c.modality is modality and modality not in channels]
        warnings += [f"The {modality} series of {c.slices} slices is not in the recipe; left out." for c in short]
    return chosen, tuple(warnings)


def _candidates(instances: Instances) -> list[Candidate]:
    return [Candidate(stack, judge(stack.frames[0].dataset)) for stack in stacks_of(instances)]


def _best(candidates: list[Candidate], modality: Modality) -> Candidate:
    top = max(c.evidence.confidence for c in candidates)
    leaders = [c for c in candidates if c.evidence.confidence > top - CLEAR_LEAD]
    most = max(c.slices for c in leaders)
    leaders = [c for c in leaders if c.slices == most]
    if len(leaders) > 1:
        raise GlioserveError(
            ErrorCode.AMBIGUOUS_SEQUENCE,
            f"{len(leaders)} series fit {modality} equally: {'; '.join(map(str, leaders))}.",
        )
    return leaders[0]
