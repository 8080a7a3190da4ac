"""Heartbeats: each process of a Python model tells, in a small file of the run's folder, since when it works.

Triton does not tell how long a request has been running, nor in which of a model's processes. The supervisor reads it
here. Times are CLOCK_MONOTONIC's, which all processes of a machine share.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from glioserve_triton.adapters.pause_guard import PauseGuard

RUN_FOLDER = "GLIOSERVE_RUN_FOLDER"
"""Environment variable of the server's processes: the folder of their run."""
_SUFFIX = ".heartbeat"
_LAYOUT = struct.Struct("<dQ")


@dataclass(frozen=True)
class Beat:
    """State of one process of a Python model."""

    busy_since_s: float | None
    """Monotonic time at which it began what it does now; None while it waits for work."""
    done: int
    """Number of calls that it has finished."""

    def busy_for_s(self) -> float:
        """Return for how many seconds it has been at work; 0 while it waits."""
        return 0.0 if self.busy_since_s is None else max(time.monotonic() - self.busy_since_s, 0.0)


class Heartbeat:
    """Writer of one process's state; it does nothing where no supervisor gave a folder."""

    def __init__(self, folder: Path | None, guard: PauseGuard | None = None) -> None:
        """Write to ``folder``; ``guard`` is notified of the work."""
        self._done, self._guard = 0, guard
        self._memory: mmap.mmap | None = None
        if folder is None or not folder.is_dir():
            return
        own = folder / f"{os.getpid()}{_SUFFIX}"
        try:
            with own.open("w+b") as file:
                file.write(_LAYOUT.pack(0.0, 0))
                file.flush()
                self._memory = mmap.mmap(file.fileno(), _LAYOUT.size)
        except OSError as error:  # a full temporary folder, say: better a process without one than no process
            with suppress(OSError):
                own.unlink()
            print(f"a process of a Python model has no heartbeat: {error.strerror}", file=sys.stderr, flush=True)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Say that the process is at work for as long as the context lasts."""
        with self._guard.working() if self._guard else nullcontext():
            self._write(time.monotonic())
            try:
                yield
            finally:
                self._done += 1
                self._write(0.0)

    def _write(self, since_s: float) -> None:
        if self._memory is not None:
            self._memory[:] = _LAYOUT.pack(since_s, self._done)


@cache
def own_heartbeat() -> Heartbeat:
    """Return this process's heartbeat, in the folder that its environment names; there it is guarded against pauses.

    Raises:
        GlioserveError: GLIO-5110 where the guard's library is not built.
    """
    folder = os.environ.get(RUN_FOLDER)
    return Heartbeat(Path(folder), PauseGuard()) if folder else Heartbeat(None)


def read_heartbeats(folder: Path) -> Mapping[int, Beat]:
    """Return the state of each process that has written one to ``folder``, by process id.

    The files of processes that are gone are removed: another process may get the number of one.
    """
    beats = {}
    for file in folder.glob(f"*{_SUFFIX}"):
        if not Path("/proc", file.stem).exists():
            file.unlink(missing_ok=True)
            continue
        try:
            since_s, done = _LAYOUT.unpack(file.read_bytes())
        except (OSError, struct.error):  # removed, or not written to its end
            continue
        beats[int(file.stem)] = Beat(since_s or None, done)
    return beats
