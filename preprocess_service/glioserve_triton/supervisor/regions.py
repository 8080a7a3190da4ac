"""Shared memory of processes that are gone: what Triton would keep of it for good is given back to the kernel.

Triton hands requests to a Python model's process through a region of /dev/shm. Once a request has found the process
dead, Triton 2.51 does not let go of the model that the process belonged to, even when another has taken its place: it
was measured that such a model is never unloaded, and one without such a request is. Its regions, which have grown to
the largest studies, would stay until the server ends, and a server that is repaired often enough would have no room
for a study. Only the start of a region is still looked at: there lie the queues at which Triton's threads
wait for the dead process.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from glioserve_triton.process.guardian import SHARED_MEMORY
from glioserve_triton.process.run_folder import REGION_BYTES
from glioserve_triton.stubs import Stub

GIVEN_BACK_AFTER_S = 75.0
"""Time from the end of a replaced process until its region is given back. Requests that waited for the model as it was
go to the dead process too, for the 60 s of the queue's limit at most, and Triton writes them into the region."""


class Regions:
    """The regions of a server's Python models, from look to look."""

    def __init__(self, prefix: str, after_s: float = GIVEN_BACK_AFTER_S) -> None:
        """``prefix`` begins the names of all regions of this run of the server."""
        self._prefix, self._after_s = prefix, after_s
        self._owners: dict[str, int] = {}
        self._unused_since_s: dict[str, float] = {}

    def give_back(self, stubs: Mapping[int, Stub], in_service: Collection[int]) -> int:
        """Give back what has been out of use for long enough; return its bytes.

        ``in_service`` are the processes, living or dead, of models that have not been replaced.
        """
        now = time.monotonic()
        living = {stub.region for stub in stubs.values() if not stub.dead}
        self._owners |= {s.region: s.pid for s in stubs.values() if s.region.startswith(self._prefix)}
        for region, pid in self._owners.items():
            if region in living or pid in in_service:
                self._unused_since_s.pop(region, None)
            else:
                self._unused_since_s.setdefault(region, now)
        over = [region for region, since_s in self._unused_since_s.items() if now - since_s >= self._after_s]
        for region in over:
            del self._owners[region], self._unused_since_s[region]
        return sum(_give_back(SHARED_MEMORY / region) for region in over)


def _give_back(region: Path) -> int:
    """Return the pages of a region after its first ones to the kernel; 0 where it is gone, or cannot be changed."""
    with suppress(OSError), region.open("r+b") as file:
        size = os.fstat(file.fileno()).st_size - REGION_BYTES
        if size > 0:
            with mmap.mmap(file.fileno(), size, offset=REGION_BYTES) as pages:
                pages.madvise(mmap.MADV_REMOVE)
            return size
    return 0
