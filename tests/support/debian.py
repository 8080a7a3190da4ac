"""Programs of Debian's packages (``scripts/get_debian.py``) for tests, which skip and say why without them."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from support.scripts import script


@functools.cache
def _programs(package: str) -> dict[str, Path] | str:
    module = script("get_debian")
    try:
        return dict(module.get_programs(package))
    except module.FetchError as error:
        return f"no {package}: {error}"


def program(package: str, name: str) -> Path:
    """The program of a package; the test skips where it cannot be had."""
    found = _programs(package)
    if isinstance(found, str):
        pytest.skip(found)
    return found[name]
