"""CPU time and memory of a running server, as the kernel counts them in /proc."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glioserve_triton.process.server import TritonServer
from glioserve_triton.stubs import stubs_of

_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
_MIB = 1 << 20


@dataclass(frozen=True)
class Memory:
    """Memory in MiB; PSS shares each shared page among the processes that have it."""

    server_rss: float
    server_pss: float
    stubs_pss: float
    shared: float
    """The run's regions in /dev/shm."""

    @property
    def total(self) -> float:
        """Proportional memory of all processes, shared memory included."""
        return self.server_pss + self.stubs_pss


def memory_of(server: TritonServer) -> Memory:
    """Return the memory of tritonserver and of its Python processes."""
    triton = server.process.pid
    regions = Path("/dev/shm").glob(f"{server.process.run.path.name}*")
    return Memory(
        _kib(triton, "Rss") / 1024,
        _kib(triton, "Pss") / 1024,
        sum(_kib(pid, "Pss") for pid in stubs_of(triton)) / 1024,
        sum(region.stat().st_blocks * 512 for region in regions) / _MIB,
    )


def cpu_s_of(server: TritonServer) -> float:
    """Return the CPU seconds so far of tritonserver, its Python processes, this process and its ended children."""
    ended = os.times()
    own = ended.user + ended.system + ended.children_user + ended.children_system
    return own + sum(_process_cpu_s(pid) for pid in (server.process.pid, *stubs_of(server.process.pid)))


class Machine:
    """CPU seconds of the whole machine since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._busy, self._idle = _busy_and_idle_s()

    def since(self) -> tuple[float, float, float]:
        """Return the wall seconds, and the CPU seconds that were used by anyone and that were left idle."""
        busy, idle = _busy_and_idle_s()
        return time.monotonic() - self._began, busy - self._busy, idle - self._idle


def slope_per_100(places: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope of the line of least squares, per 100 of the places."""
    middle, mean = sum(places) / len(places), sum(values) / len(values)
    above = sum((p - middle) * (v - mean) for p, v in zip(places, values, strict=True))
    return 100 * above / sum((p - middle) ** 2 for p in places)


def _busy_and_idle_s() -> tuple[float, float]:
    fields = [int(f) * _TICK_S for f in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return sum(fields) - idle, idle


def _process_cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def _kib(pid: int, name: str) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    match = re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)
    return int(match[1]) if match else 0
