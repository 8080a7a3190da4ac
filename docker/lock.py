"""Write ``docker/requirements.txt`` and ``docker/build-requirements.txt``: packages of the image by version and hash.

    .venv/bin/python docker/lock.py

The versions are those of ``constraints.txt``, so the image gets what the tests ran with; the files are the container's
(its Python, Linux on x86-64 and on ARM). Needs Python 3.11 or later.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "docker" / "requirements.txt"
EXTRAS = ("preprocess", "gpu", "gateway-config", "s3")
"""Our extras in the image: Triton and its backends come with the container, training and export stay outside it."""
PYTHON = "3.12"
"""Version of the container's Python, and so of its Python stub."""
PLATFORMS = ("x86_64", "aarch64")
GLIBC = range(17, 40)
"""manylinux_2_17 to 2_39, which is Ubuntu 24.04's."""
PIP_TIMEOUT_S = 600
PACKAGE = f"glioserve[{','.join(EXTRAS)}]"
FOR_IT = f"for Python {PYTHON} on Linux, {' and '.join(PLATFORMS)}"
BUILD_OUTPUT = ROOT / "docker" / "build-requirements.txt"
"""What builds our own wheels, in a stage that the image does not keep."""


def direct_requirements() -> list[Requirement]:
    """Return what both distributions ask for: the base and the extras, with our own extras unfolded."""
    projects = [tomllib.loads((ROOT / p / "pyproject.toml").read_text())["project"] for p in (".", "client")]
    extras = {project["name"]: project["optional-dependencies"] for project in projects}
    bases = [line for project in projects for line in project["dependencies"]]
    open_, found = [*bases, *(line for extra in EXTRAS for line in extras["glioserve"][extra])], []
    while open_:
        requirement = Requirement(open_.pop(0))
        if (ours := extras.get(canonicalize_name(requirement.name))) is not None:
            open_ += [line for extra in sorted(requirement.extras) for line in ours[extra]]
        else:
            found.append(requirement)
    return found


def build_requirements() -> list[Requirement]:
    """Return what both distributions ask for to be built."""
    projects = [tomllib.loads((ROOT / p / "pyproject.toml").read_text()) for p in (".", "client")]
    return [Requirement(line) for project in projects for line in project["build-system"]["requires"]]


def main() -> int:
    """Resolve for each platform and write the union of the hashes."""
    _write(OUTPUT, f"{PACKAGE} {FOR_IT}", direct_requirements())
    _write(BUILD_OUTPUT, f"the build backend {FOR_IT}", build_requirements())
    return 0


def _write(output: Path, what: str, requirements: list[Requirement]) -> None:
    locked: dict[str, dict[str, set[str]]] = {}
    for machine in PLATFORMS:
        for name, version, digest in _resolve(machine, requirements):
            locked.setdefault(name, {}).setdefault(version, set()).add(digest)
    lines = [f"# Written by docker/lock.py: {what}.\n"]
    for name, versions in sorted(locked.items()):
        ((version, digests),) = versions.items()  # one version for all platforms, or the lock makes no sense
        hashes = "".join(f" \\\n    --hash=sha256:{digest}" for digest in sorted(digests))
        lines.append(f"{name}=={version}{hashes}\n")
    output.write_text("".join(lines))
    print(f"{output}: {len(locked)} packages")


def _resolve(machine: str, requirements: list[Requirement]) -> list[tuple[str, str, str]]:
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
        command += ["--target", scratch, "--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp"]
        for minor in reversed(GLIBC):
            command += ["--platform", f"manylinux_2_{minor}_{machine}"]
        command += ["--platform", f"manylinux2014_{machine}", "--constraint", str(ROOT / "constraints.txt")]
        command += [str(requirement) for requirement in requirements]
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
