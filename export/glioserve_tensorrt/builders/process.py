"""A program of NVIDIA's, run to its end or to its time limit; nothing of it stays behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from glioserve_contract import GlioserveError
from glioserve_tensorrt.toolkit import KilledError

TAIL_LINES = 25
"""Lines of a log in an error: TensorRT's last words are the reason, trtexec's are its summary."""
MAX_TAIL_BYTES = 6000

_KILL_WAIT_S = 10.0


@dataclass(frozen=True)
class Ended:
    """End of a program."""

    returncode: int | None
    """Exit code; None where the time limit was reached and it was killed, negative where a signal ended it."""
    tail: str
    """The end of all that it printed."""

    @property
    def killed(self) -> bool:
        """Return whether another process ended it, most often the kernel where memory runs out."""
        return self.returncode == -signal.SIGKILL

    def error(self, error: GlioserveError) -> GlioserveError | KilledError:
        """Return what to raise: ``error``, or it as a KilledError where the program was killed."""
        return KilledError(error) if self.killed else error

    def __str__(self) -> str:
        if self.returncode is None:
            return "was stopped at the time limit"
        if self.killed:
            return "was killed by SIGKILL, as happens where there is too little memory"
        if self.returncode < 0:
            return f"was ended by {signal.Signals(-self.returncode).name}"
        return f"ended with code {self.returncode}"


def run(command: Sequence[str], *, cwd: Path, timeout_s: float, environment: Mapping[str, str] | None = None) -> Ended:
    """Run it in ``cwd`` with its output in a file there: an unread pipe would stop it.

    Whatever it started is killed with it: at the limit, and also if this process is interrupted. OSError where it
    cannot be started.
    """
    log = cwd / "log.txt"
    with log.open("wb") as output, _interrupts_deferred() as raise_deferred:
        process = subprocess.Popen(
            command, cwd=cwd, env=None if environment is None else dict(environment), stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        returncode: int | None = None
        try:
            raise_deferred()
            with contextlib.suppress(subprocess.TimeoutExpired):
                returncode = process.wait(timeout_s)
        finally:
            _kill_group(process)
    with log.open("rb") as written:
        return Ended(returncode, tail_of(written))


@contextlib.contextmanager
def _interrupts_deferred() -> Iterator[Callable[[], None]]:
    """Hold SIGINT back until the callable that is yielded is called, or the block ends.

    An interrupt inside ``Popen`` would raise after the fork and before there is an object by which the program could
    be killed. Python runs signal handlers in the main thread only, so other threads need nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    held: list[tuple[int, FrameType | None]] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: held.append((number, frame)))

    def release() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL if handler is None else handler)
        while held and callable(handler):
            handler(*held.pop())

    try:
        yield release
    finally:
        release()


def tail_of(log: BinaryIO) -> str:
    """Return the last lines, without the empty ones."""
    log.seek(0, os.SEEK_END)
    log.seek(max(0, log.tell() - MAX_TAIL_BYTES))
    lines = [line.rstrip() for line in log.read().decode(errors="replace").splitlines()]
    return "\n".join([line for line in lines if line][-TAIL_LINES:])


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End the process and whatever it started; its group outlives it as long as one member does."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + _KILL_WAIT_S
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
