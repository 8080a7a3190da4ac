"""Rigid registration beside ANTs, elastix and SimpleITK: error, failures, CPU time and agreement, with the bars.

``make bench NAME=registration ARGS='[--full] [--jobs 2]'``: by default 12 pairs of each tool (about a quarter of
an hour), with ``--full`` or ``FULL=1`` 30 seeds of every level and data set (an hour or two). ``make peers`` installs
the other tools. ``--ours-only --pairs N`` runs ours alone on N pairs of each group: seconds.

Pairs are known motions ("small": within 10 degrees and mm per axis; "large": 18 to 30) of phantoms, whose truth is
exact, and of FG-6692, whose truth is the consensus of the tools on its native pairs in the same run. A motion is
put into the moving sequence's affine, so nothing is resampled and its field of view moves along with the head.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from bars import print_bars
from common import ROOT, print_table, write_result
from glioserve_contract import Modality
from glioserve_dicom.volumes.geometry import Matrix
from peer_process import ELASTIX, OURS, PEERS, PEERS_PYTHON, Tool, require_peers
from registration.cases import FIRST_SEED, LEVELS, MOVING, REAL, Case, RealStudy, phantom_case, real_case, real_study
from registration.report import (
    accuracy,
    agreement,
    bars,
    costs,
    family_consensus,
    pair_rows,
    print_report,
)
from registration.run import Outcome, first_call, matrices_of, run_cases

BUILD = ROOT / "build" / "bench_registration"
CONSENSUS = BUILD / "consensus.json"
DEFAULT_PAIRS, FULL_PAIRS = 12, 30
"""Number of cases in all, and of every group."""


def cases(study: RealStudy | None, truth: dict[Modality, Matrix], per_group: int) -> list[Callable[[], Case]]:
    """Makers of ``per_group`` pairs of each level of the phantoms and, with a study and its truth, of FG-6692."""
    makers: list[Callable[[], Case]] = []
    for number in range(per_group):
        for level in LEVELS:
            makers.append(partial(phantom_case, number, level))
            if study is not None and truth:
                makers.append(partial(real_case, study, number, level, truth))
    return makers


def compare(args: argparse.Namespace, folder: Path) -> None:
    """All tools, the report, the bars and the results' file."""
    require_peers()
    tools: tuple[Tool, ...] = (OURS, *PEERS)
    warm = (OURS, ELASTIX)
    study = real_study()
    native: list[Outcome] = []
    truth: dict[Modality, Matrix] = {}
    if study is None:
        print(f"FG-6692 is left out: there is no {os.path.relpath(REAL, ROOT)}")
    else:
        native, truth = native_truth(study, folder, args.jobs)
    per_group = args.pairs or (FULL_PAIRS if args.full else -(-DEFAULT_PAIRS // (len(LEVELS) * (2 if study else 1))))
    outcomes = run_cases(cases(study, truth, per_group), tools, warm, folder, args.jobs)
    first = first_call(OURS, phantom_case(0, "small"), folder)
    accuracies = accuracy(outcomes, tools)
    cpu_s = costs([*native, *outcomes], tools)
    agreements = agreement(native, study, tools) if study else {}
    print_report(accuracies, cpu_s, first, agreements)
    judged = bars(accuracies, cpu_s, first, agreements)
    print_bars(judged)
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / "pairs.json").write_text(json.dumps(pair_rows([*native, *outcomes]), indent=1), encoding="utf-8")
    print(f"every pair: {os.path.relpath(BUILD / 'pairs.json', ROOT)}")
    figures = {
        "accuracy": accuracies,
        "cpu_s_median": cpu_s,
        "first_call": vars(first),
        "native_mm": agreements,
        "bars": [bar.record() for bar in judged],
    }
    settings = {"pairs_per_group": per_group, "first_seed": FIRST_SEED, "jobs": args.jobs}
    settings |= {"real_study": study is not None, "peers": _peer_versions()}
    write_result("registration", settings, figures, ("numpy", "SimpleITK"))


def native_truth(study: RealStudy, folder: Path, jobs: int) -> tuple[list[Outcome], dict[Modality, Matrix]]:
    """All tools on the native pairs, and their consensus per sequence, which is kept for other runs."""
    require_peers()
    tools: tuple[Tool, ...] = (OURS, *PEERS)
    native = run_cases([partial(_same, case) for case in study.native()], tools, (OURS, ELASTIX), folder, jobs)
    truth = {
        m: family_consensus(matrices_of(native, c.name), tools, study)
        for m, c in zip(MOVING, study.native(), strict=True)
    }
    BUILD.mkdir(parents=True, exist_ok=True)
    CONSENSUS.write_text(json.dumps({m.value: matrix.tolist() for m, matrix in truth.items()}), encoding="utf-8")
    return native, truth


def kept_truth() -> dict[Modality, Matrix]:
    """The consensus that the last whole run kept; empty where there was none."""
    if not CONSENSUS.exists():
        return {}
    kept = json.loads(CONSENSUS.read_text(encoding="utf-8"))
    return {Modality(m): np.array(matrix) for m, matrix in kept.items()}


def ours_only(args: argparse.Namespace, folder: Path) -> None:
    """Ours alone; FG-6692 against the consensus that the last whole run kept."""
    study = real_study()
    truth = kept_truth() if study else {}
    if not truth:
        print("FG-6692 is left out: a whole run has to find its consensus first")
    per_group = args.pairs or 3
    outcomes = run_cases(cases(study, truth, per_group), (OURS,), (OURS,), folder, args.jobs)
    rows = [[group, *by_tool[OURS.name].values()] for group, by_tool in accuracy(outcomes, (OURS,)).items()]
    columns = ["group", *"pairs mean_mm median_mm p95_mm max_mm failures no_answer review".split()]
    print_table(f"Ours: {costs(outcomes, (OURS,))[OURS.name]:.2f} CPU s per pair", columns, rows)


def _same(case: Case) -> Case:
    return case


def _peer_versions() -> dict[str, str]:
    pinned = (ROOT / "benchmarks" / "peers" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    lines = [line for line in pinned if "==" in line]
    return dict(line.split("==") for line in lines) if PEERS_PYTHON.exists() else {}


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", default=os.environ.get("FULL", "") not in ("", "0"))
    parser.add_argument("--pairs", type=int, default=0, metavar="N", help="of each group, instead of the default")
    parser.add_argument("--jobs", type=int, default=1, help="pairs at a time, each tool on one thread")
    parser.add_argument("--ours-only", action="store_true", help="no peers, no bars, no results file")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench_registration-"))
    try:
        (ours_only if args.ours_only else compare)(args, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
