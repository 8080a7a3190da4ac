"""Prometheus' own programs (``scripts/get_prometheus.py``) for tests, which skip and say why without them."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import pytest

from support.scripts import script

TIMEOUT_S = 60


@functools.cache
def programs() -> dict[str, Path] | str:
    """``prometheus`` and ``promtool``, or why they are not here."""
    module = script("get_prometheus")
    try:
        return dict(module.get_prometheus())
    except module.FetchError as error:
        return f"no prometheus: {error}"


def program(name: str) -> Path:
    """The program; the test skips where it cannot be had."""
    found = programs()
    if isinstance(found, str):
        pytest.skip(found)
    return found[name]


def promtool(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run ``promtool``; the caller looks at what became of it."""
    return subprocess.run(
        [str(program("promtool")), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
