"""Put programs of Debian's packages under ``build/tools``: tests let them judge what we write.

``prometheus`` and ``promtool`` run and check rules; ``dciodvfy`` (dicom3tools) checks DICOM objects. The packages are
downloaded by apt, which checks their signatures, and unpacked; nothing is installed and no service is started. It needs
no root: apt keeps its lists in a folder of its own. A program that is on the PATH is taken from there.

    python scripts/get_debian.py
    build/tools/prometheus/promtool --version
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent / "build" / "tools"
PROGRAMS = {"prometheus": ("prometheus", "promtool"), "dicom3tools": ("dciodvfy",)}
"""Programs that tests run, by the package that they come from."""
TIMEOUT_S = 300


class FetchError(RuntimeError):
    """A package cannot be had here; the message says why."""


def get_programs(package: str, tools: Path = TOOLS) -> dict[str, Path]:
    """Return the path of each program of a package, from the PATH, from ``tools``, or downloaded into it.

    Raises FetchError where apt is not here or cannot download.
    """
    folder = tools / package
    found = {name: shutil.which(name) or shutil.which(name, path=str(folder)) for name in PROGRAMS[package]}
    if not all(found.values()):
        _fetch(package, folder)
        found = {name: str(folder / name) for name in PROGRAMS[package]}
    return {name: Path(path) for name, path in found.items() if path}


def _fetch(package: str, folder: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise FetchError(f"this is no Debian; put {' and '.join(PROGRAMS[package])} on the PATH")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        state, cache, fresh = (Path(scratch) / name for name in ("state", "cache", "fresh"))
        for needed in (state / "lists" / "partial", cache / "archives" / "partial", fresh):
            needed.mkdir(parents=True)
        own = ["-o", f"Dir::State={state}", "-o", f"Dir::Cache={cache}", "-o", "APT::Sandbox::User="]
        own += ["-o", "Dir::State::status=/var/lib/dpkg/status", "-o", "Acquire::Languages=none"]
        _run(package, ["apt-get", "-qq", *own, "update"], fresh)
        _run(package, ["apt-get", "-qq", *own, "download", package], fresh)
        (archive,) = fresh.glob(f"{package}_*.deb")
        _run(package, ["dpkg-deb", "-x", str(archive), str(fresh / "root")], fresh)
        shutil.rmtree(folder, ignore_errors=True)
        (fresh / "root" / "usr" / "bin").rename(folder)


def _run(package: str, command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"{command[0]} took more than {TIMEOUT_S} s") from error
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if line.startswith("E:")), f"{command[0]} failed")
        raise FetchError(f"cannot download Debian's package {package}: {reason}")


def main() -> int:
    """Fetch all and print where they are."""
    missing = 0
    for package in PROGRAMS:
        try:
            for path in get_programs(package).values():
                print(path)
        except FetchError as error:
            print(f"get_debian: {error}", file=sys.stderr)
            missing = 1
    return missing


if __name__ == "__main__":
    sys.exit(main())
