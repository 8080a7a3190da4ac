"""A library's warnings and log lines quote what it reads, and that may name the patient: here they go nowhere."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_one_at_a_time = threading.RLock()


@contextmanager
def quiet(library: str) -> Iterator[None]:
    """Keep the warnings and log lines of ``library`` (``pydicom``) off the caller's streams.

    One thread at a time, as filters are global; what another thread's library logs is let through.
    """
    here = threading.get_ident()

    def from_elsewhere(record: logging.LogRecord) -> bool:
        return record.thread != here

    # a filter holds for its own logger alone, never for those below it
    names = [name for name in list(logging.root.manager.loggerDict) if name.startswith(f"{library}.")]
    with _one_at_a_time, warnings.catch_warnings(), ExitStack() as restored:
        warnings.simplefilter("ignore")
        for logger in map(logging.getLogger, [library, *names]):
            logger.addFilter(from_elsewhere)
            restored.callback(logger.removeFilter, from_elsewhere)
        yield
