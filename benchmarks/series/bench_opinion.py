"""The second opinion by voxels: fresh synthetic heads, real series, the project's phantom, and what it costs.

``make bench NAME=opinion [ARGS='--heads 6 --scenes 60 --phantoms 12']``: a confusion table of ten kinds, how many are
answered and how many of those wrong; every real series with its answer; CPU seconds of a series of usual sizes.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bars import Bar, print_bars
from common import ROOT, print_table, write_result
from glioserve_contract import Modality
from glioserve_contract.sequences import PixelKind
from glioserve_dicom.volumes.geometry import Geometry, SequenceVolume
from glioserve_preprocess.opinion.model import OPINION_DIGEST
from glioserve_preprocess.opinion.network import PixelOpinion, opinion_of
from series.opinion_cases import SeriesCase, phantom_cases, real_cases, synthetic_cases

HEADS = ROOT / "build" / "bench_opinion"
SIZES = {
    "26 slices of 256 x 256": (26, 256, 256),
    "192 slices of 256 x 256": (192, 256, 256),
    "160 slices of 512 x 512": (160, 512, 512),
}
T1_KINDS = (PixelKind.T1, PixelKind.T1CE)


@dataclass(frozen=True)
class Asked:
    """One case and the opinion on it."""

    name: str
    kind: PixelKind
    opinion: PixelOpinion

    @property
    def right(self) -> bool:
        """True where the likeliest kind is the right one, sure or not."""
        return self.opinion.likeliest is self.kind

    @property
    def wrong(self) -> bool:
        """True where another kind is answered."""
        return self.opinion.kind not in (None, self.kind)


def ask(cases: Iterable[SeriesCase]) -> list[Asked]:
    """Return the opinion on every case."""
    return [Asked(case.name, case.kind, opinion_of(case.volume)) for case in cases]


def figures(asked: list[Asked]) -> dict[str, float]:
    """Return the shares that are told right, answered, and answered wrong."""
    if not asked:
        return dict.fromkeys(("series", "right", "answered", "wrong", "wrong_of_answered"), float("nan"))
    answered = [a for a in asked if a.opinion.kind is not None]
    wrong = sum(a.wrong for a in asked)
    return {
        "series": len(asked),
        "right": sum(a.right for a in asked) / len(asked),
        "answered": len(answered) / len(asked),
        "wrong": wrong,
        "wrong_of_answered": wrong / len(answered) if answered else 0.0,
    }


def confusion(asked: list[Asked]) -> list[list[object]]:
    """Return a row for each kind: how many were answered with which, and how many were not."""
    counts = Counter((a.kind, a.opinion.kind) for a in asked)
    return [[kind, *(counts[kind, said] for said in (*PixelKind, None))] for kind in PixelKind]


def cpu_seconds(repeats: int = 3) -> dict[str, float]:
    """Return the least CPU seconds of one opinion on volumes of usual sizes."""
    taken = {}
    for name, (z, y, x) in SIZES.items():
        spacing = (230 / x, 230 / y, 180 / z)
        rng = np.random.default_rng(0)
        voxels = rng.uniform(0, 1000, (z, y, x)).astype(np.float32)
        volume = SequenceVolume(Modality.T1, voxels, Geometry((x, y, z), np.diag([*spacing, 1.0])))
        times = []
        for _ in range(repeats + 1):
            start = time.process_time()
            opinion_of(volume)
            times.append(time.process_time() - start)
        taken[name] = min(times[1:])  # the session is made in the first
    return taken


def bars(synthetic: dict[str, float], real: dict[str, float], phantom: list[Asked], cost: float) -> list[Bar]:
    """Return the bars that the project set itself."""
    t1 = sum(a.wrong and a.kind in T1_KINDS and a.opinion.kind in T1_KINDS for a in phantom)
    return [
        Bar("fresh synthetic scans told right", synthetic["right"], 0.98, "share", at_least=True),
        Bar("wrong among those answered", synthetic["wrong_of_answered"], 0.01, "share"),
        Bar("real series answered wrong", real["wrong"], 0, "series"),
        Bar("phantoms' T1 and T1ce taken for each other", t1 if phantom else float("nan"), 0, "series"),
        Bar("CPU time of a series", cost, 0.3, "s"),
    ]


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=6, help="fresh synthetic heads")
    parser.add_argument("--scenes", type=int, default=60, help="scenes of ten scans each")
    parser.add_argument("--phantoms", type=int, default=12)
    parser.add_argument("--jobs", type=int, default=2, help="processes that make heads")
    args = parser.parse_args()
    real = ask(real_cases())
    phantom = ask(phantom_cases(args.phantoms))
    synthetic = ask(synthetic_cases(args.heads, args.scenes, HEADS, args.jobs))
    costs = cpu_seconds()
    columns = ["", *PixelKind, "no answer"]
    print_table("Fresh synthetic scans: rows are true, columns answered", columns, confusion(synthetic))
    print_table("Phantoms: rows are true, columns answered", columns, confusion(phantom)[:4])
    rows = [[a.name, a.opinion.kind or "no answer", a.opinion.likeliest, a.opinion.confidence] for a in real]
    print_table("Real series", ["", "answer", "likeliest", "share"], rows)
    groups = {"synthetic": figures(synthetic), "real": figures(real), "phantom": figures(phantom)}
    of_t1 = [a for a in synthetic if a.kind in T1_KINDS]
    groups["synthetic T1 and T1ce"] = figures(of_t1)
    names = list(groups["synthetic"])
    print_table("Shares", ["", *names], [[g, *(f[n] for n in names)] for g, f in groups.items()])
    print_table("CPU seconds of a series", ["", "CPU s"], [list(c) for c in costs.items()])
    found = bars(groups["synthetic"], groups["real"], phantom, max(costs.values()))
    print_bars(found)
    swapped = sum(a.wrong and a.opinion.kind in T1_KINDS for a in of_t1)
    print(f"T1 answered for T1ce or the reverse: {swapped} of {len(of_t1)} synthetic scans")
    settings = {"heads": args.heads, "scenes": args.scenes, "phantoms": args.phantoms, "model": OPINION_DIGEST}
    kept = {
        "groups": groups,
        "swapped_t1": swapped,
        "confusion": {str(row[0]): row[1:] for row in confusion(synthetic)},
        "real": {a.name: str(a.opinion.kind or "no answer") for a in real},
        "cpu_s": costs,
        "bars": [b.record() for b in found],
    }
    write_result("opinion", settings, kept, ("numpy", "onnxruntime"))


if __name__ == "__main__":
    main()
