"""Steady load: callers that each send one study after another, and what became of every one of them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from glioserve_contract import GlioserveError

Send = Callable[[], int]
"""Function that sends one study and returns the number of attempts; GlioserveError for a typed failure."""


@dataclass(frozen=True)
class Sent:
    """One study: when it was sent and answered, in monotonic seconds, and how."""

    began_s: float
    ended_s: float
    attempts: int
    error: str
    """Token of the error; empty where the study was answered."""


class Load:
    """Callers at work, as a context manager."""

    def __init__(self, send: Send, callers: int) -> None:
        self._send = send
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._done: list[Sent] = []
        self._in_flight = 0
        self.untyped: list[str] = []
        """Failures that are not our typed errors: none may ever occur."""
        self._threads = [threading.Thread(target=self._run, name=f"caller-{n}") for n in range(callers)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            attempts, token = 1, ""
            try:
                attempts = self._send()
            except GlioserveError as error:
                token, attempts = error.token, error.attempts or 1
            except Exception as error:  # noqa: BLE001 - what must never happen is what this looks for
                token = type(error).__name__
                self.untyped.append(f"{type(error).__name__}: {error}")
            with self._lock:
                self._done.append(Sent(began, time.monotonic(), attempts, token))

    def sent(self) -> list[Sent]:
        """Return all studies whose fate is known."""
        with self._lock:
            return list(self._done)

    def answered_since(self, moment_s: float) -> int:
        """Return the number of studies that were sent after ``moment_s`` and have been answered."""
        return sum(1 for s in self.sent() if s.began_s >= moment_s and not s.error)


def summary(sent: list[Sent]) -> tuple[int, int, int, Counter[str]]:
    """Return (studies, answered at once, answered after a retry, failures by token)."""
    failures = Counter(s.error for s in sent if s.error)
    at_once = sum(1 for s in sent if not s.error and s.attempts == 1)
    return len(sent), at_once, len(sent) - at_once - failures.total(), failures
