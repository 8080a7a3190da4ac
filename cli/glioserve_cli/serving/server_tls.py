"""``--tls-cert``, ``--tls-key`` and ``--tls-client-ca`` of ``glioserve serve``."""

from __future__ import annotations

import argparse
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.install import install_advice
from glioserve_triton.process.logs import Log, LogLevel

if TYPE_CHECKING:
    from glioserve_triton.process.tls import ServerTls

WARN_DAYS = 21
"""A certificate with fewer days left is warned of at every start."""


def add_server_tls_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that :func:`server_tls_of` reads."""
    tls = parser.add_argument_group("TLS of the gRPC port", "PEM files, read at the start; docs/operations.md")
    tls.add_argument("--tls-cert", type=Path, metavar="PEM", help="the server's certificate, its chain after it")
    tls.add_argument("--tls-key", type=Path, metavar="PEM", help="the certificate's private key, unencrypted")
    tls.add_argument(
        "--tls-client-ca", type=Path, metavar="PEM", help="who may have signed callers' certificates, then needed"
    )


def server_tls_of(args: argparse.Namespace) -> ServerTls | None:
    """Return the TLS files that were named; None for plain text. GLIO-5127 where one of a pair is missing."""
    if args.tls_cert is None and args.tls_key is None and args.tls_client_ca is None:
        return None
    if args.tls_cert is None or args.tls_key is None:
        raise GlioserveError(
            ErrorCode.INVALID_SERVER_TLS, "TLS needs both the certificate and its key: --tls-cert and --tls-key."
        )
    try:
        from glioserve_triton.process.tls import ServerTls
    except ModuleNotFoundError as error:
        raise GlioserveError(
            ErrorCode.MISSING_LIBRARY,
            f"TLS needs the package {error.name!r}.",
            f"Install the extra: {install_advice('tls')}.",
        ) from error
    return ServerTls(args.tls_cert, args.tls_key, args.tls_client_ca)


def tell_expiry(not_after: datetime, log: Log) -> None:
    """Log until when a certificate is valid, as a warning where that is soon."""
    days = (not_after - datetime.now(timezone.utc)).days
    level: LogLevel = "warning" if days < WARN_DAYS else "info"
    log.event("certificate", level, not_after=not_after.strftime("%Y-%m-%dT%H:%M:%SZ"), days_left=days)
