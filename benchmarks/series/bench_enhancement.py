"""Count what the comparison of two T1-weighted series by their images finds right, leaves open, and finds wrong.

``make bench NAME=enhancement [ARGS='--heads 12']``: pairs of one head whose headers do not mention the agent, of one
technique and of two, with inflow in 3D gradient echo, fat suppression, partial volume, coil shading, no agent at all,
an agent with a small lesion only. *As used* counts what the choice of series makes of a pair: it compares like with
like and abstains otherwise. *Compared anyway* is the comparison alone, also where it is not valid.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from bars import Bar, print_bars
from common import print_table, write_result
from glioserve_contract import Modality
from glioserve_dicom.read import read
from glioserve_dicom.slices.stacks import Stack, stacks_of
from glioserve_dicom.volumes.geometry import Geometry
from glioserve_phantom.acquisition import ScanPlane
from glioserve_phantom.clinical import copies
from glioserve_phantom.clinical.patient import Conditions, clinical_patient
from glioserve_phantom.clinical.series import ClinicalSeries, files_of
from glioserve_phantom.clinical.techniques import TECHNIQUES, draw
from glioserve_preprocess.pipeline import compared_by_images, looked_at
from glioserve_preprocess.series.enhancement import Enhancement
from glioserve_preprocess.series.selection import judge_study
from series.answers import MIN_SLICES, RIGHT, WRONG

FIRST_SEED = 60_000
RUN_S = 360.0
"""Time between the starts of two runs."""
ABSTAINED = "abstained"
T1, T1CE = Modality.T1, Modality.T1CE
Pair = tuple[ClinicalSeries, ClinicalSeries]
Share = tuple[float, float]
"""Part of a stack: from one share of its slices to another."""


@dataclass(frozen=True)
class PairOutcome:
    """One pair: what came out as it is used, and of the comparison alone."""

    kind: str
    seed: int
    used: str
    alone: str
    confidence: float


def _scan(
    seed: int,
    number: int,
    technique: str,
    *,
    agent: float = 0.0,
    inflow: float = 0.3,
    small: bool = False,
    plane: ScanPlane = "axial",
    spacing_mm: float = 0.0,
    timed: bool = True,
) -> ClinicalSeries:
    """Return one scan whose headers do not tell whether an agent was given; their times tell runs apart, no more."""
    patient = clinical_patient(seed, small)
    rng = np.random.default_rng([seed, number])
    # the draw of the technique is that of the seed alone, so that two scans of it have equal timings
    drawn = draw(TECHNIQUES[technique], "GE", np.random.default_rng(seed), field_tesla=patient.field_tesla, plane=plane)
    drawn = replace(drawn, contrast=replace(drawn.contrast, inflow=inflow), spacing_mm=spacing_mm or drawn.spacing_mm)
    conditions = Conditions(noise=float(rng.uniform(0.01, 0.035)))
    series = patient.series(
        f"scan {number}", number, drawn, rng, RUN_S * number if timed else None,
        agent=agent, marked=False, conditions=conditions,
    )  # fmt: skip
    return series.with_attributes(ContrastBolusAgent=None)


def _same(seed: int, technique: str, agents: tuple[float, float], *, small: bool = False) -> Pair:
    """Return two runs of one technique; blood flows differently in each."""
    rng = np.random.default_rng([seed, 77])
    inflow = rng.uniform(0.2, 0.6) * rng.uniform(0.8, 1.2, 2)
    return (
        _scan(seed, 2, technique, agent=agents[0], inflow=float(inflow[0]), small=small),
        _scan(seed, 3, technique, agent=agents[1], inflow=float(inflow[1]), small=small),
    )


def _other_inflow(seed: int, technique: str, inflow: tuple[float, float]) -> Pair:
    """Return two native runs that blood enters differently saturated, though their headers tell of one slab."""
    return _scan(seed, 2, technique, inflow=inflow[0]), _scan(seed, 3, technique, inflow=inflow[1])


def _other_slab(seed: int, technique: str, first: Share, second: Share) -> Pair:
    """Return two native runs of parts of the head; blood enters the second one's slab fresh."""
    whole = _scan(seed, 2, technique, inflow=0.15), _scan(seed, 3, technique, inflow=0.8)
    return _part_of(whole[0], first), _part_of(whole[1], second)


