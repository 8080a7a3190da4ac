"""Typed options of the gateway, read from one YAML or JSON file (docs/gateway.md)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path

import yaml

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.codec import SchemaError, from_dict
from glioserve_contract.limits import DEFAULT_TIMEOUT_S, MAX_REQUEST_BYTES

_SERVER = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})")
_CALLER_KEY = re.compile(
    r"(?P<caller>[A-Za-z0-9._-]{1,64}):(?:sha256:(?P<digest>[0-9a-f]{64})|(?P<key>[A-Za-z0-9._~+/=-]{32,256}))"
)
_MIB = 1 << 20


@dataclass(frozen=True)
class Address:
    """An IP address of this machine, or one of all (``0.0.0.0``, ``::``), and a TCP port."""

    host: str = "127.0.0.1"
    port: int = 8001

    def check(self, path: str) -> None:
        """Raise SchemaError for a name or a port that cannot be."""
        try:
            ip_address(self.host)
        except ValueError as error:
            raise SchemaError(f"{path}.host", f"must be an IP address without brackets, not {self.host!r}") from error
        _check_range(path, self, 0, 65535, "port")


@dataclass(frozen=True)
class DownstreamTls:
    """TLS towards callers. A file that is replaced by a rename is read again, without a restart."""

    certificate: str
    private_key: str
    client_ca: str | None = None
    """Authorities of the callers' certificates: with it every caller must show one."""


@dataclass(frozen=True)
class UpstreamTls:
    """TLS towards the servers, where they are not on this machine."""

    ca: str
    server_name: str
    """The name in the servers' certificates."""
    certificate: str | None = None
    private_key: str | None = None

    def check(self, path: str) -> None:
        """Raise SchemaError for half a pair."""
        if (self.certificate is None) != (self.private_key is None):
            raise SchemaError(path, "certificate and private_key go together")


@dataclass(frozen=True)
class Jwt:
    """Tokens of one OpenID Connect issuer, sent as ``authorization: Bearer …``."""

    issuer: str
    audiences: tuple[str, ...]
    """A token must be for one of these."""
    jwks_file: str | None = None
    """The issuer's public keys as a file (JWKS)."""
    jwks_uri: str | None = None
    """Their https address instead, fetched and kept for ``jwks_cache_s``."""
    jwks_ca: str | None = None
    """Authorities that may sign the certificate of ``jwks_uri``'s host; None: the system's."""
    jwks_cache_s: int = 300
    caller_claim: str = "sub"
    """Claim that names the caller: in the access log, and for the rate."""

    def check(self, path: str) -> None:
        """Raise SchemaError where the keys or the audiences are missing."""
        if (self.jwks_file is None) == (self.jwks_uri is None):
            raise SchemaError(path, "needs jwks_file or jwks_uri, and not both")
        if self.jwks_uri is not None and not self.jwks_uri.startswith("https://"):
            raise SchemaError(f"{path}.jwks_uri", "must begin with https://")
        if not self.audiences:
            raise SchemaError(f"{path}.audiences", "must name at least one, or a token for anything would do")
        _check_range(path, self, 1, 86400, "jwks_cache_s")


@dataclass(frozen=True)
class Rate:
    """Studies of one caller: a bucket of ``burst`` that fills by ``studies_per_minute``."""

    studies_per_minute: int = 60
    burst: int = 20
    most_callers: int = 1000
    """Callers whose buckets are kept; beyond them the one that was quiet for longest starts anew."""

    def check(self, path: str) -> None:
        """Raise SchemaError for a number out of bounds."""
        _check_range(path, self, 1, 1_000_000, "studies_per_minute", "burst", "most_callers")


@dataclass(frozen=True)
class Limits:
    """Bounds that protect the gateway and the servers behind it."""

    max_request_bytes: int = 256 * _MIB
    """Longest request; it is held here whole before a server sees a byte of it."""
    max_requests_in_flight: int = 16
    """Studies at the servers at one time, all servers together; one more is refused at once."""
    max_streams_per_connection: int = 16
    max_connections: int = 256
    max_heap_bytes: int = 4096 * _MIB
    """Memory of the gateway; near it, new requests are refused and then the largest are ended."""

    def check(self, path: str) -> None:
        """Raise SchemaError for a number out of bounds."""
        _check_range(path, self, 1 << 16, MAX_REQUEST_BYTES, "max_request_bytes")
        _check_range(path, self, 1, 100_000, "max_requests_in_flight", "max_streams_per_connection", "max_connections")
        _check_range(path, self, 2 * self.max_request_bytes, 1 << 45, "max_heap_bytes")


@dataclass(frozen=True)
class Timeouts:
    """Longest times, in seconds."""

    study_s: float = DEFAULT_TIMEOUT_S
    """Time from the first byte to the answer; a caller's own deadline (grpc-timeout) only shortens it."""
    upload_s: float = 60.0
    """Time from the first to the last byte of a request."""
    headers_s: float = 10.0
    """Time for the headers of a request, and for the TLS handshake."""
    connection_age_s: float = 3600.0
    """After it a connection is closed in order, so that callers spread over new gateways."""

    def check(self, path: str) -> None:
        """Raise SchemaError for a number out of bounds."""
        _check_range(path, self, 0.1, 86400, "study_s", "upload_s", "headers_s", "connection_age_s")


