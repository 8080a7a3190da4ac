"""A bound on a client's retries: where all its calls fail, it does not multiply the load on the server."""

from __future__ import annotations

import threading
import time
from collections import deque

_WINDOW_S = 60.0


class RetryBudget:
    """Number of retries that a client may still make within a minute, over all its calls and threads."""

    def __init__(self, most_a_minute: int) -> None:
        self._most = most_a_minute
        self._spent: deque[float] = deque()
        self._lock = threading.Lock()

    def spend(self) -> bool:
        """Return whether one more retry may be made now, and count it."""
        now = time.monotonic()
        with self._lock:
            while self._spent and now - self._spent[0] > _WINDOW_S:
                self._spent.popleft()
            if len(self._spent) >= self._most:
                return False
            self._spent.append(now)
            return True
