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
from glioserve_contract import GlioserveError, Modality
from glioserve_dicom.read import read
from glioserve_dicom.slices.stacks import Stack, stacks_of
from glioserve_phantom.acquisition import ScanPlane
from glioserve_phantom.clinical import copies
from glioserve_phantom.clinical.patient import Conditions, clinical_patient
from glioserve_phantom.clinical.series import ClinicalSeries, files_of
from glioserve_phantom.clinical.techniques import TECHNIQUES, draw
from glioserve_preprocess.pipeline import compared_by_images
from glioserve_preprocess.series.enhancement import Enhancement
from glioserve_preprocess.series.selection import judge_study
from series.answers import MIN_SLICES, RIGHT, WRONG

FIRST_SEED = 60_000
ABSTAINED = "abstained"
T1, T1CE = Modality.T1, Modality.T1CE
Pair = tuple[ClinicalSeries, ClinicalSeries]


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
) -> ClinicalSeries:
    """Return one scan whose headers and times do not tell whether an agent was given."""
    patient = clinical_patient(seed, small)
    rng = np.random.default_rng([seed, number])
    # the draw of the technique is that of the seed alone, so that two scans of it have equal timings
    drawn = draw(TECHNIQUES[technique], "GE", np.random.default_rng(seed), field_tesla=patient.field_tesla, plane=plane)
    drawn = replace(drawn, contrast=replace(drawn.contrast, inflow=inflow))
    conditions = Conditions(noise=float(rng.uniform(0.01, 0.035)))
    series = patient.series(
        f"scan {number}", number, drawn, rng, None, agent=agent, marked=False, conditions=conditions
    )
    return series.with_attributes(ContrastBolusAgent=None)


def _same(seed: int, technique: str, agents: tuple[float, float], *, small: bool = False) -> Pair:
    """Return two runs of one technique; blood flows differently in each."""
    rng = np.random.default_rng([seed, 77])
    inflow = rng.uniform(0.2, 0.6) * rng.uniform(0.8, 1.2, 2)
    return (
        _scan(seed, 2, technique, agent=agents[0], inflow=float(inflow[0]), small=small),
        _scan(seed, 3, technique, agent=agents[1], inflow=float(inflow[1]), small=small),
    )


def _other_slab(seed: int, technique: str) -> Pair:
    """Return two native runs whose slabs end at different heights, so that blood enters them differently saturated."""
    return _scan(seed, 2, technique, inflow=0.15), _scan(seed, 3, technique, inflow=0.65)


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
    return copies.saved_twice(_scan(seed, 2, "T1 3D prepared"), 3, strength=1.6)


_LIKE = ("T1 spin echo", "T1 3D prepared", "T1 3D gradient echo", "T1 inversion recovery")
KINDS: Mapping[str, Callable[[int], Pair]] = {
    **{f"{t}, before and after": partial(_same, technique=t, agents=(0.0, 1.0)) for t in _LIKE},
    "3D prepared, half a dose": partial(_same, technique="T1 3D prepared", agents=(0.0, 0.5)),
    "3D prepared, small lesion": partial(_same, technique="T1 3D prepared", agents=(0.0, 1.0), small=True),
    "spin echo, small lesion": partial(_same, technique="T1 spin echo", agents=(0.0, 1.0), small=True),
    **{f"{t}, no agent": partial(_same, technique=t, agents=(0.0, 0.0)) for t in _LIKE},
    **{f"{t}, both after": partial(_same, technique=t, agents=(1.0, 1.0)) for t in _LIKE[:2]},
    "no agent, coil shading of 1 to 4": partial(_shaded, technique="T1 3D prepared", strength=0.9),
    "no agent, coil shading of 1 to 10": partial(_shaded, technique="T1 3D prepared", strength=1.5),
    "no agent, another slab": partial(_other_slab, technique="T1 3D gradient echo"),
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

    try:
        judge_study(instances, (T1, T1CE), MIN_SLICES, compare=compare)
    except GlioserveError as error:
        print(f"{kind} {seed}: {error.code.token}")
    used = _finding(*asked[0], truth) if asked else ABSTAINED
    first, second = stacks_of(instances)[:2]
    result = asked[0] if asked else (first, second, compared_by_images(first, second))
    confidence = result[2].confidence if result[2] is not None else 0.0
    return PairOutcome(kind, seed, used, _finding(*result, truth), confidence)


def _finding(first: Stack, second: Stack, found: Enhancement | None, truth: Mapping[int, Modality | None]) -> str:
    if found is None or found.first_is_enhanced is None:
        return ABSTAINED
    shown = [truth[int(s.frames[0].dataset.SeriesNumber)] for s in (first, second)]
    enhanced, native = shown if found.first_is_enhanced else reversed(shown)
    return RIGHT if (enhanced, native) == (T1CE, T1) else WRONG


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
