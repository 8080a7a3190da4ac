"""Files that others may be reading or writing: each is replaced as a whole."""

from __future__ import annotations

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
