"""The choice of the one stack that stands for each sequence of the recipe, by evidence, never by force.

First every stack is judged alone (:mod:`evidence`), then as part of its acquisition (:mod:`reconstructions`) and of the
study (:mod:`kinds`, :mod:`contrast`). Then the best candidate of each sequence is taken by the stated criteria of
:mod:`preference`, and the voxels are asked for a second opinion (:mod:`opinions`); the others go into the report. The
caller may name a series outright.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.records.preprocess import NAMED_BY_CALLER, QualityCheck, RunnerUpRecord
from glioserve_dicom.clocks import first_of, since
from glioserve_dicom.files.attributes import text
from glioserve_dicom.read import Instances
from glioserve_dicom.slices.stacks import Stack, counted, scattered, stacks_of, too_few
from glioserve_preprocess.overrides import SeriesName
from glioserve_preprocess.series.candidates import SeriesCandidate, Voxels
from glioserve_preprocess.series.contrast import (
    CONTRAST_PAIR,
    Compare,
    Look,
    asked_about,
    by_images,
    first_is_native,
    in_context,
    natives_after,
    why_unlike,
)
from glioserve_preprocess.series.evidence import judge
from glioserve_preprocess.series.kinds.by_study import by_study
from glioserve_preprocess.series.kinds.by_voxels import without_differences, without_other_phases
from glioserve_preprocess.series.opinions import (
    MOST_SIGNS,
    by_voxels,
    corroborations,
    opinion_check,
    second_opinion,
)
from glioserve_preprocess.series.preference import preferred, runner_up
from glioserve_preprocess.series.reconstructions import in_acquisitions, with_first_time, with_same_measurement

MOST_LISTED = 12
"""Most candidates in a message."""


@dataclass(frozen=True)
class Judged:
    """Every stack of a study with all evidence of what it is, before one is chosen for each sequence."""

    candidates: tuple[SeriesCandidate, ...]
    """All stacks, those that the caller named included."""
    named: Mapping[Modality, SeriesCandidate]
    """Candidates that the caller named."""
    corrected: bool
    """True where the distortion of most acquisitions is corrected."""


@dataclass(frozen=True)
class Choice:
    """The chosen candidate of each sequence, the runners-up, and warnings of what was left out."""

    chosen: Mapping[Modality, SeriesCandidate]
    runners_up: Mapping[Modality, tuple[RunnerUpRecord, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    named: frozenset[Modality] = frozenset()
    """Sequences whose series the caller named."""
    checks: tuple[QualityCheck, ...] = ()
    """Verdicts of the voxels of the chosen series on their headers."""

    @property
    def pair_is_comparable(self) -> bool:
        """True where images of the chosen T1 and T1ce are alike enough to show which of them is enhanced."""
        pair = [self.chosen[m] for m in CONTRAST_PAIR if m in self.chosen]
        return len(pair) == len(CONTRAST_PAIR) and not why_unlike(*pair)


def choose_series(
    instances: Instances,
    channels: Sequence[Modality],
    min_slices: int,
    *,
    named: Mapping[Modality, SeriesName] | None = None,
    compare: Compare | None = None,
    look: Look | None = None,
    voxels: Voxels | None = None,
) -> Choice:
    """Choose one candidate for each of ``channels``.

    Args:
        instances: The study's images.
        channels: The recipe's sequences.
        min_slices: Least number of slices of a series.
        named: The series that the caller names for a sequence, whatever its headers hold.
        compare: Comparison of two stacks by their images, for what headers leave open; None for none.
        look: Opinion on one stack by its voxels; None for none.
        voxels: Voxels of a stack, for what no header tells: images of one acquisition, differences; None for none.

    Raises:
        GlioserveError: GLIO-1301 nothing fits; GLIO-1302 several do, or headers and images leave open which T1 is
            enhanced, or contradict each other; GLIO-1303 what fits is short; GLIO-1304, GLIO-1305 what is ``named`` is
            not there, or ambiguous. Messages list series by number, slices, score and reasons.
    """
    judged = judge_study(instances, channels, min_slices, named=named, compare=compare, look=look, voxels=voxels)
    return choose_among(judged, channels, min_slices, compare=compare, look=look)


def judge_study(
    instances: Instances,
    channels: Sequence[Modality],
    min_slices: int,
    *,
    named: Mapping[Modality, SeriesName] | None = None,
    compare: Compare | None = None,
    look: Look | None = None,
    voxels: Voxels | None = None,
) -> Judged:
    """Return every stack with the evidence of headers, of the rest of the study and, where needed, of images.

    Arguments are those of :func:`choose_series`.

    Raises:
        GlioserveError: GLIO-1303 to GLIO-1305 for what is ``named``.
    """
    names = {m: name for m, name in (named or {}).items() if m in channels}
    candidates = in_acquisitions(_in_one_examination([_candidate(stack) for stack in stacks_of(instances)]))
    candidates = by_study(candidates)
    if voxels is not None:
        candidates = without_differences(without_other_phases(candidates, voxels), voxels)
        candidates = with_same_measurement(candidates, voxels)
    chosen = _named_series(candidates, names, min_slices)
    taken = {id(c.stack) for c in chosen.values()}
    pool = [c for c in candidates if id(c.stack) not in taken]
    wanted = [m for m in channels if m not in chosen]
    if look is not None:
        pool = by_voxels(pool, wanted, min_slices, look)
    pool = in_context(pool, chosen, wanted)
    if any(m in CONTRAST_PAIR for m in wanted):
        if compare is not None:
            pool = by_images(pool, wanted, min_slices, compare, look)
        pool = first_is_native(pool, look)
    return Judged((*chosen.values(), *pool), chosen, _mostly_corrected(candidates))


def choose_among(
    judged: Judged,
    channels: Sequence[Modality],
    min_slices: int,
    *,
    compare: Compare | None = None,
    look: Look | None = None,
) -> Choice:
    """Choose one of the judged candidates for each of ``channels``, as :func:`choose_series` does."""
    chosen = dict(judged.named)
    pool = [c for c in judged.candidates if all(c is not other for other in chosen.values())]
    wanted = [m for m in channels if m not in chosen]
    if look is not None:
        chosen = {m: asked_about(c, look) for m, c in chosen.items()}
    warnings = [
        f"The caller named {c.name} for {m}; its headers say otherwise: {c}."
        for m, c in chosen.items()
        if c.modality is not m and not (m in CONTRAST_PAIR and c.evidence.is_t1_weighted)
    ]
    warnings += [
        f"The caller named {c.name} for {m}; its voxels look like {c.pixels.likeliest} ({check.value:.2f})."
        for m, c in chosen.items()
        if c.pixels is not None and (check := opinion_check(c, m)) is not None and check.verdict == "review"
    ]
    runners_up: dict[Modality, tuple[RunnerUpRecord, ...]] = {}
    checks = []
    for modality in wanted:
        best = _best(pool, modality, min_slices, judged)
        others = [c for c in pool if c.modality is modality and c is not best]
        others.sort(key=lambda c: (-c.score(modality), c.series_instance_uid, c.stack.part))
        runners_up[modality] = tuple(_runner_up(c, best, modality, min_slices, judged.corrected) for c in others)
        chosen[modality] = best if look is None else second_opinion(best, modality, look)
        if (check := opinion_check(chosen[modality], modality)) is not None:
            checks.append(check)
    if Modality.T1CE in wanted:
        later = natives_after(chosen[Modality.T1CE], judged.candidates)
        checks.append(QualityCheck.judged("t1ce_before_native", later, "count", (0, 0)))
    if len(wanted) > 1:  # where some have times, those without may be of another day
        timed = [chosen[m].acquisition.started_s is not None for m in wanted]
        untimed = timed.count(False) if any(timed) else 0
        checks.append(QualityCheck.judged("untimed_sequences", untimed, "count", (0, 0)))
    if all(m in wanted for m in CONTRAST_PAIR):
        signs = corroborations(chosen[Modality.T1], chosen[Modality.T1CE], compare)
        checks.append(QualityCheck.judged("t1ce_corroborations", signs, "count", (1, MOST_SIGNS)))
    warnings += [
        f"The {c.modality} series of {counted(c.slices)} is not in the recipe; left out."
        for c in pool
        if c.modality is not None and c.modality not in channels
    ]
    return Choice(chosen, runners_up, tuple(warnings), frozenset(judged.named), tuple(checks))


def _candidate(stack: Stack) -> SeriesCandidate:
    middle = stack.frames[len(stack.frames) // 2]
    number = text(middle.dataset, "SeriesNumber")
    acquisition = with_first_time(stack.frames)
    return SeriesCandidate(number if number.isdigit() else "unnumbered", stack, acquisition, judge(acquisition))


def _in_one_examination(candidates: Sequence[SeriesCandidate]) -> list[SeriesCandidate]:
    """Return the candidates with their times since the study's first; times of another day count for nothing."""
    acquisitions = [c.acquisition for c in candidates]
    first_us = first_of(_us(s) for a in acquisitions for s in (a.acquired_s, a.started_s) if s is not None)
    return [
        replace(
            c, acquisition=replace(a, acquired_s=_told(a.acquired_s, first_us), started_s=_told(a.started_s, first_us))
        )
        for c, a in zip(candidates, acquisitions, strict=True)
    ]


