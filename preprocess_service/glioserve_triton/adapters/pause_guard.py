"""The guard against pauses: it ends this process where Triton may have given up the request that it works on.

Without it the process would go on after a stop, and Triton would hand its answer to the next request.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glioserve_dicom.compiled import load_library

LIBRARY = "pauses"


def load_guard() -> ctypes.CDLL:
    """Load the library of ``pauses.c``; GLIO-5110 where it is not built for this machine and version."""
    return load_library(Path(__file__).parent, LIBRARY)


class PauseGuard:
    """Watches this process from now on, in a thread that needs no lock of the interpreter (Linux)."""

    def __init__(self) -> None:
        """Begin to watch.

        Raises:
            GlioserveError: GLIO-5110 where the library is not built for this machine and version.
            OSError: the thread cannot be made.
        """
        self._library = load_guard()
        if failed := self._library.glio_pause_guard():
            raise OSError(failed, os.strerror(failed))

    @contextmanager
    def working(self) -> Iterator[None]:
        """Say that this process works on a request; both ends look for a pause, so that no answer follows one."""
        self._library.glio_work_begins()
        try:
            yield
        finally:
            self._library.glio_work_ends()
