"""Put the real ``prometheus`` and ``promtool`` under ``build/tools/prometheus``: rules are tested by what runs them.

Debian's package is downloaded by apt, which checks its signature, and unpacked; nothing is installed and no service is
started. It needs no root: apt keeps its lists in a folder of its own. Where both are on the PATH, those are taken.

    python scripts/get_prometheus.py
    build/tools/prometheus/promtool --version
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent / "build" / "tools" / "prometheus"
PROGRAMS = ("prometheus", "promtool")
TIMEOUT_S = 300


class FetchError(RuntimeError):
    """The programs cannot be had here; the message says why."""


def get_prometheus(tools: Path = TOOLS) -> dict[str, Path]:
    """Return the path of each program by name, from the PATH, from ``tools``, or downloaded into it.

    Raises FetchError where apt is not here or cannot download.
    """
    found = {name: shutil.which(name) or shutil.which(name, path=str(tools)) for name in PROGRAMS}
    if not all(found.values()):
        _fetch(tools)
        found = {name: str(tools / name) for name in PROGRAMS}
    return {name: Path(path) for name, path in found.items() if path}


def _fetch(tools: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise FetchError("this is no Debian; put prometheus and promtool on the PATH")
    tools.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=tools.parent) as scratch:
        state, cache, fresh = (Path(scratch) / name for name in ("state", "cache", "fresh"))
        for folder in (state / "lists" / "partial", cache / "archives" / "partial", fresh):
            folder.mkdir(parents=True)
        own = ["-o", f"Dir::State={state}", "-o", f"Dir::Cache={cache}", "-o", "APT::Sandbox::User="]
        own += ["-o", "Dir::State::status=/var/lib/dpkg/status", "-o", "Acquire::Languages=none"]
        _run(["apt-get", "-qq", *own, "update"], fresh)
        _run(["apt-get", "-qq", *own, "download", "prometheus"], fresh)
        (package,) = fresh.glob("prometheus_*.deb")
        _run(["dpkg-deb", "-x", str(package), str(fresh / "root")], fresh)
        shutil.rmtree(tools, ignore_errors=True)
        (fresh / "root" / "usr" / "bin").rename(tools)


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"{command[0]} took more than {TIMEOUT_S} s") from error
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if line.startswith("E:")), f"{command[0]} failed")
        raise FetchError(f"cannot download Debian's package prometheus: {reason}")


def main() -> int:
    """Fetch both and print where they are."""
    try:
        for path in get_prometheus().values():
            print(path)
    except FetchError as error:
        print(f"get_prometheus: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
