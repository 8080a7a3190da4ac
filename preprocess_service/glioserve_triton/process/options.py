"""Typed options of a server, and the flags of tritonserver that they become."""

from __future__ import annotations

import re
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.metrics import CALLER_NAME, MOST_CALLERS, OTHER_CALLER
from glioserve_contract.tensors import CALLER_PARAMETER, TRACE_PARAMETER
from glioserve_triton import allocator
from glioserve_triton.adapters.metrics import CALLERS
from glioserve_triton.process.locate import Installation
from glioserve_triton.tracing.options import TRACES_URL, TraceExport
from glioserve_watch.inputs import KEPT_INPUTS
from glioserve_watch.shadow.images import SHADOW_IMAGES
from glioserve_watch.spool import SPOOL_FOLDER, STUDY_LOG

if TYPE_CHECKING:  # its library is loaded only where TLS is asked for
    from glioserve_triton.process.tls import ServerTls

ADMIN_KEY = "admin-key"
"""Name of the key; over gRPC its header is ``triton-grpc-protocol-admin-key``."""
GRPC_ADMIN_HEADER = f"triton-grpc-protocol-{ADMIN_KEY}"
SHARED_MEMORY_KEY = "shared-memory-key"
"""Name of the key of callers that may hand volumes over by shared memory; its header is made as the admin's is."""
GRPC_SHARED_MEMORY_HEADER = f"triton-grpc-protocol-{SHARED_MEMORY_KEY}"
_SHARED_MEMORY = "shared-memory"
RESTRICTED = ("model-repository", "model-config", _SHARED_MEMORY, "trace", "logging", "statistics")
"""Protocols that only the admin token opens; a token of its own opens shared memory over gRPC where there is one.
Inference, health and metadata stay open."""
ACCEPT_IDENTIFIED_DICOM = "GLIOSERVE_ACCEPT_IDENTIFIED_DICOM"
"""Set to 1 in the environment of the Python models where identified DICOM is accepted."""

_TLS_FLAGS = (
    "--grpc-use-ssl",
    "--grpc-use-ssl-mutual",
    "--grpc-server-cert",
    "--grpc-server-key",
    "--grpc-root-cert",
)
_LOAD_MODEL = "--load-model"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,256}")


