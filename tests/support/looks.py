"""Another process's work, done exactly between two looks of this one at a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_CALLS = ("exists", "is_file", "is_dir", "iterdir", "mkdir", "rename", "replace", "touch", "open")


class Looks:
    """Counts the calls of :class:`Path` that concern one folder, and runs ``act`` just before one of them.

    ``act`` stands for another process that does all of its work in that instant; its own calls are not counted.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, before: int, act: Callable[[], object]) -> None:
        self.count = 0
        self.over = False
        """Set once the work that is watched is done: later looks are a test's own."""
        self._folder, self._before, self._act, self._acting = folder, before, act, False
        for name in _CALLS:
            monkeypatch.setattr(Path, name, self._counted(getattr(Path, name)))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(path: Path, *arguments: Any, **options: Any) -> Any:
            concerned = {path, path.parent, *(a for a in arguments if isinstance(a, Path))}
            if self._folder in concerned and not self._acting and not self.over:
                self.count += 1
                if self.count == self._before:
                    self._acting = True
                    try:
                        self._act()
                    finally:
                        self._acting = False
            return call(path, *arguments, **options)

        return counted
