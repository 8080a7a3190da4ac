"""A stream for the log that never blocks its writer: a reader that hangs, or has gone, must not stop the server."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

_MOST_WAITING = 5_000
"""Lines that wait for a reader; further ones are left out and counted."""
_END_WAIT_S = 2.0
"""Time that the end of the server waits for a reader of its last lines."""
_PAUSE_S = 0.5
"""Pause after a write that failed, as on a full disk."""


class LogStream:
    """Hands lines to a thread that writes them to a descriptor, in order."""

    def __init__(self, descriptor: int) -> None:
        """Begin to write to ``descriptor``, which stays open."""
        self._descriptor = descriptor
        self._waiting: deque[str] = deque()
        self._left_out = 0
        self._changed = threading.Condition()
        self._idle = True
        self.reader_gone = False
        """True once a line found the reader's end of a pipe closed."""
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def write(self, text: str) -> int:
        """Take one or more whole lines."""
        with self._changed:
            if len(self._waiting) < _MOST_WAITING:
                self._waiting.append(text)
                self._changed.notify_all()
            else:
                self._left_out += 1
        return len(text)

    def flush(self) -> None:
        """Do nothing: each line is written as soon as the reader takes it."""

    def drained(self, timeout_s: float) -> bool:
        """Wait until all lines are written. Return whether they are, in the time."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            return self._changed.wait_for(
                lambda: self._idle and not self._waiting, max(0.0, deadline - time.monotonic())
            )

    def _run(self) -> None:
        while True:
            with self._changed:
                self._idle = not self._waiting
                self._changed.notify_all()
                self._changed.wait_for(lambda: bool(self._waiting))
                self._idle = False
                text = self._waiting.popleft()
                left_out, self._left_out = self._left_out, 0
            if left_out:
                text += f"{left_out} lines were left out here: the log was not read in time\n"
            self._write(text.encode("utf-8", "replace"))

    def _write(self, content: bytes) -> None:
        while content:
            try:
                content = content[os.write(self._descriptor, content) :]
            except BrokenPipeError:
                self.reader_gone = True
                return
            except OSError:  # the disk is full, say: the line is lost, the server is not
                time.sleep(_PAUSE_S)
                return


@contextmanager
def log_stream(stream: TextIO) -> Iterator[LogStream | TextIO]:
    """Write to the stream's descriptor for as long as the context lasts; a stream without one is used as it is.

    Where no reader is there at the end, the descriptor is put on /dev/null, so that no later line can block.
    """
    try:
        descriptor = stream.fileno()
    except (OSError, AttributeError):
        yield stream
        return
    stream.flush()
    made = LogStream(descriptor)
    try:
        yield made
    finally:
        if not made.drained(_END_WAIT_S) or made.reader_gone:
            with suppress(OSError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, descriptor)
                os.close(null)
