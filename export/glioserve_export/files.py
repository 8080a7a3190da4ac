"""Files that others may be reading: written beside their place and moved in whole, under one lock.

Triton takes any folder whose name *begins* with a digit for a version (it parses ``1.partial`` as 1), so whatever
is unfinished has a name that begins with a dot.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from filelock import Timeout, UnixFileLock

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_dicom.files.replacing import replacing

STAGING_PREFIX = ".staging-"
LOCK_TIMEOUT_S = 60.0
"""Longer than any copy of a model to a local disk or to a cluster's file store."""

_LOCK_POLL_S = 0.05


@contextlib.contextmanager
def exclusive(lock_file: Path, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Hold ``lock_file`` against every other process and thread.

    The file is made where it is missing, and stays. The kernel frees the lock of a process that dies.

    Raises:
        GlioserveError: GLIO-5112 where another process or thread holds the lock for longer than ``timeout_s``.
        OSError: the file can be neither made nor opened.
    """
    # A soft lock, filelock's substitute on file systems without flock, would remove the file when it is freed.
    lock = UnixFileLock(lock_file, timeout=timeout_s, poll_interval=_LOCK_POLL_S, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise GlioserveError(
            ErrorCode.REPOSITORY_BUSY, f"The repository has been locked for {timeout_s:g} s by another process."
        ) from error
    except OSError as error:
        if error.filename is not None:
            raise
        raise GlioserveError(
            ErrorCode.REPOSITORY_BUSY, f"The repository cannot be locked: {error.strerror}."
        ) from error
    try:
        yield
    finally:
        lock.release()


def is_foreign(folder: Path, marker: str, welcome: Iterable[str] = ()) -> bool:
    """Return whether ``folder`` holds anything that glioserve did not write.

    A folder of ours gets its ``marker`` before anything else and keeps it, so the order of the two looks matters: the
    entries are listed first and the marker is looked for last. Whatever another process wrote into a new folder
    between the two looks, the marker is there by the second one.

    Args:
        folder: the folder, which need not exist.
        marker: name of the file that is in every folder of ours.
        welcome: names of entries that may be in a folder that is new.
    """
    try:
        strange = {path.name for path in folder.iterdir()}.difference(welcome)
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        return folder.exists()
    return bool(strange) and not (folder / marker).is_file()


def write_if_changed(path: Path, content: bytes) -> bool:
    """Write ``content`` where ``path`` has another, at once or not at all, and return whether it had.

    A file that does not change keeps its time stamp: Triton loads a model again only where one is newer.
    """
    if path.is_file() and path.read_bytes() == content:
        return False
    with replacing(path) as beside, beside.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)
    return True


@contextlib.contextmanager
def staging(parent: Path) -> Iterator[Path]:
    """Yield a new folder in ``parent``, to be moved away when it is whole; it is removed at the end if it was not.

    It lies on ``parent``'s file system, so the move is a rename.

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
