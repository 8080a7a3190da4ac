"""Processes of the Python models (Triton's "stubs"), as the kernel shows them in /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_STUB = b"triton_python_backend_stub"
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Stub:
    """One process of a Python model."""

    pid: int
    model: str
    """Name of its model; empty for a dead one, whose command line is gone."""
    state: str
    """The kernel's letter: R, S and D live, T is stopped, Z is dead and not reaped."""
    memory_bytes: int
    """Resident memory, shared memory included."""
    region: str
    """Name of its region in /dev/shm; empty for a dead one."""

    @property
    def dead(self) -> bool:
        """True for a process that has ended."""
        return self.state in "ZX"

    @property
    def stopped(self) -> bool:
        """True for a process that a signal has stopped."""
        return self.state == "T"


def stubs_of(server_pid: int) -> dict[int, Stub]:
    """Return the stubs among the server's children by process id; the dead that are not reaped yet are among them."""
    found = {}
    for folder in _PROC.glob("[0-9]*"):
        stub = _stub(int(folder.name), server_pid)
        if stub is not None:
            found[stub.pid] = stub
    return found


def stopped(pid: int) -> bool:
    """Return whether a signal has stopped the process."""
    try:
        return _fields(pid)[0] == "T"
    except OSError:
        return False


def _stub(pid: int, server_pid: int) -> Stub | None:
    try:
        fields = _fields(pid)
        if int(fields[1]) != server_pid:
            return None
        command = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):  # it ended meanwhile
        return None
    if fields[0] in "ZX":
        return Stub(pid, "", fields[0], 0, "")
    if _STUB not in command[0] or len(command) < 3:
        return None
    # stub <repository>/<model>/<version>/<file> <region> ...
    model, region = Path(os.fsdecode(command[1])).parts[-3], os.fsdecode(command[2])
    return Stub(pid, model, fields[0], int(fields[21]) * _PAGE_BYTES, region)


def _fields(pid: int) -> list[str]:
    """Fields of ``stat`` from the state on: proc(5) counts it as the third."""
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
