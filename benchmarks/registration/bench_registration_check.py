"""Count what the self-check of registration catches and what it flags for nothing, on phantoms whose truth is known.

``make bench NAME=registration_check ARGS='[--phantoms 12] [--first N]'``: each phantom as it is (small and large
motion), spoilt in each way of ``registration.hard``, and with realistic noise, shading and slices; then the pairs of
FG-6692, where ``../shared/data`` is there. A result is a failure above 2 mm of mean error over the brain, and always
where there is no right answer (mirrored, another head). Caught: ``review`` or refused. Phantoms, realistic phantoms and
the real patient are counted apart.
"""

from __future__ import annotations

import argparse
import multiprocessing
import pickle
from collections.abc import Iterable
from typing import Any

import numpy as np

from common import ROOT, print_table, write_result
from glioserve_dicom.volumes.geometry import canonical
from glioserve_preprocess.registration.register import Registration, examine
from registration.cases import LEVELS, Case, phantom_case, real_study
from registration.hard import KINDS, REALISTIC, hard_case, real_pairs, realistic_case
from registration.run import FAILED_MM
from registration.truth import mean_distance_mm

ROWS = ROOT / "build" / "bench_registration" / "check.pkl"


def judged(case: Case) -> tuple[Registration, bool]:
    """Our result, and whether it is a failure."""
    (found,) = examine(canonical(case.reference), [canonical(case.moving)])
    if case.true is None:
        return found, True
    return found, mean_distance_mm(found.moving_lps_from_reference_lps, case.true, case.points_lps_mm) > FAILED_MM


def judged_rows(cases: Iterable[Case]) -> list[dict[str, Any]]:
    """The verdict and the figures of each pair."""
    rows = []
    for case in cases:
        found, failed = judged(case)
        verdict = "refused" if found.refusal else found.verdict
        figures = {"contrast": found.contrast, "overlap": found.overlap, "rival": found.rival}
        figures |= {"both_ways": found.both_ways_mm, "gain": found.similarity - found.similarity_before}
        rows.append({"case": case.name, "group": case.group, "failed": failed, "verdict": verdict, **figures})
    return rows


def phantom_rows(number: int) -> list[dict[str, Any]]:
    """All pairs of one phantom."""
    cases = [phantom_case(number, level) for level in LEVELS] + [hard_case(number, kind) for kind in KINDS]
    return judged_rows(cases + [realistic_case(number, kind) for kind in REALISTIC])


def report(rows: list[dict[str, Any]], title: str) -> dict[str, Any]:
    """Print the table of some pairs, and return what is kept of it."""
    columns = [f"{truth}: {verdict}" for truth in ("right", "wrong") for verdict in ("ok", "review", "refused")]
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        outcome = f"{'wrong' if row['failed'] else 'right'}: {row['verdict']}"
        group = counts.setdefault(row["group"], {})
        group[outcome] = group.get(outcome, 0) + 1
    print_table(title, ["", *columns], [[group, *(row.get(c, 0) for c in columns)] for group, row in counts.items()])
    failures = [r for r in rows if r["failed"]]
    caught = sum(r["verdict"] != "ok" for r in failures)
    right = len(rows) - len(failures)
    flagged = sum(r["verdict"] != "ok" for r in rows if not r["failed"])
    print(f"\nof {len(failures)} failures {caught} are caught ({caught / max(len(failures), 1):.1%})")
    print(f"of {right} right results {flagged} are flagged ({flagged / max(right, 1):.1%})")
    for name in ("contrast", "overlap", "rival", "both_ways", "gain"):
        for failed in (False, True):
            values = [r[name] for r in rows if r["failed"] is failed]
            if values:
                low, middle, high = np.percentile(values, (2, 50, 98))
                print(
                    f"  {name:9} {'wrong' if failed else 'right'}: {low:.2f} / {middle:.2f} / {high:.2f} (2, 50, 98 %)"
                )
    return {"pairs": counts, "failures": len(failures), "caught": caught, "right": right, "flagged": flagged}


def main() -> None:
    """Print and keep the tables; the figures of every pair lie in ``build/``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phantoms", type=int, default=12)
    parser.add_argument("--first", type=int, default=1000, help="number of the first phantom: others chose the limits")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        for done in pool.imap(phantom_rows, range(args.first, args.first + args.phantoms)):
            rows += done
            print(f"{done[0]['case']}: {len(done)} pairs", flush=True)
    figures = report([r for r in rows if not r["group"].startswith("realistic")], "Phantoms")
    figures["realistic"] = report([r for r in rows if r["group"].startswith("realistic")], "Realistic phantoms")
    real = real_study()
    if real is not None:
        of_patient = judged_rows(real_pairs(real))
        figures["real"] = report(of_patient, "A real patient, FG-6692")
        rows += of_patient
    ROWS.parent.mkdir(parents=True, exist_ok=True)
    ROWS.write_bytes(pickle.dumps(rows))
    settings = {"phantoms": args.phantoms, "first": args.first, "failure_mm": FAILED_MM}
    write_result("registration_check", settings, figures, ("numpy", "scipy", "SimpleITK"))


if __name__ == "__main__":
    main()
