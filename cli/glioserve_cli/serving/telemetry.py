"""Arguments of ``glioserve serve`` for what it tells of itself: traces, callers in the metrics, and the log."""

from __future__ import annotations

import argparse
import os
from typing import Any

from glioserve_cli import argtypes
from glioserve_cli.client_tracing import check_packages
from glioserve_triton.process.logs import LEVELS
from glioserve_triton.process.options import check_callers
from glioserve_triton.tracing.options import BASE_URL, SAMPLER, trace_export


def add_telemetry_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    telemetry = parser.add_argument_group("logs, traces and callers (docs/operations.md)")
    add = telemetry.add_argument
    add("--log-format", choices=("text", "json"), default="text")
    add("--log-level", choices=LEVELS, default="info", help="lines below it are left out (default %(default)s)")
    add(
        "--otlp-endpoint",
        metavar="URL",
        help=f"export traces there by OTLP over HTTP, as in http://collector:4318 (default: {BASE_URL})",
    )
    add(
        "--trace-sampling",
        type=argtypes.share_or_none,
        metavar="RATIO",
        help=f"share of the studies, 0 to 1, that are traced without a caller's own trace (default: {SAMPLER}, else 1)",
    )
    add(
        "--callers",
        type=argtypes.checked(_callers),
        default=(),
        metavar="A,B",
        help="callers that are counted by name in glioserve_caller_studies_total",
    )


def telemetry_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return keyword arguments of ServerOptions. Raises GLIO-5135 where traces cannot be exported."""
    traces = trace_export(args.otlp_endpoint, args.trace_sampling, os.environ)
    if traces is not None:
        check_packages()
    return {"traces": traces, "callers": args.callers}


def _callers(text: str) -> tuple[str, ...]:
    callers = tuple(text.split(","))
    check_callers(callers)
    return callers
