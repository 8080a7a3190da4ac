"""The choice of the one stack that stands for each sequence of the recipe, by evidence, never by force.

First every stack is judged alone (:mod:`evidence`), then in the context of the study: a T1-weighted series whose own
headers do not mention an agent is native if a series with agent came after it, and cannot be if one came before. Where
that leaves it open too, the images are compared (``compare``). Then the best candidate of each sequence is taken by
the stated criteria of :mod:`candidates`; the others go into the report. The caller may name a series outright.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.records.preprocess import RunnerUpRecord
from glioserve_contract.sequences import SEQUENCES
from glioserve_dicom.files.attributes import text
from glioserve_dicom.read import Instances
from glioserve_dicom.slices.stacks import Stack, stacks_of
from glioserve_preprocess.overrides import SeriesName
from glioserve_preprocess.series.acquisition import acquisition_of
from glioserve_preprocess.series.candidates import SeriesCandidate, preferred, runner_up
from glioserve_preprocess.series.enhancement import Enhancement
from glioserve_preprocess.series.evidence import DECIDED, judge

ORDER_POINTS = 3.0
"""Points of the order of acquisition for or against contrast agent; :mod:`evidence` explains points."""
OTHERS_POINTS = 1.0
"""Points against contrast agent where another series is marked as enhanced, without any times."""
IMAGE_POINTS = 5.0
"""Points of a comparison of images at full confidence."""
MOST_COMPARED = 4
"""Most T1-weighted stacks that are compared by their images; each pair costs a registration."""
MOST_LISTED = 12
"""Most candidates in a message."""
_CONTRAST_PAIR = tuple(m for m, entry in SEQUENCES.items() if entry.enhanced is not None)
"""T1 and T1ce, which only the contrast agent tells apart."""

Compare = Callable[[Stack, Stack], Enhancement | None]
"""A comparison of two T1-weighted stacks by their images; None where they cannot be compared."""


@dataclass(frozen=True)
class Choice:
    """The chosen candidate of each sequence, the runners-up, and warnings of what was left out."""

    chosen: Mapping[Modality, SeriesCandidate]
    runners_up: Mapping[Modality, tuple[RunnerUpRecord, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    named: frozenset[Modality] = frozenset()
    """Sequences whose series the caller named."""


def choose_series(
    instances: Instances,
    channels: Sequence[Modality],
    min_slices: int,
    *,
    named: Mapping[Modality, SeriesName] | None = None,
    compare: Compare | None = None,
) -> Choice:
    """Choose one candidate for each of ``channels``.

    Args:
        instances: The study's images.
        channels: The recipe's sequences.
        min_slices: Least number of slices of a series.
        named: The series that the caller names for a sequence, whatever its headers hold.
        compare: Comparison of two stacks by their images, for what headers leave open; None for none.

    Raises:
        GlioserveError: GLIO-1301 nothing fits; GLIO-1302 several do, or headers and images leave open which T1 is
            enhanced; GLIO-1303 what fits is short; GLIO-1304, GLIO-1305 what is ``named`` is not there, or ambiguous.
            Messages list series by number, slices, score and reasons.
    """
    named = {m: name for m, name in (named or {}).items() if m in channels}
    candidates = [_candidate(stack) for stack in stacks_of(instances)]
    chosen = {m: _named(candidates, m, name, min_slices) for m, name in named.items()}
    _refuse_twice(chosen)
    pool = [c for c in candidates if all(c.stack is not other.stack for other in chosen.values())]
    wanted = [m for m in channels if m not in chosen]
    pool = _in_context(pool, chosen, wanted)
    if compare is not None and any(m in _CONTRAST_PAIR for m in wanted):
        pool = _by_images(pool, wanted, min_slices, compare)
    warnings = [
        f"The caller named {c.name} for {m}; its headers say otherwise: {c}."
        for m, c in chosen.items()
        if c.modality is not m and not (m in _CONTRAST_PAIR and c.evidence.is_t1_weighted)
    ]
    runners_up: dict[Modality, tuple[RunnerUpRecord, ...]] = {}
    for modality in wanted:
        chosen[modality] = best = _best(pool, modality, min_slices, candidates)
        others = [c for c in pool if c.modality is modality and c is not best]
        others.sort(key=lambda c: (-c.score(modality), c.series_instance_uid, c.stack.part))
        runners_up[modality] = tuple(_runner_up(c, best, modality, min_slices) for c in others)
    warnings += [
        f"The {c.modality} series of {c.slices} slices is not in the recipe; left out."
        for c in pool
        if c.modality is not None and c.modality not in channels
    ]
    return Choice(chosen, runners_up, tuple(warnings), frozenset(named))


def _candidate(stack: Stack) -> SeriesCandidate:
    frame = stack.frames[len(stack.frames) // 2]
    number = text(frame.dataset, "SeriesNumber")
    acquisition = acquisition_of(frame.dataset, frame.index)
    return SeriesCandidate(number if number.isdigit() else "unnumbered", stack, acquisition, judge(acquisition))


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
        most = max(c.slices for c in matching)
        raise GlioserveError(
            ErrorCode.TOO_FEW_SLICES,
            f"The series named for {modality} has {most} slices; the recipe needs {min_slices}.",
        )
    fitting = [c for c in enough if c.modality is modality] or enough
    best = preferred(fitting, modality)
    if len(best) > 1:
        parts = ", ".join(f"#{c.stack.part}" for c in best)
        raise GlioserveError(
            ErrorCode.INVALID_OVERRIDE,
            f"The series named for {modality} holds several stacks; name one by adding its part to the UID: {parts}.",
        )
    reasons = ("named by the caller", *best[0].evidence.reasons)
    return replace(best[0], evidence=replace(best[0].evidence, reasons=reasons))


def _refuse_twice(chosen: Mapping[Modality, SeriesCandidate]) -> None:
    for (one, a), (other, b) in combinations(chosen.items(), 2):
        if a.stack is b.stack:
            raise GlioserveError(ErrorCode.INVALID_OVERRIDE, f"One series is named for both {one} and {other}.")


def _in_context(
    pool: Sequence[SeriesCandidate], chosen: Mapping[Modality, SeriesCandidate], wanted: Sequence[Modality]
) -> list[SeriesCandidate]:
    """Return the pool with the evidence that the other series give of each one's contrast agent."""
    enhanced = [c for c in pool if c.evidence.is_t1_weighted and c.evidence.contrast_points >= ORDER_POINTS]
    native = []
    if Modality.T1CE in chosen:
        enhanced.append(chosen[Modality.T1CE])
    if Modality.T1 in chosen and Modality.T1CE in wanted:
        native.append(chosen[Modality.T1])
    # series that are marked as enhanced more clearly than another; scanners that keep the agent from its entry on write
    # it into the native series as well, and then words decide
    stronger = {
        points: [c for c in enhanced if c.evidence.contrast_points > points]
        for points in {c.evidence.contrast_points for c in pool}
    }
    first_s = {
        points: min((c.acquisition.started_s for c in marked if c.acquisition.started_s is not None), default=None)
        for points, marked in stronger.items()
    }
    judged = []
    for candidate in pool:
        points = candidate.evidence.contrast_points
        beside = _Beside(bool(stronger[points]), first_s[points], bool(native) and not enhanced)
        judged.append(_beside(candidate, beside))
    return judged


