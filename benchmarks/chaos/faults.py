"""The faults that strike a deployment, each with how it is undone where it does not end by itself."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from chaos.deployment import Deployment
from glioserve_triton.process.options import GRPC_ADMIN_HEADER

Undo = Callable[[], None]


def _nothing() -> None:
    """Undo nothing: the deployment heals by itself."""


@dataclass(frozen=True)
class Fault:
    """One fault; ``strike`` returns what undoes it, after ``lasts_s`` seconds."""

    name: str
    strike: Callable[[Deployment], Undo]
    lasts_s: float = 0.0


def kill_stub(model: str, number: signal.Signals = signal.SIGKILL) -> Callable[[Deployment], Undo]:
    """Send ``number`` to one process of a Python model."""

    def strike(deployment: Deployment) -> Undo:
        os.kill(deployment.stubs(model)[0].pid, number)
        return _nothing

    return strike


def kill_all_stubs(deployment: Deployment) -> Undo:
    """Kill every process of ``preprocess`` at once."""
    for stub in deployment.stubs("preprocess"):
        os.kill(stub.pid, signal.SIGKILL)
    return _nothing


def kill(part: str, number: signal.Signals) -> Callable[[Deployment], Undo]:
    """Send ``number`` to the supervisor, the guardian or tritonserver."""

    def strike(deployment: Deployment) -> Undo:
        os.kill(getattr(deployment, f"{part}_pid"), number)
        return _nothing

    return strike


def stop_supervisor(deployment: Deployment) -> Undo:
    """Stop the supervisor; what it watches goes on."""
    pid = deployment.supervisor_pid
    os.kill(pid, signal.SIGSTOP)
    return lambda: os.kill(pid, signal.SIGCONT)


def terminate(deployment: Deployment) -> Undo:
    """SIGTERM, as a rolling update sends it; the deployment starts the server anew."""
    deployment.signal_supervisor(signal.SIGTERM)
    return _nothing


def fill(folder: Callable[[Deployment], Path]) -> Callable[[Deployment], Undo]:
    """Fill a file system to its last block."""

    def strike(deployment: Deployment) -> Undo:
        file = folder(deployment) / "full"
        with suppress(OSError), file.open("wb", buffering=0) as stream:
            while True:
                stream.write(b"\0" * (1 << 20))
        return lambda: file.unlink(missing_ok=True)

    return strike


def shared_memory(deployment: Deployment) -> Path:
    """Return the server's /dev/shm."""
    return deployment.inside("/dev/shm")


def broken_version(admin_token: str) -> Callable[[Deployment], Undo]:
    """Put a classifier version that is no graph into the repository and ask for it to be loaded."""

    def strike(deployment: Deployment) -> Undo:
        classifier = deployment.repository / "classifier"
        good = max((v for v in classifier.iterdir() if v.name.isdecimal()), key=lambda v: int(v.name))
        bad = classifier / str(int(good.name) + 1)
        shutil.copytree(good, bad)
        (bad / "model.onnx").write_bytes(b"no graph")
        with suppress(InferenceServerException), triton.InferenceServerClient(deployment.url) as client:
            client.load_model("classifier", {GRPC_ADMIN_HEADER: admin_token}, client_timeout=60)
        return lambda: shutil.rmtree(bad)

    return strike


def all_faults(admin_token: str) -> list[Fault]:
    """Return every fault, in the order of the table."""
    return [
        Fault("kill -9 of one of two preprocess processes", kill_stub("preprocess")),
        Fault("kill -9 of both preprocess processes", kill_all_stubs),
        Fault("kill -9 of the classifier's process", kill_stub("classifier")),
        Fault("kill -9 of the report's process", kill_stub("report")),
        Fault("SIGSTOP of a preprocess process", kill_stub("preprocess", signal.SIGSTOP)),
        Fault("SIGSTOP of the classifier's process", kill_stub("classifier", signal.SIGSTOP)),
        Fault("SIGSTOP of the report's process", kill_stub("report", signal.SIGSTOP)),
        Fault("SIGSTOP of tritonserver", kill("triton", signal.SIGSTOP)),
        Fault("kill -9 of tritonserver", kill("triton", signal.SIGKILL)),
        Fault("kill -9 of the guardian", kill("guardian", signal.SIGKILL)),
        Fault("kill -9 of the supervisor", kill("supervisor", signal.SIGKILL)),
        Fault("SIGSTOP of the supervisor for 5 s", stop_supervisor, lasts_s=5.0),
        Fault("SIGTERM and a new start", terminate),
        Fault("a classifier version that is no graph", broken_version(admin_token), lasts_s=2.0),
        Fault("/dev/shm full for 5 s", fill(shared_memory), lasts_s=5.0),
        Fault("the temporary folder full for 5 s", fill(Deployment.temporary), lasts_s=5.0),
    ]


def strike(fault: Fault, deployment: Deployment) -> None:
    """Let the fault strike, and undo it when its time is over."""
    undo = fault.strike(deployment)
    time.sleep(fault.lasts_s)
    with suppress(ProcessLookupError, FileNotFoundError):
        undo()
