"""``glioserve shadow report``: a candidate's answers to live studies beside those that were given."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from glioserve_contract import to_dict
from glioserve_watch.shadow.comparison import CandidateStanding, Comparison, compared, shadow_records


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``report``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    report = actions.add_parser("report", help="agreement, flips and scores, over all and by subgroup")
    report.add_argument("--study-log", type=Path, required=True, metavar="DIR", help="the server's --study-log")
    report.add_argument("--json", action="store_true", help="a JSON object instead of tables")


def run(args: argparse.Namespace) -> int:
    """Exit code 0."""
    found = compared(shadow_records(args.study_log))
    if args.json:
        print(json.dumps({"candidates": [to_dict(standing) for standing in found]}, indent=2))
    elif not found:
        print(f"{args.study_log} has no study of a candidate; `glioserve serve --shadow VERSION` lets one see them.")
    else:
        print("\n\n".join(_table(standing) for standing in found))
    return 0


def _table(standing: CandidateStanding) -> str:
    head = f"Version {standing.candidate} as a candidate beside version {standing.served}"
    rows = [("all studies", standing.over_all), *standing.subgroups.items()]
    return "\n".join([head, *(f"  {name:<24} {_told(comparison)}" for name, comparison in rows)])


def _told(comparison: Comparison) -> str:
    if not comparison.studies or comparison.mean_difference is None:
        return "no study with a label"
    return (
        f"{comparison.flips} of {comparison.studies} flips (95% at every look: {comparison.flips_lower:.3f} to "
        f"{comparison.flips_upper:.3f}), scores {comparison.mean_difference:+.3f} on average, "
        f"{comparison.largest_difference:.3f} at most, PSI {comparison.score_psi:.2f}"
    )
