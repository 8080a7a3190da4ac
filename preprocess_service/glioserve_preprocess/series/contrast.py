"""T1 or T1ce, where a stack's own headers leave it open: by the rest of the study, then by the images.

A T1-weighted acquisition whose headers do not mention an agent is native if a series with agent came after it, and
cannot be if one came before. Where that leaves it open too, images are compared, like with like only. What both leave
open stays open: among several such acquisitions the first one is native, and without times none of them is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from glioserve_contract import Modality
from glioserve_contract.sequences import SEQUENCES, PixelKind
from glioserve_dicom.slices.stacks import Stack
from glioserve_preprocess.series.acquisition import Acquisition
from glioserve_preprocess.series.candidates import PixelOpinion, SeriesCandidate
from glioserve_preprocess.series.enhancement import Enhancement
from glioserve_preprocess.series.evidence import DECIDED
from glioserve_preprocess.series.preference import preferred
from glioserve_preprocess.series.reconstructions import may_be_one_acquisition

ORDER_POINTS = 3.0
"""Points of the order of acquisition for or against contrast agent; :mod:`evidence` explains points."""
OTHERS_POINTS = 1.0
"""Points against contrast agent where another series is marked as enhanced, without any times."""
IMAGE_POINTS = 5.0
"""Points of a comparison of images at full confidence."""
MOST_COMPARED = 3
"""Most T1-weighted acquisitions that are compared by their images; each pair costs a registration."""
SIMILAR_TIMING = 0.25
"""Largest relative difference of repetition, echo and inversion time, and flip angle, of one technique."""
SIMILAR_VOXEL = 1.5
"""Largest ratio of two slice distances, or of two pixel sizes, of similar voxels."""
SAME_VIEW_COSINE = 0.9
"""Least cosine of the normals of two stacks of thick slices that show the same partial volumes."""
ISOTROPIC = 1.6
"""Largest ratio of slice distance to pixel size of voxels that look the same from every side."""
SAME_SLAB_MM = 10.0
"""Largest distance of the ends of two gradient echoes' slabs at which blood enters both equally saturated."""
LEANING = 0.5
"""Share from which on the voxels of one of T1 and T1ce lean to the other."""
CONTRAST_PAIR = tuple(m for m, entry in SEQUENCES.items() if entry.enhanced is not None)
"""T1 and T1ce, which only the contrast agent tells apart."""

Compare = Callable[[Stack, Stack], Enhancement | None]
"""A comparison of two T1-weighted stacks by their images; None where they cannot be compared."""
Look = Callable[[Stack], PixelOpinion | None]
"""The opinion on a stack by its voxels; None where they cannot be read."""


