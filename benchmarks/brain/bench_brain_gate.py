"""Count what the quality gate of the brain mask catches and what it flags for nothing, on synthetic heads.

``make bench NAME=brain_gate [ARGS='--heads 40 --first N']``: each head as it is and spoilt in each way of
``brain.spoilt``: a T1ce alone, and with a sound T2 and FLAIR of the same head beside it. A mask is wrong below a
Dice of 0.90, and always where there is no right answer (half a brain, no head). Caught: ``review`` or refused.
"""

from __future__ import annotations

import argparse
import multiprocessing
from dataclasses import dataclass
from functools import partial

import numpy as np

from brain.cases import BrainCase
from brain.spoilt import KINDS
from common import print_table, write_result
from glioserve_contract import GlioserveError, Modality
from glioserve_contract.records.recipe import BrainExtraction
from glioserve_dicom.volumes.geometry import SequenceVolume
from glioserve_preprocess.brain.extraction import find_brain
from glioserve_training.brain.contrast import sequence_contrast
from glioserve_training.brain.head import make_head
from glioserve_training.brain.scan import scan_volume

FIRST_SEED = 2_000_000
WRONG_DICE = 0.90


@dataclass(frozen=True)
class Judged:
    """One scan and what the gate said."""

    name: str
    group: str
    beside: bool
    """True where a second sequence was there."""
    dice: float
    verdict: str
    """``ok``, ``review`` or ``refused``."""
    figures: dict[str, float]


def judged_head(seed: int) -> list[Judged]:
    """One head in all its states."""
    head = make_head(seed)
    scans = [
        scan_volume(
            head,
            np.random.default_rng([seed, number]),
            np.random.default_rng(seed),
            partial(sequence_contrast, sequence=modality),
        )
        for number, modality in enumerate((Modality.T1CE, Modality.T2, Modality.FLAIR))
    ]
    (first, mask), *rest = scans
    others = [
        SequenceVolume(m, v.voxels, v.geometry) for m, (v, _) in zip((Modality.T2, Modality.FLAIR), rest, strict=True)
    ]
    sound = BrainCase(f"head {seed}", "as it is", first, mask)
    cases = [sound, *(kind(sound, np.random.default_rng([seed, 4, i])) for i, kind in enumerate(KINDS))]
    return [_judged(case, beside) for case in cases for beside in ([], others)]


def _judged(case: BrainCase, beside: list[SequenceVolume]) -> Judged:
    # Half a brain and no head are the whole study's: its other sequences show the same body.
    if beside and not case.mask.any():
        beside = [SequenceVolume(m, case.volume.voxels, case.volume.geometry) for m in (Modality.T2, Modality.FLAIR)]
    if beside and case.group == "upside down":
        beside = [SequenceVolume(v.modality, np.ascontiguousarray(v.voxels[::-1]), v.geometry) for v in beside]
    row = partial(Judged, case.name, case.group, bool(beside))
    try:
        brain = find_brain(case.volume, beside, {v.modality: np.eye(4) for v in beside}, BrainExtraction())
    except GlioserveError:
        return row(0.0, "refused", {})
    found = brain.mask > 0
    dice = float(2 * (found & case.mask).sum() / max(1, found.sum() + case.mask.sum()))
    verdict = "review" if any(c.verdict == "review" for c in brain.checks) else "ok"
    return row(dice, verdict, {c.name: c.value for c in brain.checks})


def main() -> None:
    """Print and keep the table, and how the figures of right and wrong masks lie."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=40)
    parser.add_argument("--first", type=int, default=1000, help="number of the first head: others chose the ranges")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--figures", action="store_true", help="percentiles of every figure, to choose ranges by")
    args = parser.parse_args()
    rows: list[Judged] = []
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        for done in pool.imap(judged_head, range(FIRST_SEED + args.first, FIRST_SEED + args.first + args.heads)):
            rows += done
            print(f"{done[0].name}: {len(done)} scans", flush=True)
    counts = {}
    for beside in (False, True):
        which = "with two more sequences" if beside else "the sequence alone"
        counts[which] = _report([r for r in rows if r.beside is beside], which)
    if args.figures:
        _figures(rows)
    write_result("brain_gate", {"heads": args.heads, "first": args.first}, counts, ("numpy", "onnxruntime"))


def _report(rows: list[Judged], title: str) -> dict[str, object]:
    columns = [f"{truth}: {verdict}" for truth in ("right", "wrong") for verdict in ("ok", "review", "refused")]
    table: dict[str, dict[str, int]] = {}
    for row in rows:
        outcome = f"{'right' if row.dice >= WRONG_DICE else 'wrong'}: {row.verdict}"
        group = table.setdefault(row.group, dict.fromkeys(columns, 0))
        group[outcome] += 1
    print_table(f"Scans, {title}", ["", *columns], [[g, *counts.values()] for g, counts in table.items()])
    total = {c: sum(group[c] for group in table.values()) for c in columns}
    right = sum(n for c, n in total.items() if c.startswith("right"))
    wrong = sum(n for c, n in total.items() if c.startswith("wrong"))
    caught, flagged = wrong - total["wrong: ok"], right - total["right: ok"]
    print(f"\nof {wrong} wrong masks {caught} are caught ({caught / max(wrong, 1):.1%})")
    print(f"of {right} right masks {flagged} are flagged ({flagged / max(right, 1):.1%})")
    return {"table": table, "wrong": wrong, "caught": caught, "right": right, "flagged": flagged}


def _figures(rows: list[Judged]) -> None:
    names = sorted({n for r in rows for n in r.figures})
    table = []
    for name in names:
        for truth in ("right", "wrong"):
            values = [
                r.figures[name] for r in rows if name in r.figures and (r.dice >= WRONG_DICE) == (truth == "right")
            ]
            if values:
                table.append(
                    [f"{name} {truth}", len(values), *np.percentile(values, (0, 2, 10, 50, 90, 98, 100)).tolist()]
                )
    print_table("Figures", ["", "n", "0", "2", "10", "50", "90", "98", "100"], table)


if __name__ == "__main__":
    main()
