"""Stop signals of ``glioserve serve``, counted from the first moment of the process on.

The kernel drops a signal that PID 1 has no handler for, and the command's packages take a second to import. So
``main`` calls :func:`catch` before it imports anything else; this module needs the standard library alone.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopSignals:
    """Counts stop signals. Plain attributes: a lock taken in a handler could be one that the main thread holds."""

    def __init__(self) -> None:
        self._count = 0

    def catch(self) -> None:
        """Count all stop signals from now on."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._receive)

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Count all stop signals for as long as the context lasts; then what handled them before does so again."""
        before = {number: signal.signal(number, self._receive) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, _number: int, _frame: object) -> None:
        self._count += 1

    def first(self) -> bool:
        """Return whether a stop was asked for."""
        return self._count >= 1

    def second(self) -> bool:
        """Return whether it was asked for again: hurry."""
        return self._count >= 2


STOP = StopSignals()


def catch_for(arguments: Sequence[str]) -> None:
    """Begin to count where the command is one that stops in order: ``serve``, unless only its help is asked for."""
    if next((a for a in arguments if not a.startswith("-")), None) == "serve" and not {"-h", "--help"} & {*arguments}:
        STOP.catch()
