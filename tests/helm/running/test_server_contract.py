"""The chart speaks to the real ``glioserve serve`` and exporter, and its test pod to a real gRPC server."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from glioserve_cli.serving import serve as command
from glioserve_cli.serving.front_door import FrontDoor
from glioserve_export.classifier_config import PROFILES
from glioserve_registry.demo_model import demo_repository
from glioserve_triton.process.logs import Log
from glioserve_triton.process.server import TritonServer
from glioserve_triton.tracing.options import TraceExport, trace_export
from support.cluster.helm_tools import (
    CHART,
    CI_VALUES,
    CLAIM,
    ROOT,
    SCHEMA,
    SECRET_MOUNT,
    Helm,
    component,
    find,
    merged,
    parse_serve,
    server,
)
from support.cluster.value_combinations import EGRESS, TRACING

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
    assert str(options.repository) == mounts["served" if "served" in mounts else "models"]
    opened = {"probes": options.probe_port}
    if options.grpc_host is None:
        opened["grpc"] = options.grpc_port
    else:  # of the gateway beside it alone
        assert options.grpc_host == "127.0.0.1"
        assert f"127.0.0.1:{options.grpc_port}" in find(rendered, "ConfigMap", "-gateway")["data"]["gateway.yaml"]
    assert opened | ({} if not options.http else {"http": options.http_port}) == ports
    assert options.host == "0.0.0.0"
    assert options.profile == given.get("profile", "onnxruntime-gpu")
    assert options.accept_identified_dicom is given.get("dicom", {}).get("acceptIdentified", False)
    assert options.admin_token_file == (TOKEN if token else None)
    assert mounts.get("admin-token") == (SECRET_MOUNT if token else None)
    assert command._options(options, FrontDoor(options, Log(io.StringIO(), "text"))).extra_flags == tuple(
        options.triton_flag
    )  # none that the supervisor sets itself


@pytest.mark.helm
def test_what_goes_through_to_triton(helm4: Helm, tmp_path: Path) -> None:
    values = {"service": {"maxConnectionAgeSeconds": 90}, "extraArgs": ["--triton-flag=--log-info={{ true }}"]}
    options = parse_serve(server(helm4.template(merged(CLAIM, values)))["args"], tmp_path)
    assert options.triton_flag == ["--grpc-max-connection-age=90000", "--log-info=true"]
    values = {"service": {"maxConnectionAgeSeconds": 0}}
    assert parse_serve(server(helm4.template(merged(CLAIM, values)))["args"], tmp_path).triton_flag == []


@pytest.mark.helm
def test_what_the_server_tells_of_itself_is_what_the_values_say(helm4: Helm, tmp_path: Path) -> None:
    values = {
        **merged(CLAIM, EGRESS),
        "tracing": {**TRACING, "headers": {"existingSecret": "collector", "key": "otlp"}},
        "metrics": {"callers": ["ward", "pacs.2"]},
        "logLevel": "warning",
        "caBundle": {"configMap": "ca"},
    }
    container = server(helm4.template(values))
    options = parse_serve(container["args"], tmp_path)
    variables = {entry["name"]: entry for entry in container["env"]}
    environment = {name: entry["value"] for name, entry in variables.items() if "value" in entry}
    assert (options.log_level, options.callers) == ("warning", ("ward", "pacs.2"))
    found = trace_export(options.otlp_endpoint, options.trace_sampling, environment)
    assert found == TraceExport(
        "https://c.m.svc:4318/v1/traces", 0.1, "rel-glioserve", environment["OTEL_EXPORTER_OTLP_CERTIFICATE"]
    )
    key = variables["OTEL_EXPORTER_OTLP_HEADERS"]["valueFrom"]["secretKeyRef"]
    assert key == {"name": "collector", "key": "otlp"}
    bundle = next(m["mountPath"] for m in container["volumeMounts"] if m["name"] == "ca-bundle")
    assert environment["OTEL_EXPORTER_OTLP_CERTIFICATE"].startswith(bundle)
    mine = {"extraEnv": [{"name": "OTEL_EXPORTER_OTLP_HEADERS", "value": "a=b"}]}
    names = [entry["name"] for entry in server(helm4.template({**values, **mine}))["env"]]
    assert names.count("OTEL_EXPORTER_OTLP_HEADERS") == 1
    plain = server(helm4.template(CLAIM))
    assert not [argument for argument in plain["args"] if "otlp" in argument or "callers" in argument]
    assert not [entry["name"] for entry in plain["env"] if entry["name"].startswith("OTEL")]


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


@contextmanager
def probes(status: int, text: str) -> Iterator[str]:
    """``http://host:port`` of a supervisor's probes that answer this."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.server_port}"
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


def run_test_pod(helm4: Helm, url: str, asked: str, score: str = "0 1") -> subprocess.CompletedProcess[str]:
    (container,) = find(helm4.template(CLAIM), "Pod")["spec"]["containers"]
    assert container["command"] == ["python3", "-c"]
    own = {"GLIOSERVE_URL": url, "GLIOSERVE_PROBES": asked, "GLIOSERVE_SCORE": score, "PYTHONWARNINGS": "ignore"}
    assert own.keys() - {"PYTHONWARNINGS"} <= {variable["name"] for variable in container["env"]}
    return subprocess.run(
        [sys.executable, "-c", *container["args"]],
        env=own | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.helm
def test_the_test_pod_names_a_dead_stage(helm4: Helm) -> None:
    with probes(503, "preprocess: a process is dead and is being replaced\n") as asked:
        done = run_test_pod(helm4, "127.0.0.1:1", asked)
    assert done.returncode == 1
    assert done.stderr == "not ready: preprocess: a process is dead and is being replaced\n"


@pytest.mark.helm
def test_the_test_pod_fails_where_nobody_answers(helm4: Helm) -> None:
    with probes(200, "ok\n") as asked:
        pass
    done = run_test_pod(helm4, "127.0.0.1:1", asked)
    assert done.returncode == 1
    assert done.stderr.startswith(f"no answer from {asked}: ")
    assert "Traceback" not in done.stderr


@pytest.mark.long
@pytest.mark.helm
@pytest.mark.triton
def test_the_test_pod_holds_the_answer_to_its_score(helm4: Helm, tmp_path: Path) -> None:
    with TritonServer(demo_repository(tmp_path)) as triton, probes(200, "ok\n") as asked:
        right = run_test_pod(helm4, triton.grpc_url, asked, "0.5 1")
        wrong = run_test_pod(helm4, triton.grpc_url, asked, "0 0.01")
    assert right.returncode == 0, right.stderr
    assert right.stdout.startswith("score 0.")
    assert wrong.returncode == 1
    assert "must be 0 to 0.01 (test.minScore, test.maxScore)" in wrong.stderr


@pytest.mark.helm
@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
def test_the_test_pod_asks_the_service(helm4: Helm, values: Path) -> None:
    rendered = helm4.template(values)
    deployment = component(rendered, "Deployment", "server")["metadata"]
    service = find(rendered, "Service", deployment["name"])
    (variable,) = (v for v in find(rendered, "Pod")["spec"]["containers"][0]["env"] if v["name"] == "GLIOSERVE_URL")
    port = next(p["port"] for p in service["spec"]["ports"] if p["name"] == "grpc")
    assert variable["value"] == f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc:{port}"
