"""The server on this machine: its binary, libraries, backends, shared memory, temporary folder and ports."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from glioserve_contract import GlioserveError
from glioserve_triton.diagnosis import packages
from glioserve_triton.diagnosis.findings import Finding, FindingState, readable_size, short_path
from glioserve_triton.process.backend_folder import PYTHON_BASED
from glioserve_triton.process.floors import floors, installed_version, standing_of
from glioserve_triton.process.locate import (
    PYTHON,
    Installation,
    check_libraries,
    find_installation,
    python_library_folder,
)
from glioserve_triton.process.options import free_ports
from glioserve_triton.served.profile import profile_needs
from glioserve_watch.folder import there

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - Linux's POSIX shared memory
TRITON_TEMPORARY = Path("/tmp")  # noqa: S108 - where Triton's Python backend writes, whatever TMPDIR says
MIN_SHARED_MEMORY_BYTES = 1 << 30
"""A study's tensors pass through it between the server and its models; 64 MiB (docker's default) fails at once."""
MIN_TEMPORARY_BYTES = 64 << 20
STANDARD_PORTS = {"grpc": 8001, "http": 8000, "metrics": 8002}
_PROBE_TIMEOUT_S = 5.0


def server_findings(tritonserver: Path | None, repository: Path | None, profile: str | None) -> Iterator[Finding]:
    """Yield the findings of the area ``server``; one is needed where a repository or a binary is named."""
    needed = repository is not None or tritonserver is not None
    try:
        installation = find_installation(tritonserver)
    except GlioserveError as error:
        found = short_path(error.detail)
        yield Finding("server", "tritonserver", "fail" if needed else "--", found, error.action)
        return
    yield Finding("server", "tritonserver", "ok", f"{installation.origin}: {short_path(installation.binary)}")
    yield _known_holes(installation)
    try:
        check_libraries(installation)
        own = python_library_folder()
        where = short_path(own) if own else "the system's folders"
        yield Finding("server", "libraries", "ok", f"all found; Python stub for {PYTHON}, libpython in {where}")
    except GlioserveError as error:
        yield Finding("server", "libraries", "fail", error.detail, error.action)
    yield from _backends(installation, repository, profile)
    yield _shared_memory()
    yield _temporary_folder()
    yield from _ports()


def _known_holes(installation: Installation) -> Finding:
    """Return where the server stands beside the known holes: by its origin, or by the version it has written down."""
    table, name = floors(), "known holes"
    if installation.origin == "wheel":
        action = "keep it on 127.0.0.1; NVIDIA's container is for production (docs/security.md)"
        return Finding("server", name, "warn", f"a development server, below {table.security}", action)
    standing = standing_of(installed_version(installation))
    if standing.fault is None:
        return Finding("server", name, "ok", f"{standing.name}, none as of {table.dated}")
    state: FindingState = "fail" if standing.below_security and installation.origin == "container" else "warn"
    action = f"use NVIDIA's container of release {max(table.security, table.function)} or later"
    return Finding("server", name, state, f"{standing.name} {standing.fault}", action)


def _backends(installation: Installation, repository: Path | None, profile: str | None) -> Iterator[Finding]:
    """Yield each backend; the one that the repository's profile (or the default profile) runs must be there."""
    needed = ""
    with suppress(GlioserveError):  # what is wrong with the repository is a finding of its own
        needed = profile_needs(repository, profile).backend if repository else ""
    needed = needed or "onnxruntime"
    for backend, package in PYTHON_BASED.items():
        version = packages.version_of(package)
        if (installation.backends / backend).is_dir():
            yield Finding("server", backend, "ok", "the server's own backend")
        elif version:
            yield Finding("server", backend, "ok", f"our backend, on the Python package {package} {version}")
        else:
            found = f"our backend lacks the Python package {package}"
            yield Finding("server", backend, "fail" if backend == needed else "--", found, f"pip install {package}")


def _shared_memory() -> Finding:
    try:
        total, _, free = shutil.disk_usage(SHARED_MEMORY)
        writable = os.access(SHARED_MEMORY, os.W_OK | os.X_OK)
    except OSError as error:
        return Finding("server", str(SHARED_MEMORY), "fail", str(error.strerror), "mount a tmpfs on it")
    found = f"{readable_size(total)}, {readable_size(free)} free"
    ours = [status.st_size for status, _ in there(SHARED_MEMORY.glob("glioserve-run-*"))]
    if ours:
        found += f"; {readable_size(sum(ours))} held by servers that run or were killed"
    if not writable:
        return Finding(
            "server", str(SHARED_MEMORY), "fail", f"{found}; not writable", "give this user write permission"
        )
    if free < MIN_SHARED_MEMORY_BYTES:
        action = "give 1 GiB or more: docker run --shm-size=2g, or a Kubernetes emptyDir with medium: Memory"
        return Finding("server", str(SHARED_MEMORY), "warn", found, action)
    return Finding("server", str(SHARED_MEMORY), "ok", found)


def _temporary_folder() -> Finding:
    folder = Path(tempfile.gettempdir())
    free = shutil.disk_usage(folder).free
    found = f"{folder}, {readable_size(free)} free"
    if not os.access(TRITON_TEMPORARY, os.W_OK):
        return Finding(
            "server",
            "temporary folder",
            "fail",
            f"{TRITON_TEMPORARY} is not writable",
            "mount one: Triton's Python backend uses no other",
        )
    if _is_noexec(folder):
        action = "point TMPDIR to a folder on another file system: the Python stub is started from it"
        return Finding("server", "temporary folder", "fail", f"{found}; mounted noexec", action)
    if free < MIN_TEMPORARY_BYTES:
        return Finding("server", "temporary folder", "warn", found, "make room")
    return Finding("server", "temporary folder", "ok", found)


def _is_noexec(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_NOEXEC)


def _ports() -> Iterator[Finding]:
    try:
        free = free_ports("127.0.0.1", len(STANDARD_PORTS))
        yield Finding("server", "free ports", "ok", f"127.0.0.1 gives them ({', '.join(map(str, free))})")
    except OSError as error:
        yield Finding("server", "free ports", "fail", str(error.strerror), "allow this user to listen on 127.0.0.1")
    taken = [f"{port} ({name})" for name, port in STANDARD_PORTS.items() if _is_taken(port)]
    if taken:
        action = "fine if it is your server; else choose others with --grpc-port, --http-port, --metrics-port"
        yield Finding("server", "standard ports", "warn", f"in use: {', '.join(taken)}", action)
    else:
        yield Finding("server", "standard ports", "ok", ", ".join(map(str, STANDARD_PORTS.values())))


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(_PROBE_TIMEOUT_S)
        return probe.connect_ex(("127.0.0.1", port)) == 0
