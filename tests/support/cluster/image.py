"""The images' packages, as docker/'s lists say."""

from __future__ import annotations

import re
from pathlib import Path

DOCKER = Path(__file__).resolve().parents[3] / "docker"


def locked(file: str = "requirements.txt") -> dict[str, str]:
    """Version by name of every package in one of the lists."""
    text = (DOCKER / file).read_text()
    entries = re.findall(r"^([a-z0-9-]+)==(\S+)((?: \\\n    --hash=sha256:[a-f0-9]{64})+)$", text, re.MULTILINE)
    assert len(entries) == len(re.findall(r"^\w", text, re.MULTILINE)), "a line without version or hash"
    return {name: version for name, version, _ in entries}


def only_the_image(file: str = "requirements.txt") -> str:
    """Python code after which only the standard library, our own packages and those of a list can be imported."""
    return f"""
import importlib.abc
import sys
from importlib.metadata import packages_distributions
from packaging.utils import canonicalize_name

IN_THE_IMAGE = {set(locked(file))!r}
MODULES = {{m for m, names in packages_distributions().items() if {{*map(canonicalize_name, names)}} & IN_THE_IMAGE}}


class OnlyTheImages(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        ours = top.startswith(("glioserve_", "_sysconfigdata_"))  # the latter is the interpreter's own, by platform
        if ours or top in sys.stdlib_module_names or top.lstrip("_") in MODULES:
            return None
        raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


sys.meta_path.insert(0, OnlyTheImages())
"""
