"""The temporary folder of one server's run: locked while anything of the run lives, swept when nothing does.

The lock is an ``flock`` on an open file that the guardian, the server and its helpers inherit, so the kernel keeps
it exactly as long as one of them lives. A run that was killed in a way that left its folder and its shared memory
behind (owner and guardian both) is removed by the next start, and a running one never is.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from glioserve_triton.process.guardian import remove_run, shared_memory_prefix

_PREFIX = "glioserve-run-"
_LOCK = "lock"
REGION_BYTES = 1 << 20
"""Size of each region of the run's shared memory at its start; Triton lets it grow to the largest studies."""


class RunFolder:
    """``path`` is the folder; ``lock`` the descriptor to pass on; both end with :meth:`remove`."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        try:
            self.lock = os.open(self.path / "unlocked", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:
            self.path.rmdir()
            raise
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        # Named only now: a sweep must never see the file without its lock.
        (self.path / "unlocked").rename(self.path / _LOCK)

    @property
    def shared_memory_prefix(self) -> str:
        """Prefix of the names of the run's regions in /dev/shm."""
        return shared_memory_prefix(self.path)

    def remove(self) -> None:
        """Remove the folder and the run's shared memory; safe to call twice."""
        remove_run(self.path)
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1


def sweep_dead_runs() -> list[Path]:
    """Remove what dead runs of this user left behind. The folders that were removed."""
    removed = []
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError), _locked(folder / _LOCK):
            remove_run(folder)
            removed.append(folder)
    return removed


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold the lock of a run that no process holds; OSError where one does, or where it is another user's."""
    if file.parent.stat().st_uid != os.getuid():
        raise PermissionError
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
