"""The registration benchmark's tables and bars, from its outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

import numpy as np

from bars import Bar
from common import print_table
from glioserve_dicom.volumes.geometry import Matrix
from peer_process import ANTS, ELASTIX, OURS, Tool
from registration.cases import RealStudy
from registration.run import FAILED_MM, FirstCall, Outcome, matrices_of
from registration.truth import consensus, mean_distance_mm

MAX_WORSE_MM = 0.05
MAX_OF_ANTS, MAX_OF_ELASTIX = 1 / 15, 1 / 2
MAX_FIRST_CALL = 2.0
MAX_DISAGREEMENT_MM = 0.35


def family_consensus(matrices: Mapping[str, Matrix], tools: Sequence[Tool], study: RealStudy) -> Matrix:
    """The consensus of the tool families: settings of one family are first made one."""
    families: dict[str, list[Matrix]] = {}
    for tool in tools:
        if tool.name in matrices:
            families.setdefault(tool.family, []).append(matrices[tool.name])
    return consensus([consensus(found, study.points_lps_mm) for found in families.values()], study.points_lps_mm)


def accuracy(outcomes: Sequence[Outcome], tools: Sequence[Tool]) -> dict[str, dict[str, dict[str, float]]]:
    """Group -> tool -> figures; the errors' are over the pairs that the tool answered."""
    groups = list(dict.fromkeys(o.group for o in outcomes))
    table: dict[str, dict[str, dict[str, float]]] = {}
    for group in groups:
        table[group] = {}
        for tool in tools:
            mine = [o for o in outcomes if o.group == group and o.tool is tool]
            errors = np.array([o.tre_mm for o in mine if o.tre_mm is not None])
            some = errors if len(errors) else np.array([np.nan])
            table[group][tool.name] = {
                "pairs": len(mine),
                "mean_mm": float(some.mean()),
                "median_mm": float(np.median(some)),
                "p95_mm": float(np.percentile(some, 95)),
                "max_mm": float(some.max()),
                "failures": sum(o.failed for o in mine),
                "no_answer": sum(o.answer.matrix is None for o in mine),
                "review": sum(o.answer.verdict == "review" for o in mine),
            }
    return table


def costs(outcomes: Sequence[Outcome], tools: Sequence[Tool]) -> dict[str, float]:
    """Median CPU seconds per pair, warm, by tool."""
    found = {}
    for tool in tools:
        seconds = [o.answer.cpu_s for o in outcomes if o.tool is tool and np.isfinite(o.answer.cpu_s)]
        found[tool.name] = median(seconds) if seconds else float("nan")
    return found


def agreement(native: Sequence[Outcome], study: RealStudy, tools: Sequence[Tool]) -> dict[str, dict[str, float]]:
    """Native pair -> mean distance over the brain of each tool to the consensus and to ours, and of ANTs to elastix."""
    table = {}
    for case in dict.fromkeys(o.case for o in native):
        matrices = matrices_of(native, case)
        agreed = family_consensus(matrices, tools, study)
        row = {"moved_mm": mean_distance_mm(agreed, np.eye(4), study.points_lps_mm)}
        for tool in tools:
            for what, other in (("consensus", agreed), ("ours", matrices.get(OURS.name))):
                if other is not None and tool.name in matrices and not (what == "ours" and tool is OURS):
                    row[f"{tool.name} to {what}"] = mean_distance_mm(matrices[tool.name], other, study.points_lps_mm)
        if ANTS.name in matrices and ELASTIX.name in matrices:
            apart_mm = mean_distance_mm(matrices[ANTS.name], matrices[ELASTIX.name], study.points_lps_mm)
            row[f"{ANTS.name} to {ELASTIX.name}"] = apart_mm
        table[case] = row
    return table


def bars(
    accuracies: Mapping[str, Mapping[str, Mapping[str, float]]],
    cpu_s: Mapping[str, float],
    first: FirstCall,
    agreements: Mapping[str, Mapping[str, float]],
) -> list[Bar]:
    """Every bar of the benchmark. Peers that are absent leave theirs unmet."""
    made = []
    for group, by_tool in accuracies.items():
        peers = {name: f for name, f in by_tool.items() if name != OURS.name and np.isfinite(f["mean_mm"])}
        if not peers:
            continue
        best = min(peers, key=lambda name: peers[name]["mean_mm"])
        worse_mm = by_tool[OURS.name]["mean_mm"] - peers[best]["mean_mm"]
        note = f"ours {by_tool[OURS.name]['mean_mm']:.3f}, {best} {peers[best]['mean_mm']:.3f}"
        made.append(Bar(f"{group}: mean error, ours - best peer", worse_mm, MAX_WORSE_MM, "mm", note=note))
        fewest = min(peers, key=lambda name: peers[name]["failures"])
        failures = by_tool[OURS.name]["failures"]
        if peers[fewest]["failures"] == 0:
            bar = Bar(f"{group}: failures above {FAILED_MM:.0f} mm", failures, 0, "pairs", note=f"{fewest} has none")
        else:
            # Every peer fails somewhere in this group; the bar asks for none only where a peer has none.
            bar = Bar(f"{group}: failures, of the best peer's", failures, peers[fewest]["failures"], "pairs")
        made.append(bar)
    for peer, limit in ((ANTS, MAX_OF_ANTS), (ELASTIX, MAX_OF_ELASTIX)):
        share = cpu_s[OURS.name] / cpu_s.get(peer.name, float("nan"))
        note = f"1/{1 / share:.1f}" if np.isfinite(share) else "not run"
        made.append(Bar(f"CPU time per pair: ours / {peer.name}", share, limit, note=note))
    made.append(
        Bar("CPU or wall time: first call / warm one", first.ratio, MAX_FIRST_CALL, note="the worse of the two")
    )
    for case, row in agreements.items():
        for peer in (ANTS, ELASTIX):
            apart_mm = row.get(f"{peer.name} to ours", float("nan"))
            made.append(Bar(f"{case}: ours to {peer.name}", apart_mm, MAX_DISAGREEMENT_MM, "mm"))
    return made


def print_report(
    accuracies: Mapping[str, Mapping[str, Mapping[str, float]]],
    cpu_s: Mapping[str, float],
    first: FirstCall,
    agreements: Mapping[str, Mapping[str, float]],
) -> None:
    """The tables, bars apart."""
    for group, by_tool in accuracies.items():
        columns = ["tool", *next(iter(by_tool.values()))]
        print_table(f"{group}: target registration error over the brain", columns,
                    [[name, *figures.values()] for name, figures in by_tool.items()])  # fmt: skip
    rows = [[name, seconds, seconds / cpu_s[OURS.name]] for name, seconds in cpu_s.items()]
    print_table("CPU seconds per pair, one thread, warm: median", ["tool", "CPU s", "of ours"], rows)
    print_table("Ours in a fresh process", list(asdict(first)), [list(asdict(first).values())])
    for case, row in agreements.items():
        print_table(f"{case}: mean distance over the brain, mm", ["what", "mm"], [[k, v] for k, v in row.items()])


def pair_rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Every pair and tool, for a closer look."""
    return [
        {
            "case": o.case,
            "tool": o.tool.name,
            "tre_mm": o.tre_mm,
            "verdict": o.answer.verdict,
            "error": o.answer.error,
            "cpu_s": o.answer.cpu_s,
        }
        for o in outcomes
    ]
