"""``make fuzz``: many cases over two processes, a table per class of mutation, and every failure with how to repeat it.

make fuzz N=5000 SEED=1          # cases 0 to 4999
make fuzz SEED=1 CASE=1234       # this one alone, in this process, with its whole traceback
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from fuzz.runner import ROOT, Found, Limits, Row, run, table

sys.path.insert(0, str(ROOT / "benchmarks"))


def main() -> int:
    """0 when every case was answered or refused by code."""
    parser = argparse.ArgumentParser(
        prog="make fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", type=int, help="only this one, here")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/fuzz.json")
    arguments = parser.parse_args()
    if arguments.case is not None:
        return alone(arguments.seed, arguments.case)
    start, found = time.perf_counter(), []
    for one in run(range(arguments.cases), arguments.seed, workers=arguments.workers):
        found.append(one)
        if one.outcome == "failed":
            print(failure(one, arguments.seed), flush=True)
        if len(found) % 250 == 0:
            print(f"{len(found)} cases, {time.perf_counter() - start:.0f} s", flush=True)
    seconds = time.perf_counter() - start
    rows = table(found)
    show(rows, arguments.seed, seconds)
    if arguments.write:
        write(rows, arguments.seed, arguments.cases, seconds)
    return 1 if any(row.failed for row in rows.values()) else 0


def alone(seed: int, number: int) -> int:
    """One case in this process."""
    from fuzz.cases import case_of
    from fuzz.judge import as_json, judged
    from fuzz.worker import limit_resources

    limit_resources()
    case = case_of(seed, number)
    print(f"{case.mutation}: {case.said}", flush=True)
    verdict = judged(case)
    print(verdict.detail)
    print(json.dumps({k: v for k, v in json.loads(as_json(verdict)).items() if k not in ("detail", "said")}))
    return 1 if verdict.outcome == "failed" else 0


def failure(found: Found, seed: int) -> str:
    """Return what happened and how to see it again."""
    again = f"make fuzz SEED={seed} CASE={found.number}"
    return f"\nFAILED case {found.number} ({found.mutation}): {found.said}\n{found.detail}\nagain: {again}"


def show(rows: dict[str, Row], seed: int, seconds: float) -> None:
    """The table, and how often each code was met."""
    from common import print_table

    every = sum((row.refused for row in rows.values()), start=type(Row().refused)())
    lines = [
        [name, r.cases, r.answered, sum(r.refused.values()), len(r.refused), r.failed, r.slowest_s, r.peak_mib]
        for name, r in rows.items()
    ]
    cases, answered, failed = (sum(getattr(r, k) for r in rows.values()) for k in ("cases", "answered", "failed"))
    slowest, peak = max(r.slowest_s for r in rows.values()), max(r.peak_mib for r in rows.values())
    lines.append(["all", cases, answered, every.total(), len(every), failed, slowest, peak])
    columns = ("mutation", "cases", "answered", "refused", "codes", "failed", "slowest s", "peak MiB")
    print_table(f"Fuzz, seed {seed}: {cases} cases in {seconds:.0f} s", columns, lines)
    print("codes: " + ", ".join(f"{code} {count}" for code, count in sorted(every.items())))


def write(rows: dict[str, Row], seed: int, cases: int, seconds: float) -> Path:
    """``benchmarks/results/fuzz.json``."""
    from common import write_result

    limits = Limits()
    settings = {"cases": cases, "seed": seed, "limit_s": limits.seconds, "limit_mib": limits.memory_mib}
    figures = {
        name: {
            "cases": r.cases,
            "answered": r.answered,
            "refused": dict(sorted(r.refused.items())),
            "failed": r.failed,
            "slowest_s": round(r.slowest_s, 2),
            "peak_mib": r.peak_mib,
        }
        for name, r in rows.items()
    }
    wall = {"wall_s": round(seconds)}
    return write_result("fuzz", settings, {**wall, "mutations": figures}, ("numpy", "pydicom", "scipy", "SimpleITK"))


if __name__ == "__main__":
    sys.exit(main())
