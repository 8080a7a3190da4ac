"""One finding of an examination, and how its values are shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FindingState = Literal["ok", "warn", "fail", "--"]
"""``--``: absent, but not asked for."""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    area: str
    name: str
    state: FindingState
    found: str
    action: str = ""
    """The remedy; empty where nothing needs to be done."""


def short_path(path: Path | str) -> str:
    """Return a path, or a text with paths, with ``~`` for the home folder."""
    home = str(Path.home())
    return str(path) if home == "/" else str(path).replace(home, "~")


def readable_size(size_bytes: int) -> str:
    """Return a size in GiB or MiB."""
    return f"{size_bytes / (1 << 30):.1f} GiB" if size_bytes >= 1 << 30 else f"{size_bytes / (1 << 20):.0f} MiB"
