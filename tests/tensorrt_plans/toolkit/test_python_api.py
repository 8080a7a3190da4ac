"""TensorRT's Python API: names, order, lifetimes and memory, against a stand-in that has the bindings' own names."""

from __future__ import annotations

import ast
import ctypes
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_export.graphs.vectors import load_vectors
from glioserve_tensorrt.builders import cuda, worker
from glioserve_tensorrt.discovery import find_toolkit
from glioserve_tensorrt.toolkit import BuildRequest, RunRequest
from glioserve_triton.served.versions import load_manifest
from support.tensorrt.engine_requests import build_request, run_request
from support.tensorrt.engines import TESTS, Machine, libcuda, python

NAMES = json.loads((TESTS / "support" / "tensorrt" / "tensorrt_api" / "names.json").read_text())["versions"]
RELEASES = ("10.12.0.36", "10.16.1.11", "11.4.0.106")


def requests(version: Path, folder: Path, timeout_s: float = 60) -> tuple[BuildRequest, Callable[[Path], RunRequest]]:
    return build_request(version, folder / "b", timeout_s), lambda plan: run_request(
        version, plan, folder / "r", timeout_s
    )


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The stand-in module itself, as of a release."""
    monkeypatch.setenv("FAKE_TRT_VERSION", request.param)
    monkeypatch.syspath_prepend(str(TESTS / "support" / "tensorrt" / "tensorrt_fake"))
    yield importlib.import_module("tensorrt")
    sys.modules.pop("tensorrt", None)


@pytest.mark.parametrize("stand_in", RELEASES, indirect=True)
def test_the_stand_in_has_no_name_that_the_bindings_have_not(stand_in: ModuleType) -> None:
    """names.json was read from NVIDIA's wheels, so what the worker calls of the stand-in is there."""
    documented = NAMES[stand_in.__version__]
    for name, members in documented["classes"].items():
        fake = getattr(stand_in, name, None)
        if fake is not None:
            public = {member for member in vars(fake) if not member.startswith("_")}
            assert public <= set(members), name
    for name, members in documented["enums"].items():
        assert {n: m.value for n, m in getattr(stand_in, name).__members__.items()} == members
    assert {"Builder", "OnnxParser", "Runtime", "Logger", "nptype"} <= set(documented["module"])


def test_the_flags_bit_moved_between_10_and_11() -> None:
    """The worker takes the member's value: a written-out 2 chooses a kind of plugin in TensorRT 11."""
    values = {v: NAMES[v]["enums"]["NetworkDefinitionCreationFlag"]["STRONGLY_TYPED"] for v in RELEASES}
    assert values == {"10.12.0.36": 1, "10.16.1.11": 1, "11.4.0.106": 0}
    assert NAMES["11.4.0.106"]["enums"]["NetworkDefinitionCreationFlag"]["PREFER_JIT_PYTHON_PLUGINS"] == 1


@pytest.mark.parametrize("release", RELEASES)
def test_a_plan_is_built_and_answers_in_order_by_every_profile(
    machine: Machine, version: Path, tmp_path: Path, release: str
) -> None:
    machine.python_package()
    machine.set(FAKE_TRT_VERSION=release)
    toolkit = find_toolkit()
    assert (toolkit.name, toolkit.version) == ("tensorrt", release)
    build, run = requests(version, tmp_path)
    toolkit.build(build)
    assert build.plan.read_bytes().endswith((version / "model_fp16.onnx").read_bytes())
    assert build.timing_cache.read_bytes() == f"timing\ntimed once for {release}\n".encode()
    vectors = load_vectors(version, load_manifest(version).recipe)
    by_profile = toolkit.run(run(build.plan))
    assert len(by_profile) == 3
    for answers in by_profile:
        np.testing.assert_array_equal(answers.logits, vectors.logits)
        np.testing.assert_array_equal(answers.cam, vectors.cam)
        assert answers.model_id.shape == (8, 8)


