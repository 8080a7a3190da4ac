"""Stacks that are reconstructions of one acquisition, recognised by what they share.

A scanner saves one measurement several times: with and without prescan normalisation (NORM, ND), with distortion
correction (DIS2D, DIS3D), as reformats and projections, as the echoes of a multi-echo sequence with their root mean
square (RMS), as water and in-phase images. Such stacks are never before and after an injection, whatever they look
like, and what headers of one of them state of the contrast agent holds for all.

Where no times are left, voxels tell two images of one measurement from two measurements: normalisation multiplies by a
smooth field and leaves the noise as it is, while two measurements have noise of their own.
"""

from __future__ import annotations

import math
import zlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from glioserve_dicom.slices.frames import Frame
from glioserve_preprocess.arrays import FloatArray
from glioserve_preprocess.series.acquisition import Acquisition, acquired_at_s, acquisition_of
from glioserve_preprocess.series.candidates import SeriesCandidate, Voxels
from glioserve_preprocess.series.evidence import DECIDED

SAME_START_S = 1.0
"""Difference of two starts of one acquisition: makers leave out fractions of seconds, or round them."""
_PROCESSING = frozenset("ND NORM DIS2D DIS3D FIL FILTERED SH FM FM2 MFSPLIT".split())
"""Image types of what a scanner does to the images of one acquisition."""
RUN_S = 60.0
"""Least time between the starts of two runs of a protocol; a reconstruction's series starts sooner."""
SIGNAL_LEVEL = 0.2
"""Share of an image's 99th percentile above which rounding to whole numbers does not count."""
LIKE_NOISE, LIKE_ALL = 0.005, 0.03
"""Largest median and 95th percentile of the bend of the logarithm of two images' ratio, from pixel to pixel, of one
measurement. Noise of one in a hundred of the signal, which two measurements have each, makes a median of 0.023."""
LEAST_COMPARED = 2000
"""Least number of pixels of such a comparison."""
MOST_MEASUREMENTS = 12
"""Most stacks on one grid that are compared so: each pair costs the reading of both."""


