"""The processes of a deployment, found in /proc, and the memory that they hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from chaos.deployment import Deployment
from glioserve_triton.stubs import Stub, stubs_of

SUPERVISOR, GUARDIAN, TRITON, GATEWAY = "supervisor", "guardian", "tritonserver", "envoy"


def pid_of(deployment: Deployment, part: str) -> int:
    """Return the process id of the supervisor, of Triton's guardian, of tritonserver or of the gateway's Envoy."""
    if part == SUPERVISOR:
        return deployment.supervisor_pid
    for guardian in _children(deployment.supervisor_pid):
        for child in _children(guardian):
            name = Path(f"/proc/{child}/comm").read_text().strip()
            if name == GATEWAY and part == GATEWAY:
                return child
            if name == TRITON and part in (GUARDIAN, TRITON):
                return guardian if part == GUARDIAN else child
    raise ProcessLookupError(part)


def stubs(deployment: Deployment, model: str) -> list[Stub]:
    """Return the living processes of a Python model."""
    found = stubs_of(pid_of(deployment, TRITON)).values()
    return [stub for stub in found if stub.model == model and not stub.dead]


def memory_mib(deployment: Deployment) -> float:
    """Return the resident memory of tritonserver, its stubs and the gateway, in MiB."""
    triton = pid_of(deployment, TRITON)
    return sum(_resident_kib(pid) for pid in (triton, *stubs_of(triton), pid_of(deployment, GATEWAY))) / 1024


def _children(pid: int) -> Iterator[int]:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        yield from map(int, (thread / "children").read_text().split())


def _resident_kib(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    match = re.search(r"^VmRSS:\s+(\d+)", status, re.MULTILINE)
    return int(match[1]) if match else 0
