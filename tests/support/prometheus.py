"""Prometheus' own programs (``scripts/get_debian.py``) for tests, which skip and say why without them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support import debian

TIMEOUT_S = 60


def program(name: str) -> Path:
    """The program; the test skips where it cannot be had."""
    return debian.program("prometheus", name)


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
