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


@dataclass
class Stopwatch:
    """Wall seconds per stage, in the order they ran; ``check`` is called before each."""

    check: Check = go_on
    timings_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to ``name``."""
        self.check()
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timings_s[name] = self.timings_s.get(name, 0.0) + time.perf_counter() - start
