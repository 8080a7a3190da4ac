"""trtexec as a program: its command lines, its files, and every way it can fail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_export.graphs.vectors import load_vectors
from glioserve_tensorrt.builders.trtexec import Trtexec, read_outputs
from glioserve_tensorrt.discovery import find_toolkit
from glioserve_triton.served.versions import load_manifest
from support.server.triton import wait_until
from support.tensorrt.engine_requests import build_request, run_request
from support.tensorrt.engines import Machine, living

VERSIONS = ("10.12.0.36", "10.16.1.11", "11.4.0.106")


@pytest.fixture
def trtexec(machine: Machine) -> Trtexec:
    return Trtexec(machine.trtexec(), "10.16.1.11")


@pytest.mark.parametrize("release", VERSIONS)
def test_a_plan_is_built_and_answers_in_order_by_every_profile(
    machine: Machine, version: Path, tmp_path: Path, release: str
) -> None:
    machine.trtexec()
    machine.set(FAKE_TRT_VERSION=release)
    toolkit = find_toolkit()
    assert (toolkit.name, toolkit.version) == ("trtexec", release)
    request = build_request(version, tmp_path / "b")
    toolkit.build(request)
    assert request.plan.read_bytes().endswith((version / "model_fp16.onnx").read_bytes())
    assert request.timing_cache.read_text() == f"timed once for {release}\n"
    vectors = load_vectors(version, load_manifest(version).recipe)
    by_profile = toolkit.run(run_request(version, request.plan, tmp_path / "r"))
    assert len(by_profile) == 3
    for answers in by_profile:
        np.testing.assert_allclose(answers.logits, vectors.logits, rtol=1e-5)
        np.testing.assert_allclose(answers.cam, vectors.cam, rtol=1e-5)
        assert answers.model_id.shape == (8, 8)


def test_what_was_learnt_goes_into_the_next_build(trtexec: Trtexec, version: Path, tmp_path: Path) -> None:
    first = build_request(version, tmp_path / "1")
    trtexec.build(first)
    second = build_request(version, tmp_path / "2")
    second.timing_cache.write_bytes(first.timing_cache.read_bytes())
    trtexec.build(second)
    assert second.timing_cache.read_text() == "timed once for 10.16.1.11\n" * 2


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("fails", r"ended with code 1\. The end of its log:\n.*no implementation for node"),
        ("writes nothing", r"ended with code 0 but wrote no plan"),
        ("crashes", r"was ended by SIGABRT"),
    ],
)
def test_a_build_that_fails_has_the_end_of_its_log(
    machine: Machine, trtexec: Trtexec, version: Path, tmp_path: Path, fault: str, said: str
) -> None:
    machine.set(FAKE_TRT_FAULT=fault)
    request = build_request(version, tmp_path / "b")
    with pytest.raises(GlioserveError, match=f"(?s){said}") as error:
        trtexec.build(request)
    assert error.value.code is ErrorCode.ENGINE_BUILD_FAILED
    assert not request.plan.exists()
    assert str(version) not in str(error.value)  # no path of the server


def test_a_build_that_hangs_is_killed_with_all_that_it_started(
    machine: Machine, trtexec: Trtexec, version: Path, tmp_path: Path
) -> None:
    machine.set(FAKE_TRT_FAULT="hangs")
    request = build_request(version, tmp_path / "b", timeout_s=3)
    with pytest.raises(GlioserveError, match="was stopped at the time limit"):
        trtexec.build(request)
    child = int((request.work / "child.pid").read_text())
    wait_until(lambda: not living(child), "the child is gone")


def test_a_program_that_cannot_be_started(version: Path, tmp_path: Path, machine: Machine) -> None:
    broken = machine.program("trtexec", "no shebang")
    with pytest.raises(GlioserveError, match="cannot be started: Exec format error"):
        Trtexec(broken, "10.16.1.11").build(build_request(version, tmp_path / "b"))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("writes garbage", r"does not run: trtexec ended with code 1.*magicTag mismatch"),
        ("lacks an output", "does not give CAM"),
    ],
)
def test_a_plan_that_does_not_run_is_a_mismatch(
    machine: Machine, trtexec: Trtexec, version: Path, tmp_path: Path, fault: str, said: str
) -> None:
    machine.set(FAKE_TRT_FAULT=fault)
    request = build_request(version, tmp_path / "b")
    trtexec.build(request)
    with pytest.raises(GlioserveError, match=f"(?s){said}") as error:
        trtexec.run(run_request(version, request.plan, tmp_path / "r"))
    assert error.value.code is ErrorCode.ENGINE_MISMATCH


def test_another_tensorrts_plan_does_not_run(machine: Machine, trtexec: Trtexec, version: Path, tmp_path: Path) -> None:
    request = build_request(version, tmp_path / "b")
    trtexec.build(request)
    machine.set(FAKE_TRT_VERSION="11.0.0.114")
    with pytest.raises(GlioserveError, match="not compatible with this version of TensorRT"):
        trtexec.run(run_request(version, request.plan, tmp_path / "r"))


def test_no_time_left_is_no_hang(trtexec: Trtexec, version: Path, tmp_path: Path) -> None:
    request = build_request(version, tmp_path / "b")
    trtexec.build(request)
    with pytest.raises(GlioserveError, match="stopped at the time limit"):
        trtexec.run(run_request(version, request.plan, tmp_path / "r", timeout_s=0))


def test_outputs_are_read_as_trtexec_writes_them(tmp_path: Path) -> None:
    file = tmp_path / "output.json"
    file.write_text(
        '[\n  { "name" : "LOGITS"\n  , "dimensions" : "2x2"\n  , "values" : [ 1.5, -nan, inf, -inf ]\n  }\n'
        ', { "name" : "info.nan"\n  , "dimensions" : "1"\n  , "values" : [ -1.2e-07 ]\n  }\n]\n'
    )
    outputs = read_outputs(file)
    np.testing.assert_array_equal(outputs["LOGITS"], [[1.5, np.nan], [np.inf, -np.inf]])
    assert outputs["info.nan"].tolist() == [-1.2e-07]


@pytest.mark.parametrize(
    "text", ["", "[", '[{"name": "a"}]', '[{"name": "a", "dimensions": "3", "values": [1]}]', "[1]", "null"]
)
def test_outputs_that_cannot_be_read_are_a_mismatch(tmp_path: Path, text: str) -> None:
    (tmp_path / "o.json").write_text(text)
    with pytest.raises(GlioserveError, match="cannot be read") as error:
        read_outputs(tmp_path / "o.json")
    assert error.value.code is ErrorCode.ENGINE_MISMATCH
