"""Arguments of the commands that call a server: how it is reached, and the series that a caller names."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from glioserve_cli import argtypes
from glioserve_cli.client_tracing import BASE_URL
from glioserve_client.calls.settings import checked_caller
from glioserve_client.options import TlsOptions, check_url
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.limits import DEFAULT_TIMEOUT_S

url = argtypes.checked(check_url)
"""Type of a server's gRPC address, ``HOST:PORT``."""


def add_connection_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of calls that every command which sends studies takes; :func:`connection_of` reads it."""
    calls = parser.add_argument_group("calls")
    calls.add_argument(
        "--timeout-s",
        type=argtypes.seconds(),
        default=DEFAULT_TIMEOUT_S,
        metavar="S",
        help="seconds for one study's answer, retries included (default: %(default)g)",
    )
    calls.add_argument(
        "--caller",
        type=argtypes.checked(checked_caller),
        metavar="NAME",
        help="this service's name, by which the server counts its studies where its operator has named it",
    )
    calls.add_argument(
        "--otlp-endpoint",
        metavar="URL",
        help=f"export the calls' spans there by OTLP over HTTP, as in http://collector:4318 (default: {BASE_URL})",
    )
    add_token_argument(calls)
    add_tls_arguments(parser)


def connection_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of a client that were given; GLIO-4107 as :func:`tls_of` raises it."""
    return {"timeout_s": args.timeout_s, "tls": tls_of(args), "headers": args.headers, "caller": args.caller}


def add_tls_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that :func:`tls_of` reads."""
    tls = parser.add_argument_group("TLS")
    tls.add_argument("--tls", action="store_true", help="encrypt; any option below implies it")
    tls.add_argument("--tls-ca", type=Path, metavar="PEM", help="who may have signed the server's certificate")
    tls.add_argument("--tls-cert", type=Path, metavar="PEM", help="the client's certificate, for mutual TLS")
    tls.add_argument("--tls-key", type=Path, metavar="PEM", help="the client's private key, for mutual TLS")
    tls.add_argument("--tls-server-name", metavar="NAME", help="the name in the server's certificate")


def tls_of(args: argparse.Namespace) -> TlsOptions | None:
    """Return the TLS options that were given; None for plain text. GLIO-4107 for a key without its certificate."""
    if not (args.tls or any((args.tls_ca, args.tls_cert, args.tls_key, args.tls_server_name))):
        return None
    if (args.tls_cert is None) != (args.tls_key is None):
        raise GlioserveError(ErrorCode.INVALID_TLS, "Mutual TLS needs both --tls-cert and --tls-key.")
    return TlsOptions(args.tls_ca, args.tls_key, args.tls_cert, args.tls_server_name)


def add_token_argument(parser: argparse._ActionsContainer) -> None:
    """Add ``--token-file``: ``args.headers`` becomes the gRPC metadata that carries the token."""
    parser.add_argument(
        "--token-file",
        dest="headers",
        default={},
        type=argtypes.bearer_file,
        metavar="FILE",
        help="token or API key that a gateway before the server asks for, sent with every call",
    )


def add_series_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--series t1=UID``, which may be repeated: ``args.series`` becomes a list of pairs."""
    parser.add_argument(
        "--series",
        action="append",
        default=[],
        type=argtypes.series,
        metavar="SEQUENCE=UID",
        help="take the series of this SeriesInstanceUID (or UID#part) for a sequence; may be repeated",
    )
