"""Count what the self-check of registration catches and what it flags for nothing, on phantoms whose truth is known.

``python benchmarks/bench_registration_check.py [--phantoms 12] [--first N]``: each phantom as it is (small and large
motion) and spoilt in each way of ``registration_hard``. A result is a failure above 2 mm of mean error over the brain,
and always where there is no right answer (mirrored, another head). Caught: ``review`` or refused.
"""

from __future__ import annotations

import argparse
import pickle
from typing import Any

import numpy as np

from common import ROOT, print_table, write_result
from glioserve_dicom.volumes.geometry import canonical
from glioserve_preprocess.registration.register import Registration, examine
from registration_cases import LEVELS, Case, phantom_case
from registration_hard import KINDS, hard_case
from registration_run import FAILED_MM
from registration_truth import mean_distance_mm

ROWS = ROOT / "build" / "bench_registration" / "check.pkl"


def judged(case: Case) -> tuple[Registration, bool]:
    """Our result, and whether it is a failure."""
    (found,) = examine(canonical(case.reference), [canonical(case.moving)])
    if case.true is None:
        return found, True
    return found, mean_distance_mm(found.moving_lps_from_reference_lps, case.true, case.points_lps_mm) > FAILED_MM


def main() -> None:
    """Print and keep the table; the figures of every pair lie in ``build/``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phantoms", type=int, default=12)
    parser.add_argument("--first", type=int, default=1000, help="number of the first phantom: others chose the limits")
    args = parser.parse_args()
    counts: dict[str, dict[str, int]] = {}
    rows: list[dict[str, Any]] = []
    for number in range(args.first, args.first + args.phantoms):
        cases = [phantom_case(number, level) for level in LEVELS] + [hard_case(number, kind) for kind in KINDS]
        for case in cases:
            found, failed = judged(case)
            verdict = "refused" if found.refusal else found.verdict
            row = counts.setdefault(case.group, {})
            outcome = f"{'wrong' if failed else 'right'}: {verdict}"
            row[outcome] = row.get(outcome, 0) + 1
            figures = {"contrast": found.contrast, "overlap": found.overlap, "rival": found.rival}
            figures["both_ways"] = found.both_ways_mm
            rows.append({"case": case.name, "group": case.group, "failed": failed, "verdict": verdict, **figures})
        print(f"phantom {number}: {len(cases)} pairs", flush=True)
    columns = [f"{truth}: {verdict}" for truth in ("right", "wrong") for verdict in ("ok", "review", "refused")]
    print_table("Pairs", ["", *columns], [[group, *(row.get(c, 0) for c in columns)] for group, row in counts.items()])
    total = {c: sum(row.get(c, 0) for row in counts.values()) for c in columns}
    right = sum(n for c, n in total.items() if c.startswith("right"))
    wrong = sum(n for c, n in total.items() if c.startswith("wrong"))
    caught, flagged = wrong - total["wrong: ok"], right - total["right: ok"]
    print(f"\nof {wrong} failures {caught} are caught ({caught / max(wrong, 1):.1%})")
    print(f"of {right} right results {flagged} are flagged ({flagged / max(right, 1):.1%})")
    for name in ("contrast", "overlap", "rival", "both_ways"):
        for failed in (False, True):
            values = [r[name] for r in rows if r["failed"] is failed]
            if values:
                low, middle, high = np.percentile(values, (2, 50, 98))
                print(
                    f"  {name:9} {'wrong' if failed else 'right'}: {low:.2f} / {middle:.2f} / {high:.2f} (2, 50, 98 %)"
                )
    ROWS.parent.mkdir(parents=True, exist_ok=True)
    ROWS.write_bytes(pickle.dumps(rows))
    settings = {"phantoms": args.phantoms, "first": args.first, "failure_mm": FAILED_MM}
    figures_kept = {"pairs": counts, "failures": wrong, "caught": caught, "right": right, "flagged": flagged}
    write_result("registration_check", settings, figures_kept, ("numpy", "scipy", "SimpleITK"))


if __name__ == "__main__":
    main()
