"""Kinds of images that a stack alone does not give away, but its geometry and the study's other stacks do.

A scout is known by what it is: three planes, few seconds, a large field of view, coarse voxels, a TR under 4 ms with a
small flip angle, the first images of the study. A field map is known by the phase images beside its magnitude, a
T2* acquisition by its later echoes, a dynamic series by its many phases, MP2RAGE by its two inversions, an angiogram of
inflow by a thin slab of very small voxels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from glioserve_contract.sequences import WEIGHTINGS
from glioserve_dicom.slices.stacks import counted
from glioserve_preprocess.arrays import DoubleArray
from glioserve_preprocess.series.candidates import SeriesCandidate
from glioserve_preprocess.series.reconstructions import timings_key

SCOUT_POINTS = 3
"""Points from which on a stack is a localiser; each mark below is worth one or two."""
NAMED_POINTS = 5
"""The same where the description names a weighting: a short examination of the head has marks of a scout too."""
SCOUT_TR_MS, SCOUT_FLIP_DEG = 4.0, 15.0
"""TR below which, and flip angle up to which, a gradient echo has too little contrast for anything but a scout."""
SCOUT_SLICES = 15
"""Largest number of slices of a two-dimensional scout."""
SCOUT_STEP_MM = 8.0
"""Slice distance from which on slices are a scout's: those of an examination of the head are nearer."""
SCOUT_VOXEL_MM = 1.5
"""Least side of the voxels, in all three directions, of a three-dimensional scout."""
SCOUT_COARSE_MM = 2.2
"""The same, from which on a gradient echo of a scout's timings is one whatever it is called."""
SCOUT_FIELD_MM = 280.0
"""Field of view from which on it is larger than a head needs."""
SCOUT_SECONDS = 45.0
"""Time to the next acquisition below which the first one of a study is a scout's."""
OTHER_VIEW_COSINE = 0.5
"""Cosine of two normals below which two stacks are different views."""
FIELD_MAP_VOXEL_MM = 1.5
"""Least in-plane voxel size at which two echoes of a gradient echo are a field map's, even without its phase images."""
COARSE_MM = 2.4
"""Voxel size within the slice from which on a gradient echo that no description calls a sequence is not for reading."""
DYNAMIC_PHASES = 5
"""Number of phases of one series from which on it is a dynamic one, whose images are made for their change."""
INFLOW_TR_MS, INFLOW_FLIP_DEG = (15.0, 45.0), (10.0, 30.0)
"""Ranges of TR and flip angle of angiography by inflow."""
INFLOW_VOXEL_MM, INFLOW_STEP_MM, INFLOW_EXTENT_MM = 0.7, 0.9, 130.0
"""Voxel size, slice distance and extent below which a 3D gradient echo of such timings is an angiogram."""
ULTRASHORT_MS, MAPPING_ANGLES = 0.5, 3
"""Echo time below which a gradient echo is made for bone; number of its flip angles from which on, for a map of T1."""
LATE_ECHO_MS = 12.0
"""Echo time from which on a gradient echo shows T2*."""


def by_study(candidates: Sequence[SeriesCandidate]) -> list[SeriesCandidate]:
    """Return the candidates; scouts, field maps and T2* echoes, as the study shows them, are left out with a reason."""
    study = _Study.of(candidates)
    return [c if c.evidence.excluded else _judged(c, study) for c in candidates]


@dataclass(frozen=True)
class _Study:
    """Facts on all stacks that the judgement of one needs."""

    first_s: float | None
    """Start of the first acquisition."""
    second_s: float | None
    """Start of the next one."""
    views: Mapping[Hashable, int]
    """Number of different views of each series, and of short ones alike, by :func:`_scan`."""
    dynamic: Mapping[Hashable, int]
    """Number of runs of one protocol on one grid, by :func:`_phases`."""
    angles_deg: Mapping[Hashable, frozenset[float | None]]
    """Flip angles of scans of one technique on one grid, by :func:`_angles`."""
    inversions_ms: Mapping[Hashable, frozenset[float]]
    """Inversion times of the gradient echoes that one acquisition, or one series, has with one repetition time."""
    echoes_ms: dict[int, tuple[float, ...]]
    """Echo times of each acquisition."""
    phases: frozenset[Hashable]
    """Frame of reference and timings of all phase images."""

    @classmethod
    def of(cls, candidates: Sequence[SeriesCandidate]) -> _Study:
        """Return the facts on ``candidates``."""
        times_s = sorted({c.acquisition.acquired_s for c in candidates if c.acquisition.acquired_s is not None})
        normals: dict[Hashable, list[DoubleArray]] = defaultdict(list)
        echoes: dict[int, set[float]] = defaultdict(set)
        phases: dict[Hashable, set[Hashable]] = defaultdict(set)
        inversions: dict[Hashable, set[float]] = defaultdict(set)
        angles: dict[Hashable, set[float | None]] = defaultdict(set)
        for candidate in candidates:
            phases[_phases(candidate)].add(_phase(candidate))
            angles[_angles(candidate)].add(candidate.acquisition.flip_angle_deg)
            for key in _inverted(candidate):
                inversions[key].add(candidate.acquisition.inversion_time_ms or 0.0)
            plane = candidate.stack.frames[0].plane
            for key in (candidate.series_instance_uid, _scan(candidate)):
                known = normals[key]
                if plane is not None and all(abs(float(plane.normal @ n)) < OTHER_VIEW_COSINE for n in known):
                    known.append(plane.normal)
            if candidate.acquisition.echo_time_ms is not None:
                echoes[candidate.acquisition_group].add(round(candidate.acquisition.echo_time_ms, 1))
        return cls(
            first_s=times_s[0] if len(times_s) > 2 else None,
            second_s=times_s[1] if len(times_s) > 2 else None,
            views={uid: len(known) for uid, known in normals.items()},
            dynamic={key: len(known) for key, known in phases.items()},
            angles_deg={key: frozenset(known) for key, known in angles.items()},
            inversions_ms={key: frozenset(known) for key, known in inversions.items()},
            echoes_ms={group: tuple(sorted(known)) for group, known in echoes.items()},
            phases=frozenset(_beside(c) for c in candidates if {"PHASE", "P"} & {*c.acquisition.image_type}),
        )


