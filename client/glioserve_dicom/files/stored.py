"""Files that stay on the disk: read again when their bytes are needed, and refused where they changed meanwhile."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from glioserve_contract import ErrorCode, GlioserveError


@dataclass(frozen=True)
class StoredFile:
    """A file that was read once. Raises TruncatedFileError (GLIO-1202) where it is not the same any more."""

    path: Path = field(repr=False)
    size_bytes: int
    stamp: tuple[int, int] = field(repr=False)
    """Time of its last change in ns, and its inode."""

    @classmethod
    def of(cls, path: Path, content: bytes) -> StoredFile | None:
        """Return the file that ``content`` was read from; None where it is not of that length, or cannot be seen."""
        try:
            found = path.stat()
        except OSError:
            return None
        return cls(path, len(content), _stamp(found)) if found.st_size == len(content) else None

    def read(self) -> bytes:
        """Return the whole file."""
        content = bytearray(self.size_bytes)
        self.read_into(memoryview(content), 0)
        return bytes(content)

    def read_into(self, out: memoryview, offset: int) -> None:
        """Fill ``out`` with the file's bytes from ``offset`` on."""
        try:
            with self.path.open("rb", buffering=0) as file:
                found = os.fstat(file.fileno())
                file.seek(offset)
                whole = file.readinto(out) == len(out)
        except OSError as error:
            raise _changed() from error
        if not whole or found.st_size != self.size_bytes or _stamp(found) != self.stamp:
            raise _changed()


@dataclass(frozen=True)
class StoredBytes:
    """Some bytes of such a file."""

    file: StoredFile
    offset: int
    size_bytes: int

    def __len__(self) -> int:
        return self.size_bytes

    def write(self, out: memoryview) -> None:
        """Write them into ``out`` of the same length. Raises TruncatedFileError where the file has changed."""
        self.file.read_into(out, self.offset)


def offset_in(content: bytes, view: memoryview) -> int | None:
    """Return where a view begins within the bytes that it looks at; None where it looks at others."""
    if view.obj is not content or not len(view):
        return None
    start, base = (np.frombuffer(buffer, np.uint8).__array_interface__["data"][0] for buffer in (view, content))
    return int(start - base)


def _stamp(found: os.stat_result) -> tuple[int, int]:
    return found.st_mtime_ns, found.st_ino


def _changed() -> GlioserveError:
    detail = "A file of the study is gone from the disk, or has changed, since the study was read."
    return GlioserveError(ErrorCode.TRUNCATED_FILE, detail, "Read the study again; leave its files alone until then.")
