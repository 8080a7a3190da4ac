"""Stacks as candidates for a sequence, and the criteria by which one is preferred to another.

The criteria apply in this order, each only where the one before leaves a tie:

1. its evidence is clearly stronger (:data:`CLEAR_LEAD`);
2. it can be a volume (no gap, no shear, readable);
3. it is original, not derived;
4. it covers more of the head (:data:`WHOLE_HEAD_MM`, or :data:`SIMILAR` of the other's extent);
5. its fat is not suppressed (T1 and T1ce);
6. its slices are nearer together;
7. it has more slices;
8. it is axial;
9. the same protocol was run again later: a repeat, most often because of motion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from glioserve_contract import GlioserveError, Modality
from glioserve_contract.records.preprocess import RunnerUpRecord
from glioserve_contract.sequences import SEQUENCES, Weighting
from glioserve_dicom import words
from glioserve_dicom.files.attributes import text
from glioserve_dicom.slices.spacing import SAME_POSITION_MM, even_step
from glioserve_dicom.slices.stacks import Stack
from glioserve_preprocess.series.acquisition import Acquisition
from glioserve_preprocess.series.evidence import Evidence

CLEAR_LEAD = 0.15
"""Lead in the share of belief above which no other criterion counts."""
WHOLE_HEAD_MM = 120.0
"""Extent of a stack that holds the cerebrum in every plane."""
SIMILAR = 0.85
"""Share from which on two extents, or two slice distances, count as alike."""
AXIAL_COSINE = 0.8
"""Least cosine between an axial stack's normal and the patient's long axis: oblique axial slices are still axial."""


@dataclass(frozen=True, eq=False)
class SeriesCandidate:
    """One stack with its acquisition and the evidence of what it is."""

    number: str
    """SeriesNumber, by which a person finds it in the archive; "unnumbered" where there is none."""
    stack: Stack
    acquisition: Acquisition
    evidence: Evidence

    @property
    def series_instance_uid(self) -> str:
        """SeriesInstanceUID as the files have it."""
        return self.stack.series_instance_uid

    @property
    def series_instance_uids(self) -> frozenset[str]:
        """SeriesInstanceUIDs of all frames; several where a volume was split over series."""
        return frozenset(text(frame.dataset, "SeriesInstanceUID") for frame in self.stack.frames)

    @property
    def slices(self) -> int:
        """Number of different slice positions."""
        return self.stack.slices

    @property
    def modality(self) -> Modality | None:
        """The sequence that the evidence names, if it is strong enough."""
        return self.evidence.modality

    @property
    def derived(self) -> bool:
        """True for a stack that was computed from other images."""
        return "DERIVED" in self.acquisition.image_type

    @property
    def fat_suppressed(self) -> bool:
        """True where the headers state that fat is suppressed."""
        marks = {*self.acquisition.description, *self.acquisition.scan_options}
        return self.acquisition.fat_suppressed or bool(marks & (words.FAT_SAT_WORDS | {"FS", "SFS", "WE"}))

    @cached_property
    def problem(self) -> GlioserveError | None:
        """The reason why it cannot be a volume, as far as headers show: the stack's own problem, or uneven slices."""
        planes = [frame.plane for frame in self.stack.frames if frame.plane is not None]
        if self.stack.problem is not None or len(planes) < 2:
            return self.stack.problem
        normal = planes[0].normal
        positions = np.array([plane.position_lps_mm for plane in planes])
        kept = np.diff(positions @ normal, prepend=-np.inf) >= SAME_POSITION_MM
        try:
            even_step(positions[kept], normal, planes[0].normal_error)
        except GlioserveError as problem:
            return problem
        return None

    @cached_property
    def extent_mm(self) -> float:
        """Distance from the first slice to the last; 0 where the headers do not place them."""
        planes = [frame.plane for frame in self.stack.frames if frame.plane is not None]
        if not planes:
            return 0.0
        along = np.array([plane.position_lps_mm for plane in planes]) @ planes[0].normal
        return float(np.ptp(along))

    @property
    def slice_distance_mm(self) -> float:
        """Mean distance of neighbouring slices."""
        return self.extent_mm / max(self.slices - 1, 1)

    @property
    def axial(self) -> bool:
        """True where the slices lie across the patient's long axis."""
        plane = self.stack.frames[0].plane
        return plane is not None and abs(float(plane.normal[2])) > AXIAL_COSINE

    @property
    def protocol(self) -> Acquisition:
        """The acquisition without its time and without words that only mark a repeat."""
        description = tuple(w for w in self.acquisition.description if w not in ("repeat", "rpt", "motion"))
        return replace(self.acquisition, started_s=None, description=description)

    @property
    def name(self) -> str:
        """The name in messages: ``series 13`` or ``series 13, echo 2``."""
        return f"series {self.number}" + (f", {self.stack.part}" if self.stack.part else "")

    def score(self, modality: Modality) -> float:
        """Return the share of belief in ``modality``."""
        return self.evidence.scores.get(modality, 0.0)

    def __str__(self) -> str:
        best = max(self.evidence.scores, key=self.score, default=None)
        likeliest = f"{best} {self.score(best):.2f}" if best else "none of the sequences"
        return f"{self.name} ({self.slices} slices, {likeliest}: {'; '.join(self.evidence.reasons)})"