def _enhanced_slab(seed: int, technique: str, part: Share) -> Pair:
    """Return two runs of the same part of the head, before and after the agent."""
    first, second = _same(seed, technique, (0.0, 1.0))
    return _part_of(first, part), _part_of(second, part)


def _part_of(series: ClinicalSeries, part: Share) -> ClinicalSeries:
    """Return the slices from one share of the stack to another."""
    start, end = (round(share * len(series.voxels)) for share in part)
    affine = series.geometry.lps_from_voxel.copy()
    affine[:3, 3] += affine[:3, 2] * start
    x, y, _ = series.geometry.size_voxels
    return replace(series, voxels=series.voxels[start:end], geometry=Geometry((x, y, end - start), affine))


def _of_other_grid(seed: int, technique: str, *, plane: ScanPlane = "axial", spacing_mm: float = 0.0) -> Pair:
    """Return two native runs, the second on another plane or with other slices, with other inflow."""
    first = _scan(seed, 2, technique, inflow=0.15, plane="axial")
    return first, _scan(seed, 3, technique, inflow=0.8, plane=plane, spacing_mm=spacing_mm)


def _unlike(seed: int, one: str, other: str, agent: float = 0.0) -> Pair:
    return _scan(seed, 2, one, inflow=0.3), _scan(seed, 3, other, agent=agent, inflow=1.0)


def _shaded(seed: int, technique: str, strength: float) -> Pair:
    """Return two native runs, one of them under a coil's shading."""
    first = _scan(seed, 2, technique)
    second = _scan(seed, 3, technique)
    return first, replace(second, voxels=second.voxels * copies.shading(second, strength))


def _thick(seed: int) -> Pair:
    """Return two native runs of a 2D sequence, axial and coronal: the partial volumes differ."""
    return _scan(seed, 2, "T1 spin echo"), _scan(seed, 3, "T1 spin echo", plane="coronal")


def _saved_twice(seed: int) -> Pair:
    """Return a native acquisition twice, normalised and not, as two series without times."""
    return copies.saved_twice(_scan(seed, 2, "T1 3D prepared", timed=False), 3, strength=1.6)


_LIKE = ("T1 spin echo", "T1 3D prepared", "T1 3D gradient echo", "T1 inversion recovery")
_SLABS = (
    ("slabs 15 mm apart", (0.0, 0.9), (0.1, 1.0)),
    ("slabs of both halves", (0.0, 0.6), (0.4, 1.0)),
    ("upper part in both", (0.35, 1.0), (0.35, 1.0)),
)
"""Name, and the part of the head that each of two slabs covers."""
KINDS: Mapping[str, Callable[[int], Pair]] = {
    **{f"{t}, before and after": partial(_same, technique=t, agents=(0.0, 1.0)) for t in _LIKE},
    "3D prepared, half a dose": partial(_same, technique="T1 3D prepared", agents=(0.0, 0.5)),
    "3D prepared, small lesion": partial(_same, technique="T1 3D prepared", agents=(0.0, 1.0), small=True),
    "spin echo, small lesion": partial(_same, technique="T1 spin echo", agents=(0.0, 1.0), small=True),
    **{f"{t}, no agent": partial(_same, technique=t, agents=(0.0, 0.0)) for t in _LIKE},
    **{f"{t}, both after": partial(_same, technique=t, agents=(1.0, 1.0)) for t in _LIKE[:2]},
    "no agent, coil shading of 1 to 4": partial(_shaded, technique="T1 3D prepared", strength=0.9),
    "no agent, coil shading of 1 to 10": partial(_shaded, technique="T1 3D prepared", strength=1.5),
    "no agent, other inflow": partial(_other_inflow, technique="T1 3D gradient echo", inflow=(0.15, 0.65)),
    **{
        f"{t}, no agent, inflow of none and all": partial(_other_inflow, technique=t, inflow=(0.0, 1.0))
        for t in _LIKE[1:3]
    },
    **{
        f"no agent, {name}": partial(_other_slab, technique="T1 3D gradient echo", first=first, second=second)
        for name, first, second in _SLABS
    },
    "no agent, axial and sagittal": partial(_of_other_grid, technique="T1 3D prepared", plane="sagittal"),
    "no agent, thin and thick": partial(_of_other_grid, technique="T1 3D gradient echo", spacing_mm=3.6),
    "a whole dose, upper two thirds of the head": partial(_enhanced_slab, technique="T1 3D prepared", part=(0.35, 1.0)),
    "no agent, thick slices of two planes": _thick,
    "no agent, saved twice": _saved_twice,
    "no agent, 2D spin echo and 3D with inflow": partial(_unlike, one="T1 spin echo", other="T1 3D prepared"),
    "no agent, 2D and 3D gradient echo": partial(_unlike, one="T1 2D gradient echo", other="T1 3D gradient echo"),
    "no agent, fat-suppressed": partial(_unlike, one="T1 3D gradient echo", other="T1 fat-suppressed"),
    "agent in the spin echo, inflow in the other": partial(
        _unlike, one="T1 3D prepared", other="T1 spin echo", agent=1.0
    ),
}
"""Pairs by kind."""


