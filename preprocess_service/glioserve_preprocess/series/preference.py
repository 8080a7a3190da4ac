"""The criteria by which one candidate is preferred to another.

First one reconstruction of each acquisition is taken. These criteria apply in this order, each only where the one
before leaves a tie:

1. it can be a volume (no gap, no shear, readable);
2. its pixels were never compressed with loss;
3. it combines all echoes (RMS), else it is the first echo;
4. it is original, not derived;
5. it is the in-phase image of a Dixon acquisition, not the water image;
6. its background is not noise, unlike that of a plain MP2RAGE image;
7. it is normalised for the coil's sensitivity (NORM);
8. its distortion is corrected if that of the other sequences is, and not if it is not;
9. the criteria for acquisitions from coverage on.

Then the acquisitions are compared:

1. its evidence is clearly stronger (:data:`CLEAR_LEAD`);
2. it can be a volume;
3. its pixels were never compressed with loss;
4. its time is known and of the study's day, where that of another one is not;
5. it is original, not derived;
6. it covers more of the head (:data:`WHOLE_HEAD_MM`, or :data:`SIMILAR` of the other's extent);
7. its fat is not suppressed (T1 and T1ce);
8. its blood is not suppressed;
9. its slices are nearer together;
10. it has more slices;
11. it is axial;
12. the same protocol was run again later: a repeat, most often because of motion (a T1 only if it is marked as native:
    it may be the scan after an injection);
13. coil sensitivity and distortion as above;
14. its evidence is stronger at all (:data:`SLIGHT_LEAD`);
15. it is the later one, by its time, else by its series number (only where the agent makes no other sequence of it).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from glioserve_contract import Modality
from glioserve_contract.records.preprocess import RunnerUpRecord
from glioserve_contract.sequences import SEQUENCES, Weighting
from glioserve_dicom.slices.stacks import counted
from glioserve_preprocess.series.acquisition import Acquisition
from glioserve_preprocess.series.candidates import SeriesCandidate

CLEAR_LEAD = 0.15
"""Lead in the share of belief above which no other criterion counts."""
SLIGHT_LEAD = 0.05
"""Lead in the share of belief that counts where every other criterion leaves a tie."""
WHOLE_HEAD_MM = 120.0
"""Extent of a stack that holds the cerebrum in every plane."""
SIMILAR = 0.85
"""Share from which on two extents, or two slice distances, count as alike."""
ONE_ECHO_MS = 0.05
"""Difference of echo times below which they are one echo."""

_Worse = Callable[[SeriesCandidate, SeriesCandidate, Modality], str]
_Rivals = Callable[[Sequence[SeriesCandidate], Modality], Sequence[SeriesCandidate]]
_Criterion = tuple[_Worse, _Rivals]

# Each returns the reason why ``one`` is worse than ``best``, or nothing where it is not.


def _weaker_by(lead: float) -> _Worse:
    def weaker(one: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> str:
        mine, its = one.score(modality), best.score(modality)
        return f"its headers fit less well ({mine:.2f} against {its:.2f})" if its - mine > lead else ""

    return weaker


def _no_volume(one: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> str:
    if one.problem is None or best.problem is not None:
        return ""
    return f"it cannot be read as a volume ({one.problem.code.token})"


def _lossy(one: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> str:
    return "its pixels were compressed with loss" if one.lossy and not best.lossy else ""


def _one_echo(one: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> str:
    return f"{best.name} combines its echoes" if best.combines_echoes and not one.combines_echoes else ""


def _later_echo(one: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> str:
    mine, its = one.acquisition.echo_time_ms, best.acquisition.echo_time_ms
    later = mine is not None and its is not None and mine > its + ONE_ECHO_MS
    return f"it is a later echo ({mine:.4g} ms against {its:.4g} ms)" if later else ""


def _derived(one: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> str:
    return "it is derived from other images" if one.derived and not best.derived else ""


def _untimed(one: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> str:
    untimed = one.acquisition.started_s is None and best.acquisition.started_s is not None
    return "its time is not known, or is another day's" if untimed else ""


def _water(one: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> str:
    return "it is the water image" if one.is_water and not best.is_water else ""


def _noisy_background(one: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> str:
    return "its background is noise" if one.noisy_background and not best.noisy_background else ""


def _blood_suppressed(one: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> str:
    return "its blood is suppressed" if one.blood_suppressed and not best.blood_suppressed else ""


def _uncorrected(one: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> str:
    return "its distortion is not corrected" if best.distortion_corrected and not one.distortion_corrected else ""


def _corrected(one: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> str:
    alone = one.distortion_corrected and not best.distortion_corrected
    return "its distortion is corrected, unlike that of the other sequences" if alone else ""


def _not_normalised(one: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> str:
    return "it is not normalised for the coil" if best.normalised and not one.normalised else ""


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
    return f"it has {counted(one.slices)}, not {best.slices}" if one.slices < best.slices else ""


def _not_axial(one: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> str:
    return "it is not axial" if best.axial and not one.axial else ""


def _repeated(one: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> str:
    if _is_rerun(one, best) and _may_stand(best, modality):
        return "the same protocol was run again later"
    if _is_rerun(best, one) and not _may_stand(one, modality):
        return "the same protocol was run before, and nothing shows that no agent was given in between"
    return ""


def _earlier(one: SeriesCandidate, best: SeriesCandidate, modality: Modality) -> str:
    """Return the reason where it comes before ``best``; without an agent's part either of two equal ones is right."""
    if SEQUENCES[modality].enhanced is None and _place(one) < _place(best):
        return "it was acquired earlier, and all else is equal"
    return ""


