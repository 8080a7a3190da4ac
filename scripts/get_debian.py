"""Put programs of Debian's packages under ``build/tools``: tests let them judge what we write.

``prometheus`` and ``promtool`` run and check rules; ``dciodvfy`` (dicom3tools) checks DICOM objects and ``dsrdump``
(dcmtk) reads reports; Orthanc with its DICOMweb plug-in is a PACS; Chromium without a window shows pages. The last
three come with the libraries that are missing here. The packages are downloaded by apt, which checks their signatures,
and unpacked; nothing is installed and no service is started. It needs no root: apt keeps its lists in a folder of its
own. A program that is on the PATH is taken from there. The libraries that the example clients are compiled with
(:data:`TREES`) are fetched when a slow test asks for them.

    python scripts/get_debian.py
    build/tools/prometheus/promtool --version
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent / "build" / "tools"
PROGRAMS = {"prometheus": ("prometheus", "promtool"), "dicom3tools": ("dciodvfy",)}
"""Programs that tests run, by the package that they come from."""
TREES = {
    "grpc-cpp": (
        "libgrpc++-dev libgrpc++1.51 libgrpc-dev libgrpc29 libabsl-dev libabsl20220623 libc-ares-dev libc-ares2 "
        "libre2-dev libre2-9 libprotobuf-dev libprotobuf32 libssl-dev zlib1g-dev "
        "protobuf-compiler protobuf-compiler-grpc libprotoc32"
    ).split(),
    "grpc-java": (
        "libgrpc-java libopencensus-java libnetty-java libjctools-java libnetty-tcnative-java libnetty-tcnative-jni "
        "libapr1 libperfmark-java libguava-java libprotobuf-java libgoogle-gson-java "
        "libgeronimo-annotation-1.3-spec-java protobuf-compiler protobuf-compiler-grpc-java-plugin libprotoc32 "
        "libprotobuf32"
    ).split(),
}
"""Packages that are unpacked together into one folder, which stands for the root of a file system."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
"""Names of a browser on the PATH."""
CHROMIUM = ("chromium-headless-shell", "chromium-common")
"""Packages of the smallest one (95 MB), with the data that it reads."""
ORTHANC_PLUGIN = Path("usr/share/orthanc/plugins/libOrthancDicomWeb.so")
"""Place of Orthanc's DICOMweb plug-in, as Debian has it."""
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


def get_tree(name: str, tools: Path = TOOLS) -> Path:
    """Return the folder that the packages of ``TREES[name]`` are unpacked in, downloaded where it is not there.

    Raises FetchError where apt is not here or cannot download.
    """
    return _tree(name, TREES[name], tools, missing_too=False)


@dataclass(frozen=True)
class Program:
    """A program that may need libraries from beside it."""

    program: Path
    environment: dict[str, str]
    """Variables that it needs: where its libraries are, and DICOM's dictionary."""


@dataclass(frozen=True)
class Orthanc(Program):
    """A PACS for tests."""

    dicomweb: Path
    """Its plug-in."""


def get_orthanc(tools: Path = TOOLS) -> Orthanc:
    """Return Orthanc with DICOMweb, as it is installed, from ``tools``, or downloaded into it.

    Raises FetchError where apt is not here or cannot download.
    """
    installed = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if installed is not None and (plugin := Path("/") / ORTHANC_PLUGIN).is_file():
        return Orthanc(Path(installed), {}, plugin)
    folder = _pacs_tree(tools)
    return Orthanc(folder / "usr" / "sbin" / "Orthanc", _environment(folder), folder / ORTHANC_PLUGIN)


def get_dsrdump(tools: Path = TOOLS) -> Program:
    """Return dcmtk's reader of structured reports, from the PATH, from ``tools``, or downloaded into it.

    Raises FetchError where apt is not here or cannot download.
    """
    if (installed := shutil.which("dsrdump")) is not None:
        return Program(Path(installed), {})
    folder = _pacs_tree(tools)
    return Program(folder / "usr" / "bin" / "dsrdump", _environment(folder))