@dataclass(frozen=True)
class _Beside:
    """Facts on the other T1-weighted series of the study, for one of them."""

    stronger: bool
    """True where some are marked as enhanced, and more so than this one."""
    stronger_from_s: float | None
    """Start of the first of those, in seconds."""
    native_named: bool
    """True where the caller named the native one and none is marked as enhanced."""


def _beside(candidate: SeriesCandidate, others: _Beside) -> SeriesCandidate:
    evidence, acquisition = candidate.evidence, candidate.acquisition
    if not evidence.is_t1_weighted:
        return candidate
    if others.native_named and evidence.contrast_open:
        reason = "another T1 was named by the caller"
        return replace(candidate, evidence=evidence.with_contrast(ORDER_POINTS, reason))
    if not others.stronger:
        return candidate
    if others.stronger_from_s is None or acquisition.started_s is None:
        if not evidence.contrast_open:
            return candidate
        reason = "another series is marked as enhanced"
        return replace(candidate, evidence=evidence.with_contrast(-OTHERS_POINTS, reason))
    if acquisition.started_s < others.stronger_from_s:
        reason = "acquired before the series with contrast agent"
        return replace(candidate, evidence=evidence.with_contrast(-ORDER_POINTS, reason))
    if acquisition.started_s > others.stronger_from_s and evidence.contrast_points < DECIDED:
        reason = "acquired after a series with contrast agent, so hardly native"
        return replace(candidate, evidence=evidence.with_contrast(ORDER_POINTS, reason))
    return candidate


