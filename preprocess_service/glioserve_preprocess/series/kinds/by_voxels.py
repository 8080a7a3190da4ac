"""Kinds of images that only voxels give away: fat, water and opposed-phase images, and subtractions.

Water, fat, in-phase and opposed-phase images of a Dixon acquisition have equal timings, and only ImageType says which
is which. Where a maker's values are not among the known ones, voxels are left: an image of fat shows no brain, and the
in-phase image, the sum of water and fat, has at least the signal of any other. The images may be scaled each on its
own, so the brain, which is water, is made equal first.

A subtraction may have nothing of one in its headers but DERIVED. Its voxels tell: brain is as dark as air there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np

from glioserve_contract import GlioserveError
from glioserve_dicom.identity import image_type_order
from glioserve_dicom.slices.frames import image_type_of
from glioserve_preprocess.arrays import DoubleArray, FloatArray
from glioserve_preprocess.series.candidates import SeriesCandidate, Voxels
from glioserve_preprocess.series.reconstructions import timings_key

MOST_IMAGES = 4
"""Most images of one Dixon acquisition."""
MOST_POINTS = 100_000
"""Number of voxels that are compared, about."""
DARK_BRAIN = 0.15
"""Median of the middle of the head, from the level of air to the image's 99th percentile, up to which an image shows no
brain: fat alone, or a difference."""
LOST_IN_NOISE = 2.0
"""The same, in median differences of neighbouring pixels: those of an image of brain are a few hundredths of it."""
SIGNAL_LEVEL, NOISE = 0.1, 0.05
"""Shares of the in-phase image's 99th percentile: above the first a voxel is not air, and noise may add the second."""
NOWHERE_MORE = 0.95
"""Least share of the voxels with signal in which the in-phase image has at least the signal of another one."""
LESS, LESS_SOMEWHERE = 0.9, 0.05
"""Share of the in-phase image's signal that another image has at most in some voxels, and the least share of these."""


def without_other_phases(candidates: Sequence[SeriesCandidate], voxels: Voxels) -> list[SeriesCandidate]:
    """Return the candidates; of images that no header tells apart, those that are not of a sequence are left out."""
    groups: dict[Hashable, list[SeriesCandidate]] = defaultdict(list)
    for candidate in candidates:
        if candidate.evidence.weighting is not None and _unknown_types(candidate):
            groups[_alike(candidate)].append(candidate)
    reasons: dict[int, str] = {}
    for group in groups.values():
        if 1 < len({_unknown_types(c) for c in group}) == len(group) <= MOST_IMAGES:
            reasons |= _told_apart(group, voxels)
    return [replace(c, evidence=c.evidence.without(reasons[id(c)])) if id(c) in reasons else c for c in candidates]


def without_differences(candidates: Sequence[SeriesCandidate], voxels: Voxels) -> list[SeriesCandidate]:
    """Return the candidates; derived ones that show no brain are left out, if no original is of their sequence."""
    originals = {c.modality for c in candidates if not c.derived and c.problem is None}
    kept = []
    for candidate in candidates:
        weighted = candidate.derived and candidate.evidence.weighting is not None
        image = voxels(candidate.stack) if weighted and candidate.modality not in originals - {None} else None
        shown = image is None or not _shows_no_brain(image)
        reason = "a subtraction or another difference (a derived image whose voxels show no brain)"
        kept.append(candidate if shown else replace(candidate, evidence=candidate.evidence.without(reason)))
    return kept


def _shows_no_brain(image: FloatArray) -> bool:
    """Return whether the middle of the head is as dark as air, whatever value that has, or lost in noise."""
    air = min(float(np.median(edge)) for axis in (1, 2) for edge in (image.take(0, axis), image.take(-1, axis)))
    top = float(np.percentile(_thinned(image), 99))
    middle = image[_middle(image)]
    noise = float(np.median(np.abs(np.diff(middle, axis=2)))) if middle.shape[2] > 1 else 0.0
    return float(np.median(middle)) - air <= max(DARK_BRAIN * (top - air), LOST_IN_NOISE * noise)


def _unknown_types(candidate: SeriesCandidate) -> tuple[tuple[int, int, str], ...]:
    """Return the values of the image type that are none of the known ones."""
    frame = candidate.stack.frames[0]
    try:
        return tuple(v for v in image_type_order(image_type_of(frame.dataset, frame.index)) if v[0] >= 0)
    except GlioserveError:
        return ()


def _alike(candidate: SeriesCandidate) -> Hashable:
    """Return a key that is equal for images of one acquisition, grid and echo whose known image types are equal.

    The acquisition's time counts even where several protocols share it: the timings and the grid say enough.
    """
    a = candidate.acquisition
    return (candidate.grid, a.acquired_s, timings_key(a), a.echo_time_ms, a.image_type)


def _told_apart(group: Sequence[SeriesCandidate], voxels: Voxels) -> dict[int, str]:
    """Return the reason of each image that shows fat, or has less than the in-phase one; none where it is in doubt."""
    images = [image for c in group if (image := voxels(c.stack)) is not None]
    if len(images) < len(group) or len({image.shape for image in images}) > 1:
        return {}
    brains = [float(np.median(image[_middle(image)])) for image in images]
    fat = [at for at, image in enumerate(images) if _shows_no_brain(image)]
    rest = [at for at in range(len(group)) if at not in fat]
    if not rest:
        return {}
    reasons = {id(group[at]): "a fat image of a Dixon acquisition (its voxels show no brain)" for at in fat}
    signals = {at: _thinned(images[at]) / brains[at] for at in rest}
    whole = max(rest, key=lambda at: float(signals[at].sum()))
    others = [at for at in rest if at != whole]
    if all(_is_part(signals[at], signals[whole]) for at in others):
        reason = (
            f"a water or opposed-phase image of a Dixon acquisition (its voxels have less than {group[whole].name})"
        )
        reasons |= {id(group[at]): reason for at in others}
    return reasons


def _middle(image: FloatArray) -> tuple[slice, ...]:
    """Return the middle third of an image along each axis: brain, in a scan of the head."""
    return tuple(slice(n // 3, max(n // 3 + 1, 2 * n // 3)) for n in image.shape)


def _thinned(image: FloatArray) -> DoubleArray:
    step = max(1, round((image.size / MOST_POINTS) ** (1 / 3)))
    return np.asarray(image[::step, ::step, ::step], dtype=np.float64).ravel()


def _is_part(part: DoubleArray, whole: DoubleArray) -> bool:
    """Return whether one image has nowhere more signal than the other, and somewhere clearly less."""
    top = float(np.percentile(whole, 99))
    inside = whole > SIGNAL_LEVEL * top
    nowhere_more = float(np.mean(part[inside] <= whole[inside] + NOISE * top)) >= NOWHERE_MORE
    return nowhere_more and float(np.mean(part[inside] < LESS * whole[inside])) >= LESS_SOMEWHERE
