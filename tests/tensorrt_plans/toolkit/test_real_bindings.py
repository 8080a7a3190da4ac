"""The stand-in and NVIDIA's own Python bindings obey the same rules.

The project does not depend on the bindings. Where ``tensorrt_bindings`` can be imported from (PYTHONPATH, or ``pip
install --no-deps tensorrt-cu12-bindings==10.16.1.11``), they run here over a libnvinfer that makes nothing, which is as
good as a machine without a GPU; else their half is skipped.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_tensorrt.discovery import find_toolkit
from support.tensorrt.engine_requests import build_request
from support.tensorrt.engines import TESTS, Machine

FACTS = TESTS / "support" / "tensorrt" / "tensorrt_api" / "facts.py"
NAMES = json.loads((TESTS / "support" / "tensorrt" / "tensorrt_api" / "names.json").read_text())["versions"]
RULES: dict[str, Any] = {
    "a member is shifted": "TypeError",
    "a member is a number": False,
    "members are told apart": True,
    "a logger of a number": "TypeError",
    "a logger has": ["min_severity"],
    "a logger is an ILogger": True,
    "a builder without a GPU": "TypeError",
    "a runtime without a GPU": "TypeError",
    "a builder of no logger": "TypeError",
    "dims are gone through": [1, 3, 8],
    "dims are counted": 3,
    "dims are a": [],
    "host memory has": ["nbytes"],
    "float32 is": "float32",
    "int32 is": "int32",
    "an engine counts its profiles": True,
}
"""Read off the bindings 10.12.0.36, 10.14.1.48.post1, 10.16.1.11 and 11.4.0.106."""

BINDINGS = importlib.util.find_spec("tensorrt_bindings")
with_bindings = pytest.mark.skipif(BINDINGS is None, reason="NVIDIA's bindings are not installed")


@pytest.fixture
def real(machine: Machine) -> str:
    """NVIDIA's bindings as ``tensorrt``, over libraries that make nothing; the bindings' version."""
    assert BINDINGS is not None
    assert BINDINGS.submodule_search_locations is not None
    package = Path(BINDINGS.submodule_search_locations[0])
    version = re.findall(r'^__version__ = "(.+)"', (package / "__init__.py").read_text(), re.MULTILINE)[0]
    source, libraries = machine.folder / "nothing.c", machine.folder / "lib"
    libraries.mkdir()
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in FUNCTIONS))
    for library in ("nvinfer", "nvinfer_plugin", "nvonnxparser"):
        file = libraries / f"lib{library}.so.{version.split('.')[0]}"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", str(file), str(source)], check=True, timeout=60)
    shim = machine.folder / "shim" / "tensorrt"
    shim.mkdir(parents=True)
    (shim / "__init__.py").write_text("from tensorrt_bindings import *\nfrom tensorrt_bindings import __version__\n")
    machine.import_from(package.parent)
    machine.import_from(shim.parent)
    machine.set(LD_LIBRARY_PATH=str(libraries))
    return version


FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)


def asked() -> dict[str, Any]:
    done = subprocess.run([sys.executable, str(FACTS)], capture_output=True, text=True, timeout=60, env={**os.environ})
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    shifted = answer["facts"].pop("a member's number is shifted")
    assert shifted == (1 if answer["version"].startswith("11.") else 2)
    return answer


@pytest.mark.parametrize("release", sorted(NAMES))
def test_the_stand_in_is_as_strict_as_the_bindings(machine: Machine, release: str) -> None:
    machine.python_package()
    machine.set(FAKE_TRT_FAULT="finds no GPU", FAKE_TRT_VERSION=release)
    assert asked() == {"version": release, "facts": RULES}


@with_bindings
def test_the_bindings_are_as_they_were_read(real: str) -> None:
    assert asked() == {"version": real, "facts": RULES}


@with_bindings
def test_the_worker_runs_over_the_bindings(real: str, version: Path, tmp_path: Path) -> None:
    toolkit = find_toolkit()
    assert (toolkit.name, toolkit.version) == ("tensorrt", re.sub(r"\.post\d+$", "", real))
    with pytest.raises(GlioserveError, match=r"makes no Builder: .*nullptr.*Is there a GPU") as error:
        toolkit.build(build_request(version, tmp_path / "b"))
    assert error.value.code is ErrorCode.ENGINE_BUILD_FAILED