@pytest.mark.parametrize("content", [b"damaged", b"timing\ntimed once for 9.9.9.9\n"], ids=["damaged", "another's"])
def test_a_timing_cache_that_is_not_ours_is_begun_anew(
    machine: Machine, version: Path, tmp_path: Path, content: bytes
) -> None:
    machine.python_package()
    build, _ = requests(version, tmp_path)
    build.timing_cache.write_bytes(content)
    find_toolkit().build(build)
    assert build.timing_cache.read_bytes() == b"timing\ntimed once for 10.16.1.11\n"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("refuses a node", r"parser refuses the graph: node_hardmax \(Hardmax\): No importer registered"),
        ("makes no plan", r"Could not find any implementation.*made no plan"),
        ("finds no GPU", r"makes no Builder: .*nullptr\. Is there a GPU"),
        ("crashes", "was ended by SIGABRT"),
    ],
)
def test_a_build_that_fails_says_why(machine: Machine, version: Path, tmp_path: Path, fault: str, said: str) -> None:
    machine.python_package()
    machine.set(FAKE_TRT_FAULT=fault)
    build, _ = requests(version, tmp_path)
    with pytest.raises(GlioserveError, match=f"(?s){said}") as error:
        find_toolkit().build(build)
    assert error.value.code is ErrorCode.ENGINE_BUILD_FAILED
    assert not build.plan.exists()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"FAKE_TRT_FAULT": "does not run"}, "execution failed"),
        ({"FAKE_CUDA_FAIL": "cuMemAlloc_v2"}, r"cuMemAlloc_v2: out of memory \(2\)"),
        ({"FAKE_CUDA_FAIL": "cuInit"}, r"cuInit: no CUDA-capable device is detected \(100\)"),
        ({"FAKE_TRT_VERSION": "11.4.0.106"}, "cannot read the plan"),
    ],
    ids=["execution", "memory", "no GPU", "another TensorRT's plan"],
)
def test_a_plan_that_does_not_run_is_a_mismatch(
    machine: Machine, version: Path, tmp_path: Path, variables: dict[str, str], said: str
) -> None:
    machine.python_package()
    build, run = requests(version, tmp_path)
    toolkit = find_toolkit()
    toolkit.build(build)
    machine.set(**variables)
    with pytest.raises(GlioserveError, match=said) as error:
        toolkit.run(run(build.plan))
    assert error.value.code is ErrorCode.ENGINE_MISMATCH


@pytest.mark.parametrize("release", RELEASES)
def test_a_profile_that_the_plan_has_not_is_told(machine: Machine, version: Path, tmp_path: Path, release: str) -> None:
    """The bindings raise where it is set, and those of 10.12 crash."""
    machine.python_package()
    machine.set(FAKE_TRT_VERSION=release)
    build, run = requests(version, tmp_path)
    toolkit = find_toolkit()
    toolkit.build(build)
    with pytest.raises(
        GlioserveError, match=r"ended with code 3.*\n.*has 3 optimisation profiles and so none of index 3"
    ):
        toolkit.run(replace(run(build.plan), batches=(8, 4, 1, 1)))


