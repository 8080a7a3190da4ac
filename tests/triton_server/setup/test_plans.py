"""The profile tensorrt-gpu: served where a plan fits, else ONNX Runtime with the reason in the log; never nothing."""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton

from glioserve_contract import ErrorCode, GlioserveError, sha256_digest
from glioserve_triton.plans.discovery import FittingPlan, LoadWatch, fitting_plan, profile_to_serve
from glioserve_triton.process.logs import Log
from glioserve_triton.served.repository import check_repository
from support.server.serve import serving
from support.server.tiny_repository import ask, expected_score
from support.server.triton import living_processes, wait_until
from support.tensorrt.engines import A30, L4, Machine
from support.tensorrt.plans import add_gpu_profiles, write_plan

RAW = np.array([[1, 2, 3, 4]], dtype=np.float32)
SLICE = {"name": "NVIDIA A30 MIG 1g.6gb"}


@pytest.fixture
def repository(repository: Path) -> Path:
    return add_gpu_profiles(repository)


def version_of(repository: Path) -> Path:
    return repository / "classifier" / "1"


def chosen(repository: Path, profile: str | None = "tensorrt-gpu") -> tuple[str | None, list[dict[str, Any]]]:
    """The profile that serves, and what the log says."""
    stream = io.StringIO()
    found = profile_to_serve(repository, profile, Log(stream, "json"))
    return found, [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_plan_that_fits_serves_and_is_told(machine: Machine, repository: Path) -> None:
    record = write_plan(version_of(repository))
    profile, (event,) = chosen(repository)
    assert profile == "tensorrt-gpu"
    assert (event["level"], event["message"]) == ("info", "TensorRT plan fits")
    assert (event["plan"], event["tensorrt"], event["gpu"]) == (record.plan_digest, "10.16.1.11", "NVIDIA A30")
    assert event["not_verified"] is None
    assert check_repository(repository, profile).serving.version == "1"


Spoil = Callable[[Machine, Path], object]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda m, v: (v / "plan.json").unlink(), "[GLIO-5120] There is no plan.json: no plan was built for it."),
        (lambda m, v: (v / "model.plan").unlink(), "[GLIO-5120] model.plan cannot be read: No such file"),
        (lambda m, v: (v / "model.plan").write_bytes(b"torn"), "[GLIO-5120] model.plan is not the file that plan.json"),
        (lambda m, v: (v / "plan.json").write_text("{"), "[GLIO-5120] plan.json cannot be read"),
        (
            lambda m, v: write_plan(v, onnx_digest=sha256_digest(b"the version before")),
            "[GLIO-5120] It was built from another model.onnx than the version's.",
        ),
        (
            lambda m, v: m.gpus(L4),
            "built for the GPU NVIDIA A30 (here: NVIDIA L4), compute capability 8.0 (here: 8.9).",
        ),
        (lambda m, v: m.gpus({**A30, "slices": [SLICE]}), "the GPU NVIDIA A30 (here: NVIDIA A30 (MIG 1g.6gb))."),
        (lambda m, v: m.set(FAKE_TRT_VERSION="11.4.0.106"), "built for TensorRT 10.16.1.11 (here: 11.4.0.106)."),
        (lambda m, v: m.gpus(A30, L4), "[GLIO-5119] There are GPUs of different kinds"),
    ],
    ids=["no record", "no plan", "torn", "record", "version", "GPU", "MIG slice", "TensorRT", "two kinds of GPU"],
)
def test_a_plan_that_does_not_fit_gives_way_with_the_reason(
    machine: Machine, repository: Path, spoil: Spoil, reason: str
) -> None:
    write_plan(version_of(repository))
    spoil(machine, version_of(repository))
    profile, (event,) = chosen(repository)
    assert profile == "onnxruntime-gpu"
    assert (event["level"], event["profile"], event["asked_for"]) == ("warning", "onnxruntime-gpu", "tensorrt-gpu")
    assert reason in event["reason"]
    assert event["classifier_version"] == "1"
    assert event["action"].endswith("glioserve engine build")
    assert check_repository(repository, profile).serving.version == "1"  # what is taken instead can be served


def test_what_the_machine_does_not_say_is_let_pass_and_told(machine: Machine, repository: Path) -> None:
    """TensorRT itself looks again when it loads the plan."""
    write_plan(version_of(repository))
    machine.no_driver()
    (machine.programs / "trtexec").unlink()
    profile, (event,) = chosen(repository)
    assert profile == "tensorrt-gpu"
    assert event["not_verified"] == "TensorRT,GPU"


@pytest.mark.parametrize("profile", [None, "onnxruntime-gpu", "batching"])
def test_other_profiles_ask_nothing_and_say_nothing(
    monkeypatch: pytest.MonkeyPatch, repository: Path, profile: str | None
) -> None:
    monkeypatch.setattr("glioserve_triton.plans.discovery.fitting_plan", lambda *_: pytest.fail("asked for the plan"))
    assert chosen(repository, profile) == (profile, [])


