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
        self.asked_s = self._next_s
        """Time of the latest question, in monotonic seconds."""

    @property
    def open(self) -> bool:
        """True while an answer is awaited."""
        return self._asked is not None

    def soon(self) -> None:
        """Ask at the next occasion, whatever the interval."""
        self._next_s = time.monotonic()

    def answer(self) -> T | None:
        """Return a new answer where there is one; ask where it is time. Raises what the question raised."""
        if self._asked is None:
            if time.monotonic() >= self._next_s:
                self.asked_s = time.monotonic()
                self._asked = self._pool.submit(self._ask)
            return None
        if not self._asked.done():
            return None
        asked, self._asked = self._asked, None
        self._next_s = time.monotonic() + self.interval_s
        return asked.result()


@contextmanager
def background() -> Iterator[ThreadPoolExecutor]:
    """Threads for questions; what is still open at the end is let go, since every call has a deadline."""
    pool = ThreadPoolExecutor(_MOST_THREADS, "question")
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
