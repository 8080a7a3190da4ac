"""Export the spans of a command's calls to a collector, where the operator asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.install import install_advice

BASE_URL, TRACES_URL = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
"""OpenTelemetry's variables of a collector's URL: without and with the path of traces."""
PACKAGES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
SERVICE = "glioserve-client"
"""Name of the command in the traces, unless OTEL_SERVICE_NAME has another."""


def check_packages() -> None:
    """Raise GLIO-5135 where OpenTelemetry's packages are not installed."""
    if not all(map(_is_here, PACKAGES)):
        raise GlioserveError(
            ErrorCode.INVALID_TRACING,
            "Traces are asked for, and OpenTelemetry's packages are not installed.",
            f"Install the extra: {install_advice('otel')}.",
        )


@contextmanager
def traced(endpoint: str | None) -> Iterator[None]:
    """Export the spans of the calls that are made within the block, and send the last ones at its end.

    Args:
        endpoint: the collector's URL; for None that of OpenTelemetry's variables, which are without effect where its
            packages are not installed: an operator may set them for every container.

    Raises:
        GlioserveError: GLIO-5135 for a URL, a protocol or a sampler that cannot be followed, or missing packages.
    """
    if endpoint is not None:
        check_packages()
    elif not (os.environ.get(BASE_URL) or os.environ.get(TRACES_URL)) or not all(map(_is_here, PACKAGES)):
        yield
        return
    # Imported here: the extra that brings them is not in every installation.
    from opentelemetry.trace import set_tracer_provider

    from glioserve_triton.tracing.options import trace_export
    from glioserve_triton.tracing.outbox import open_provider

    export = trace_export(endpoint, None, os.environ, service=SERVICE)
    if export is None:  # the sampler is off
        yield
        return
    provider, outbox = open_provider(export)
    set_tracer_provider(provider)
    try:
        yield
    finally:
        outbox.shutdown()


def _is_here(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False
