"""``glioserve doctor`` on TensorRT: whether the version that serves has a plan that fits, and what serves if not."""

from __future__ import annotations

from pathlib import Path

import pytest

from glioserve_cli import main
from glioserve_triton.diagnosis.examination import examine
from glioserve_triton.diagnosis.findings import Finding
from glioserve_triton.diagnosis.machine import machine_findings
from support.tensorrt.engines import A30, L4, Machine
from support.tensorrt.plans import add_gpu_profiles, write_plan

NAME = "TensorRT plan"


@pytest.fixture
def repository(repository: Path) -> Path:
    return add_gpu_profiles(repository)


def findings(repository: Path, profile: str | None = None) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(repository, profile) if finding.area == "repository"}


@pytest.mark.parametrize("profile", [None, "tensorrt-gpu"])
def test_a_plan_that_fits_is_told_with_what_it_is_for(machine: Machine, repository: Path, profile: str | None) -> None:
    record = write_plan(repository / "classifier" / "1")
    found = findings(repository, profile)
    assert found[NAME] == Finding(
        "repository", NAME, "ok", f"NVIDIA A30, TensorRT 10.16.1.11, from model.onnx, {record.plan_digest}"
    )
    assert found[str(repository)].state == "ok"


def test_what_the_machine_does_not_say_is_told(machine: Machine, repository: Path) -> None:
    write_plan(repository / "classifier" / "1")
    machine.no_driver()
    (machine.programs / "trtexec").unlink()
    found = findings(repository, "tensorrt-gpu")[NAME]
    assert found.state == "ok"
    assert found.found.endswith("; this machine does not report its TensorRT nor its GPU")


def test_no_plan_is_of_no_matter_to_who_serves_without(machine: Machine, repository: Path) -> None:
    assert findings(repository, "onnxruntime-gpu")[NAME] == Finding(
        "repository", NAME, "--", "[GLIO-5120] There is no plan.json: no plan was built for it."
    )


def test_no_plan_is_a_warning_and_no_failure_where_one_was_asked_for(
    machine: Machine, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check does as `glioserve serve`: the profile gives way, and the repository is held to the one that serves."""
    found = findings(repository, "tensorrt-gpu")
    assert (found[NAME].state, found[str(repository)].state) == ("warn", "ok")
    assert found[NAME].found.endswith("no plan was built for it. onnxruntime-gpu serves instead.")
    assert found[NAME].action.endswith("glioserve engine build")
    assert main.main(["doctor", "--repository", str(repository), "--profile", "tensorrt-gpu"]) == 0
    assert f"warn  {NAME}" in capsys.readouterr().out


def test_another_gpus_plan_is_told(machine: Machine, repository: Path) -> None:
    write_plan(repository / "classifier" / "1")
    machine.gpus(L4)
    found = findings(repository, "tensorrt-gpu")[NAME]
    assert found.state == "warn"
    assert "built for the GPU NVIDIA A30 (here: NVIDIA L4)" in found.found


def test_a_repository_without_the_profile_has_no_such_finding(machine: Machine, repository: Path) -> None:
    (repository / "classifier" / "configs" / "tensorrt-gpu.pbtxt").unlink()
    assert NAME not in findings(repository)


def test_a_repository_that_cannot_be_read_is_told_once(machine: Machine, repository: Path) -> None:
    (repository / "classifier" / "1" / "manifest.json").write_text("{")
    found = findings(repository, "tensorrt-gpu")
    assert list(found) == [str(repository)]
    assert found[str(repository)].state == "fail"
    assert "GLIO-5103" in found[str(repository)].found


def test_the_gpu_is_shown_and_none_is_not_wrong(machine: Machine) -> None:
    def gpu() -> Finding:
        return next(finding for finding in machine_findings() if finding.name == "GPU")

    assert gpu() == Finding("machine", "GPU", "ok", "NVIDIA A30, compute capability 8.0, driver 580.65.06")
    machine.no_driver()
    assert (gpu().state, gpu().found[:10]) == ("--", "none found")
    machine.gpus(A30, L4)
    assert gpu().state == "warn"
    assert "different kinds" in gpu().found
