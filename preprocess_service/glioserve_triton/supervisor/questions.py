"""Questions that the supervisor asks the server again and again, each in the background and with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")
_MOST_THREADS = 64
"""More than the processes of all Python models; threads are made as they are needed."""


class Question(Generic[T]):
    """One question, asked every ``interval_s`` seconds; never twice at once."""

    def __init__(self, pool: ThreadPoolExecutor, ask: Callable[[], T], interval_s: float) -> None:
        self._pool, self._ask, self.interval_s = pool, ask, interval_s
        self._next_s = time.monotonic() + interval_s
        self._asked: Future[T] | None = None
        self.failures = 0
        """Number of times in a row that it could not be asked: no thread, no descriptor, no memory."""
        self.failure = ""
        """Reason for which it could not be asked the last time."""
        self.asked_s = self._next_s
        """Time of the latest question, in monotonic seconds."""

    @property
    def open(self) -> bool:
        """True while an answer is awaited."""
        return self._asked is not None

    def soon(self, after_s: float = 0.0) -> None:
        """Ask at the next occasion after so many seconds, whatever the interval."""
        self._next_s = time.monotonic() + after_s

    def answer(self) -> T | None:
        """Return a new answer where there is one; ask where it is time.

        What a question raises says that it could not be asked, and nothing about the server; it is counted here.
        """
        if self._asked is None:
            if time.monotonic() >= self._next_s:
                self.asked_s = time.monotonic()
                try:
                    self._asked = self._pool.submit(self._ask)
                except RuntimeError as error:  # a thread cannot be made
                    self._failed(error)
            return None
        if not self._asked.done():
            return None
        asked, self._asked = self._asked, None
        self._next_s = time.monotonic() + self.interval_s
        if (raised := asked.exception()) is not None:
            self._failed(raised)
            return None
        self.failures = 0
        return asked.result()

    def _failed(self, error: BaseException) -> None:
        self.failures += 1
        self.failure = f"{type(error).__name__}: {error}"
        self._next_s = time.monotonic() + self.interval_s


@contextmanager
def background() -> Iterator[ThreadPoolExecutor]:
    """Threads for questions; what is still open at the end is let go, since every call has a deadline."""
    pool = ThreadPoolExecutor(_MOST_THREADS, "question")
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
