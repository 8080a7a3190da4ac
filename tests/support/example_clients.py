"""The programs of ``examples/clients``, built and run; a test skips with a reason where a toolchain is not here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.scripts import script

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "clients"
PROTOCOL = ROOT / "client" / "glioserve_client" / "protocol"
BUILD_TIMEOUT_S, RUN_TIMEOUT_S = 300, 120
SOURCES = {
    "python": "python/predict.py",
    "node": "node/predict.js",
    "curl": "curl/predict.sh",
    "cpp": "cpp/predict.cc",
    "java": "java/Predict.java",
}
"""Source of each program, by its folder."""


@dataclass(frozen=True)
class Program:
    """One of the programs, ready to run."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, study: Path, url: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Its exit code and what it printed."""
        command = [*self.command, str(study), url, *options]
        environment = {**os.environ, "GRPC_VERBOSITY": "NONE", **self.environment}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False
        )


def program(language: str, folder: Path) -> Program:
    """The program of a language; what is generated or compiled lies in ``folder``."""
    return _BUILDERS[language](folder)


def _python(folder: Path) -> Program:
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOCOL}", "inference.proto"]
    _run([*protoc, f"--python_out={folder}", f"--grpc_python_out={folder}"])
    return Program([sys.executable, str(EXAMPLES / SOURCES["python"])], {"PYTHONPATH": str(folder)})


def _curl(folder: Path) -> Program:
    _need("bash", "curl", "jq")
    return Program(["bash", str(EXAMPLES / SOURCES["curl"])])


def _node(folder: Path) -> Program:
    _need("node", "npm")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    if tuple(int(part) for part in version.strip().lstrip("v").split(".")[:2]) < (18, 17):
        pytest.skip(f"node {version.strip()} is older than 18.17")
    modules = (ROOT / "build" / "tools").resolve() / "example-node"  # npm takes a linked folder for another project
    lock = EXAMPLES / "node" / "package-lock.json"
    if not (modules / "node_modules").is_dir() or (modules / lock.name).read_bytes() != lock.read_bytes():
        shutil.rmtree(modules, ignore_errors=True)
        modules.mkdir(parents=True)
        for name in (lock.name, "package.json"):
            shutil.copy(EXAMPLES / "node" / name, modules)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(modules)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False)
        if done.returncode:
            shutil.rmtree(modules)
            pytest.skip(f"npm cannot fetch the modules: {done.stderr.strip()[:200]}")
    return Program(["node", str(EXAMPLES / SOURCES["node"])], {"NODE_PATH": str(modules / "node_modules")})


def _cpp(folder: Path) -> Program:
    _need("g++", "make", "pkg-config")
    root, libraries = _tree("grpc-cpp")
    environment = {
        "LD_LIBRARY_PATH": str(libraries),
        "PKG_CONFIG_SYSROOT_DIR": str(root),
        "PKG_CONFIG_LIBDIR": f"{libraries}/pkgconfig:{root}/usr/share/pkgconfig",
    }
    flags = ["CXXFLAGS=-O0 -Wall -Wextra -Werror", f"LDFLAGS=-Wl,-rpath-link,{libraries}"]
    _make("cpp", folder, root, "grpc_cpp_plugin", flags, environment)
    return Program([str(folder / "predict")], environment)


def _java(folder: Path) -> Program:
    _need("java", "javac", "make")
    root, libraries = _tree("grpc-java")
    jars = root / "usr" / "share" / "java"
    environment = {"LD_LIBRARY_PATH": str(libraries)}
    _make("java", folder, root, "grpc_java_plugin", [f"JARS={jars}", f"LIBS={libraries / 'jni'}"], environment)
    path = f"-Djava.library.path={folder / 'native'}"
    return Program(["java", path, "-cp", f"{folder / 'classes'}:{jars}/*", "Predict"], environment)


_BUILDERS: dict[str, Callable[[Path], Program]] = {
    "python": _python,
    "node": _node,
    "curl": _curl,
    "cpp": _cpp,
    "java": _java,
}


def _tree(name: str) -> tuple[Path, Path]:
    """The root that Debian's packages are unpacked in, and the folder of its shared libraries."""
    module = script("get_debian")
    try:
        root = Path(module.get_tree(name))
    except module.FetchError as error:
        pytest.skip(f"no {name}: {error}")
    return root, next(root.glob("usr/lib/*-linux-gnu"))


def _make(
    language: str, folder: Path, root: Path, plugin: str, variables: Sequence[str], environment: Mapping[str, str]
) -> None:
    for source in (EXAMPLES / language).iterdir():
        shutil.copy(source, folder)
    programs = root / "usr" / "bin"
    command = ["nice", "-n", "15", "make", "-C", str(folder), f"PROTO={PROTOCOL}", f"PROTOC={programs / 'protoc'}"]
    _run([*command, f"PLUGIN={programs / plugin}", *variables], environment)


def _need(*programs: str) -> None:
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not on the PATH: {', '.join(missing)}")


def _run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        command,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
