"""Keep a library's warnings and log lines from a block of code: they quote values, and a value may name the patient.

Python's warning filters and logging filters are process-wide. So the filters here are installed once and stay, and
each asks whether its own thread is inside :func:`quiet`: threads do not share state, wait for each other or undo
each other's filters, and what another thread's library reports is let through.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class _Silenced(threading.local):
    """Libraries that the current thread has silenced, once for each block that it is inside."""

    libraries: tuple[str, ...] = ()

    def has(self, module: str) -> bool:
        """Return whether the module belongs to one of them."""
        return any(module == library or module.startswith(f"{library}.") for library in self.libraries)


_silenced = _Silenced()


class _LibraryModule:
    """A warning filter's module pattern that matches modules of a silenced library."""

    def match(self, module: str) -> bool:
        """Return whether the warning's module is to be silent in this thread."""
        return _silenced.has(module)


class _AnyModule:
    """A warning filter's module pattern that matches every module while the thread is inside :func:`quiet`."""

    def match(self, _: str) -> bool:
        """Return whether this thread is inside :func:`quiet`."""
        return bool(_silenced.libraries)


_FILTERS = [
    ("ignore", None, Warning, _LibraryModule(), 0),
    # a library's stacklevel may name its caller, which is our module, as the one that warns
    ("ignore", None, UserWarning, _AnyModule(), 0),
]


def _is_let_through(record: logging.LogRecord) -> bool:
    return not _silenced.has(record.name)


@contextmanager
def quiet(library: str) -> Iterator[None]:
    """Keep the warnings and log lines of ``library`` (``pydicom``) off the caller's streams, in this thread alone.

    A thread that is started inside the block is not silenced: its own work needs its own block.
    """
    if warnings.filters[: len(_FILTERS)] != _FILTERS:  # never here, or covered or dropped by another's filters
        warnings.filters[:0] = _FILTERS  # type: ignore[index]  # a list at run time; the types promise a sequence
    # a logging filter holds for its own logger alone, never for those below it
    below = [name for name in list(logging.root.manager.loggerDict) if name.startswith(f"{library}.")]
    for name in (library, *below):
        logging.getLogger(name).addFilter(_is_let_through)  # once; again is without effect
    before = _silenced.libraries
    _silenced.libraries = (*before, library)
    try:
        yield
    finally:
        _silenced.libraries = before