_Worse = Callable[[SeriesCandidate, SeriesCandidate, Modality], str]
_Rivals = Callable[[Sequence[SeriesCandidate], Modality], Sequence[SeriesCandidate]]

# Each returns the reason why ``one`` is worse than ``best``, or nothing where it is not.


def _weaker(one: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> str:
    lead = best.score(modality) - one.score(modality)
    reason = f"its headers fit less well ({one.score(modality):.2f} against {best.score(modality):.2f})"
    return reason if lead > CLEAR_LEAD else ""


def _no_volume(one: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> str:
    if one.problem is None or best.problem is not None:
        return ""
    return f"it cannot be read as a volume ({one.problem.code.token})"


def _derived(one: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> str:
    return "it is derived from other images" if one.derived and not best.derived else ""


def _covers_less(one: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> str:
    enough = min(WHOLE_HEAD_MM, SIMILAR * best.extent_mm)
    return f"it covers {one.extent_mm:.0f} mm against {best.extent_mm:.0f} mm" if one.extent_mm < enough else ""


def _fat_suppressed(one: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> str:
    counts = SEQUENCES[modality].weighting is Weighting.T1 and one.fat_suppressed and not best.fat_suppressed
    return "its fat is suppressed" if counts else ""


def _thicker(one: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> str:
    mine, its = one.slice_distance_mm, best.slice_distance_mm
    return f"its slices are {mine:.1f} mm apart, not {its:.1f} mm" if its < SIMILAR * mine else ""


def _fewer(one: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> str:
    return f"it has {one.slices} slices, not {best.slices}" if one.slices < best.slices else ""


def _not_axial(one: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> str:
    return "it is not axial" if best.axial and not one.axial else ""


def _repeated(one: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> str:
    mine, its = one.acquisition.started_s, best.acquisition.started_s
    again = mine is not None and its is not None and mine < its and one.protocol == best.protocol
    return "the same protocol was run again later" if again else ""


def _most(key: Callable[[SeriesCandidate, Modality], float]) -> _Rivals:
    return lambda leaders, modality: (max(leaders, key=lambda c: key(c, modality)),)


def _last_runs(leaders: Sequence[SeriesCandidate], _: Modality) -> tuple[SeriesCandidate, ...]:
    """Return the latest run of each protocol."""
    last: dict[Acquisition, SeriesCandidate] = {}
    for candidate in leaders:
        rival = last.setdefault(candidate.protocol, candidate)
        if (rival.acquisition.started_s or 0) < (candidate.acquisition.started_s or 0):
            last[candidate.protocol] = candidate
    return tuple(last.values())


_CRITERIA: tuple[tuple[_Worse, _Rivals], ...] = (
    (_weaker, _most(lambda c, modality: c.score(modality))),
    (_no_volume, _most(lambda c, _: c.problem is None)),
    (_derived, _most(lambda c, _: not c.derived)),
    (_covers_less, _most(lambda c, _: c.extent_mm)),
    (_fat_suppressed, _most(lambda c, _: not c.fat_suppressed)),
    (_thicker, _most(lambda c, _: -c.slice_distance_mm)),
    (_fewer, _most(lambda c, _: c.slices)),
    (_not_axial, _most(lambda c, _: c.axial)),
    (_repeated, _last_runs),
)
"""Each criterion with a selector of its strongest candidates: comparing with those alone is O(n), not O(n²)."""


def preferred(candidates: Sequence[SeriesCandidate], modality: Modality) -> tuple[SeriesCandidate, ...]:
    """Return the best of ``candidates``; several where no criterion separates them."""
    leaders = tuple(candidates)
    for worse, strongest in _CRITERIA:
        rivals = strongest(leaders, modality)
        kept = tuple(c for c in leaders if not any(worse(c, other, modality) for other in rivals))
        leaders = kept or leaders  # a criterion that finds a fault in each of them decides nothing
    return leaders


def runner_up(candidate: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> RunnerUpRecord:
    """Return the record of a candidate that was not chosen."""
    why = next((reason for worse, _ in _CRITERIA if (reason := worse(candidate, best, modality))), "another was named")
    return RunnerUpRecord(
        series_instance_uid=candidate.series_instance_uid,
        part=candidate.stack.part,
        slices=candidate.slices,
        score=candidate.score(modality),
        why_not=why,
    )
