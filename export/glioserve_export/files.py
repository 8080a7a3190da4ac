"""Files that others may be reading: written beside their place and moved in whole, under one lock.

Triton takes any folder whose name *begins* with a digit for a version (it parses ``1.partial`` as 1), so whatever
is unfinished has a name that begins with a dot.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError

STAGING_PREFIX = ".staging-"
LOCK_TIMEOUT_S = 60.0
"""Longer than any copy of a model to a local disk or to a cluster's file store."""

_LOCK_POLL_S = 0.05


@contextlib.contextmanager
def exclusive(lock_file: Path, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Hold ``lock_file`` against every other process and thread; GLIO-5112 when another holds it too long.

    The kernel frees the lock of a process that dies.
    """
    deadline = time.monotonic() + timeout_s
    with lock_file.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise GlioserveError(
                        ErrorCode.REPOSITORY_BUSY, f"The repository cannot be locked: {error.strerror}."
                    ) from error
            if time.monotonic() >= deadline:
                raise GlioserveError(
                    ErrorCode.REPOSITORY_BUSY, f"The repository has been locked for {timeout_s:g} s by another process."
                )
            time.sleep(_LOCK_POLL_S)
        yield  # closing the file frees the lock


def write_if_changed(path: Path, content: bytes) -> bool:
    """Whether ``path`` had other content; it then has this one, at once or not at all.

    A file that does not change keeps its time stamp: Triton loads a model again only where one is newer.
    """
    if path.is_file() and path.read_bytes() == content:
        return False
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


@contextlib.contextmanager
def staging(parent: Path) -> Iterator[Path]:
    """A new folder in ``parent``, so on its file system, to be moved away when whole; gone afterwards if not moved.

    What a killed process left is removed first: call it under the lock of ``parent``'s repository.
    """
    for stale in parent.glob(f"{STAGING_PREFIX}*"):
        shutil.rmtree(stale, ignore_errors=True)
    folder = parent / f"{STAGING_PREFIX}{secrets.token_hex(4)}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def copy_files(source: Path, names: Iterable[str], target: Path) -> None:
    """Copy the named files between folders, down to the disk."""
    for name in names:
        shutil.copyfile(source / name, target / name)
        with (target / name).open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(target)


def sync_folder(folder: Path) -> None:
    """Bring the folder's own entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
