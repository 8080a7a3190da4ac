"""``glioserve doctor``: what is installed, found, reachable and wrong, each with what to do; for a bug report.

The exit code is 1 where something that is needed fails. What was never asked for (an extra, a server on a machine that
only calls one) is ``--``: absent, not wrong. No environment variable is printed, and the home folder is ``~``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from glioserve_cli import argtypes
from glioserve_cli.channel_arguments import channel_tls_of
from glioserve_cli.client_arguments import add_tls_arguments, add_token_argument
from glioserve_triton.diagnosis.examination import examine
from glioserve_triton.diagnosis.findings import Finding


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("--repository", type=Path, metavar="DIR", help="also check this model repository")
    parser.add_argument("--profile", help="the profile that the repository is to be served under")
    parser.add_argument(
        "--shadow",
        type=argtypes.count,
        metavar="VERSION",
        help="with --repository: the version of it that is to see live studies too",
    )
    parser.add_argument("--url", metavar="HOST:PORT", help="also check the running server at this gRPC address")
    parser.add_argument("--tritonserver", type=Path, metavar="PATH", help="the server binary to check")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    add_tls_arguments(parser)
    add_token_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print the report: exit code 0, or 1 where something that is needed fails; 2 for arguments that do not fit."""
    if args.shadow is not None and args.repository is None:
        print(
            "glioserve doctor: --shadow needs the repository of the version: name it with --repository", file=sys.stderr
        )
        return 2
    tls = channel_tls_of(args)
    findings = list(
        examine(args.repository, args.profile, args.url, args.tritonserver, tls, args.headers, shadow=args.shadow)
    )
    failed = any(finding.state == "fail" for finding in findings)
    if args.json:
        print(json.dumps({"failed": failed, "findings": [dataclasses.asdict(f) for f in findings]}, indent=2))
    else:
        print(as_text(findings))
    return int(failed)


def as_text(findings: list[Finding]) -> str:
    """Return aligned lines under a heading for each area, and the count of failures and warnings."""
    width = max(len(finding.name) for finding in findings)
    lines, area = [], ""
    for finding in findings:
        if finding.area != area:
            area = finding.area
            lines.append(area)
        lines.append(f"  {finding.state:<4}  {finding.name:<{width}}  {finding.found}")
        if finding.action:
            lines.append(f"  {'':<4}  {'':<{width}}  -> {finding.action}")
    count = {state: sum(f.state == state for f in findings) for state in ("fail", "warn")}
    return "\n".join([*lines, "", f"{count['fail']} failed, {count['warn']} warnings"])
