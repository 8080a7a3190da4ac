"""Processes of the Python models (Triton's "stubs"), as the kernel shows them in /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PROC = "/proc"
_STUB = b"triton_python_backend_stub"
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
REAPED_WITHIN_S = 5.0
"""Time within which Triton notices and reaps a process that ends while its model is loaded, where it notices at all."""


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


class Unreaped:
    """Dead processes that were never in service and that Triton does not reap, from look to look.

    A process that ends before it has greeted Triton (killed, no memory, no room for its threads) leaves the load of its
    model waiting for good, and every later load of the model too: Triton 2.51 waits for the greeting without a bound.
    """

    def __init__(self) -> None:
        self._since_s: dict[int, float] = {}

    def is_any(self, dead: Iterable[int]) -> bool:
        """Return whether one of the dead of now has been there for longer than :data:`REAPED_WITHIN_S`."""
        now = time.monotonic()
        self._since_s = {pid: self._since_s.get(pid, now) for pid in dead}
        return any(now - since_s > REAPED_WITHIN_S for since_s in self._since_s.values())


def stubs_of(server_pid: int) -> dict[int, Stub]:
    """Return the stubs among the server's children by process id; the dead that are not reaped yet are among them."""
    found = {}
    for name in filter(str.isdecimal, os.listdir(_PROC)):
        stub = _stub(int(name), server_pid)
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
        with open(f"{_PROC}/{pid}/cmdline", "rb") as file:
            command = file.read().split(b"\0")
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
    with open(f"{_PROC}/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()
