"""Steady load: callers that each send one study after another, and what became of every one of them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
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
    """Callers at work, one for each function, as a context manager."""

    def __init__(self, sends: Sequence[Send]) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._sent: list[Sent] = []
        self._begun = 0
        self._under_way: dict[int, float] = {}
        self.untyped: list[str] = []
        """Failures that are not our typed errors: none may ever occur."""
        self._threads = [
            threading.Thread(target=self._run, args=(send,), name=f"caller-{n}") for n, send in enumerate(sends)
        ]

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

    def _run(self, send: Send) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            with self._lock:
                self._begun += 1
                self._under_way[threading.get_ident()] = began
            attempts, token = 1, ""
            try:
                attempts = send()
            except GlioserveError as error:
                token, attempts = error.token, error.attempts or 1
            except Exception as error:  # noqa: BLE001 - what must never happen is what this looks for
                token = type(error).__name__
                self.untyped.append(f"{type(error).__name__}: {error}")
            with self._lock:
                del self._under_way[threading.get_ident()]
                self._sent.append(Sent(began, time.monotonic(), attempts, token))

    @property
    def unaccounted(self) -> int:
        """Studies that were sent and of which nothing is known; after the end there are none."""
        with self._lock:
            return self._begun - len(self._sent)

    def is_done(self, before_s: float) -> bool:
        """Return whether the fate of every study that was sent before ``before_s`` is known."""
        with self._lock:
            return all(began > before_s for began in self._under_way.values())

    def sent(self, since_s: float = 0.0) -> list[Sent]:
        """Return the studies whose fate became known after ``since_s``."""
        with self._lock:
            return [s for s in self._sent if s.ended_s >= since_s]

    def answered_after(self, moment_s: float) -> list[float]:
        """Return when studies that were sent after ``moment_s`` were answered, earliest first."""
        return sorted(s.ended_s for s in self.sent(moment_s) if s.began_s >= moment_s and not s.error)

    def rate(self, seconds: float) -> float:
        """Return the answers a second over the next ``seconds``."""
        began = time.monotonic()
        time.sleep(seconds)
        return sum(1 for s in self.sent(began) if not s.error) / (time.monotonic() - began)


def summary(sent: Sequence[Sent]) -> tuple[int, int, int, Counter[str]]:
    """Return (studies, answered at once, answered after a retry, failures by token)."""
    failures = Counter(s.error for s in sent if s.error)
    at_once = sum(1 for s in sent if not s.error and s.attempts == 1)
    return len(sent), at_once, len(sent) - at_once - failures.total(), failures