def _place(candidate: SeriesCandidate) -> tuple[float, int]:
    """Return the place in the order of acquisition: by time, else by series number."""
    started_s, number = candidate.acquisition.started_s, candidate.number
    return (-1.0 if started_s is None else started_s, int(number) if number.isdigit() else -1)


def _is_rerun(first: SeriesCandidate, second: SeriesCandidate) -> bool:
    """Return whether the second one is a later run of the first one's protocol."""
    earlier_s, later_s = first.acquisition.started_s, second.acquisition.started_s
    in_order = earlier_s is not None and later_s is not None and earlier_s < later_s
    return in_order and first.protocol == second.protocol


def _may_stand(rerun: SeriesCandidate, modality: Modality) -> bool:
    """Return whether a later run may stand for the first: of a T1 only where its headers state that it is native.

    Else it may be the scan after an injection that no header mentions.
    """
    return modality is not Modality.T1 or rerun.marked_native


def _most(key: Callable[[SeriesCandidate, Modality], float | tuple[float, int]]) -> _Rivals:
    return lambda leaders, modality: (max(leaders, key=lambda c: key(c, modality)),)


def _last_runs(leaders: Sequence[SeriesCandidate], modality: Modality) -> tuple[SeriesCandidate, ...]:
    """Return the latest run of each protocol that may stand for the others."""
    last: dict[Acquisition, SeriesCandidate] = {}
    for candidate in leaders:
        rival = last.setdefault(candidate.protocol, candidate)
        later = (rival.acquisition.started_s or 0) < (candidate.acquisition.started_s or 0)
        if later is _may_stand(max(candidate, rival, key=lambda c: c.acquisition.started_s or 0), modality):
            last[candidate.protocol] = candidate
    return tuple(last.values())


# Each criterion has a selector of its strongest candidates: comparing with those alone is O(n), not O(n²).
_READABLE: tuple[_Criterion, ...] = (
    (_no_volume, _most(lambda c, _: c.problem is None)),
    (_lossy, _most(lambda c, _: not c.lossy)),
)
_ECHOES: tuple[_Criterion, ...] = (
    (_one_echo, _most(lambda c, _: c.combines_echoes)),
    (_later_echo, _most(lambda c, _: -(c.acquisition.echo_time_ms or 0.0))),
)
_ORIGINAL: _Criterion = (_derived, _most(lambda c, _: not c.derived))
_GRID: tuple[_Criterion, ...] = (
    (_covers_less, _most(lambda c, _: c.extent_mm)),
    (_fat_suppressed, _most(lambda c, _: not c.fat_suppressed)),
    (_blood_suppressed, _most(lambda c, _: not c.blood_suppressed)),
    (_thicker, _most(lambda c, _: -c.slice_distance_mm)),
    (_fewer, _most(lambda c, _: c.slices)),
    (_not_axial, _most(lambda c, _: c.axial)),
)