def _us(clock_s: float) -> int:
    return round(clock_s * 1_000_000)


def _told(clock_s: float | None, first_us: int) -> float | None:
    passed_us = None if clock_s is None else since(first_us, _us(clock_s))
    return None if passed_us is None else passed_us / 1_000_000


def _named_series(
    candidates: Sequence[SeriesCandidate], names: Mapping[Modality, SeriesName], min_slices: int
) -> dict[Modality, SeriesCandidate]:
    """Return the candidate that the caller named for each sequence.

    Raises:
        GlioserveError: GLIO-1303 what is named is short; GLIO-1304 it is not there; GLIO-1305 it is ambiguous, or named
            for two sequences.
    """
    chosen = {m: _named(candidates, m, name, min_slices) for m, name in names.items()}
    _refuse_twice(chosen)
    return chosen


def _named(
    candidates: Sequence[SeriesCandidate], modality: Modality, name: SeriesName, min_slices: int
) -> SeriesCandidate:
    """Return the stack that the caller named."""
    matching = [c for c in candidates if name.uid in c.series_instance_uids]
    if not matching:
        count = len({c.series_instance_uid for c in candidates})
        raise GlioserveError(
            ErrorCode.UNKNOWN_SERIES, f"The series named for {modality} is not among the {count} series of the study."
        )
    if name.part:
        parts = ", ".join(repr(c.stack.part) for c in matching)
        matching = [c for c in matching if c.stack.part == name.part]
        if not matching:
            raise GlioserveError(
                ErrorCode.UNKNOWN_SERIES, f"The series named for {modality} has no such part; it has {parts}."
            )
    enough = [c for c in matching if c.slices >= min_slices]
    if not enough:
        detail = f"The series named for {modality} {too_few([c.stack for c in matching], min_slices)}"
        raise GlioserveError(ErrorCode.TOO_FEW_SLICES, detail)
    fitting = [c for c in enough if c.modality is modality] or enough
    best = preferred(fitting, modality)
    if len(best) > 1:
        parts = ", ".join(f"#{c.stack.part}" for c in best)
        raise GlioserveError(
            ErrorCode.INVALID_OVERRIDE,
            f"The series named for {modality} holds several stacks; name one by adding its part to the UID: {parts}.",
        )
    reasons = (NAMED_BY_CALLER, *best[0].evidence.reasons)
    return replace(best[0], evidence=replace(best[0].evidence, reasons=reasons))