def _by_images(
    pool: list[SeriesCandidate], wanted: Sequence[Modality], min_slices: int, compare: Compare
) -> list[SeriesCandidate]:
    """Return the pool with the images' evidence, where headers leave open which T1-weighted series is enhanced."""
    weighted = [c for c in pool if c.evidence.is_t1_weighted and c.slices >= min_slices and c.problem is None]
    settled = {c.modality for c in weighted if not c.evidence.contrast_open}
    missing = [m for m in _CONTRAST_PAIR if m in wanted and m not in settled]
    if len(weighted) < 2 or not missing or not any(c.evidence.contrast_open for c in weighted):
        return pool
    weighted.sort(key=lambda c: (not c.evidence.contrast_open, c.derived, -c.slices, c.series_instance_uid))
    points = {id(c): 0.0 for c in weighted}
    reasons: dict[int, list[str]] = {id(c): [] for c in weighted}
    for one, other in combinations(weighted[:MOST_COMPARED], 2):
        if not (one.evidence.contrast_open or other.evidence.contrast_open):
            continue
        enhancement = compare(one.stack, other.stack)
        if enhancement is None:
            continue
        for candidate, against, sign in ((one, other, 1.0), (other, one, -1.0)):
            worth, reason = _points_by_images(enhancement, sign, against)
            points[id(candidate)] += worth
            reasons[id(candidate)] += [reason]
    return [
        replace(c, evidence=c.evidence.with_contrast(points[id(c)], "; ".join(reasons[id(c)])))
        if reasons.get(id(c)) and c.evidence.contrast_open
        else c
        for c in pool
    ]


def _points_by_images(enhancement: Enhancement, sign: float, against: SeriesCandidate) -> tuple[float, str]:
    """Return points and reason for one of the two: ``sign`` is 1 for the first."""
    if enhancement.ambiguous:
        settled = 0.0 if against.evidence.contrast_open else against.evidence.contrast_points
        worth = max(-DECIDED, min(DECIDED, settled)) if enhancement.alike else 0.0
        return worth, f"its images show no clear difference in enhancement to {against.name}"
    enhanced = (enhancement.first_is_enhanced is True) == (sign > 0)
    reason = (
        f"its images are {'enhanced' if enhanced else 'native'} beside {against.name} ({enhancement.confidence:.2f})"
    )
    return (IMAGE_POINTS if enhanced else -IMAGE_POINTS) * enhancement.confidence, reason


def _best(
    pool: Sequence[SeriesCandidate], modality: Modality, min_slices: int, all_: Sequence[SeriesCandidate]
) -> SeriesCandidate:
    fitting = [c for c in pool if c.modality is modality]
    if not fitting:
        open_ = [c for c in pool if modality in _CONTRAST_PAIR and c.evidence.is_t1_weighted]
        if len(open_) > 1 and any(c.evidence.contrast_open for c in open_):
            raise GlioserveError(
                ErrorCode.AMBIGUOUS_SEQUENCE,
                f"Neither headers nor images tell which of {len(open_)} T1-weighted series is {modality}: "
                f"{_listed(open_)}. {_how_to_name(modality)}",
            )
        raise GlioserveError(
            ErrorCode.MISSING_SEQUENCE,
            f"No {modality} series among {len(all_)}: {_listed(pool) or 'nothing'}. {_how_to_name(modality)}",
        )
    enough = [c for c in fitting if c.slices >= min_slices or c.stack.problem is not None]
    if not enough:
        most = max(c.slices for c in fitting)
        raise GlioserveError(
            ErrorCode.TOO_FEW_SLICES, f"The {modality} series has {most} slices; the recipe needs {min_slices}."
        )
    best = preferred(enough, modality)
    if len(best) > 1:
        raise GlioserveError(
            ErrorCode.AMBIGUOUS_SEQUENCE,
            f"{len(best)} series fit {modality} equally: {_listed(best)}. {_how_to_name(modality)}",
        )
    return best[0]


def _runner_up(
    candidate: SeriesCandidate, best: SeriesCandidate, modality: Modality, min_slices: int
) -> RunnerUpRecord:
    record = runner_up(candidate, best, modality)
    if candidate.slices < min_slices and candidate.stack.problem is None:
        return replace(record, why_not=f"it has {candidate.slices} slices; the recipe needs {min_slices}")
    return record


def _listed(candidates: Iterable[SeriesCandidate]) -> str:
    ordered = sorted(candidates, key=lambda c: (-c.evidence.confidence, c.series_instance_uid, c.stack.part))
    more = f"; and {len(ordered) - MOST_LISTED} more" if len(ordered) > MOST_LISTED else ""
    return "; ".join(map(str, ordered[:MOST_LISTED])) + more


def _how_to_name(modality: Modality) -> str:
    return f'The series can be named outright: series={{"{modality}": its SeriesInstanceUID}}.'
