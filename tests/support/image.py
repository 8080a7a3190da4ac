"""What docker/requirements.txt says of the image."""

from __future__ import annotations

import re
from pathlib import Path

DOCKER = Path(__file__).resolve().parents[2] / "docker"


def locked() -> dict[str, str]:
    """Version by name of every package."""
    text = (DOCKER / "requirements.txt").read_text()
    entries = re.findall(r"^([a-z0-9-]+)==(\S+)((?: \\\n    --hash=sha256:[a-f0-9]{64})+)$", text, re.MULTILINE)
    assert len(entries) == len(re.findall(r"^\w", text, re.MULTILINE)), "a line without version or hash"
    return {name: version for name, version, _ in entries}
