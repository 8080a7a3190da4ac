"""Processes that are killed, stopped and asked to end."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from chaos.deployment import Deployment
from chaos.faults.fault import Fault, Others, Strike
from chaos.parts import GATEWAY, GUARDIAN, SUPERVISOR, TRITON, pid_of, stubs

KILL, STOP = signal.SIGKILL, signal.SIGSTOP


def to_stub(model: str, number: signal.Signals, most: int = 1) -> Strike:
    """Send ``number`` to so many processes of a Python model."""

    @contextmanager
    def strike(deployment: Deployment) -> Iterator[Others]:
        for stub in stubs(deployment, model)[:most]:
            os.kill(stub.pid, number)
        yield Others()

    return strike


def to_part(part: str, number: signal.Signals, undo: signal.Signals | None = None) -> Strike:
    """Send ``number`` to one of the other processes, and ``undo`` to the same one afterwards."""

    @contextmanager
    def strike(deployment: Deployment) -> Iterator[Others]:
        pid = pid_of(deployment, part)
        os.kill(pid, number)
        yield Others()
        if undo is not None:
            os.kill(pid, undo)

    return strike


PROCESS_FAULTS = (
    Fault("kill -9 of one of two preprocess processes", to_stub("preprocess", KILL)),
    Fault("kill -9 of both preprocess processes", to_stub("preprocess", KILL, most=2)),
    Fault("kill -9 of the classifier's process", to_stub("classifier", KILL)),
    Fault("kill -9 of the report's process", to_stub("report", KILL)),
    Fault("SIGSTOP of a preprocess process", to_stub("preprocess", STOP)),
    Fault("SIGSTOP of the classifier's process", to_stub("classifier", STOP)),
    Fault("SIGSTOP of the report's process", to_stub("report", STOP)),
    Fault("SIGSTOP of tritonserver", to_part(TRITON, STOP)),
    Fault("kill -9 of tritonserver", to_part(TRITON, KILL)),
    Fault("kill -9 of the guardian", to_part(GUARDIAN, KILL)),
    Fault("kill -9 of the supervisor", to_part(SUPERVISOR, KILL)),
    Fault("SIGSTOP of the supervisor for 5 s", to_part(SUPERVISOR, STOP, signal.SIGCONT), lasts_s=5.0),
    Fault("kill -9 of the gateway", to_part(GATEWAY, KILL)),
    Fault("SIGSTOP of the gateway", to_part(GATEWAY, STOP)),
    Fault("SIGTERM and a new start", to_part(SUPERVISOR, signal.SIGTERM)),
)
