"""The chart speaks to the real ``glioserve serve`` and exporter, and its test pod to a real gRPC server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from tritonclient.grpc import service_pb2, service_pb2_grpc

from glioserve_cli.serving import serve as command
from glioserve_export.classifier_config import PROFILES
from support.helm_tools import (
    CHART,
    CI_VALUES,
    CLAIM,
    ROOT,
    SCHEMA,
    SECRET_MOUNT,
    Helm,
    find,
    merged,
    parse_serve,
    server,
)

TOKEN = "T" * 48


@pytest.mark.helm
@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
def test_the_supervisor_understands_every_argument(helm4: Helm, values: Path, tmp_path: Path) -> None:
    given = yaml.safe_load(values.read_text())
    token = given.get("adminToken", {})
    if token:
        (tmp_path / token["key"]).write_text(TOKEN)
    rendered = helm4.template(values)
    options = parse_serve(server(rendered)["args"], tmp_path)
    mounts = {mount["name"]: mount["mountPath"] for mount in server(rendered)["volumeMounts"]}
    ports = {port["name"]: port["containerPort"] for port in server(rendered)["ports"]}
    assert str(options.repository) == mounts.get("served", mounts["models"])
    opened = {"grpc": options.grpc_port, "probes": options.probe_port}
    assert opened | ({} if not options.http else {"http": options.http_port}) == ports
    assert options.host == "0.0.0.0"
    assert options.profile == given.get("profile", "onnxruntime-gpu")
    assert options.accept_identified_dicom is given.get("dicom", {}).get("acceptIdentified", False)
    assert options.admin_token_file == (TOKEN if token else None)
    assert mounts.get("admin-token") == (SECRET_MOUNT if token else None)
    assert command._options(options).extra_flags == tuple(options.triton_flag)  # none that the supervisor sets itself


@pytest.mark.helm
def test_what_goes_through_to_triton(helm4: Helm, tmp_path: Path) -> None:
    values = {"service": {"maxConnectionAgeSeconds": 90}, "extraArgs": ["--triton-flag=--log-info={{ true }}"]}
    options = parse_serve(server(helm4.template(merged(CLAIM, values)))["args"], tmp_path)
    assert options.triton_flag == ["--grpc-max-connection-age=90000", "--log-info=true"]
    values = {"service": {"maxConnectionAgeSeconds": 0}}
    assert parse_serve(server(helm4.template(merged(CLAIM, values)))["args"], tmp_path).triton_flag == []


def test_the_profiles_are_the_exporters() -> None:
    assert set(SCHEMA["properties"]["profile"]["enum"]) == {profile.name for profile in PROFILES}
    on_gpu = {profile.name for profile in PROFILES if profile.kind == "KIND_GPU"}
    assert on_gpu == {name for name in SCHEMA["properties"]["profile"]["enum"] if name.endswith("-gpu")}


@pytest.mark.helm
@pytest.mark.parametrize("profile", sorted(p.name for p in PROFILES if p.kind == "KIND_CPU"))
def test_a_cpu_profile_asks_for_no_gpu(helm4: Helm, profile: str) -> None:
    container = server(helm4.template(merged(CLAIM, {"profile": profile, "gpu": {"enabled": False}})))
    assert f"--profile={profile}" in container["args"]
    assert not any("nvidia.com" in name for name in container["resources"]["limits"])


def test_chart_and_package_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert f'version = "{chart["appVersion"]}"' in (ROOT / "pyproject.toml").read_text()


# --- helm test: the pod's own script, run here ---


class Triton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers the one question of the test pod."""

    def __init__(self, ready: bool) -> None:
        self.ready = ready
        self.asked: list[str] = []

    def ModelReady(self, request: Any, _context: grpc.ServicerContext) -> Any:
        self.asked.append(request.name)
        return service_pb2.ModelReadyResponse(ready=self.ready)


@contextmanager
def listening(triton: Triton) -> Iterator[str]:
    """``host:port`` of a gRPC server with this servicer."""
    with futures.ThreadPoolExecutor(2) as pool:
        listener = grpc.server(pool)
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(triton, listener)
        port = listener.add_insecure_port("127.0.0.1:0")
        listener.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            listener.stop(grace=None).wait(timeout=10)


def run_test_pod(helm4: Helm, url: str) -> subprocess.CompletedProcess[str]:
    (container,) = find(helm4.template(CLAIM), "Pod")["spec"]["containers"]
    assert container["command"] == ["python3", "-c"]
    return subprocess.run(
        [sys.executable, "-c", *container["args"]],
        env={"GLIOSERVE_URL": url, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.helm
@pytest.mark.parametrize("ready", [True, False])
def test_the_test_pod_passes_when_the_ensemble_is_ready(helm4: Helm, ready: bool) -> None:
    triton = Triton(ready)
    with listening(triton) as url:
        done = run_test_pod(helm4, url)
    assert triton.asked == ["glioma"]
    assert done.returncode == (0 if ready else 1), done.stderr
    assert done.stderr == ("" if ready else f"{url} answers, but its ensemble glioma is not ready\n")


@pytest.mark.helm
def test_the_test_pod_fails_where_nobody_answers(helm4: Helm) -> None:
    with listening(Triton(True)) as url:
        pass
    done = run_test_pod(helm4, url)
    assert done.returncode == 1
    assert done.stderr.startswith(f"no answer from {url}: ")
    assert "Traceback" not in done.stderr


@pytest.mark.helm
@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
def test_the_test_pod_asks_the_service(helm4: Helm, values: Path) -> None:
    rendered = helm4.template(values)
    deployment = find(rendered, "Deployment")["metadata"]
    service = find(rendered, "Service", deployment["name"])
    (variable,) = (v for v in find(rendered, "Pod")["spec"]["containers"][0]["env"] if v["name"] == "GLIOSERVE_URL")
    port = next(p["port"] for p in service["spec"]["ports"] if p["name"] == "grpc")
    assert variable["value"] == f"{service['metadata']['name']}.{service['metadata']['namespace']}:{port}"
