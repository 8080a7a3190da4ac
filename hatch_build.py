"""Compile the decoders, the kernels and the guard against pauses, by the C compiler or the ziglang wheel."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPILED = (
    Path("client/glioserve_dicom/codec"),
    Path("preprocess_service/glioserve_preprocess/kernel"),
    Path("preprocess_service/glioserve_triton/adapters"),
)
# No -march and no contraction: the same bits on every machine of an architecture.
MANYLINUX = {"x86_64": "x86_64-linux-gnu.2.17", "aarch64": "aarch64-linux-gnu.2.17"}
"""Targets of ziglang by machine: the oldest C library that a wheel for others must run on."""
LIBRARIES = ["-lm", "-lpthread"] if sys.platform == "linux" else ["-lm"]
FLAGS = ["-O3", "-std=c99", "-ffp-contract=off", "-fPIC", "-shared", "-fvisibility=hidden"]


class KernelBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Hook that hatchling calls for wheels and editable installs."""

    def dependencies(self) -> list[str]:
        """Return a compiler from the package index where the machine has none."""
        return [] if _system_compiler() and not _for_others() else ["ziglang>=0.13"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the C sources and tag the wheel for this platform and any Python 3."""
        if self.target_name != "wheel":
            return
        # The client's own folder is its distribution: from here, or by its version where the wheel is for others.
        stated = os.environ.get("GLIOSERVE_CLIENT") or f" @ {(Path(self.root) / 'client').as_uri()}"
        build_data["dependencies"].append(f"glioserve-client{stated}")
        suffix = ".dll" if sys.platform == "win32" else ".so"
        zig = [sys.executable, "-m", "ziglang", "cc"]
        compiler = _system_compiler() or zig
        system = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        if _for_others() and (target := MANYLINUX.get(platform.machine())) and sys.platform == "linux":
            compiler, system = [*zig, "-target", target], f"manylinux_2_17_{platform.machine()}"
        for folder in COMPILED:
            for source in sorted((Path(self.root) / folder).glob("*.c")):
                library = folder / f"{source.stem}{suffix}"
                _compile(source, Path(self.root) / library, compiler)
                # The client's distribution has the folder of the decoders; the libraries come with this one.
                build_data["force_include"][str(Path(self.root) / library)] = str(Path(*library.parts[1:]))
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{system}"


def _for_others() -> bool:
    """Return whether the wheel is built to run on other machines too (``make wheels``)."""
    return bool(os.environ.get("GLIOSERVE_WHEELS"))


def _compile(source: Path, library: Path, compiler: list[str]) -> None:
    """Compile ``source`` and replace ``library`` at the end: a server that has the old one loaded keeps it."""
    half_built = library.with_name(f"{library.name}.{os.getpid()}")
    command = [*compiler, *FLAGS, "-o", str(half_built), str(source), *LIBRARIES]
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"{source.name} was not built by: {shlex.join(command)}\n{error}") from error
    half_built.replace(library)


def _system_compiler() -> list[str] | None:
    named = os.environ.get("CC")
    if named:
        return shlex.split(named)
    found = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    return [found] if found else None
