"""Configure how to connect and how to try again, in small frozen values, safe as they are."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from glioserve_client.calls.version import __version__
from glioserve_client.connect.tls import TlsOptions

__all__ = ["MAX_MESSAGE_BYTES", "NO_RETRY", "ConnectionOptions", "RetryPolicy", "TlsOptions"]

_HEADER_NAME = re.compile(r"[0-9a-z._-]+")
_OTHER_SCHEMES = frozenset({"unix", "unix-abstract", "ipv4", "ipv6", "xds", "vsock", "passthrough"})
"""Schemes of gRPC's targets (https://github.com/grpc/grpc/blob/master/doc/naming.md) without one host and port."""
MAX_MESSAGE_BYTES = (1 << 31) - 1
"""Largest message that gRPC can carry; the contract's limits are checked before. A plain stub stops answers at 4 MB."""


def _check_numbers(options: object, names: tuple[str, ...], least: int) -> None:
    """Raise TypeError for a field that is not a number, and ValueError for one that is not finite or too small."""
    for name in names:
        value = getattr(options, name)
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{name} must be a number, not {type(value).__name__}")
        if not (math.isfinite(value) and float(value) >= least):
            raise ValueError(f"{name} must be {least} or more")


@dataclass(frozen=True)
class RetryPolicy:
    """Rules for sending a request again where no server could take it: until the deadline, after growing pauses.

    The pause before attempt n + 1 is drawn evenly from 0 to ``first_pause_s * 2 ** (n - 1)``, at most
    ``longest_pause_s``: clients that failed together do not come back together. All attempts and pauses share the
    call's one deadline.
    """

    max_attempts: int | None = None
    """Most times that a request is sent; 1 for no second attempt, None for as many as fit before the deadline."""
    first_pause_s: float = 0.5
    longest_pause_s: float = 8.0
    most_a_minute: int = 60
    """Most retries within a minute, over all calls of one client: a server that is down is not stormed."""

    def __post_init__(self) -> None:
        if self.max_attempts is not None:
            _check_numbers(self, ("max_attempts",), 1)
        _check_numbers(self, ("first_pause_s", "longest_pause_s", "most_a_minute"), 0)

    def pause_s(self, attempt: int) -> float:
        """Return the pause after the given attempt (1, 2, …) failed."""
        ceiling = min(self.longest_pause_s, self.first_pause_s * 2.0 ** min(attempt - 1, 60))
        return random.uniform(0.0, ceiling)  # noqa: S311 - jitter, not a secret


NO_RETRY = RetryPolicy(max_attempts=1)


@dataclass(frozen=True)
class ConnectionOptions:
    """The gRPC channel. The defaults suit a server behind a headless Kubernetes service."""

    keepalive_time_s: float = 310.0
    """Seconds between pings on an idle call. Servers drop clients that ping more often than they allow; Triton and
    gRPC allow one in 300 s by default. The deadline guards the call itself."""
    keepalive_timeout_s: float = 20.0
    """Longest time that a ping may stay without an answer."""
    http_proxy: bool = False
    """True where ``http_proxy`` of the environment applies: by default a study takes no detour."""
    longest_reconnect_pause_s: float = 2.0
    """Longest pause between attempts to connect; gRPC's own 120 s would outlast the calls that wait."""
    resolve_again_s: float = 5.0
    """Shortest time between two look-ups of the host's name, made where a server fails; gRPC's own is 30 s."""
    interceptors: tuple[Any, ...] = field(default=(), repr=False)
    """gRPC's own interceptors of unary calls, the first outermost: :class:`grpc.UnaryUnaryClientInterceptor` for
    ``GliomaClient``, :class:`grpc.aio.UnaryUnaryClientInterceptor` for ``AsyncGliomaClient``. A study is ``bytes`` to
    them; they see every attempt."""

    def __post_init__(self) -> None:
        seconds = ("keepalive_time_s", "keepalive_timeout_s", "longest_reconnect_pause_s", "resolve_again_s")
        _check_numbers(self, seconds, 0)
        if not isinstance(self.http_proxy, bool):
            raise TypeError(f"http_proxy must be True or False, not {type(self.http_proxy).__name__}")
        object.__setattr__(self, "interceptors", tuple(self.interceptors))

    def channel_arguments(self, tls: TlsOptions | None) -> list[tuple[str, int | str]]:
        """Return gRPC's names and values: https://grpc.github.io/grpc/core/group__grpc__arg__keys.html."""
        every_address: dict[str, list[dict[str, dict[str, str]]]] = {"loadBalancingConfig": [{"round_robin": {}}]}
        arguments: list[tuple[str, int | str]] = [
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.keepalive_time_ms", int(self.keepalive_time_s * 1000)),
            ("grpc.keepalive_timeout_ms", int(self.keepalive_timeout_s * 1000)),
            ("grpc.keepalive_permit_without_calls", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", int(self.longest_reconnect_pause_s * 1000)),
            ("grpc.dns_min_time_between_resolutions_ms", int(self.resolve_again_s * 1000)),
            ("grpc.enable_http_proxy", int(self.http_proxy)),
            ("grpc.enable_retries", 0),  # ours are budgeted
            ("grpc.primary_user_agent", f"glioserve-client/{__version__}"),
            ("grpc.service_config", json.dumps(every_address)),
        ]
        if tls is not None and tls.server_name is not None:
            arguments.append(("grpc.ssl_target_name_override", tls.server_name))
        return arguments


def check_url(url: str) -> str:
    """Return ``url`` if it is a gRPC target (``host:port``, ``dns:///host:port``, ``unix:/path``).

    gRPC would say of a wrong port at every attempt that the server cannot be reached.

    Raises:
        ValueError: it has another scheme, no port, a path behind it, or blanks or control characters.
    """
    scheme, separator, _ = url.partition("://")
    if separator and scheme in ("http", "https", "grpc", "grpcs"):
        raise ValueError(
            f"a gRPC target must not begin with {scheme}://; write HOST:PORT, and pass tls=TlsOptions() for TLS"
        )
    if ":" not in url or not url.isprintable() or " " in url:
        raise ValueError("the URL is not a gRPC target: write HOST:PORT")
    if url.split(":")[0] not in _OTHER_SCHEMES:
        host, _, port = url.removeprefix("dns:").rpartition("/")[2].rpartition(":")
        if not url.startswith("dns:") and "/" in url:
            raise ValueError("the URL has a path; a gRPC target is HOST:PORT alone")
        if ":" in host and not (host.startswith("[") and host.endswith("]")):
            raise ValueError("an address of IPv6 is written in brackets: [ADDRESS]:PORT")
        if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError("the URL is not a gRPC target: write HOST:PORT, the port a number from 1 to 65535")
    return url


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return gRPC metadata with lower-case names.

    Raises:
        TypeError: they are not a mapping of texts.
        ValueError: a value is not printable ASCII, or gRPC takes no header of a name.
    """
    if not isinstance(headers, Mapping) or not all(isinstance(each, str) for pair in headers.items() for each in pair):
        raise TypeError("headers must be a mapping of names to values, all of them texts")
    lowered = {name.lower(): value for name, value in headers.items()}
    for name, value in lowered.items():
        if not value.isascii() or not value.isprintable():
            raise ValueError("header names and values must be printable ASCII")
        if not _HEADER_NAME.fullmatch(name) or name.startswith("grpc-") or name.endswith("-bin"):
            raise ValueError(
                "header names and values must be printable ASCII; a name has letters, digits, '.', '_' and '-', does "
                "not begin with grpc- and does not end in -bin"
            )
    return lowered
