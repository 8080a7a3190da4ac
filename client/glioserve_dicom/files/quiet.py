"""pydicom's warnings and log lines quote values, and a value may name the patient: here they go nowhere."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_lock = threading.Lock()
_inside: dict[str, int] = {"users": 0}
_restore = ExitStack()


def _drop(_: logging.LogRecord) -> bool:
    return False


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Silences pydicom while any thread is inside. Filters are global, so users are counted, not stacked."""
    with _lock:
        _inside["users"] += 1
        if _inside["users"] == 1:
            _restore.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=r"pydicom\b")
            for logger in _loggers():
                logger.addFilter(_drop)
                _restore.callback(logger.removeFilter, _drop)
    try:
        yield
    finally:
        with _lock:
            _inside["users"] -= 1
            if not _inside["users"]:
                _restore.close()


def _loggers() -> list[logging.Logger]:
    """A filter holds for its own logger alone, never for those below it."""
    below = [name for name in list(logging.root.manager.loggerDict) if name.startswith("pydicom.")]
    return [logging.getLogger(name) for name in ("pydicom", *below)]


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