@dataclass(frozen=True)
class GatewayOptions:
    """All options; the file has these names."""

    servers: tuple[str, ...] = ()
    """gRPC addresses of the servers, ``host:port``; a name stands for all its addresses. Empty for
    ``glioserve serve --gateway``, whose own server it is."""
    listen: Address = field(default_factory=Address)
    status: Address | None = None
    """Plain HTTP for probes and Prometheus: ``/ready`` and ``/metrics`` of the gateway, nothing else."""
    tls: DownstreamTls | None = None
    servers_tls: UpstreamTls | None = None
    jwt: Jwt | None = None
    api_keys_file: str | None = None
    """Lines of ``caller:key`` or ``caller:sha256:HEX``; a key has 32 characters or more, sent as a bearer token."""
    anonymous: bool = False
    """Let all ask who reach the port. Without ``jwt``, ``api_keys_file`` and ``tls.client_ca`` it must be stated."""
    rate: Rate = field(default_factory=Rate)
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    workers: int = 2
    """Threads."""

    def check(self, path: str) -> None:
        """Raise SchemaError where options contradict each other, or none says who may ask."""
        for number, server in enumerate(self.servers):
            if _SERVER.fullmatch(server) is None:
                raise SchemaError(f"{path}.servers[{number}]", f"must be host:port, not {server!r}")
        if self.jwt is not None and self.api_keys_file is not None:
            raise SchemaError(path, "jwt and api_keys_file exclude each other: both come as a bearer token")
        kept_out = self.jwt or self.api_keys_file or (self.tls and self.tls.client_ca)
        if not kept_out and not self.anonymous:
            raise SchemaError(
                path, "says not who may ask: set jwt, api_keys_file or tls.client_ca, or anonymous to true"
            )
        if kept_out and self.anonymous:
            raise SchemaError(f"{path}.anonymous", "must not be true where callers have to show who they are")
        _check_range(path, self, 1, 256, "workers")

    @property
    def endpoints(self) -> tuple[tuple[str, int], ...]:
        """Host and port of each server."""
        matches = (_SERVER.fullmatch(server) for server in self.servers)
        return tuple((match[1].strip("[]"), int(match[2])) for match in matches if match)

    def before(self, servers: tuple[str, ...]) -> GatewayOptions:
        """Return the options for a gateway in front of these servers. GLIO-5131 where the file names others."""
        if self.servers:
            raise invalid("gateway.servers: must be left out, for the server is this machine's own")
        return replace(self, servers=servers)


def read_options(file: Path) -> GatewayOptions:
    """Return the options in a YAML or JSON file; GLIO-5131 where it cannot be read or does not fit."""
    try:
        return from_dict(GatewayOptions, yaml.safe_load(file.read_text(encoding="utf-8")), "gateway")
    except OSError as error:
        raise invalid(f"{file.name} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise invalid(f"{file.name} is neither YAML nor JSON: {' '.join(str(error).split())}") from error
    except SchemaError as error:
        raise invalid(str(error)) from error


def read_api_keys(file: Path) -> Mapping[str, str]:
    """Return the callers by the SHA-256 of their keys. GLIO-5131, with the number of an unfit line and not its text."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise invalid(f"api_keys_file cannot be read: {getattr(error, 'strerror', 'it is not text')}") from error
    callers: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _CALLER_KEY.fullmatch(line.strip())
        if match is None:
            raise invalid(
                f"line {number} of api_keys_file is neither caller:key, with a key of 32 to 256 characters, nor "
                "caller:sha256:HEX"
            )
        digest = match["digest"] or hashlib.sha256(match["key"].encode()).hexdigest()
        if digest in callers:
            raise invalid(f"line {number} of api_keys_file repeats a key of another line")
        callers[digest] = match["caller"]
    if not callers:
        raise invalid("api_keys_file holds no key, so that no caller could ask")
    return callers


def read_key_set(file: Path) -> str:
    """Return an issuer's public keys as JSON text; GLIO-5131 where the file is not a key set."""
    try:
        text = file.read_text(encoding="utf-8")
        keys = json.loads(text)["keys"]
    except OSError as error:
        raise invalid(f"gateway.jwt.jwks_file cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise invalid("gateway.jwt.jwks_file is not a JSON Web Key Set") from error
    if not isinstance(keys, list) or not keys:
        raise invalid("gateway.jwt.jwks_file holds no key, so that no caller could ask")
    return text


def invalid(detail: str) -> GlioserveError:
    """Return GLIO-5131 that says ``detail``."""
    return GlioserveError(ErrorCode.INVALID_GATEWAY, f"{detail}.")


def _check_range(path: str, record: object, least: float, most: float, *names: str) -> None:
    for name in names:
        if not least <= getattr(record, name) <= most:
            raise SchemaError(f"{path}.{name}", f"must be {least:g} to {most:g}")