def with_first_time(frames: Sequence[Frame]) -> Acquisition:
    """Return the headers of a stack's middle frame, with the earliest acquisition time of first, middle and last."""
    middle = frames[len(frames) // 2]
    acquisition = acquisition_of(middle.dataset, middle.index)
    ends_s = [acquired_at_s(f.dataset, f.index) for f in (frames[0], frames[-1]) if f is not middle]
    times_s = [s for s in (acquisition.acquired_s, *ends_s) if s is not None]
    return replace(acquisition, acquired_s=min(times_s, default=None))


def in_acquisitions(candidates: Sequence[SeriesCandidate]) -> list[SeriesCandidate]:
    """Return the candidates with the number of their acquisition and the evidence of agent that its stacks share.

    Two stacks belong to one acquisition where their timings agree and either their acquisition times and numbers do,
    or they are parts of one series, or copies to the bit. A derived stack that has no acquisition by these rules goes
    to the one original acquisition that it can come from.
    """
    groups = _Groups(len(candidates))
    untimely = _times_of_several(candidates)
    _join_by_time(candidates, groups, untimely)
    for key in (_within_series, _copies):
        same: dict[Hashable, int] = {}
        for at, candidate in enumerate(candidates):
            if (found := key(candidate)) is not None:
                groups.join(same.setdefault(found, at), at)
    _adopt_derived(candidates, groups, untimely)
    numbered = [replace(c, acquisition_group=groups.of(at)) for at, c in enumerate(candidates)]
    shared = _with_shared_agent(_with_originals_time(numbered))
    return [
        replace(c, marked_native=c.evidence.is_t1_weighted and c.evidence.contrast_points <= -DECIDED) for c in shared
    ]


def may_be_one_acquisition(one: SeriesCandidate, other: SeriesCandidate) -> bool:
    """Return whether nothing rules out that both are reconstructions of one acquisition: doubt counts as yes.

    Two originals are two runs of a protocol where their times differ, or their headers differ on the agent. Times of
    series tell only apart what took longer than a reconstruction takes to follow.
    """
    a, b = one.acquisition, other.acquisition
    if one.acquisition_group == other.acquisition_group:
        return True
    if timings_key(a) != timings_key(b):
        return False
    if one.derived or other.derived:
        return True
    if a.agent is not None and b.agent is not None and a.agent is not b.agent:
        return False
    if a.acquired_s is not None and b.acquired_s is not None:
        return abs(a.acquired_s - b.acquired_s) <= SAME_START_S
    if a.started_s is None or b.started_s is None:
        return True
    return a.image_type != b.image_type or abs(a.started_s - b.started_s) < RUN_S


def timings_key(acquisition: Acquisition) -> tuple[Hashable, ...]:
    """Return what all reconstructions of one acquisition share: no echo time, since its echoes differ in that."""
    numbers = (acquisition.repetition_time_ms, acquisition.inversion_time_ms, acquisition.flip_angle_deg)
    return (
        *("" if value is None else f"{value:.3g}" for value in numbers),
        acquisition.scanning_sequence,
        acquisition.in_3d,
    )


def with_same_measurement(candidates: Sequence[SeriesCandidate], voxels: Voxels) -> list[SeriesCandidate]:
    """Return the candidates; T1-weighted ones of unknown time and agent that are one measurement are one acquisition.

    Only stacks on one grid whose image types differ in the scanner's processing alone are compared.
    """
    alike: dict[Hashable, list[int]] = defaultdict(list)
    for at, candidate in enumerate(candidates):
        if candidate.evidence.contrast_open and candidate.acquisition.started_s is None:
            alike[timings_key(candidate.acquisition), _processed(candidate)[0]].append(at)
    groups = {at: candidates[at].acquisition_group for places in alike.values() for at in places}
    for places in alike.values():
        for at, other in combinations(places[:MOST_MEASUREMENTS], 2):
            one, second = candidates[at], candidates[other]
            if groups[at] == groups[other] or _processed(one)[1] == _processed(second)[1]:
                continue
            images = voxels(one.stack), voxels(second.stack)
            if images[0] is not None and images[1] is not None and _one_measurement(images[0], images[1]):
                joined, left = min(groups[at], groups[other]), max(groups[at], groups[other])
                groups = {place: joined if group == left else group for place, group in groups.items()}
    return [replace(c, acquisition_group=groups.get(at, c.acquisition_group)) for at, c in enumerate(candidates)]


def _one_measurement(one: FloatArray, other: FloatArray) -> bool:
    """Return whether one image [z, y, x] is the other times a smooth field: their noise is the same."""
    if one.shape != other.shape:
        return False
    levels = [SIGNAL_LEVEL * float(np.percentile(image, 99)) for image in (one, other)]
    if min(levels) <= 0:
        return False
    signal = (one > levels[0]) & (other > levels[1])
    ratio = np.log(np.maximum(one, levels[0]) / np.maximum(other, levels[1]))
    inside = signal[..., :-2] & signal[..., 1:-1] & signal[..., 2:]
    bend = np.abs(ratio[..., :-2] - 2 * ratio[..., 1:-1] + ratio[..., 2:])[inside]
    if bend.size < LEAST_COMPARED:
        return False
    return bool(np.median(bend) <= LIKE_NOISE and np.percentile(bend, 95) <= LIKE_ALL)


class _Groups:
    """Disjoint sets of the numbers below ``count``."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def of(self, at: int) -> int:
        """Return the number of the set that holds ``at``: its least member."""
        while self._parents[at] != at:
            self._parents[at] = at = self._parents[self._parents[at]]
        return at

    def join(self, one: int, other: int) -> None:
        """Make one set of two."""
        one, other = self.of(one), self.of(other)
        self._parents[max(one, other)] = min(one, other)


def _join_by_time(candidates: Sequence[SeriesCandidate], groups: _Groups, untimely: set[float]) -> None:
    """Join stacks of equal timings that start together; a number may be missing in one of them.

    Some scanners number the reconstructions of one acquisition. Numbers count for nothing where the same grid was
    processed in two ways.
    """
    alike: dict[Hashable, list[tuple[float, int]]] = defaultdict(list)
    for at, candidate in enumerate(candidates):
        time_s = candidate.timely(untimely)
        if time_s is not None:
            alike[candidate.acquisition.phase, timings_key(candidate.acquisition)].append((time_s, at))
    for starts in alike.values():
        starts.sort()
        _join_numbers(candidates, groups, starts)
        _join_processed(candidates, groups, starts)


def _join_numbers(candidates: Sequence[SeriesCandidate], groups: _Groups, starts: list[tuple[float, int]]) -> None:
    """Join stacks, in order of their starts, that start together and whose numbers are equal or missing in one.

    Of each number the latest stack stands for those before it, which were joined to it where they start together; so
    does the latest without a number for all before it. Thousands of stacks therefore cost little more than their sort.
    """
    latest: dict[str, tuple[float, int]] = {}
    for time_s, at in starts:
        number = _number(candidates[at])
        earlier = reversed(latest) if number == "" else (number, "")
        for other in earlier:
            other_s, other_at = latest.get(other, (-math.inf, at))
            if time_s - other_s <= SAME_START_S:
                groups.join(other_at, at)
            if other == "":
                break
        latest.pop(number, None)  # the order of a dictionary is that of its first insertions
        latest[number] = time_s, at


def _join_processed(candidates: Sequence[SeriesCandidate], groups: _Groups, starts: list[tuple[float, int]]) -> None:
    """Join stacks, in order of their starts, that start together and were processed in two ways on one grid.

    Once joined to a stack of another processing, the latest of several stands for all of them.
    """
    recent: dict[Hashable, dict[frozenset[str], list[tuple[float, int]]]] = defaultdict(lambda: defaultdict(list))
    for time_s, at in starts:
        grid_and_types, processing = _processed(candidates[at])
        same = recent[grid_and_types]
        for other, places in same.items():
            if other != processing:
                for other_s, other_at in places:
                    if time_s - other_s <= SAME_START_S:
                        groups.join(other_at, at)
                del places[:-1]
        same[processing].append((time_s, at))


def _processed(candidate: SeriesCandidate) -> tuple[Hashable, frozenset[str]]:
    """Return the grid with the image types that tell more than processing, and those of the scanner's processing.

    Two stacks of equal first and unequal second parts are one image that was processed in two ways.
    """
    types = frozenset(candidate.acquisition.image_type)
    return (candidate.grid, types - _PROCESSING), types & _PROCESSING


def _number(candidate: SeriesCandidate) -> str:
    return "" if candidate.derived else candidate.acquisition.acquisition_number


def _within_series(candidate: SeriesCandidate) -> Hashable | None:
    a = candidate.acquisition
    return (candidate.series_instance_uid, candidate.frame_of_reference, a.acquisition_number, a.phase, timings_key(a))


def _copies(candidate: SeriesCandidate) -> Hashable | None:
    """Return a key of the middle image, equal for a series that was stored twice."""
    frame = candidate.stack.frames[len(candidate.stack.frames) // 2]
    position = None if frame.plane is None else frame.plane.position_lps_mm
    return (
        candidate.slices,
        frame.index,
        position,
        zlib.crc32(frame.instance.pixels),
        timings_key(candidate.acquisition),
    )


def _times_of_several(candidates: Iterable[SeriesCandidate]) -> set[float]:
    """Return the acquisition times that several protocols share: they are an anonymiser's, not the scanner's."""
    protocols: dict[float, set[Hashable]] = defaultdict(set)
    for candidate in candidates:
        a = candidate.acquisition
        if a.acquired_s is not None and not candidate.derived:
            protocols[a.acquired_s].add(f"{a.repetition_time_ms or 0:.3g}")
    return {time_s for time_s, known in protocols.items() if len(known) > 1}


def _adopt_derived(candidates: Sequence[SeriesCandidate], groups: _Groups, untimely: set[float]) -> None:
    """Join each derived stack to the one original acquisition that it can come from, if there is exactly one.

    A scanner's reformats have the acquisition's time, a workstation's have a later one or none.
    """
    originals: dict[Hashable, dict[int, float | None]] = defaultdict(dict)
    for at, candidate in enumerate(candidates):
        if not candidate.derived:
            originals[_source(candidate)].setdefault(groups.of(at), candidate.timely(untimely))
    for at, candidate in enumerate(candidates):
        if not candidate.derived:
            continue
        sources = originals[_source(candidate)]
        time_s = candidate.timely(untimely)
        at_once = {group for group, own_s in sources.items() if own_s is not None and own_s == time_s}
        before = {group for group, own_s in sources.items() if own_s is None or time_s is None or own_s <= time_s}
        possible = at_once or before
        if len(possible) == 1:
            groups.join(at, possible.pop())


def _source(candidate: SeriesCandidate) -> Hashable:
    return (candidate.frame_of_reference, timings_key(candidate.acquisition))


def _with_originals_time(candidates: Sequence[SeriesCandidate]) -> list[SeriesCandidate]:
    """Return the candidates; a derived stack has the times of its originals, where they are there.

    Its own times may be those of its making, long after an injection that its originals do not show.
    """
    originals = {c.acquisition_group: c.acquisition for c in reversed(candidates) if not c.derived}
    return [_timed_as(c, originals.get(c.acquisition_group)) if c.derived else c for c in candidates]


def _timed_as(candidate: SeriesCandidate, original: Acquisition | None) -> SeriesCandidate:
    if original is None:
        return replace(candidate, time_is_of_making=True)
    times = replace(candidate.acquisition, acquired_s=original.acquired_s, started_s=original.started_s)
    return replace(candidate, acquisition=times)


def _with_shared_agent(candidates: Sequence[SeriesCandidate]) -> list[SeriesCandidate]:
    """Return the candidates; each T1-weighted one has the strongest evidence of agent among its acquisition's."""
    groups: dict[int, list[SeriesCandidate]] = defaultdict(list)
    for candidate in candidates:
        if candidate.evidence.is_t1_weighted:
            groups[candidate.acquisition_group].append(candidate)
    ends = {number: _weakest_and_strongest(group) for number, group in groups.items()}
    return [_sharing(c, *ends[c.acquisition_group]) if c.evidence.is_t1_weighted else c for c in candidates]


def _weakest_and_strongest(group: Sequence[SeriesCandidate]) -> tuple[SeriesCandidate, SeriesCandidate]:
    ordered = sorted(group, key=lambda c: c.evidence.contrast_points)
    return ordered[0], ordered[-1]


def _sharing(candidate: SeriesCandidate, least: SeriesCandidate, most: SeriesCandidate) -> SeriesCandidate:
    own = candidate.evidence.contrast_points
    low, high = least.evidence.contrast_points, most.evidence.contrast_points
    if low <= -DECIDED and high >= DECIDED:
        reason = f"{most.name} and {least.name}, of one acquisition, disagree on the contrast agent"
        return replace(candidate, evidence=candidate.evidence.with_contrast(-own, reason))
    strongest = most if high > 0 else least
    points = strongest.evidence.contrast_points
    if points == own:
        return candidate
    reason = f"of one acquisition with {strongest.name}, and there: {strongest.evidence.contrast_reason}"
    return replace(candidate, evidence=candidate.evidence.with_contrast(points - own, reason))
