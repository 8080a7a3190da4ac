"""Write the image's lists of packages, each by version and hash.

    .venv/bin/python docker/lock.py

The versions are those of ``constraints.txt``, so the image gets what the tests ran with; the files are the container's
(its Python, Linux on x86-64 and on ARM). Needs Python 3.11 or later.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

DOCKER = Path(__file__).resolve().parent
ROOT = DOCKER.parent
PLATFORMS = ("x86_64", "aarch64")
GLIBC = range(17, 40)
"""manylinux_2_17 to 2_39, which is Ubuntu 24.04's; Debian 12 has 2.36, and no package asks for more."""
PIP_TIMEOUT_S = 600
COMPILER = "ziglang>=0.13"
"""Compiles the kernels of the wheel (hatch_build.py); it comes by hash too, where a system's compiler would not."""


@dataclass(frozen=True)
class Lock:
    """One file of packages for one Python."""

    file: str
    python: str
    """Version of the container's Python, and so of its Python stub."""
    extras: tuple[str, ...] | None
    """Our extras; None stands for what builds our wheels."""

    @property
    def title(self) -> str:
        """Purpose of the list."""
        return "building the wheels" if self.extras is None else f"glioserve[{','.join(self.extras)}]"

    def direct_requirements(self) -> list[Requirement]:
        """Return what is asked for, with our own extras unfolded."""
        projects = [tomllib.loads((ROOT / p / "pyproject.toml").read_text()) for p in (".", "client")]
        if self.extras is None:
            return [Requirement(line) for p in projects for line in (*p["build-system"]["requires"], COMPILER)]
        return _unfolded([project["project"] for project in projects], self.extras)


LOCKS = (
    # Triton and its backends come with NVIDIA's container, training and export stay outside it.
    Lock("requirements.txt", "3.12", ("supervise", "gateway-config", "s3", "otel", "container")),
    Lock("development-requirements.txt", "3.11", ("serve", "gateway", "otel", "container")),
    Lock("pacs-requirements.txt", "3.11", ("container", "pacs")),
    Lock("build-requirements.txt", "3.11", None),
)


def _unfolded(projects: list[dict[str, Any]], wanted: tuple[str, ...]) -> list[Requirement]:
    """Return the requirements of both distributions: the base and the extras."""
    extras = {project["name"]: project["optional-dependencies"] for project in projects}
    bases = [line for project in projects for line in project["dependencies"]]
    open_, found = [*bases, *(line for extra in wanted for line in extras["glioserve"][extra])], []
    while open_:
        requirement = Requirement(open_.pop(0))
        if (ours := extras.get(canonicalize_name(requirement.name))) is not None:
            open_ += [line for extra in sorted(requirement.extras) for line in ours[extra]]
        else:
            found.append(requirement)
    return found


def main() -> int:
    """Resolve each list for each platform and write the union of the hashes."""
    for lock in LOCKS:
        locked: dict[str, dict[str, set[str]]] = {}
        for machine in PLATFORMS:
            for name, version, digest in _resolve(lock, machine):
                locked.setdefault(name, {}).setdefault(version, set()).add(digest)
        system = f"Python {lock.python} on Linux, {' and '.join(PLATFORMS)}"
        lines = [f"# Written by docker/lock.py: {lock.title} for {system}.\n"]
        for name, versions in sorted(locked.items()):
            ((version, digests),) = versions.items()  # one version for all platforms, or the lock makes no sense
            hashes = "".join(f" \\\n    --hash=sha256:{digest}" for digest in sorted(digests))
            lines.append(f"{name}=={version}{hashes}\n")
        (DOCKER / lock.file).write_text("".join(lines))
        print(f"{lock.file}: {len(locked)} packages")
    return 0


def _resolve(lock: Lock, machine: str) -> list[tuple[str, str, str]]:
    """Return name, version and SHA-256 of every wheel that pip would install in the container."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--dry-run",
            "--ignore-installed",
            "--report",
            "-",
        ]
        command += [
            "--target",
            scratch,
            "--only-binary=:all:",
            "--python-version",
            lock.python,
            "--implementation",
            "cp",
        ]
        for minor in reversed(GLIBC):
            command += ["--platform", f"manylinux_2_{minor}_{machine}"]
        command += ["--platform", f"manylinux2014_{machine}", "--constraint", str(ROOT / "constraints.txt")]
        command += [str(requirement) for requirement in lock.direct_requirements()]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=PIP_TIMEOUT_S, check=True)
    return [
        (
            canonicalize_name(item["metadata"]["name"]),
            item["metadata"]["version"],
            item["download_info"]["archive_info"]["hashes"]["sha256"],
        )
        for item in json.loads(done.stdout)["install"]
    ]


if __name__ == "__main__":
    sys.exit(main())