def test_a_profile_that_the_repository_lacks_is_said_by_its_check(machine: Machine, repository: Path) -> None:
    (repository / "classifier" / "configs" / "tensorrt-gpu.pbtxt").unlink()
    assert chosen(repository) == ("tensorrt-gpu", [])
    with pytest.raises(GlioserveError, match="the profile tensorrt-gpu") as error:
        check_repository(repository, "tensorrt-gpu")
    assert error.value.code is ErrorCode.INVALID_REPOSITORY


def test_a_version_that_cannot_be_read_is_no_case_for_another_profile(machine: Machine, repository: Path) -> None:
    (version_of(repository) / "manifest.json").write_text("{")
    with pytest.raises(GlioserveError) as error:
        chosen(repository)
    assert error.value.code is ErrorCode.INVALID_MANIFEST


def test_the_plan_is_the_serving_versions(machine: Machine, repository: Path) -> None:
    """A newer version without a plan that waits for its promotion is of no matter, nor is its plan."""
    record = write_plan(version_of(repository))
    serving = check_repository(repository, "onnxruntime-gpu").serving
    fit = fitting_plan(repository, serving)
    assert fit == FittingPlan(record, ())
    (repository / "classifier" / "2").mkdir()
    for name in ("model.plan", "plan.json"):
        (version_of(repository) / name).rename(repository / "classifier" / "2" / name)
    assert fitting_plan(repository, serving) == "[GLIO-5120] There is no plan.json: no plan was built for it."


# --- The server's own word ---

LINE = (
    "2026-11-24T10:00:00Z E 17 model_lifecycle.cc:642] \"failed to load 'classifier' version 1: Internal: "
    'unable to load plan file"'
)


def test_a_classifier_that_does_not_load_is_noticed_and_every_line_passed_on() -> None:
    stream = io.StringIO()
    watch = LoadWatch(Log(stream, "text"))
    lines = ["loading: classifier:1", LINE.replace("'classifier'", "'report'"), "failed to load 'classifiers'"]
    for line in lines:
        watch(line)
    assert watch.reason is None
    for line in (LINE, LINE.replace("unable", "again unable")):
        watch(line)
    assert watch.reason == "failed to load 'classifier' version 1: Internal: unable to load plan file"
    assert stream.getvalue().splitlines()[:4] == [*lines, LINE]


# --- The whole of it, with the real server ---


@pytest.mark.triton
def test_without_a_plan_studies_are_answered_all_the_same(machine: Machine, repository: Path) -> None:
    with serving(repository, "--profile", "tensorrt-gpu") as serve:
        with triton.InferenceServerClient(serve.grpc_url()) as client:
            np.testing.assert_allclose(ask(client, RAW), expected_score(RAW))
        serve.process.send_signal(signal.SIGTERM)
        assert serve.end() == 0
    (warning,) = (line for line in serve.lines if "ONNX Runtime does instead" in line)
    assert "W glioserve]" in warning
    assert "reason=[GLIO-5120] There is no plan.json" in warning
    assert serve.log.count("successfully loaded 'classifier'") == 1


@pytest.mark.long
@pytest.mark.triton
def test_a_plan_that_the_server_cannot_load_gives_way_too(machine: Machine, repository: Path) -> None:
    """It fits by its record; the embedded server has no TensorRT backend, so it does not load."""
    write_plan(version_of(repository))
    with serving(repository, "--profile", "tensorrt-gpu") as serve:
        with triton.InferenceServerClient(serve.grpc_url()) as client:
            np.testing.assert_allclose(ask(client, RAW), expected_score(RAW))
        server = serve.server_pid()
        serve.process.send_signal(signal.SIGTERM)
        assert serve.end() == 0
    ours = [line.partition("glioserve] ")[2] for line in serve.lines if "glioserve]" in line]
    assert [line.partition(" ")[0] for line in ours] == [
        "TensorRT", "room", "probes", "starting", "no", "development", "ready", "draining", "stopped",
    ]  # fmt: skip
    assert "reason=failed to load 'classifier' version 1: Invalid argument" in ours[4]
    assert "tensorrt" in ours[4]
    assert living_processes(server) == []


@pytest.mark.triton
def test_a_failure_that_is_not_the_plans_is_no_case_for_another_profile(machine: Machine, repository: Path) -> None:
    add_gpu_profiles(repository, tensorrt='backend: "onnxruntime"')  # loads, whatever the plan
    model = (version_of(repository) / "model.onnx").read_bytes()
    write_plan(version_of(repository), model)
    (repository / "preprocess" / "1" / "model.py").write_text("raise RuntimeError('broken')\n")
    with serving(repository, "--profile", "tensorrt-gpu") as serve:
        assert serve.end() == 1
    assert "[GLIO-5111]" in serve.log
    assert "ONNX Runtime does instead" not in serve.log


@pytest.mark.triton
def test_a_signal_while_the_other_profile_starts_stops_it(machine: Machine, repository: Path) -> None:
    write_plan(version_of(repository))
    with serving(repository, "--profile", "tensorrt-gpu") as serve:
        wait_until(lambda: "ONNX Runtime does instead" in serve.log, "the fallback")
        serve.process.send_signal(signal.SIGTERM)
        assert serve.end() == 0
    assert serve.lines[-1].endswith("glioserve] stopped")