def _processing(corrected: bool) -> tuple[_Criterion, ...]:
    distortion: _Criterion = (
        (_uncorrected, _most(lambda c, _: c.distortion_corrected))
        if corrected
        else (_corrected, _most(lambda c, _: not c.distortion_corrected))
    )
    return (
        (_water, _most(lambda c, _: not c.is_water)),
        (_noisy_background, _most(lambda c, _: not c.noisy_background)),
        (_not_normalised, _most(lambda c, _: c.normalised)),
        distortion,
    )


def _within_acquisition(corrected: bool) -> tuple[_Criterion, ...]:
    return (*_READABLE, *_ECHOES, _ORIGINAL, *_processing(corrected), *_GRID)


def _between_acquisitions(corrected: bool) -> tuple[_Criterion, ...]:
    strongest = _most(lambda c, modality: c.score(modality))
    return (
        (_weaker_by(CLEAR_LEAD), strongest),
        *_READABLE,
        (_untimed, _most(lambda c, _: c.acquisition.started_s is not None)),
        _ORIGINAL,
        *_GRID,
        (_repeated, _last_runs),
        *_processing(corrected),
        (_weaker_by(SLIGHT_LEAD), strongest),
        (_earlier, _most(lambda c, _: _place(c))),
    )


def preferred(
    candidates: Sequence[SeriesCandidate], modality: Modality, *, corrected: bool = True
) -> tuple[SeriesCandidate, ...]:
    """Return the best of ``candidates``; several where no criterion separates them.

    Args:
        candidates: At least one.
        modality: The sequence that they are candidates for.
        corrected: Whether the other sequences of the study are corrected for distortion.
    """
    acquisitions: dict[int, list[SeriesCandidate]] = defaultdict(list)
    for candidate in candidates:
        acquisitions[candidate.acquisition_group].append(candidate)
    leaders = [_one_of(group, modality, corrected) for group in acquisitions.values()]
    return _leaders(leaders, modality, _between_acquisitions(corrected))


def _one_of(group: Sequence[SeriesCandidate], modality: Modality, corrected: bool) -> SeriesCandidate:
    """Return the preferred reconstruction of one acquisition: among equal ones any, since they show the same."""
    leaders = _leaders(group, modality, _within_acquisition(corrected))
    return min(leaders, key=lambda c: (c.series_instance_uid, c.stack.part))


def _leaders(
    candidates: Sequence[SeriesCandidate], modality: Modality, criteria: Sequence[_Criterion]
) -> tuple[SeriesCandidate, ...]:
    leaders = tuple(candidates)
    for worse, strongest in criteria:
        rivals = strongest(leaders, modality)
        kept = tuple(c for c in leaders if not any(worse(c, other, modality) for other in rivals))
        leaders = kept or leaders  # a criterion that finds a fault in each of them decides nothing
    return leaders


def runner_up(
    candidate: SeriesCandidate, best: SeriesCandidate, modality: Modality, *, corrected: bool = True
) -> RunnerUpRecord:
    """Return the record of a candidate that was not chosen, with the first criterion that ``best`` meets better."""
    within = candidate.acquisition_group == best.acquisition_group
    criteria = _within_acquisition(corrected) if within else _between_acquisitions(corrected)
    otherwise = "both are alike" if within else "another was named"
    why = next((reason for worse, _ in criteria if (reason := worse(candidate, best, modality))), otherwise)
    if within:
        why = f"another reconstruction of the same acquisition was taken: {why}"
    return RunnerUpRecord(
        series_instance_uid=candidate.series_instance_uid,
        part=candidate.stack.part,
        slices=candidate.slices,
        score=candidate.score(modality),
        why_not=why,
        reasons=candidate.evidence.reasons,
    )
