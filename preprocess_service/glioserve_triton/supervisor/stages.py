"""Faults of the Python models, seen from outside: processes that died, were stopped, hang or have grown too large."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum

from glioserve_triton.adapters.heartbeat import Beat
from glioserve_triton.stubs import Stub, Unreaped

LOOKS_BEFORE_DEAD = 2
"""Triton reaps a process that it ends itself between two looks."""
CONTINUES_BEFORE_KILL = 10
"""A stopped process is continued at once; so often, and no more."""
CONTINUED_WITHIN_S = 0.4
"""Longest stop after which a process is continued. After a longer one it is killed: Triton gives a request up after 0.7
to 1 s, and would hand the answer of a process that goes on to the next request."""
MEMORY_PAUSE_S = 60.0
"""Time between two replacements of a model for its memory: a limit that no new process keeps must not go round."""
RETIRED_FOR_S = 10.0
"""Time that Triton has to end a replaced process itself; with a dead one among them it never does."""


class Reason(str, Enum):
    """Reason for a repair."""

    DEAD = "dead"
    HUNG = "hung"
    MEMORY = "memory"


@dataclass
class _Model:
    """Processes of one model."""

    current: set[int] = field(default_factory=set)
    expected: int = 0
    looks_short: int = 0
    killed_as_hung: bool = False
    before_repair: set[int] | None = None
    """The processes that a repair under way replaces."""
    memory_at_s: float = -MEMORY_PAUSE_S


class Stages:
    """The processes of a server's Python models, from look to look."""

    def __init__(self, hung_after_s: float, memory_limit_bytes: int) -> None:
        """Take a call that runs longer than ``hung_after_s`` for a hang."""
        self._hung_after_s, self._memory_limit = hung_after_s, memory_limit_bytes
        self._models: dict[str, _Model] = {}
        self._retired: dict[int, float] = {}
        self._continued: dict[int, int] = {}
        self._served: set[int] = set()
        """Processes that were in service at some time, of those that are still there."""
        self._unreaped = Unreaped()
        self._looked_s = time.monotonic()

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models that have processes."""
        return tuple(self._models)

    @property
    def in_service(self) -> set[int]:
        """Processes, living or dead, of the models that have not been replaced: they may get requests."""
        return {pid for model in self._models.values() for pid in model.current}

    def processes(self, model: str) -> int:
        """Return how many processes the model should have."""
        return self._models[model].expected

    def begin(self, stubs: Mapping[int, Stub]) -> None:
        """Take the processes of now for those that should be there."""
        for stub in stubs.values():
            if not stub.dead:
                self._models.setdefault(stub.model, _Model()).current.add(stub.pid)
        for model in self._models.values():
            model.expected = len(model.current)

    def repair_begins(self, name: str) -> None:
        """Note that the model's processes of now are being replaced."""
        if name in self._models:  # a model of a native backend has no processes
            self._models[name].before_repair = set(self._models[name].current)

    def repair_failed(self, name: str) -> None:
        """Note that the model's processes stay, since no new ones could be started."""
        if name in self._models:
            self._models[name].before_repair = None

    def renewed(self, name: str, stubs: Mapping[int, Stub]) -> None:
        """Note that the repair has replaced the model's processes; the earlier ones retire."""
        model = self._models.get(name)
        if model is None:
            return
        self._retired |= dict.fromkeys(model.before_repair or (), time.monotonic())
        self._models[name] = _Model(self._living(name, stubs), model.expected, memory_at_s=model.memory_at_s)

    def faults(self, stubs: Mapping[int, Stub], beats: Mapping[int, Beat]) -> dict[str, Reason]:
        """Return the models that need a repair. Hung processes are killed, stopped ones continued, on the way."""
        self._continue_stopped(stubs)
        self._end_hung(stubs, beats)
        self._end_retired(stubs, beats)
        found = {}
        for name, model in self._models.items():
            if model.before_repair is not None:
                continue
            living = self._living(name, stubs)
            if not model.current <= living and len(living - model.current) >= model.expected:
                model.current = living - model.current  # a promotion has replaced them
            short = len(living & model.current) < model.expected
            model.looks_short = model.looks_short + 1 if short else 0
            if model.looks_short >= LOOKS_BEFORE_DEAD:
                found[name] = Reason.HUNG if model.killed_as_hung else Reason.DEAD
            elif self._has_grown(model, [stubs[pid] for pid in living & model.current]):
                found[name] = Reason.MEMORY
        return found

    def load_hangs(self, stubs: Mapping[int, Stub]) -> bool:
        """Return whether Triton waits for good for a process that died while its model was loaded."""
        self._served = (self._served | self.in_service) & stubs.keys()
        dead = {pid for pid, stub in stubs.items() if stub.dead}
        return self._unreaped.is_any(dead - self._served - self._retired.keys())

    def idle(self, name: str, stubs: Mapping[int, Stub], beats: Mapping[int, Beat]) -> bool:
        """Return whether a process of the model waits for work."""
        return any(
            beats[pid].busy_since_s is None
            for pid in self._living(name, stubs) & beats.keys()
            if not stubs[pid].stopped
        )

    def _living(self, name: str, stubs: Mapping[int, Stub]) -> set[int]:
        return {s.pid for s in stubs.values() if s.model == name and not s.dead and s.pid not in self._retired}

    def _has_grown(self, model: _Model, stubs: Iterable[Stub]) -> bool:
        now = time.monotonic()
        if now - model.memory_at_s < MEMORY_PAUSE_S or not any(s.memory_bytes > self._memory_limit for s in stubs):
            return False
        model.memory_at_s = now
        return True

    def _continue_stopped(self, stubs: Mapping[int, Stub]) -> None:
        before_s, self._looked_s = self._looked_s, time.monotonic()
        too_long = self._looked_s - before_s > CONTINUED_WITHIN_S  # it may have been stopped since the last look
        for stub in (s for s in stubs.values() if s.stopped):
            self._continued[stub.pid] = self._continued.get(stub.pid, 0) + 1
            if too_long or self._continued[stub.pid] > CONTINUES_BEFORE_KILL:
                self._kill_hung(stub)
            else:
                _send(stub.pid, signal.SIGCONT)

    def _end_hung(self, stubs: Mapping[int, Stub], beats: Mapping[int, Beat]) -> None:
        for stub in stubs.values():
            beat = beats.get(stub.pid)
            if not stub.dead and beat is not None and beat.busy_for_s() > self._hung_after_s:
                self._kill_hung(stub)

    def _kill_hung(self, stub: Stub) -> None:
        if stub.model in self._models:
            self._models[stub.model].killed_as_hung = True
        _send(stub.pid, signal.SIGKILL)

    def _end_retired(self, stubs: Mapping[int, Stub], beats: Mapping[int, Beat]) -> None:
        now = time.monotonic()
        for pid, since_s in list(self._retired.items()):
            stub, beat = stubs.get(pid), beats.get(pid)
            if stub is None or stub.dead:
                if stub is None:
                    del self._retired[pid]
            elif (beat is None or beat.busy_since_s is None) and now - since_s > RETIRED_FOR_S:
                _send(pid, signal.SIGKILL)


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def oldest_s(beats: Iterable[Beat]) -> float:
    """Return the seconds since the longest running call of some processes began; 0 where none works."""
    return max((beat.busy_for_s() for beat in beats), default=0.0)