@dataclass(frozen=True)
class ServerOptions:
    """Options of a server; ports of 0 are chosen free."""

    model: str = "glioma"
    """The model to load and to wait for; the steps of an ensemble are loaded before it."""
    profile: str | None = None
    """``<model>/configs/<profile>.pbtxt`` where a model has it; None takes every ``config.pbtxt``."""
    tritonserver: Path | None = None
    """The server's binary; None looks for one."""
    host: str = "127.0.0.1"
    """IP address that all ports bind to; an IPv6 address with or without brackets."""
    grpc_host: str | None = None
    """IP address of the gRPC port alone; None: ``host``."""
    proxied: bool = False
    """True where other machines reach the gRPC port through a gateway on this one."""
    grpc_port: int = 0
    http: bool = False
    """Triton's HTTP API beside gRPC; most of the holes that were found in Triton lay in it."""
    http_port: int = 0
    metrics: bool = True
    metrics_port: int = 0
    admin_token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    """Opens :data:`RESTRICTED`. Triton takes it as a flag only, so the host's own users can read it in ``ps``."""
    shared_memory_token: str | None = field(default=None, repr=False)
    """Opens registration of shared memory to callers of this machine; None: the admin alone may register any."""
    accept_identified_dicom: bool = False
    log_verbosity: int = 0
    """Triton's ``--log-verbose``; 1 and more log every request's steps."""
    ready_timeout_s: float = 180.0
    """Bound on starting and loading the models."""
    drain_timeout_s: float = 60.0
    """Bound on waiting for studies in flight before the server is asked to stop."""
    exit_timeout_s: int = 30
    """Bound that Triton itself puts on its exit; afterwards everything is killed."""
    allow_known_cves: bool = False
    """Start a server with known holes where a network reaches it (:mod:`glioserve_triton.process.floors`)."""
    watches_studies: bool = False
    """True where a supervisor takes the records of studies that the Python models leave."""
    study_log: Path | None = None
    """Folder in which the supervisor keeps them beyond the run; None keeps none."""
    shadows: bool = False
    """True where a candidate runs beside the server, which preprocessing leaves its inputs for."""
    kept_inputs: Path | None = None
    """Folder in which the supervisor keeps the network's inputs; None keeps none."""
    tls: ServerTls | None = None
    """TLS of the gRPC port; None: plain text. Triton's HTTP and metrics ports have none."""
    traces: TraceExport | None = None
    """Export of traces; None: none are made, unless ``extra_flags`` ask Triton for its own."""
    callers: tuple[str, ...] = ()
    """Names of callers that have their own series in the metrics; all others are counted as one."""
    extra_flags: tuple[str, ...] = ()
    """Further flags of tritonserver (``--trace-config=…``, ``--backend-config=…``)."""

    def __post_init__(self) -> None:
        if not _TOKEN.fullmatch(self.admin_token):
            raise ValueError("admin_token must be 16 to 256 letters, digits, '-' or '_'")
        check_callers(self.callers)
        object.__setattr__(self, "host", _address(self.host))
        object.__setattr__(self, "grpc_host", _address(self.grpc_host or self.host))
        if self.tls is not None and self.http and not ip_address(self.host).is_loopback:
            raise GlioserveError(
                ErrorCode.INVALID_SERVER_TLS,
                "Triton's HTTP port has no TLS, so that a study could pass it unencrypted.",
                "Leave HTTP off, or bind to the loopback (--host 127.0.0.1).",
            )
        self._check_shared_memory()
        owned = {_LOAD_MODEL, *(flag.split("=")[0] for flag in self._own_flags(Ports(0, 0, 0), Path()))}
        for name in (flag.split("=")[0] for flag in self.extra_flags):
            if name in owned:
                raise ValueError(f"{name} is set by the options, not by extra_flags")
            if name in _TLS_FLAGS:
                raise ValueError(f"{name} is set by --tls-cert, --tls-key and --tls-client-ca")

    def _check_shared_memory(self) -> None:
        if self.shared_memory_token is None:
            return
        if not _TOKEN.fullmatch(self.shared_memory_token) or self.shared_memory_token == self.admin_token:
            raise ValueError("shared_memory_token must be 16 to 256 letters, digits, '-' or '_', and not the admin's")
        if not ip_address(self.grpc_host or self.host).is_loopback:
            raise GlioserveError(
                ErrorCode.SHARED_MEMORY_REFUSED,
                "Shared memory is for callers of this machine, and the gRPC port can be reached from others.",
                "Bind to the loopback (--host 127.0.0.1), or leave --shared-memory-token-file out.",
            )

    def flags(self, ports: Ports, repository: Path, models: Sequence[str]) -> list[str]:
        """Return the flags that say what is served, where, and to whom; the extra ones last.

        ``models`` are those that the server loads at its start.
        """
        own = self._own_flags(ports, repository)
        return [*own, *(f"{_LOAD_MODEL}={model}" for model in models), *self.extra_flags]

    def _own_flags(self, ports: Ports, repository: Path) -> list[str]:
        protocols = ",".join(RESTRICTED)
        callers = self.shared_memory_token
        over_grpc = ",".join(p for p in RESTRICTED if callers is None or p != _SHARED_MEMORY)
        flags = [
            f"--model-repository={repository}",
            "--model-control-mode=explicit",
            "--strict-readiness=false",  # a broken new version must not take the good one out of service
            "--disable-auto-complete-config",
            f"--exit-timeout-secs={self.exit_timeout_s}",
            f"--log-verbose={self.log_verbosity}",
            "--log-format=ISO8601",
            f"--grpc-address={_in_brackets(self.grpc_host or self.host)}",
            f"--grpc-port={ports.grpc}",
            f"--grpc-restricted-protocol={over_grpc}:{ADMIN_KEY}={self.admin_token}",
            "--grpc-infer-allocation-pool-size=0",  # else eight requests' buffers are kept for ever, at any size
            f"--allow-http={str(self.http).lower()}",
            f"--allow-metrics={str(self.metrics).lower()}",
        ]
        if callers is not None:
            flags.append(f"--grpc-restricted-protocol={_SHARED_MEMORY}:{SHARED_MEMORY_KEY}={callers}")
        if self.http:
            flags += [
                f"--http-address={_for_http(self.host)}",
                f"--http-port={ports.http}",
                f"--http-restricted-api={protocols}:{ADMIN_KEY}={self.admin_token}",
            ]
        if self.metrics:
            flags += [f"--metrics-address={_for_http(self.host)}", f"--metrics-port={ports.metrics}"]
        if self.profile:
            flags.append(f"--model-config-name={self.profile}")
        forwarded = [CALLER_PARAMETER] if self.callers else []
        forwarded += [TRACE_PARAMETER] if self.traces is not None else []
        if forwarded:
            pattern = f"^({'|'.join(forwarded)})$"
            flags.append(f"--grpc-header-forward-pattern={pattern}")
            flags += [f"--http-header-forward-pattern={pattern}"] if self.http else []
        if self.traces is not None:
            flags += self.traces.flags()
        return flags

    def environment(self, installation: Installation) -> dict[str, str]:
        """Return the server's environment; what it accepts is decided here alone, never inherited."""
        environment = installation.environment()
        decided_here = (
            ACCEPT_IDENTIFIED_DICOM,
            SPOOL_FOLDER,
            STUDY_LOG,
            SHADOW_IMAGES,
            KEPT_INPUTS,
            TRACES_URL,
            CALLERS,
        )
        for name in decided_here:
            environment.pop(name, None)
        if self.traces is not None:
            environment.update(self.traces.environment())
        if self.callers:
            environment[CALLERS] = ",".join(self.callers)
        if self.study_log is not None:
            environment[STUDY_LOG] = str(self.study_log)
        if self.kept_inputs is not None:
            environment[KEPT_INPUTS] = str(self.kept_inputs)
        if self.accept_identified_dicom:
            environment[ACCEPT_IDENTIFIED_DICOM] = "1"
        allocator.set_for_server(environment)
        return environment

    def choose_ports(self) -> Ports:
        """Return the options' ports, those of 0 replaced by free ones. Another process may still take one first."""
        wanted = (self.grpc_port, self.http_port, self.metrics_port)
        free = iter(free_ports(self.host, wanted.count(0)))
        grpc, http, metrics = (port or next(free) for port in wanted)
        return Ports(grpc, http, metrics)

    def chosen_among(self, ports: Ports) -> tuple[int, ...]:
        """Those of ``ports`` that another choice could replace."""
        pairs = ((self.grpc_port, ports.grpc), (self.http_port, ports.http), (self.metrics_port, ports.metrics))
        return tuple(port for wanted, port in pairs if wanted == 0)

    @property
    def loopback(self) -> bool:
        """True where only this machine can reach the ports."""
        hosts = (self.host, self.grpc_host or self.host)
        return not self.proxied and all(ip_address(host).is_loopback for host in hosts)

    @property
    def local_host(self) -> str:
        """The host as this machine reaches it: the loopback for a wildcard, an IPv6 address in brackets."""
        return _local(self.host)

    @property
    def local_grpc_host(self) -> str:
        """The same of the gRPC port."""
        return _local(self.grpc_host or self.host)


