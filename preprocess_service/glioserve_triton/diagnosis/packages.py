"""The Python packages: glioserve itself, its extras, and its compiled parts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata

from glioserve_contract import CONTRACT_VERSION, GlioserveError
from glioserve_contract.install import REINSTALL, install_advice
from glioserve_dicom.codec.jpeg import LIBRARIES, load_decoder
from glioserve_preprocess.kernel.library import KERNELS, load
from glioserve_triton.adapters.pause_guard import LIBRARY as GUARD
from glioserve_triton.adapters.pause_guard import load_guard
from glioserve_triton.diagnosis.findings import Finding

_HIDDEN_EXTRAS = {"bench", "dev"}
_CLIENT = "glioserve-client"
"""Distribution of the client, which glioserve itself requires; its packages are reported as glioserve's own."""
_REQUIREMENT = re.compile(
    r"""(?P<name>[\w.-]+)(\[(?P<of>[\w-]+)\])?[^;]*(;.*extra\s*==\s*["'](?P<extra>[\w-]+)["'])?"""
)


def package_findings() -> Iterator[Finding]:
    """Yield the findings of the area ``packages``."""
    yield from _extras()
    yield _kernels()


def version_of(distribution: str) -> str | None:
    """Return the version of an installed distribution; None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _extras() -> Iterator[Finding]:
    try:
        version, packages = metadata.version("glioserve"), _required_by("glioserve")
    except metadata.PackageNotFoundError:
        yield Finding("packages", "glioserve", "fail", "runs from a folder, not installed", install_advice())
        return
    yield Finding("packages", "glioserve", "ok", f"{version}, contract {CONTRACT_VERSION}")
    reported: set[str] = set()
    for extra, names in packages.items():
        if extra not in _HIDDEN_EXTRAS:
            yield _extra(extra, names, reported)
            reported.update(names)


def _required_by(distribution: str) -> dict[str, list[str]]:
    """Return the packages that an installed distribution requires, by extra; those without one under an empty name."""
    packages: dict[str, list[str]] = {}
    for match in filter(None, map(_REQUIREMENT.match, metadata.requires(distribution) or [])):
        names = packages.setdefault(match["extra"] or "", [])
        if match["name"] == _CLIENT:
            names += [] if match["of"] else [_CLIENT]
            if version_of(_CLIENT):
                names += _required_by(_CLIENT).get(match["of"] or "", [])
        elif match["name"] != "glioserve":
            names.append(match["name"])
    return packages


def _extra(extra: str, names: list[str], reported: set[str]) -> Finding:
    """Return the finding of one extra; the versions of packages already reported are not repeated."""
    versions = {name: version_of(name) for name in names}
    present = ", ".join(f"{name} {version}" for name, version in versions.items() if version and name not in reported)
    lacking = ", ".join(name for name, version in versions.items() if not version)
    name, install = (f"[{extra}]", install_advice(extra)) if extra else ("base", install_advice())
    if not lacking:
        return Finding("packages", name, "ok", present or "installed")
    if extra and not any(versions.values()):
        return Finding("packages", name, "--", f"not installed ({install})")
    found = f"{present}; lacks {lacking}".lstrip("; ")
    return Finding("packages", name, "warn" if extra else "fail", found, install)


def _kernels() -> Finding:
    """Return whether the compiled decoders and kernels load; a wheel built for another machine lacks them."""
    try:
        for name in KERNELS:
            load(name)
        for name in LIBRARIES:
            load_decoder(name)
        load_guard()
    except GlioserveError as error:
        return Finding("packages", "kernels", "fail", error.detail, install_advice(options=REINSTALL))
    return Finding("packages", "kernels", "ok", ", ".join((*KERNELS, *LIBRARIES, GUARD)))