def _beside(candidate: SeriesCandidate) -> Hashable:
    return (candidate.frame_of_reference, timings_key(candidate.acquisition))


def _scan(candidate: SeriesCandidate) -> Hashable:
    """Return a key that is equal for short series of one description and equal timings."""
    few = candidate.slices <= SCOUT_SLICES
    return (_beside(candidate), candidate.acquisition.description) if few else candidate.series_instance_uid


def _phases(candidate: SeriesCandidate) -> Hashable:
    """Return a key that is equal for the phases of one dynamic series, also where each is a series of its own."""
    a = candidate.acquisition
    return (candidate.grid, a.image_type, a.description, a.echo_time_ms, timings_key(a))


def _phase(candidate: SeriesCandidate) -> Hashable:
    a = candidate.acquisition
    return (a.phase, a.acquisition_number, a.acquired_s, candidate.series_instance_uid if a.acquired_s is None else "")


def _angles(candidate: SeriesCandidate) -> Hashable:
    a = candidate.acquisition
    return (candidate.grid, a.repetition_time_ms, a.inversion_time_ms, a.echo_time_ms, a.scanning_sequence, a.in_3d)


def _inverted(candidate: SeriesCandidate) -> Iterator[Hashable]:
    """Yield keys of a gradient echo after an inversion: by its series, and by its acquisition's start."""
    a = candidate.acquisition
    if "GR" in a.scanning_sequence and a.inversion_time_ms is not None:
        yield (candidate.series_instance_uid, a.repetition_time_ms)
        if a.acquired_s is not None:
            yield (a.acquired_s, a.repetition_time_ms, candidate.frame_of_reference)


def _judged(candidate: SeriesCandidate, study: _Study) -> SeriesCandidate:
    kinds = (_scout, _field_map, _late_echoes, _dynamic, _mapping, _inversion, _inflow)
    reason = next((found for kind in kinds if (found := kind(candidate, study))), "")
    return replace(candidate, evidence=candidate.evidence.without(reason)) if reason else candidate


def _scout(candidate: SeriesCandidate, study: _Study) -> str:
    """Return the reason why it is a localiser; empty where its marks are too few."""
    a = candidate.acquisition
    gradient = "GR" in a.scanning_sequence or not a.scanning_sequence
    few, step_mm = candidate.slices <= SCOUT_SLICES, candidate.slice_distance_mm
    voxel_mm = min(*candidate.pixel_spacing_mm, step_mm or np.inf)
    whole = candidate.problem is None  # slices that are missing make any stack short and coarse
    hasty = (
        gradient
        and a.inversion_time_ms is None
        and 0 < (a.repetition_time_ms or 0) < SCOUT_TR_MS
        and 0 < (a.flip_angle_deg or 0) <= SCOUT_FLIP_DEG
    )
    marks = [
        (2, "several views in one series", study.views.get(candidate.series_instance_uid, 0) > 1 and few),
        (2, "three series of one view each", study.views.get(_scan(candidate), 0) > 2 and few),
        (2, f"TR {a.repetition_time_ms or 0:.3g} ms with a small flip angle", hasty),
        (1, counted(candidate.slices), few and whole),
        (1, f"slices {step_mm:.0f} mm apart", whole and step_mm >= SCOUT_STEP_MM),
        (1, f"voxels of at least {voxel_mm:.2g} mm", voxel_mm >= SCOUT_VOXEL_MM),
        (2, "coarse for its timings", hasty and voxel_mm >= SCOUT_COARSE_MM),
        (1, f"a field of view of {candidate.field_mm:.0f} mm", candidate.field_mm >= SCOUT_FIELD_MM),
        (1, "the first images of the study", a.acquired_s is not None and a.acquired_s == study.first_s),
        (
            1,
            "done within seconds",
            a.acquired_s is not None
            and a.acquired_s == study.first_s
            and (study.second_s or np.inf) - a.acquired_s < SCOUT_SECONDS,
        ),
    ]
    met = [(points, mark) for points, mark, holds in marks if holds]
    least = NAMED_POINTS if _is_named(candidate) else SCOUT_POINTS
    if candidate.derived or sum(points for points, _ in met) < least:
        return ""
    return f"a localiser ({', '.join(mark for _, mark in met)})"