def check_callers(callers: Sequence[str]) -> None:
    """Raise ValueError for a name that cannot be a label, one that stands for all others, and for too many."""
    for name in callers:
        if not CALLER_NAME.fullmatch(name) or name == OTHER_CALLER:
            raise ValueError(
                f"a caller's name must be 1 to 64 letters, digits, '.', '_' or '-', and not {OTHER_CALLER!r}"
            )
    if len(set(callers)) != len(callers) or len(callers) > MOST_CALLERS:
        raise ValueError(f"at most {MOST_CALLERS} callers can be named, each once")


def _address(host: str) -> str:
    """Return the address without brackets. ValueError for a name, on which Triton's HTTP ports open nothing."""
    try:
        return str(ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host))
    except ValueError as error:
        raise ValueError(
            f"{host!r} is not an IP address: bind to 127.0.0.1 or ::1, to 0.0.0.0 or :: for all addresses, or to one "
            "of this machine's own"
        ) from error


def _local(host: str) -> str:
    return _in_brackets({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host))  # noqa: S104


def _in_brackets(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _for_http(host: str) -> str:
    """Return the address as Triton's HTTP servers want it; they say of any other form that they serve, and do not."""
    return f"ipv6:{host}" if ":" in host else host


@dataclass(frozen=True)
class Ports:
    """TCP ports; those of services that are off are not used."""

    grpc: int
    http: int
    metrics: int


def read_admin_token(file: Path) -> str:
    """Return the admin token in ``file``. Raises ValueError, with the file's name and the reason, where it is unfit."""
    return _read_token(file, lambda token: ServerOptions(admin_token=token))


def read_shared_memory_token(file: Path) -> str:
    """Return the token in ``file`` that opens shared memory. Raises ValueError as :func:`read_admin_token` does."""
    return _read_token(file, lambda token: ServerOptions(shared_memory_token=token))


def _read_token(file: Path, check: Callable[[str], object]) -> str:
    try:
        token = file.read_text(encoding="ascii").strip()
        check(token)
        return token
    except OSError as error:
        raise ValueError(f"{file.name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{file.name}: it is not ASCII text") from error
    except ValueError as error:
        raise ValueError(f"{file.name}: {error}") from error


def free_ports(host: str, count: int) -> tuple[int, ...]:
    """``count`` different ports that can be bound on ``host`` at this moment. OSError where it cannot be bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sockets = []
    try:
        for _ in range(count):  # all held at once, so that no port is given twice
            probe = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(probe)
            probe.bind((host, 0))
        return tuple(int(probe.getsockname()[1]) for probe in sockets)
    finally:
        for probe in sockets:
            probe.close()
