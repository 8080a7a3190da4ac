"""The folder of a study log: made where it is missing, held by one server at a time, and its files that come and go."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError

_LOCK = "lock"


class HeldFolder:
    """A folder that no other server can hold until :meth:`release`, or until this process ends in any way.

    ``flock`` keeps it, so the file system must have that: local ones and NFS 4 do.
    """

    def __init__(self, path: Path) -> None:
        """Take the folder.

        Raises:
            GlioserveError: GLIO-5134 where it cannot be made or written.
            BlockingIOError: another server holds it.
        """
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(path / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise GlioserveError(ErrorCode.INVALID_STUDY_LOG, f"{path}: {error.strerror}.") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise
        except OSError as error:
            os.close(self._lock)
            raise GlioserveError(
                ErrorCode.INVALID_STUDY_LOG, f"{path}: it cannot be locked: {error.strerror}."
            ) from error

    def release(self) -> None:
        """Let another server take it; safe to call twice."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def hold_folder(path: Path) -> HeldFolder:
    """Return the folder, held; GLIO-5134 where another server holds it, or it cannot be used."""
    try:
        return HeldFolder(path)
    except BlockingIOError:
        raise GlioserveError(
            ErrorCode.INVALID_STUDY_LOG,
            f"{path}: another server uses it.",
            "Give each server a folder of its own, or start all of them with --study-log-shared.",
        ) from None


def hold_part_of(path: Path) -> HeldFolder:
    """Return the first of ``server-1``, ``server-2`` ... in ``path`` that no other server holds.

    A server thus goes on with the log of one that has ended, and takes what waits in its spool.
    """
    number = 1
    while True:
        try:
            return HeldFolder(path / f"server-{number}")
        except BlockingIOError:
            number += 1


def there(files: Iterable[Path]) -> Iterator[tuple[os.stat_result, Path]]:
    """Yield the status and the path of each file that is still there; others may be taken by another process meanwhile.

    Raises:
        OSError: the folder or a file in it cannot be read for another reason.
    """
    for file in files:
        try:
            yield file.stat(), file
        except FileNotFoundError:
            continue
