"""Programs of Debian's packages (``scripts/get_debian.py``) for tests, which skip and say why without them."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import pytest

from support.scripts import script


@functools.cache
def _programs(package: str) -> dict[str, Path] | str:
    module = script("get_debian")
    try:
        return dict(module.get_programs(package))
    except module.FetchError as error:
        return f"no {package}: {error}"


@functools.cache
def _with_libraries(getter: str) -> Any:
    module = script("get_debian")
    try:
        return getattr(module, getter)()
    except module.FetchError as error:
        return str(error)


def with_libraries(getter: str) -> tuple[Path, dict[str, str]]:
    """The program that a function of the script finds, and its whole environment; the test skips without it."""
    found = _with_libraries(getter)
    if isinstance(found, str):
        pytest.skip(found)
    return found.program, {**os.environ, **found.environment}


def program(package: str, name: str) -> Path:
    """The program of a package; the test skips where it cannot be had."""
    found = _programs(package)
    if isinstance(found, str):
        pytest.skip(found)
    return found[name]
