"""``glioserve gateway config``: Envoy's configuration for a gateway of one's own, in a pod or on another machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_triton.gateway.configuration import write_configuration
from glioserve_triton.gateway.options import read_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the one subcommand and its arguments."""
    commands = parser.add_subparsers(dest="gateway_command", required=True, metavar="COMMAND")
    config = commands.add_parser("config", help="write Envoy's configuration into a folder")
    config.add_argument("options", type=Path, metavar="YAML", help="the gateway's options (docs/gateway.md)")
    config.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    config.add_argument(
        "--seen-as", type=Path, metavar="DIR", help="the same folder as Envoy sees it (default: as --out)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the files and print how Envoy is started with them: exit code 0."""
    options = read_options(args.options)
    if not options.servers:
        raise GlioserveError(ErrorCode.INVALID_GATEWAY, "gateway.servers: must name at least one server, host:port.")
    args.out.mkdir(parents=True, exist_ok=True)
    file = write_configuration(options, args.out, args.seen_as)
    seen = file if args.seen_as is None else args.seen_as / file.name
    print(
        f"envoy --config-path {seen} --concurrency {options.workers} --disable-hot-restart --drain-strategy immediate"
    )
    return 0
