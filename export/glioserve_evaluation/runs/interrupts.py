"""Hold Ctrl-C back while an outcome is being stored, and let it through while studies are waited for."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class HeldInterrupts:
    """SIGINT, noted whenever it arrives, and raised as KeyboardInterrupt only where the run expects it.

    Only Python's own handler is replaced, and only in the main thread: the one thread in which Python raises
    KeyboardInterrupt. A program that handles SIGINT itself keeps its handler.
    """

    def __init__(self) -> None:
        self._open = False
        self._noted = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold interrupts back in the block; one that was noted and not raised is raised at the block's end."""
        ours = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if ours:
            signal.signal(signal.SIGINT, self._arrived)
        try:
            yield
        finally:
            if ours:
                signal.signal(signal.SIGINT, signal.default_int_handler)
        self._raise_if_noted()

    @contextmanager
    def let_through(self) -> Iterator[None]:
        """Raise KeyboardInterrupt at once in the block; at its beginning, for an interrupt that was held back."""
        self._open = True  # before the question: an interrupt in between is raised, not forgotten
        try:
            self._raise_if_noted()
            yield
        finally:
            self._open = False

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if not self._open:
            self._noted = True
            return
        self._open = False  # a second one waits until the first has been handled
        raise KeyboardInterrupt

    def _raise_if_noted(self) -> None:
        if self._noted:
            self._noted = False
            raise KeyboardInterrupt