def judged_pair(kind: str, seed: int) -> PairOutcome:
    """Return what the choice of series, and the comparison alone, make of one pair."""
    pair = KINDS[kind](seed)
    truth = {s.number: s.shows for s in pair}
    instances = read(files_of(f"{kind} {seed}", pair)[0], accept_identified=True)
    asked: list[tuple[Stack, Stack, Enhancement | None]] = []

    def compare(first: Stack, second: Stack) -> Enhancement | None:
        asked.append((first, second, compared_by_images(first, second)))
        return asked[-1][2]

    judged = judge_study(instances, (T1, T1CE), MIN_SLICES, compare=compare, look=looked_at)
    taken = [(c.modality, truth[_number(c.stack)]) for c in judged.candidates if c.told_by_images and c.modality]
    used = WRONG if any(m is not true for m, true in taken) else RIGHT if (T1CE, T1CE) in taken else ABSTAINED
    first, second = stacks_of(instances)[:2]
    result = asked[0] if asked else (first, second, compared_by_images(first, second))
    confidence = result[2].confidence if result[2] is not None else 0.0
    return PairOutcome(kind, seed, used, _finding(*result, truth), confidence)


def _finding(first: Stack, second: Stack, found: Enhancement | None, truth: Mapping[int, Modality | None]) -> str:
    if found is None or found.first_is_enhanced is None:
        return ABSTAINED
    shown = [truth[_number(s)] for s in (first, second)]
    enhanced, native = shown if found.first_is_enhanced else reversed(shown)
    return RIGHT if (enhanced, native) == (T1CE, T1) else WRONG


def _number(stack: Stack) -> int:
    return int(stack.frames[0].dataset.SeriesNumber)


def _judged(task: tuple[str, int]) -> PairOutcome:
    return judged_pair(*task)


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--first", type=int, default=FIRST_SEED, help="seed of the first head")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    tasks = [(kind, seed) for seed in range(args.first, args.first + args.heads) for kind in KINDS]
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        outcomes = list(pool.imap(_judged, tasks, chunksize=len(KINDS)))
    verdicts = (RIGHT, ABSTAINED, WRONG)
    rows = []
    for kind in KINDS:
        of_kind = [o for o in outcomes if o.kind == kind]
        counts = [sum(getattr(o, way) == v for o in of_kind) for way in ("used", "alone") for v in verdicts]
        rows.append([kind, len(of_kind), *counts])
    columns = ["pairs", *(f"{way}: {v}" for way in ("as used", "anyway") for v in verdicts)]
    print_table("Which of two T1-weighted series is enhanced", ["", *columns], rows)
    for o in outcomes:
        if o.used == WRONG:
            print(f"WRONG  {o.kind}, head {o.seed} ({o.confidence:.2f})")
    differing = [o for o in outcomes if "before and after" in o.kind]
    found = [
        Bar("wrong, as used", sum(o.used == WRONG for o in outcomes), 0),
        Bar("found among like pairs of a whole dose", sum(o.used == RIGHT for o in differing) / len(differing), 0.8,
            "share", at_least=True),
    ]  # fmt: skip
    print_bars(found)
    figures = {
        "kinds": {r[0]: dict(zip(columns, r[1:], strict=True)) for r in rows},
        "bars": [b.record() for b in found],
    }
    write_result("enhancement", {"heads": args.heads, "first": args.first}, figures, ("numpy", "scipy"))


if __name__ == "__main__":
    main()
