"""The live servers that ``glioserve repository promote`` and ``rollback`` take through a change."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path

from glioserve_cli import argtypes
from glioserve_cli.client_arguments import add_tls_arguments, tls_of, url
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_registry.promoting.promotion import LiveServer
from glioserve_triton.process.options import read_admin_token

CANARY_TIMEOUT_S = 120.0


def add_live_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name live servers, their token, TLS and the canary study."""
    live = parser.add_argument_group("live servers")
    live.add_argument(
        "--url",
        action="append",
        default=[],
        type=url,
        metavar="HOST:PORT",
        help="gRPC address of a server over this repository; again for each replica",
    )
    live.add_argument("--admin-token-file", type=Path, metavar="FILE", help="as given to `glioserve serve`")
    live.add_argument("--canary", type=Path, metavar="DIR", help="DICOM study to send (default: a phantom)")
    live.add_argument(
        "--canary-timeout-s",
        type=argtypes.seconds(),
        default=CANARY_TIMEOUT_S,
        metavar="S",
        help="default: %(default)g",
    )
    add_tls_arguments(parser)


@contextlib.contextmanager
def connected_servers(args: argparse.Namespace) -> Iterator[list[LiveServer]]:
    """Connect to the named servers."""
    with contextlib.ExitStack() as stack:
        servers: list[LiveServer] = []
        if args.url:
            # Imported here: the client and its readers of DICOM are slow to load, and only live servers need them.
            from glioserve_registry.promoting.live_server import TritonLive, canary_study

            token, tls = _token(args.admin_token_file), tls_of(args)
            if args.canary is None:
                print("drawing a phantom for the canary study (--canary DIR sends one that is there)", flush=True)
            study = canary_study(args.canary)
            for address in args.url:
                live = TritonLive(address, token, args.repository, study, timeout_s=args.canary_timeout_s, tls=tls)
                servers.append(stack.enter_context(live))
        yield servers


def _token(file: Path | None) -> str:
    if file is None:
        raise GlioserveError(
            ErrorCode.REQUEST_REFUSED,
            "--url wants --admin-token-file FILE.",
            "Name the file of the admin token that the server was started with.",
        )
    try:
        return read_admin_token(file)
    except ValueError as error:
        raise GlioserveError(
            ErrorCode.REQUEST_REFUSED,
            f"The admin token's file cannot be used: {error}.",
            "Name the file of the admin token that the server was started with (--admin-token-file).",
        ) from error