def in_context(
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
        points: min((s for c in marked if (s := c.acquisition.started_s) is not None), default=None)
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
    evidence, started_s = candidate.evidence, candidate.acquisition.started_s
    if not evidence.is_t1_weighted:
        return candidate
    if others.native_named and evidence.contrast_open:
        return _with_contrast(candidate, ORDER_POINTS, "another T1 was named by the caller")
    if not others.stronger:
        return candidate
    if others.stronger_from_s is None or started_s is None:
        if not evidence.contrast_open or evidence.contrast_points >= 0:  # its own headers contradict each other
            return candidate
        return _with_contrast(candidate, -OTHERS_POINTS, "another series is marked as enhanced")
    if started_s < others.stronger_from_s:
        return _with_contrast(candidate, -ORDER_POINTS, "acquired before the series with contrast agent")
    if candidate.time_is_of_making:
        return _opened(candidate, "made after the series with contrast agent, from images of unknown time")
    if started_s > others.stronger_from_s and evidence.contrast_points <= -DECIDED:
        return _with_contrast(
            candidate, -evidence.contrast_points, "marked as native, but acquired after a series with contrast agent"
        )
    if started_s > others.stronger_from_s and evidence.contrast_points < DECIDED:
        return _with_contrast(candidate, ORDER_POINTS, "acquired after a series with contrast agent, so hardly native")
    return candidate


def _with_contrast(candidate: SeriesCandidate, points: float, reason: str) -> SeriesCandidate:
    return replace(candidate, evidence=candidate.evidence.with_contrast(points, reason))


def natives_after(enhanced: SeriesCandidate, candidates: Sequence[SeriesCandidate]) -> int:
    """Return the number of acquisitions whose own headers mark them as native although they came after ``enhanced``.

    An agent stays for hours, so the headers of one of the two are wrong.
    """
    from_s = enhanced.acquisition.started_s
    if from_s is None:
        return 0
    return len(
        {
            c.acquisition_group
            for c in candidates
            if c.marked_native and c.acquisition.started_s is not None and c.acquisition.started_s > from_s
        }
    )


# --- by images --------------------------------------------------------------------------------------------------------


def by_images(
    pool: Sequence[SeriesCandidate],
    wanted: Sequence[Modality],
    min_slices: int,
    compare: Compare,
    look: Look | None = None,
) -> list[SeriesCandidate]:
    """Return the pool with the images' evidence, where headers leave open which T1-weighted series is enhanced.

    A comparison counts unless the voxels of one of the two, looked at alone, lean to the opposite.
    """
    weighted = [c for c in pool if c.evidence.is_t1_weighted and c.slices >= min_slices and c.problem is None]
    settled = {c.modality for c in weighted if not c.evidence.contrast_open}
    missing = [m for m in CONTRAST_PAIR if m in wanted and m not in settled]
    if not missing or not any(c.evidence.contrast_open for c in weighted):
        return list(pool)
    points: dict[int, float] = {}
    reasons: dict[int, list[str]] = {}
    for one, other in _pairs(weighted):
        enhancement = compare(one.stack, other.stack)
        if enhancement is None:
            continue
        doubted = look is not None and _doubted(enhancement, one, other, look)
        for candidate, against, sign in ((one, other, 1.0), (other, one, -1.0)):
            worth, reason = _points_by_images(enhancement, sign, against)
            if doubted:
                worth, reason = 0.0, f"{reason}, which the voxels of one of them contradict"
            group = candidate.acquisition_group
            points[group] = points.get(group, 0.0) + worth
            reasons.setdefault(group, []).append(reason)
    return [
        replace(
            _with_contrast(c, points[c.acquisition_group], "; ".join(reasons[c.acquisition_group])),
            told_by_images=points[c.acquisition_group] != 0.0,
        )
        if c.acquisition_group in points and c.evidence.contrast_open
        else c
        for c in pool
    ]


def _doubted(enhancement: Enhancement, one: SeriesCandidate, other: SeriesCandidate, look: Look) -> bool:
    """Return whether the enhanced one looks native by itself, or the native one enhanced."""
    if enhancement.first_is_enhanced is None:
        return False
    enhanced, native = (one, other) if enhancement.first_is_enhanced else (other, one)
    return leans_to(asked_about(enhanced, look), PixelKind.T1) or leans_to(asked_about(native, look), PixelKind.T1CE)


def asked_about(candidate: SeriesCandidate, look: Look) -> SeriesCandidate:
    """Return the candidate with the opinion of its voxels, if they can be read."""
    return candidate if candidate.pixels is not None else replace(candidate, pixels=look(candidate.stack))


def leans_to(candidate: SeriesCandidate, kind: PixelKind) -> bool:
    """Return whether the candidate's voxels, if they were asked, look more like this kind than like all others."""
    opinion = candidate.pixels
    return opinion is not None and opinion.likeliest is kind and opinion.confidence >= LEANING


def _pairs(weighted: Sequence[SeriesCandidate]) -> list[tuple[SeriesCandidate, SeriesCandidate]]:
    """Return the pairs whose comparison is valid and can settle something: one original stack of each acquisition."""
    groups: dict[int, list[SeriesCandidate]] = {}
    for candidate in weighted:
        if not candidate.derived:
            groups.setdefault(candidate.acquisition_group, []).append(candidate)
    stacks = [preferred(group, Modality.T1)[0] for group in groups.values()]
    stacks.sort(key=lambda c: (not c.evidence.contrast_open, -c.slices, c.series_instance_uid, c.stack.part))
    pairs = [
        (one, other)
        for one, other in combinations(stacks[: 4 * MOST_COMPARED], 2)
        if (one.evidence.contrast_open or other.evidence.contrast_open) and not why_unlike(one, other)
    ]
    return pairs[: MOST_COMPARED * (MOST_COMPARED - 1) // 2]


def why_unlike(one: SeriesCandidate, other: SeriesCandidate) -> str:
    """Return the reason why the images of two T1-weighted stacks say nothing of the agent; empty where they do.

    Inflow brightens the arteries of a three-dimensional gradient echo as an agent does, fat and partial volume differ
    with the technique and with thick slices, and reconstructions of one acquisition differ in their processing. So only
    originals of one technique with similar voxels are compared.
    """
    if one.derived or other.derived:
        return "one of them is derived"
    if may_be_one_acquisition(one, other):
        return "they may be reconstructions of one acquisition"
    if reason := _other_technique(one.acquisition, other.acquisition):
        return reason
    if one.fat_suppressed is not other.fat_suppressed or one.is_water is not other.is_water:
        return "fat is suppressed in one of them"
    if one.normalised is not other.normalised or one.distortion_corrected is not other.distortion_corrected:
        return "they are processed in different ways"
    return _other_voxels(one, other)


def _other_technique(a: Acquisition, b: Acquisition) -> str:
    if a.repetition_time_ms is None or a.echo_time_ms is None:
        return "timings are missing"
    if a.scanning_sequence != b.scanning_sequence or a.in_3d is not b.in_3d:
        return "they are of different techniques"
    pairs = (
        (a.repetition_time_ms, b.repetition_time_ms),
        (a.echo_time_ms, b.echo_time_ms),
        (a.inversion_time_ms, b.inversion_time_ms),
        (a.flip_angle_deg, b.flip_angle_deg),
    )
    return "their timings differ" if any(_differ(x, y, 1 + SIMILAR_TIMING) for x, y in pairs) else ""


def _other_voxels(one: SeriesCandidate, other: SeriesCandidate) -> str:
    pairs = (
        (one.slice_distance_mm, other.slice_distance_mm),
        *zip(one.pixel_spacing_mm, other.pixel_spacing_mm, strict=True),
    )
    if any(_differ(x or None, y or None, SIMILAR_VOXEL) for x, y in pairs):
        return "their voxels differ"
    planes = [c.stack.frames[0].plane for c in (one, other)]
    if planes[0] is None or planes[1] is None:
        return "they have no place"
    if "GR" in one.acquisition.scanning_sequence and _ends_apart_mm(one, other) > SAME_SLAB_MM:
        return "their slabs differ, and so does the inflow of blood"
    turned = abs(float(planes[0].normal @ planes[1].normal)) < SAME_VIEW_COSINE
    thick = any(c.slice_distance_mm > ISOTROPIC * max(c.pixel_spacing_mm) for c in (one, other))
    return "thick slices of different planes" if turned and thick else ""


def _ends_apart_mm(one: SeriesCandidate, other: SeriesCandidate) -> float:
    """Return the largest distance of the two stacks' ends, at the middle of their slices, along the first's normal."""
    planes = [[f.plane for f in c.stack.frames if f.plane is not None] for c in (one, other)]
    normal = planes[0][0].normal
    ends: list[list[float]] = [
        sorted(float(np.dot(p.centre_lps_mm, normal)) for p in (known[0], known[-1])) for known in planes
    ]
    return max(abs(a - b) for a, b in zip(ends[0], ends[1], strict=True))


def _differ(one: float | None, other: float | None, most: float) -> bool:
    if one is None or other is None:
        return one is not other
    return max(one, other) > most * min(one, other)


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


# --- what stays open --------------------------------------------------------------------------------------------------


def first_is_native(pool: Sequence[SeriesCandidate], look: Look | None) -> list[SeriesCandidate]:
    """Return the pool; of several T1-weighted acquisitions of unknown agent only the first can be taken for T1.

    If an agent was given between them, the later ones are enhanced. Without times those are taken whose voxels show
    that they are native; any other would be a guess.
    """
    silent: dict[int, list[SeriesCandidate]] = {}
    for candidate in pool:
        if candidate.modality is Modality.T1 and candidate.evidence.contrast_open and not candidate.derived:
            silent.setdefault(candidate.acquisition_group, []).append(candidate)
    if len(silent) < 2 or any(c.modality is Modality.T1 and not c.evidence.contrast_open for c in pool):
        return list(pool)
    times_s = {group: members[0].acquisition.started_s for group, members in silent.items()}
    known_s = {s for s in times_s.values() if s is not None}
    if None not in times_s.values() and len(known_s) > 1:
        later = "acquired after another T1 whose headers do not mention an agent either"
        return [_opened(c, later) if times_s.get(c.acquisition_group) != min(known_s) else c for c in pool]
    native = _native_by_voxels(silent, look) if look is not None else {}
    unknown = "several T1 of unknown order, and none mentions an agent"
    return [
        _with_contrast(c, -DECIDED, native[c.acquisition_group])
        if c.acquisition_group in native and c.evidence.contrast_open
        else _opened(c, unknown)
        for c in pool
    ]


def _native_by_voxels(silent: Mapping[int, Sequence[SeriesCandidate]], look: Look) -> dict[int, str]:
    """Return the acquisitions whose voxels show a native T1, with the reason."""
    native = {}
    for group, members in list(silent.items())[:MOST_COMPARED]:
        opinion = look(preferred(members, Modality.T1)[0].stack)
        if opinion is not None and opinion.kind is PixelKind.T1:
            native[group] = f"native by its voxels ({opinion.confidence:.2f})"
    return native


def _opened(candidate: SeriesCandidate, reason: str) -> SeriesCandidate:
    """Return the candidate; a T1 of unknown agent becomes undecided."""
    evidence = candidate.evidence
    if candidate.modality is not Modality.T1 or not evidence.contrast_open:
        return candidate
    return _with_contrast(candidate, -evidence.contrast_points, reason)
