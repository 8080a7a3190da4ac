"""Stopping a call from outside: by its future, by closing the client, or by cancelling the task that waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from glioserve_contract import ErrorCode, GlioserveError


class Stop:
    """A flag that ends a call wherever it is: preparing, sending, waiting for the answer or pausing."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._reason: Exception = GlioserveError(ErrorCode.CANCELLED, "The call was cancelled by its caller.")
        self._cancel: Callable[[], object] | None = None

    def set(self, reason: Exception | None = None) -> None:
        """End the call, with ``reason`` as its error."""
        with self._lock:
            if not self._event.is_set():
                self._reason = reason or self._reason
                self._event.set()
            cancel = self._cancel
        if cancel is not None:
            cancel()

    def check(self) -> None:
        """Raise the reason if the call was ended."""
        if self._event.is_set():
            raise self._reason

    def pause(self, pause_s: float) -> None:
        """Sleep, and raise the reason as soon as the call is ended."""
        self._event.wait(pause_s)
        self.check()

    def on_set(self, cancel: Callable[[], object] | None) -> None:
        """Call ``cancel`` when the call is ended, at once where it was already."""
        with self._lock:
            self._cancel = cancel
            ended = self._event.is_set()
        if ended and cancel is not None:
            cancel()
