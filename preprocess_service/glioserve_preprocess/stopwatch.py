"""Wall seconds by stage, and the question before each whether it is still wanted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Check = Callable[[], None]
"""Function that is called between the steps of a study; it raises where the rest is not wanted any more."""


def go_on() -> None:
    """Return: every step is wanted."""


StageEnded = Callable[[str, int, int], None]
"""Function that is called with each stage's name, begin and end in nanoseconds since 1970; failed stages too."""


def untold(name: str, begin_unix_ns: int, end_unix_ns: int) -> None:
    """Do nothing: no one asks."""


@dataclass
class Stopwatch:
    """Wall seconds per stage, in the order they ran; ``check`` is called before each, ``ended`` after it."""

    check: Check = go_on
    ended: StageEnded = untold
    timings_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to ``name``."""
        self.check()
        begin_unix_ns, start = time.time_ns(), time.perf_counter()
        try:
            yield
        finally:
            took_s = time.perf_counter() - start
            self.timings_s[name] = self.timings_s.get(name, 0.0) + took_s
            self.ended(name, begin_unix_ns, begin_unix_ns + int(took_s * 1e9))
