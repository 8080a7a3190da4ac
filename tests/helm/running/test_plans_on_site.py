"""ci/tensorrt-values.yaml: the init container builds for the GPU that serves, and the server serves what it made."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from glioserve_cli.main import main
from glioserve_cli.models import engine as command
from glioserve_export.version_files import PLAN_FILE
from glioserve_triton.plans.discovery import FittingPlan, fitting_plan
from glioserve_triton.served.promotions import load_serving
from glioserve_triton.served.repository import check_repository
from support.cluster.helm_tools import CHART, CLAIM, Helm, Manifest, merged, parse_serve, pod_spec, server
from support.cluster.image import DOCKER
from support.cluster.kube_stub import kube_stub
from support.tensorrt.engines import engine_repository, make_machine

pytestmark = pytest.mark.helm

VALUES = CHART / "ci" / "tensorrt-values.yaml"


def rendered(helm4: Helm, values: Mapping[str, object] | None = None) -> list[Manifest]:
    return helm4.template(merged(yaml.safe_load(VALUES.read_text()), values or {}))


def builder(manifests: Sequence[Manifest]) -> Manifest:
    (container,) = pod_spec(manifests)["initContainers"]
    assert isinstance(container, dict)
    return container


def parse_build(container: Manifest) -> argparse.Namespace:
    """Return what the real ``glioserve engine`` makes of the container's command line."""
    entry_point, program, name, *arguments = [*container["command"], *container["args"]]
    assert entry_point in (DOCKER / "Dockerfile").read_text()  # CUDA's forward compatibility, as where the plan serves
    assert (program, name) == ("glioserve", "engine")
    parser = argparse.ArgumentParser(exit_on_error=False)
    command.add_arguments(parser)
    return parser.parse_args(arguments)


def mounts(container: Manifest) -> dict[str, tuple[str, bool]]:
    """Path to the volume and whether it can be written."""
    return {m["mountPath"]: (m["name"], not m.get("readOnly", False)) for m in container["volumeMounts"]}


def test_what_it_builds_into_is_what_is_served(helm4: Helm, tmp_path: Path) -> None:
    manifests = rendered(helm4)
    built, serves = parse_build(builder(manifests)), parse_serve(server(manifests)["args"], tmp_path)
    assert built.task == "build"
    assert (built.into, serves.profile) == (serves.repository, "tensorrt-gpu")
    written, read = mounts(builder(manifests)), mounts(server(manifests))
    assert written[str(built.into)] == ("served", True)
    assert read[str(serves.repository)] == ("served", False)
    assert written[str(built.repository)] == ("models", False)
    assert written[str(built.cache)] == ("plan-cache", True)
    volumes = {volume["name"]: volume for volume in pod_spec(manifests)["volumes"]}
    assert "emptyDir" in volumes["served"]  # the pod's own: another product's pod has another plan
    assert volumes["plan-cache"]["persistentVolumeClaim"] == {"claimName": "glioma-plans"}


def test_no_node_keeps_a_pod_from_serving(helm4: Helm) -> None:
    assert parse_build(builder(rendered(helm4))).allow_failure is True


@pytest.mark.parametrize(
    "values",
    [
        {"image": {"registry": "r.example.org", "digest": f"sha256:{'0' * 64}", "pullPolicy": "Always"}},
        {"gpu": {"resourceName": "nvidia.com/mig-1g.6gb", "count": 2}},
    ],
    ids=["image", "GPU"],
)
def test_it_builds_with_the_image_and_on_the_gpus_that_serve(helm4: Helm, values: dict[str, object]) -> None:
    manifests = rendered(helm4, values)
    build, serve = builder(manifests), server(manifests)
    assert (build["image"], build["imagePullPolicy"]) == (serve["image"], serve["imagePullPolicy"])
    gpus = [{k: int(v) for k, v in c["resources"]["limits"].items() if "/" in k} for c in (build, serve)]
    assert gpus[0] == gpus[1] != {}


def test_a_rollout_waits_for_the_build(helm4: Helm) -> None:
    manifests = rendered(helm4)
    (deployment,) = (m for m in manifests if m["kind"] == "Deployment")
    serve = parse_serve(server(manifests)["args"], Path())
    grace_s = pod_spec(manifests)["terminationGracePeriodSeconds"]
    slowest_s = parse_build(builder(manifests)).timeout_s + serve.ready_timeout_s + grace_s
    assert deployment["spec"]["progressDeadlineSeconds"] > slowest_s


@pytest.mark.parametrize(
    ("values", "asks"),
    [
        ({}, True),
        ({"gpu": {"products": ["NVIDIA-L4"]}}, False),
        ({"tensorrt": {"build": {"enabled": True}}, "progressDeadlineSeconds": 3600}, False),
    ],
    ids=["neither", "one product", "a builder"],
)
def test_the_notes_ask_for_a_builder_only_where_pods_may_lack_a_plan(
    helm4: Helm, tmp_path: Path, values: dict[str, object], asks: bool
) -> None:
    with kube_stub(tmp_path / "kubeconfig"):
        notes = helm4.notes(merged(CLAIM, {"profile": "tensorrt-gpu"}, values), tmp_path / "kubeconfig")
    assert ("A TensorRT plan fits the GPU product it was built on" in notes) is asks
    assert ("Set tensorrt.build.enabled" in notes) is asks


@pytest.mark.parametrize("fault", ["", "makes no plan"], ids=["a plan", "no plan"])
def test_its_own_command_leaves_what_its_own_server_takes(
    helm4: Helm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Both command lines as the chart has them, with the pod's folders moved, TensorRT and the GPU stood in for."""
    machine = make_machine(tmp_path / "machine", monkeypatch)
    machine.python_package()
    machine.set(FAKE_TRT_FAULT=fault)
    models = engine_repository(tmp_path / "models")
    machine.answers(models / "classifier" / "1")
    manifests, before = rendered(helm4), signal.getsignal(signal.SIGTERM)

    def moved(arguments: Sequence[str]) -> list[str]:
        return [a.replace("=/", f"={tmp_path}/") for a in arguments]

    container = builder(manifests)
    try:
        assert main([*container["command"][2:], *moved(container["args"])]) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    options = parse_serve(moved(server(manifests)["args"]), tmp_path)
    assert options.repository == tmp_path / "served"
    fit = fitting_plan(options.repository, load_serving(options.repository))
    assert isinstance(fit, FittingPlan) is not bool(fault)
    profile = "onnxruntime-gpu" if fault else options.profile
    assert check_repository(options.repository, profile).serving.version == "1"
    assert not (models / "classifier" / "1" / PLAN_FILE).exists()
