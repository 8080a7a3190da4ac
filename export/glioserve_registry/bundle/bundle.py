"""The parts of a bundle: gathered and held to each other, verified, unpacked."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from glioserve_contract import ErrorCode, GlioserveError, from_dict, to_dict
from glioserve_contract.codec import SchemaError, canonical_json
from glioserve_registry.bundle.archive import Contents, Hashed, invalid, read_archive, write_archive
from glioserve_registry.layout.verify import verify

RECORD = "bundle.json"
WHEELS, CHART, MODELS = "wheels", "chart", "models"
FORMAT = 1
PIP_TIMEOUT_S = 600
_SAID = re.compile(r"ERROR: (.+)")
_IMAGE = re.compile(r"[^\s@]+@sha256:[0-9a-f]{64}")
_APP_VERSION = re.compile(r"^appVersion: *[\"']?([^\"'\s]+)", re.MULTILINE)
_WHEEL = re.compile(r"(?P<name>[A-Za-z0-9_.]+)-(?P<version>[^-]+)-.*\.whl")


@dataclass(frozen=True)
class Parts:
    """Places of the parts of a new bundle."""

    wheels: Path
    """A folder of wheels: ours, and all that they need."""
    chart: Path
    models: Path
    """A repository that ``glioserve export`` assembled."""
    images: tuple[str, ...]
    """References of images by digest, as the chart's values name them."""
    requirement: str
    """Requirement that pip installs from the wheels, as ``glioserve[serve]``."""


@dataclass(frozen=True)
class Record:
    """``bundle.json``: facts for a reader, before unpacking."""

    format: int
    glioserve: str
    """Version of the wheels, the chart and the image."""
    python: str
    """Version of Python for which the wheels are complete."""
    requirement: str
    images: tuple[str, ...]


@dataclass(frozen=True)
class Bundle:
    """A bundle that was written or verified."""

    record: Record
    contents: Contents


def create(target: Path, parts: Parts, key: Ed25519PrivateKey) -> Bundle:
    """Check the parts, each by itself and against the others, and write the bundle; GLIO-5132 names what is unfit."""
    for image in parts.images:
        if _IMAGE.fullmatch(image) is None:
            raise invalid(
                f"the image {image} is not named by its digest, as in registry.example.org/glioserve@sha256:..."
            )
    version = _version_of(parts.wheels)
    chart = _chart_version(parts.chart)
    if chart != version:
        raise invalid(f"the chart is for glioserve {chart}, and the wheels are {version}")
    verified = verify(parts.models)
    if verified.problems:
        raise invalid(f"the models are not as they were exported: {verified.problems[0]}")
    _check_wheels(parts)
    record = Record(
        FORMAT, version, f"{sys.version_info.major}.{sys.version_info.minor}", parts.requirement, parts.images
    )
    files: dict[str, Path | bytes] = {RECORD: canonical_json(to_dict(record)).encode() + b"\n"}
    files |= {f"{WHEELS}/{file.name}": file for file in sorted(parts.wheels.glob("*.whl"))}
    for part, folder in ((f"{CHART}/glioserve", parts.chart), (MODELS, parts.models)):
        for file in sorted(folder.rglob("*")):
            if file.is_symlink():
                raise invalid(f"{file.relative_to(folder)} of the {part.partition('/')[0]} is a link")
            if file.is_file():
                files[f"{part}/{file.relative_to(folder).as_posix()}"] = file
    return Bundle(record, write_archive(target, files, key))


def check(source: Path, key: Ed25519PublicKey) -> Bundle:
    """Verify a bundle without unpacking it; GLIO-5132 or GLIO-5133 where it is not what the key's owner made."""
    records: list[bytes] = []

    def take(name: str, content: Hashed) -> None:
        if name == RECORD:
            records.append(content.read())

    contents = read_archive(source, key, take)
    return Bundle(_record(records), contents)


def unpack(source: Path, key: Ed25519PublicKey, into: Path) -> Bundle:
    """Verify and unpack; ``into`` appears only when every file is right.

    Raises:
        GlioserveError: As :func:`check`; GLIO-5132 where ``into`` is there already.
    """
    if into.exists():
        raise invalid(f"{into} is there already: name a folder that is not")
    into.parent.mkdir(parents=True, exist_ok=True)
    records: list[bytes] = []
    with tempfile.TemporaryDirectory(dir=into.parent, prefix=f".{into.name}.") as scratch:
        whole = Path(scratch) / "whole"

        def take(name: str, content: Hashed) -> None:
            file = whole / name
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("xb") as written:
                shutil.copyfileobj(content, written)
            if name == RECORD:
                records.append(file.read_bytes())

        contents = read_archive(source, key, take)
        record = _record(records)
        whole.rename(into)
    return Bundle(record, contents)


def _record(found: Sequence[bytes]) -> Record:
    if not found:
        raise invalid(f"{RECORD} is missing")
    try:
        content: Any = json.loads(found[0])
        record = from_dict(Record, content, RECORD)
    except (ValueError, SchemaError) as error:
        raise invalid(f"{RECORD} cannot be read: {error}") from error
    if record.format != FORMAT:
        raise invalid(f"the bundle has format {record.format}, and this glioserve reads {FORMAT}")
    return record


def _version_of(wheels: Path) -> str:
    """Return the version of our own wheels, which must be one."""
    matches = (_WHEEL.fullmatch(file.name) for file in wheels.glob("glioserve*.whl"))
    found = {match["name"]: match["version"] for match in matches if match}
    missing = {"glioserve", "glioserve_client"} - found.keys()
    if missing:
        raise invalid(f"{wheels} has no wheel of {' and '.join(sorted(missing))}: run make wheels")
    if len(versions := sorted(set(found.values()))) != 1:
        raise invalid(f"the wheels are of versions {' and '.join(versions)}, and must be of one")
    return found["glioserve"]


def _chart_version(chart: Path) -> str:
    try:
        match = _APP_VERSION.search((chart / "Chart.yaml").read_text(encoding="utf-8"))
    except OSError as error:
        raise invalid(f"{chart} is not a chart: Chart.yaml cannot be read") from error
    if match is None:
        raise invalid(f"{chart}/Chart.yaml has no appVersion")
    return match[1]


def _check_wheels(parts: Parts) -> None:
    """Have pip say, without a network, whether the wheels suffice for what is to be installed."""
    for file in parts.wheels.glob("*.whl"):
        if not zipfile.is_zipfile(file):
            raise invalid(f"{file.name} is not a wheel")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-index"]
    command += ["--only-binary=:all:", "--disable-pip-version-check", "--find-links", str(parts.wheels)]
    try:
        done = subprocess.run(
            [*command, parts.requirement],
            # No index, folder or constraint of this machine's, which the other one does not have.
            env={k: v for k, v in os.environ.items() if not k.startswith("PIP_")} | {"PIP_CONFIG_FILE": os.devnull},
            capture_output=True,
            text=True,
            timeout=PIP_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise invalid(f"pip did not end in {PIP_TIMEOUT_S} s") from error
    if done.returncode:
        said = _SAID.findall(done.stderr)
        reason = said[-1] if said else "pip gives no reason"
        raise GlioserveError(
            ErrorCode.INVALID_BUNDLE,
            f"{parts.requirement} cannot be installed from the wheels alone: {reason.rstrip('.')}.",
            f"Put what is missing beside them: pip download --dest {parts.wheels.name} --find-links "
            f"{parts.wheels.name} '{parts.requirement}'.",
        )
