"""Find a tritonserver that can run here, and name every shared library that it lacks.

Three homes, in this order: the one the caller names, NVIDIA's container (``/opt/tritonserver``), the
``nvidia-pytriton`` wheel. The wheel keeps its Python stubs apart, one for each Python version, and links them
against ``libpython``, which a Debian Python does not bring along: the commonest reason for a server that starts
and cannot load a model.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError

CONTAINER_BINARY = Path("/opt/tritonserver/bin/tritonserver")
STUB_NAME = "triton_python_backend_stub"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
LDD_TIMEOUT_S = 30.0

_PACKAGES = {
    "libexpat.so.1": "libexpat1",
    "libgcc_s.so.1": "libgcc-s1",
    "libstdc++.so.6": "libstdc++6",
    "libz.so.1": "zlib1g",
}
_SYSTEM_FOLDER = re.compile(r"(/usr)?/lib(64|/[a-z0-9_]+-linux-gnu)?")
_LIBPYTHON = re.compile(r"libpython(\d+\.\d+)\.so")


@dataclass(frozen=True)
class Installation:
    """A tritonserver and the folders it came with."""

    binary: Path
    origin: str
    """``given``, ``container`` or ``wheel``."""
    backends: Path
    """The backends that it brings: ``<name>/libtriton_<name>.so`` or ``<name>/model.py``."""
    caches: Path | None
    stub: Path
    """The Python backend's stub for the running Python."""
    library_folders: tuple[Path, ...]
    """Folders to put before LD_LIBRARY_PATH."""

    def environment(self) -> dict[str, str]:
        """Return this process's environment as the server and its stubs need it.

        The stub ignores PYTHONPATH and PYTHONHOME and finds packages only through the first ``python3`` on
        PATH, so the running environment's ``bin`` goes first.
        """
        environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        inherited = os.environ.get("LD_LIBRARY_PATH")
        if self.library_folders:
            folders = [*map(str, self.library_folders), *([inherited] if inherited else [])]
            environment["LD_LIBRARY_PATH"] = os.pathsep.join(folders)
        return environment


@dataclass(frozen=True)
class MissingLibrary:
    """A shared library that the loader does not find, and the Debian package that has it if we know."""

    name: str
    package: str | None


def find_installation(given: Path | None = None) -> Installation:
    """Return the first tritonserver of: ``given``, the container's, the wheel's. GLIO-5109 if there is none."""
    if given is not None:
        if not (given.is_file() and os.access(given, os.X_OK)):
            raise GlioserveError(ErrorCode.SERVER_NOT_FOUND, f"{given} is not an executable file.")
        return _installation(given.resolve(), "given")
    if os.access(CONTAINER_BINARY, os.X_OK):
        return _installation(CONTAINER_BINARY, "container")
    spec = importlib.util.find_spec("pytriton")  # looked up, not imported: importing it sets up its own logging
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(folder) / "tritonserver" / "bin" / "tritonserver"
        if os.access(binary, os.X_OK):
            return _installation(binary, "wheel")
    raise GlioserveError(
        ErrorCode.SERVER_NOT_FOUND, f"Neither {CONTAINER_BINARY} nor the nvidia-pytriton wheel is here."
    )


def _installation(binary: Path, origin: str) -> Installation:
    root = binary.parent.parent
    bundled = root.parent.parent / "nvidia_pytriton.libs"
    folders = (python_library_folder(), bundled if bundled.is_dir() else None)
    return Installation(
        binary=binary,
        origin=origin,
        backends=root / "backends",
        caches=root / "caches" if (root / "caches").is_dir() else None,
        stub=_find_stub(root),
        library_folders=tuple(folder for folder in folders if folder),
    )


def _find_stub(root: Path) -> Path:
    own = root / "backends" / "python" / STUB_NAME
    if own.is_file():
        return own
    stubs = root / "python_backend_stubs"
    if (stubs / PYTHON / STUB_NAME).is_file():
        return stubs / PYTHON / STUB_NAME
    known = sorted((p.parent.name for p in stubs.glob(f"*/{STUB_NAME}")), key=lambda v: [int(n) for n in v.split(".")])
    found = f"stubs for Python {', '.join(known)} only" if known else "no Python backend"
    raise GlioserveError(ErrorCode.SERVER_NOT_FOUND, f"This tritonserver has {found}; this environment is {PYTHON}.")


def python_library_folder() -> Path | None:
    """Return the folder of the running Python's own libpython, None if the loader needs no help to find one.

    The system's own folders are left out: before NVIDIA's CUDA compatibility libraries they would hide them.
    """
    for folder in (sysconfig.get_config_var("LIBDIR"), f"{sys.base_prefix}/lib"):
        if folder and (Path(folder) / f"libpython{PYTHON}.so.1.0").is_file():
            return None if _SYSTEM_FOLDER.fullmatch(str(Path(folder).resolve())) else Path(folder)
    return None


def missing_libraries(installation: Installation) -> tuple[MissingLibrary, ...]:
    """Return what the dynamic loader does not find for the server, the Python backend or its stub."""
    files = (installation.binary, installation.stub, installation.backends / "python" / "libtriton_python.so")
    names = dict.fromkeys(name for file in files for name in _not_found(file, installation.environment()))
    return tuple(MissingLibrary(name, _package_of(name)) for name in names)


def check_libraries(installation: Installation) -> None:
    """GLIO-5110 names every missing library and its package; GLIO-5109 if the stub is another Python's."""
    missing = missing_libraries(installation)
    if missing:
        packages = sorted({library.package for library in missing if library.package})
        unknown = [library.name for library in missing if not library.package]
        hints = [f"apt-get install {' '.join(packages)}"] if packages else []
        hints += [f"find the package of {name} with apt-file" for name in unknown]
        names = ", ".join(library.name for library in missing)
        raise GlioserveError(ErrorCode.MISSING_LIBRARY, f"Not found: {names}; {'; '.join(hints)}.")
    linked = stub_python(installation)
    if linked not in (None, PYTHON):
        raise GlioserveError(
            ErrorCode.SERVER_NOT_FOUND,
            f"This tritonserver's models run on Python {linked}; this environment is {PYTHON}: they would not find "
            f"its packages. Install glioserve for Python {linked}.",
        )


def stub_python(installation: Installation) -> str | None:
    """Return the Python version (``3.11``) that the stub is linked to, None where ``ldd`` does not tell."""
    match = _LIBPYTHON.search(_ldd(installation.stub, installation.environment()))
    return match.group(1) if match else None


def _not_found(file: Path, environment: dict[str, str]) -> list[str]:
    """Names in ``ldd``'s "not found" lines; a too old libc shows as ``libc.so.6 (GLIBC_2.38)``."""
    names = []
    for line in _ldd(file, environment).splitlines():
        if version := re.search(r"(\S+): version `(\S+)' not found", line):
            names.append(f"{Path(version.group(1)).name} ({version.group(2)})")
        elif "not found" in line:
            names.append(line.split()[0])
    return names


def _ldd(file: Path, environment: dict[str, str]) -> str:
    if shutil.which("ldd") is None or not file.is_file():
        return ""
    try:
        done = subprocess.run(
            ["ldd", str(file)], env=environment, capture_output=True, text=True, timeout=LDD_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):  # no room for a process, say: the start of the server tells of it
        return ""
    return done.stdout + done.stderr


def _package_of(library: str) -> str | None:
    python = _LIBPYTHON.match(library)
    return f"libpython{python.group(1)}" if python else _PACKAGES.get(library)