def test_what_the_bindings_raise_is_a_refusal_and_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def inconsistent(*_: object) -> None:
        raise RuntimeError("Shape provided for min, opt or max is inconsistent with other shapes.")

    (tmp_path / "request.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    monkeypatch.setattr(worker, "build", inconsistent)
    assert worker.main(["build", str(tmp_path / "request.json")]) == worker.REFUSED
    assert capsys.readouterr().err == (
        "TensorRT refuses a call: Shape provided for min, opt or max is inconsistent with other shapes.\n"
    )


def test_a_tensorrt_that_dropped_the_flag_builds(machine: Machine, version: Path, tmp_path: Path) -> None:
    """TensorRT 11 declares it deprecated."""
    machine.python_package()
    machine.set(FAKE_TRT_VERSION="11.4.0.106", FAKE_TRT_FAULT="has dropped the flag")
    build, _ = requests(version, tmp_path)
    find_toolkit().build(build)
    assert build.plan.is_file()


def test_a_version_of_the_packaging_is_found(machine: Machine) -> None:
    machine.python_package()
    machine.set(FAKE_TRT_VERSION="10.14.1.48.post1")
    toolkit = find_toolkit()
    assert (toolkit.name, toolkit.version) == ("tensorrt", "10.14.1.48")


def dpkg(machine: Machine, version: str) -> None:
    line = f"ii  libnvinfer10  {version}-1+cuda13.2  amd64  TensorRT runtime libraries"
    machine.program("dpkg", f"#!/bin/sh\necho '{line}'\n")


@pytest.mark.parametrize("way", ["tensorrt", "trtexec"])
def test_a_builder_that_is_not_the_servers_tensorrt_is_refused(machine: Machine, way: str) -> None:
    machine.python_package() if way == "tensorrt" else machine.trtexec()
    dpkg(machine, "10.16.1.11")
    assert find_toolkit().version == "10.16.1.11"
    dpkg(machine, "10.16.1.12")
    with pytest.raises(
        GlioserveError, match=rf"builder \({way}\) is TensorRT 10\.16\.1\.11.*libnvinfer 10\.16\.1\.12, which cannot"
    ) as error:
        find_toolkit()
    assert error.value.code is ErrorCode.ENGINE_BUILD_FAILED


def test_a_version_without_its_last_number_is_completed_by_the_library(machine: Machine) -> None:
    machine.program("trtexec", "#!/bin/sh\necho '&&&& RUNNING TensorRT.trtexec [TensorRT v101601] # trtexec --help'\n")
    assert find_toolkit().version == "10.16.1"
    dpkg(machine, "10.16.1.11")
    assert find_toolkit().version == "10.16.1.11"
    dpkg(machine, "10.16.12.1")
    with pytest.raises(GlioserveError, match="cannot read its plans"):
        find_toolkit()


def test_without_cudas_driver_it_says_so(machine: Machine, version: Path, tmp_path: Path) -> None:
    machine.python_package()
    build, run = requests(version, tmp_path)
    toolkit = find_toolkit()
    toolkit.build(build)
    machine.set(LD_LIBRARY_PATH=os.devnull)
    if Path("/usr/lib/x86_64-linux-gnu/libcuda.so.1").exists():
        pytest.skip("this machine has CUDA's driver")
    with pytest.raises(GlioserveError, match=r"CUDA's driver cannot be used: libcuda\.so\.1"):
        toolkit.run(run(build.plan))


def test_an_old_tensorrt_is_refused(machine: Machine) -> None:
    machine.trtexec()
    machine.set(FAKE_TRT_VERSION="10.11.0.33")
    with pytest.raises(GlioserveError, match=r"TensorRT 10\.11\.0\.33 is here; plans are built with 10\.12 or later"):
        find_toolkit()


def test_no_tensorrt_is_said_with_where_to_get_it(machine: Machine) -> None:
    with pytest.raises(GlioserveError, match="neither the Python package nor trtexec was found") as error:
        find_toolkit()
    assert error.value.code is ErrorCode.ENGINE_BUILD_FAILED
    machine.program("trtexec", "#!/bin/sh\nexit 127\n")
    with pytest.raises(GlioserveError, match="trtexec does not report its version"):
        find_toolkit()


def test_all_device_memory_is_given_back(tmp_path: Path) -> None:
    library = ctypes.CDLL(str(libcuda(tmp_path)))
    device = cuda.Cuda(library)
    array, back = np.arange(12, dtype=np.float32), np.zeros(12, np.float32)
    with device.memory() as memory:
        assert memory.allocate("a", array.nbytes) != memory.allocate("b", 8) != 0
        assert library.fake_alive() == 2
        memory.to_device("a", array)
        memory.to_host(back, "a")
        device.synchronise()
        np.testing.assert_array_equal(back, array)
    assert library.fake_alive() == 0
    with pytest.raises(KeyError), device.memory() as memory:
        memory.to_host(back, str(memory.allocate("a", 8)))
    assert library.fake_alive() == 0


def test_the_first_error_of_the_driver_is_the_one_that_is_told(machine: Machine, version: Path, tmp_path: Path) -> None:
    """After a broken kernel every call fails, freeing too."""
    machine.python_package()
    build, run = requests(version, tmp_path)
    toolkit = find_toolkit()
    toolkit.build(build)
    machine.set(FAKE_CUDA_FAIL="cuMemcpyDtoHAsync_v2")
    with pytest.raises(GlioserveError, match="cuMemcpyDtoHAsync_v2: an illegal memory access") as error:
        toolkit.run(run(build.plan))
    assert "cuMemFree" not in str(error.value)


def test_an_error_of_freeing_alone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = cuda.Cuda(ctypes.CDLL(str(libcuda(tmp_path))))
    monkeypatch.setattr(cuda.Memory, "free", lambda self: device.call("cuMemAlloc_v2", None, 0))
    monkeypatch.setattr(device, "call", lambda *_: (_ for _ in ()).throw(cuda.CudaError("cuMemFree_v2")))
    with pytest.raises(cuda.CudaError, match="cuMemFree_v2"), device.memory():
        pass


def test_the_drivers_calls_are_counted_right() -> None:
    assert len(cuda._SIGNATURES) == 11
    assert "eleven calls" in str(cuda.__doc__).splitlines()[0]


def test_a_driver_without_the_functions_is_told(tmp_path: Path) -> None:
    with pytest.raises(cuda.CudaError, match="cuInit"):
        cuda.Cuda(ctypes.CDLL(None))


def test_the_worker_alone_imports_tensorrt_and_imports_little_else() -> None:
    tree = ast.parse(Path(worker.__file__).read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {m for m in modules if m and m.startswith("glioserve")} == {"glioserve_tensorrt.builders.cuda"}
    done = python("import glioserve_cli.models.engine, sys; print({'torch', 'onnx', 'tensorrt'} & set(sys.modules))")
    assert done.stdout.strip() == "set()", done.stderr
