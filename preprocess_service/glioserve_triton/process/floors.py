"""Known holes of Triton versions, and which server may be reached from a network.

``triton_floors.json`` beside this file is the one dated table: the container release of every version, the holes that
NVIDIA has published with the release that closes each, and two floors. Below the security floor a hole is known and
open; below the function floor a server may stop dispatching, or tell that it is ready when it is not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_triton.process.locate import Installation

TABLE = Path(__file__).parent / "triton_floors.json"
ALLOW_FLAG = "--allow-network-with-known-cves"
_VERSION_FILE = "TRITON_VERSION"
"""Text file at the root of a container's installation that holds the version."""


@dataclass(frozen=True)
class Hole:
    """One published vulnerability of Triton."""

    cve: str
    fixed_in: str
    """First container release without it."""
    impact: str


@dataclass(frozen=True)
class Floors:
    """The table of ``triton_floors.json``."""

    dated: str
    """Day to which the table is complete, as ISO 8601."""
    security: str
    function: str
    releases: tuple[tuple[tuple[int, ...], str], ...]
    """Triton versions with the container release of each, the oldest first."""
    holes: tuple[Hole, ...]

    def release_of(self, version: str) -> str | None:
        """Return the container release of a version (``2.51.0``): ``24.10``; None for one that cannot be read.

        A patch that the table lacks counts as the release that it mends; a version newer than all is the newest.
        """
        try:
            number = tuple(int(part) for part in version.split(".")[:3])
        except ValueError:
            return None
        older = [release for known, release in self.releases if known <= number]
        return older[-1] if older else "0.0"

    def open_holes(self, release: str) -> tuple[Hole, ...]:
        """Return the holes that a release has, the oldest first."""
        return tuple(hole for hole in self.holes if release_number(release) < release_number(hole.fixed_in))


@dataclass(frozen=True)
class Standing:
    """A server's place beside the floors."""

    version: str | None
    release: str | None
    open_holes: tuple[Hole, ...]
    below_security: bool
    below_function: bool

    @property
    def name(self) -> str:
        """``Triton 2.51.0 (24.10)``, as far as it is known."""
        release = f" ({self.release})" if self.release not in (None, "0.0") else ""
        return f"Triton {self.version or 'of an unknown version'}{release}"

    @property
    def fault(self) -> str | None:
        """The fault of the version as the end of a sentence; None where it is above both floors."""
        table = floors()
        if self.below_security:
            count = len(self.open_holes)
            return f"has {count} known holes that are closed in {table.security} or before, as of {table.dated}"
        if self.version is None:
            return "cannot be compared with the known holes"
        if self.below_function:
            return f"is below {table.function}: its batcher may stop dispatching, and it may tell ready when it is not"
        return None


@cache
def floors() -> Floors:
    """Return the table."""
    read = json.loads(TABLE.read_text(encoding="utf-8"))
    releases = sorted((tuple(map(int, version.split("."))), name) for version, name in read["releases"].items())
    holes = tuple(Hole(**hole) for hole in read["holes"])
    return Floors(read["dated"], read["security_floor"], read["function_floor"], tuple(releases), holes)


def release_number(release: str) -> tuple[int, int]:
    """Return a container release (``26.07``) as a number that can be compared."""
    year, month = release.split(".")[:2]
    return int(year), int(month)


def standing_of(version: str | None) -> Standing:
    """Return where a version stands; None stands for one that is not known."""
    table = floors()
    release = table.release_of(version) if version else None
    if release is None:
        return Standing(version, None, (), below_security=False, below_function=False)
    number = release_number(release)
    return Standing(
        version,
        release,
        table.open_holes(release),
        number < release_number(table.security),
        number < release_number(table.function),
    )


def installed_version(installation: Installation) -> str | None:
    """Return the version that an installation has written down, as NVIDIA's containers do; None elsewhere."""
    try:
        return (installation.binary.parent.parent / _VERSION_FILE).read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def check_exposure(installation: Installation, version: str | None, *, loopback: bool, allowed: bool) -> None:
    """Refuse a server with known holes that callers on a network can reach.

    The embedded server (the nvidia-pytriton wheel's) and one that the caller names may serve the loopback. In a
    container the loopback protects nothing: a proxy beside it passes requests on.

    Args:
        installation: The server.
        version: Its version; None where it is not known yet.
        loopback: Whether only this machine can reach its ports.
        allowed: Whether the operator has taken the risk.

    Raises:
        GlioserveError: GLIO-5129.
    """
    standing, embedded = standing_of(version), installation.origin == "wheel"
    if allowed or (loopback and installation.origin != "container"):
        return
    if standing.below_security or (embedded and version is None):
        what = "The embedded server is a development server" if embedded else standing.name
        fault = f": {standing.name} {standing.fault}" if embedded and version else f" {standing.fault}"
        where = "" if installation.origin == "container" else ", and other machines could reach it"
        raise GlioserveError(
            ErrorCode.KNOWN_HOLES,
            f"{what}{'' if embedded and not version else fault}{where}. The table of holes is of {floors().dated}.",
        )
