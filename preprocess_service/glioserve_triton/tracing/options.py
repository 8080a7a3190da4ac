"""Options of the export of traces, with OpenTelemetry's own variables, as Triton and the Python models take them.

Triton makes the spans of the ensemble, its steps and their queues, and follows the ``traceparent`` of a request's gRPC
metadata. It hands each Python model the context of its step, so the models' own spans lie below (docs/operations.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from glioserve_contract import ErrorCode, GlioserveError

TRACES_URL = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
"""Variable with the whole URL; the Python models are started with it exactly where traces are exported."""
BASE_URL = "OTEL_EXPORTER_OTLP_ENDPOINT"
SAMPLER, SAMPLER_RATIO = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
AUTHORITIES = ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE")
SERVICE_NAME = "OTEL_SERVICE_NAME"
SERVICE = "glioserve"
SAMPLERS = ("always_on", "always_off", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio")
"""Samplers that this server can follow; Triton always follows a caller's own trace."""
EXPORT_EVERY_S = 1.0
"""Longest time for which a span waits to be sent with others."""
MOST_WAITING = 2048
"""Spans that wait to be exported, in Triton and in each process of a model; further ones are dropped."""
_PATH = "/v1/traces"


@dataclass(frozen=True)
class TraceExport:
    """Export of traces by OTLP over HTTP."""

    url: str
    """The receiver's whole URL, its path included."""
    ratio: float = 1.0
    """Share of the studies that are traced of those whose callers send no trace of their own."""
    service: str = SERVICE
    """Name of the server in the traces."""
    authorities: str | None = None
    """File with the authorities of the receiver's certificate, PEM; None for the system's."""

    @property
    def rate(self) -> int:
        """Triton's form of the ratio: one study in so many, 0 for none."""
        return round(1 / self.ratio) if self.ratio else 0

    def flags(self) -> list[str]:
        """Return Triton's flags. A study's tensors are never traced, and canaries only with :attr:`rate` set later."""
        settings = {
            "url": self.url,
            "resource": f"service.name={self.service}",
            "bsp_max_queue_size": MOST_WAITING,
            "bsp_schedule_delay": round(EXPORT_EVERY_S * 1000),
        }
        return [
            "--trace-config=mode=opentelemetry",
            "--trace-config=level=TIMESTAMPS",
            "--trace-config=rate=0",
            *(f"--trace-config=opentelemetry,{name}={value}" for name, value in settings.items()),
        ]

    def environment(self) -> dict[str, str]:
        """Return the variables that the Python models read."""
        told = {TRACES_URL: self.url, SERVICE_NAME: self.service}
        if self.authorities is not None:
            # requests, which the Python models export with, would put a bundle in its own variable before this one.
            told["REQUESTS_CA_BUNDLE"] = self.authorities
        return told


def trace_export(
    endpoint: str | None, ratio: float | None, environment: Mapping[str, str], *, service: str = SERVICE
) -> TraceExport | None:
    """Return where to export traces to; None where neither an option nor a variable asks for it.

    Args:
        endpoint: the receiver's URL, with or without ``/v1/traces``; it goes before the variables.
        ratio: share of the studies, 0 to 1; it goes before the variables.
        environment: variables of OpenTelemetry's specification.
        service: name of the server where the variables have none.

    Raises:
        GlioserveError: GLIO-5135 for a URL, a protocol or a sampler that cannot be followed.
    """
    whole = None if endpoint else environment.get(TRACES_URL)
    base = endpoint or environment.get(BASE_URL)
    if not (whole or base) or (ratio is None and environment.get(SAMPLER) == "always_off"):
        return None
    protocol = next((environment[name] for name in PROTOCOLS if environment.get(name)), "http")
    if not protocol.startswith("http"):
        raise _invalid(f"The protocol of traces is {protocol!r}; this server exports OTLP over HTTP alone.")
    url = _checked(whole) if whole else _checked(str(base)).rstrip("/").removesuffix(_PATH) + _PATH
    authorities = next((environment[name] for name in AUTHORITIES if environment.get(name)), None)
    share = _ratio_of(environment) if ratio is None else ratio
    return TraceExport(url, share, environment.get(SERVICE_NAME) or service, authorities)


def _ratio_of(environment: Mapping[str, str]) -> float:
    sampler = environment.get(SAMPLER) or SAMPLERS[2]
    if sampler not in SAMPLERS:
        raise _invalid(f"{SAMPLER} is {sampler!r}; this server can follow {', '.join(SAMPLERS)}.")
    if sampler != "parentbased_traceidratio":
        return float(sampler.endswith("_on"))
    text = environment.get(SAMPLER_RATIO) or "1"
    try:
        ratio = float(text)
    except ValueError:
        ratio = math.nan
    if not 0 <= ratio <= 1:
        raise _invalid(f"{SAMPLER_RATIO} is {text!r}; it must be a number from 0 to 1.")
    return ratio


def _checked(url: str) -> str:
    """Return the URL if Triton's flag can carry it: http or https, a host, no credentials, no query."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        fits = False
    if not fits or parts.username is not None or parts.query or parts.fragment or not url.isprintable() or " " in url:
        raise _invalid(
            "The endpoint of traces must be http://HOST:PORT or https://HOST:PORT, with a path where the receiver "
            "wants one, without credentials and query; a key belongs into OTEL_EXPORTER_OTLP_HEADERS."
        )
    return url


def _invalid(detail: str) -> GlioserveError:
    return GlioserveError(ErrorCode.INVALID_TRACING, detail)