def get_chromium(tools: Path = TOOLS) -> Program:
    """Return a browser that runs without a window, from the PATH, from ``tools``, or downloaded into it.

    Raises FetchError where apt is not here or cannot download, or the browser does not start.
    """
    if (installed := next(filter(None, map(shutil.which, BROWSERS)), None)) is not None:
        return Program(Path(installed), {})
    folder = _tree("chromium", CHROMIUM, tools)
    found = Program(folder / "usr" / "lib" / "chromium" / CHROMIUM[0], _environment(folder))
    _run("chromium", [str(found.program), "--version"], folder, found.environment)
    return found


def _pacs_tree(tools: Path) -> Path:
    """Return the folder of Orthanc and dcmtk, which share their libraries."""
    folder = tools / "orthanc"
    if not (folder / "usr" / "bin" / "dsrdump").is_file():
        shutil.rmtree(folder, ignore_errors=True)
    return _tree("orthanc", ("orthanc-dicomweb", "dcmtk"), tools)


def _tree(name: str, packages: Sequence[str], tools: Path, *, missing_too: bool = True) -> Path:
    """Return the folder that packages are unpacked in, with the libraries that are missing here."""
    folder = tools / name
    if not folder.is_dir():
        with _unpacked(name, packages, tools, missing_too=missing_too) as root:
            root.rename(folder)
    return folder


def _environment(folder: Path) -> dict[str, str]:
    """Return the variables that a program in the folder needs."""
    libraries = [*folder.glob("usr/lib/*-linux-gnu"), *folder.glob("lib/*-linux-gnu"), folder / "usr" / "lib"]
    # Its libraries name this one by its absolute path, which is another's here.
    libraries += folder.glob("usr/lib/*-linux-gnu/pulseaudio")
    environment = {"LD_LIBRARY_PATH": ":".join(map(str, libraries))}
    if (dictionary := next(folder.glob("usr/share/libdcmtk*/dicom.dic"), None)) is not None:
        environment["DCMDICTPATH"] = str(dictionary)
    return environment


def _fetch(package: str, folder: Path) -> None:
    with _unpacked(package, (package,), folder.parent) as root:
        shutil.rmtree(folder, ignore_errors=True)
        (root / "usr" / "bin").rename(folder)


@contextmanager
def _unpacked(name: str, packages: Sequence[str], tools: Path, *, missing_too: bool = False) -> Iterator[Path]:
    """Give the folder that the packages are unpacked in, beside its later place; it is gone afterwards.

    With ``missing_too`` the packages that they need and that are not installed here are unpacked beside them.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise FetchError(f"this is no Debian; install {name} in another way, programs on the PATH")
    tools.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=tools) as scratch:
        state, cache, fresh = (Path(scratch) / folder for folder in ("state", "cache", "fresh"))
        for needed in (state / "lists" / "partial", cache / "archives" / "partial", fresh):
            needed.mkdir(parents=True)
        own = ["-o", f"Dir::State={state}", "-o", f"Dir::Cache={cache}", "-o", "APT::Sandbox::User="]
        own += ["-o", "Dir::State::status=/var/lib/dpkg/status", "-o", "Acquire::Languages=none"]
        _run(name, ["apt-get", "-qq", *own, "update"], fresh)
        if missing_too:
            own += ["-o", "Debug::NoLocking=1", "--yes", "--no-install-recommends", "--download-only", "--reinstall"]
        _run(name, ["apt-get", "-qq", *own, "install" if missing_too else "download", *packages], fresh)
        for archive in sorted([*fresh.glob("*.deb"), *(cache / "archives").glob("*.deb")]):
            _run(name, ["dpkg-deb", "-x", str(archive), str(fresh / "root")], fresh)
        yield fresh / "root"


def _run(package: str, command: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
    variables = {**os.environ, **(environment or {})}
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=variables
        )
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"{command[0]} took more than {TIMEOUT_S} s") from error
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if line.startswith("E:")), f"{command[0]} failed")
        raise FetchError(f"cannot use Debian's package {package}: {reason}")


def main() -> int:
    """Fetch all and print where they are."""
    missing = 0
    others: dict[str, Callable[[], Program]] = {
        "orthanc": get_orthanc,
        "dcmtk": get_dsrdump,
        "chromium": get_chromium,
    }
    for name in (*PROGRAMS, *others):
        try:
            for path in [others[name]().program] if name in others else get_programs(name).values():
                print(path)
        except FetchError as error:
            print(f"get_debian: {error}", file=sys.stderr)
            missing = 1
    return missing


if __name__ == "__main__":
    sys.exit(main())
