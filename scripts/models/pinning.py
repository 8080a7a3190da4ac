"""Writing the digest of a packaged model into the module that names it."""

from __future__ import annotations

import re
from pathlib import Path


def pin(module: Path, constant: str, digest: str) -> None:
    """Replace the value of ``constant`` in ``module`` by ``digest``."""
    text = module.read_text(encoding="utf-8")
    line = rf'^({constant} = )"[^"]*"'
    pinned, count = re.subn(line, rf'\g<1>"{digest}"', text, flags=re.MULTILINE)
    if count != 1:
        raise SystemExit(f"{module.name} has no line for {constant}")
    module.write_text(pinned, encoding="utf-8")
