"""Files that others may be reading or writing: each is replaced as a whole."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a new name in the folder of ``path``; the file that is written there replaces ``path`` at the end.

    The name is this call's own, so several threads and processes may write the same file at once: each reader meets
    the whole file of one of them. Nothing is left behind where the block raises.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def folder_for(directory: str | os.PathLike[str]) -> Path:
    """Return a folder that files are written to, and make it if need be.

    Raises:
        OSError: it cannot be made.
        ValueError: its name is empty: the files would go to the folder that the process happens to be in.
    """
    if not os.fspath(directory):
        raise ValueError("the folder's name is empty")
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