def _is_named(candidate: SeriesCandidate, *, by_hints: bool = False) -> bool:
    """Return whether the description names a weighting, or (``by_hints``) a sequence that usually has one."""
    described = {*candidate.acquisition.description}
    return any(described & (entry.words | (entry.hints if by_hints else frozenset())) for entry in WEIGHTINGS.values())


def _field_map(candidate: SeriesCandidate, study: _Study) -> str:
    """Return the reason why it is the magnitude of a field map: a gradient echo that was made for its phase."""
    a = candidate.acquisition
    if "GR" not in a.scanning_sequence or a.inversion_time_ms is not None:
        return ""
    echoes_ms = study.echoes_ms.get(candidate.acquisition_group, ())
    coarse_mm = min(candidate.pixel_spacing_mm)
    if _beside(candidate) in study.phases and (not a.in_3d or coarse_mm >= FIELD_MAP_VOXEL_MM):
        return "a field map (phase images beside it)"
    if len(echoes_ms) == 2 and coarse_mm >= FIELD_MAP_VOXEL_MM:
        return f"a field map (two echoes of coarse images, {echoes_ms[0]:g} and {echoes_ms[1]:g} ms)"
    if coarse_mm >= COARSE_MM and not _is_named(candidate, by_hints=True):
        return f"a field map or calibration (a gradient echo of {coarse_mm:.2g} mm without a sequence's name)"
    return ""


def _mapping(candidate: SeriesCandidate, study: _Study) -> str:
    """Return the reason why a gradient echo is made for something else than its contrast."""
    a, angles = candidate.acquisition, study.angles_deg.get(_angles(candidate), frozenset())
    if "GR" not in a.scanning_sequence:
        return ""
    if 0 < (a.echo_time_ms or 0) < ULTRASHORT_MS:
        return f"an image of bone or for attenuation correction (an echo of {a.echo_time_ms:g} ms)"
    if len(angles) >= MAPPING_ANGLES:
        return f"a part of a T1 map ({len(angles)} flip angles of one technique)"
    return ""


def _late_echoes(candidate: SeriesCandidate, study: _Study) -> str:
    """Return the reason why it is an echo of a T2* acquisition: a gradient echo with echoes up to late ones."""
    a = candidate.acquisition
    echoes_ms = study.echoes_ms.get(candidate.acquisition_group, ())
    if "GR" not in a.scanning_sequence or a.inversion_time_ms is not None or len(echoes_ms) < 3:
        return ""
    if echoes_ms[-1] < LATE_ECHO_MS:
        return ""
    return f"a T2* acquisition ({len(echoes_ms)} echoes, the last at {echoes_ms[-1]:g} ms)"


def _dynamic(candidate: SeriesCandidate, study: _Study) -> str:
    """Return the reason why it is a phase of a dynamic series: a gradient echo that was run many times over."""
    a, phases = candidate.acquisition, study.dynamic.get(_phases(candidate), 0)
    if "GR" not in a.scanning_sequence or phases < DYNAMIC_PHASES:
        return ""
    return f"perfusion or another dynamic series ({phases} phases)"


def _inversion(candidate: SeriesCandidate, study: _Study) -> str:
    """Return the reason why it is one of MP2RAGE's inversion images."""
    if "UNI" in candidate.acquisition.image_type:  # computed from both, whatever its headers keep of them
        return ""
    for key in _inverted(candidate):
        known_ms = study.inversions_ms.get(key, frozenset())
        if len(known_ms) > 1:
            return f"an inversion image of MP2RAGE (at {' and '.join(f'{ms:g}' for ms in sorted(known_ms))} ms)"
    return ""


def _inflow(candidate: SeriesCandidate, study: _Study) -> str:
    """Return the reason why it is an angiogram of inflowing blood, whatever its name: a thin slab of tiny voxels."""
    a = candidate.acquisition
    if "GR" not in a.scanning_sequence or a.inversion_time_ms is not None or not a.in_3d:
        return ""
    timed = _within(a.repetition_time_ms, INFLOW_TR_MS) and _within(a.flip_angle_deg, INFLOW_FLIP_DEG)
    fine = (
        0 < max(candidate.pixel_spacing_mm) < INFLOW_VOXEL_MM
        and 0 < candidate.slice_distance_mm < INFLOW_STEP_MM
        and candidate.extent_mm < INFLOW_EXTENT_MM
    )
    return "angiography (a slab of small voxels with the timings of inflow)" if timed and fine else ""


def _within(value: float | None, limits: tuple[float, float]) -> bool:
    return value is not None and limits[0] <= value <= limits[1]