def _refuse_twice(chosen: Mapping[Modality, SeriesCandidate]) -> None:
    for (one, a), (other, b) in combinations(chosen.items(), 2):
        if a.stack is b.stack:
            raise GlioserveError(ErrorCode.INVALID_OVERRIDE, f"One series is named for both {one} and {other}.")


def _mostly_corrected(candidates: Sequence[SeriesCandidate]) -> bool:
    """Return whether most acquisitions are there with corrected distortion; those that do not state it do not count."""
    groups: dict[int, bool] = {}
    for candidate in candidates:
        if candidate.modality is not None and (candidate.distortion_corrected or "ND" in candidate.marks):
            group = candidate.acquisition_group
            groups[group] = groups.get(group, False) or candidate.distortion_corrected
    return 2 * sum(groups.values()) >= len(groups)


def _best(pool: Sequence[SeriesCandidate], modality: Modality, min_slices: int, judged: Judged) -> SeriesCandidate:
    fitting = [c for c in pool if c.modality is modality]
    if not fitting:
        open_ = [c for c in pool if modality in CONTRAST_PAIR and c.evidence.is_t1_weighted]
        if len(open_) > 1 and not _long_enough(open_, min_slices):
            detail = f"Each of {len(open_)} T1-weighted series {too_few([c.stack for c in open_], min_slices)}"
            raise GlioserveError(ErrorCode.TOO_FEW_SLICES, detail)
        if len(open_) > 1 and any(c.evidence.contrast_open for c in open_):
            raise GlioserveError(
                ErrorCode.AMBIGUOUS_SEQUENCE,
                f"Neither headers nor images tell which of {len(open_)} T1-weighted series is {modality}: "
                f"{_listed(open_)}. {_how_to_name(modality)}",
            )
        among = f"{len(judged.candidates)}: {_listed(pool) or 'nothing'}.{scattered(c.stack for c in pool)}"
        raise GlioserveError(ErrorCode.MISSING_SEQUENCE, f"No {modality} series among {among} {_how_to_name(modality)}")
    enough = _long_enough(fitting, min_slices)
    if not enough:
        detail = f"The {modality} series {too_few([c.stack for c in fitting], min_slices)}"
        raise GlioserveError(ErrorCode.TOO_FEW_SLICES, detail)
    best = preferred(enough, modality, corrected=judged.corrected)
    if len(best) > 1:
        raise GlioserveError(
            ErrorCode.AMBIGUOUS_SEQUENCE,
            f"{len(best)} series fit {modality} equally: {_listed(best)}. {_how_to_name(modality)}",
        )
    return best[0]


def _long_enough(candidates: Sequence[SeriesCandidate], min_slices: int) -> list[SeriesCandidate]:
    """Return those with enough slices, and those whose problem is another."""
    return [c for c in candidates if c.slices >= min_slices or c.stack.problem is not None]


def _runner_up(
    candidate: SeriesCandidate, best: SeriesCandidate, modality: Modality, min_slices: int, corrected: bool
) -> RunnerUpRecord:
    record = runner_up(candidate, best, modality, corrected=corrected)
    if candidate.slices < min_slices and candidate.stack.problem is None:
        return replace(record, why_not=f"it {too_few([candidate.stack], min_slices).rstrip('.')}")
    return record


def _listed(candidates: Iterable[SeriesCandidate]) -> str:
    ordered = sorted(candidates, key=lambda c: (-c.evidence.confidence, c.series_instance_uid, c.stack.part))
    more = f"; and {len(ordered) - MOST_LISTED} more" if len(ordered) > MOST_LISTED else ""
    return "; ".join(map(str, ordered[:MOST_LISTED])) + more


def _how_to_name(modality: Modality) -> str:
    return f'The series can be named outright: series={{"{modality}": its SeriesInstanceUID}}.'
