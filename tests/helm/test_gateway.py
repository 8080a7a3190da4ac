"""The gateway in the chart: its options are the code's, its configuration is written by the code and taken by Envoy."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from glioserve_cli.main import main
from glioserve_triton.gateway.options import GatewayOptions, Jwt, Limits, Rate, Timeouts, read_options
from glioserve_triton.gateway.process import find_envoy
from support.cluster.helm_tools import (
    CLAIM,
    SCHEMA,
    Helm,
    HelmError,
    Manifest,
    chart_constants,
    component,
    find,
    merged,
    nested,
    pod_spec,
    server,
)
from support.network.pki import SERVER, Authority
from support.network.tokens import Issuer

pytestmark = pytest.mark.helm

KEY = "k" * 40
KEYS = {"gateway": {"apiKeys": {"existingSecret": "callers"}}}
JWT = {"issuer": "https://issuer.example", "audiences": ["glioserve"]}
TLS: dict[str, Any] = {"tls": {"enabled": True, "existingSecret": "cert"}}
MUTUAL = nested("tls.clientCA.existingSecret", "callers-ca")
SIDECAR, APART = nested("gateway.mode", "sidecar"), nested("gateway.mode", "deployment")
SECRETS = "/etc/glioserve"


def rendered(helm: Helm, *values: dict[str, Any]) -> list[Manifest]:
    return helm.template(merged(CLAIM, *values))


def gateway_of(manifests: list[Manifest]) -> tuple[Manifest, Manifest]:
    """The init container that writes the configuration, and Envoy's."""
    specs = [m["spec"]["template"]["spec"] for m in manifests if m["kind"] == "Deployment"]
    every = {c["name"]: c for spec in specs for c in [*spec.get("initContainers", []), *spec["containers"]]}
    return every["gateway-config"], every["gateway"]


def test_the_options_are_the_codes_but_for_those_that_the_chart_sets() -> None:
    schema = SCHEMA["properties"]["gateway"]["properties"]["options"]["properties"]
    whole = {field.name for field in dataclasses.fields(GatewayOptions)}
    assert whole - set(schema) == {"servers", "listen", "status", "tls", "servers_tls", "api_keys_file"}
    parts: dict[str, Any] = {"rate": Rate, "limits": Limits, "timeouts": Timeouts}
    for name, record in parts.items():
        assert set(schema[name]["properties"]) == {field.name for field in dataclasses.fields(record)}, name
    assert {f.name for f in dataclasses.fields(Jwt)} - set(schema["jwt"]["properties"]) == {"jwks_file", "jwks_ca"}


@pytest.mark.parametrize(
    "values",
    [
        merged(SIDECAR, KEYS),
        merged(SIDECAR, KEYS, {"service": {"ipFamilies": ["IPv6"]}}),
        merged(SIDECAR, TLS, MUTUAL),
        merged(SIDECAR, {"gateway": {"options": {"jwt": JWT}, "jwks": {"configMap": "issuer"}}}),
        merged(APART, TLS, MUTUAL, KEYS, {"gateway": {"options": {"workers": 3, "limits": {"max_connections": 9}}}}),
    ],
    ids=["keys", "IPv6", "mutual TLS", "tokens", "apart, TLS on both sides"],
)
def test_envoy_takes_what_the_init_container_writes(
    helm4: Helm, values: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifests = rendered(helm4, values)
    writer, envoy = gateway_of(manifests)
    secrets = written_secrets(tmp_path / "secrets")
    options = find(manifests, "ConfigMap", "-gateway")["data"]["gateway.yaml"].replace(SECRETS, str(secrets))
    (secrets / "gateway-options" / "gateway.yaml").write_text(options)
    arguments = [argument.replace(SECRETS, str(secrets)) for argument in writer["args"]]
    assert writer["command"] == ["glioserve", "gateway", "config"]
    assert main([*writer["command"][1:], *arguments]) == 0
    started = [*envoy["command"], *(argument.replace(SECRETS, str(secrets)) for argument in envoy["args"])]
    assert capsys.readouterr().out.split() == started  # what our program says is what the pod does
    validate = [str(find_envoy(None)), "--mode", "validate", *started[1:]]
    done = subprocess.run(validate, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def written_secrets(folder: Path) -> Path:
    """The pod's secrets with real keys and certificates."""
    for name in ("gateway-options", "api-keys", "jwks", "tls", "client-ca"):
        (folder / name).mkdir(parents=True)
    (folder / "api-keys" / "api-keys").write_text(f"viewer:{KEY}\nother:sha256:{hashlib.sha256(b'x').hexdigest()}\n")
    Issuer().write_keys(folder / "jwks" / "jwks.json")
    pki = Authority(folder, "ca")
    shutil.copy(pki.issue("server", hosts=["s"], usage=SERVER), folder / "tls" / "tls.crt")
    shutil.copy(folder / "server.key", folder / "tls" / "tls.key")
    shutil.copy(pki.file, folder / "tls" / "ca.crt")
    shutil.copy(Authority(folder, "callers").file, folder / "client-ca" / "ca.crt")
    return folder


def test_the_server_beside_a_gateway_opens_on_the_loopback_alone(helm4: Helm) -> None:
    arguments = server(rendered(helm4, SIDECAR, KEYS, TLS))["args"]
    assert {"--grpc-host=127.0.0.1", "--grpc-port=8011", "--host=0.0.0.0"} <= set(arguments)  # the probes are for all
    assert not any(argument.startswith("--tls") for argument in arguments)


def test_memory_follows_the_limit(helm4: Helm, tmp_path: Path) -> None:
    values = {"gateway": {"resources": {"limits": {"memory": "4Gi"}, "requests": {"memory": "4Gi"}}}}
    file = tmp_path / "gateway.yaml"
    file.write_text(find(rendered(helm4, SIDECAR, KEYS, values), "ConfigMap", "-gateway")["data"]["gateway.yaml"])
    assert read_options(file).limits.max_heap_bytes == (4 << 30) * 8 // 10


def test_a_gateway_of_its_own_outlives_the_longest_study(helm4: Helm) -> None:
    timeouts = {"gateway": {"options": {"timeouts": {"study_s": 100, "upload_s": 30.5}}}}
    for values, longest_s in (({}, 180), (timeouts, 131)):
        manifests = rendered(helm4, APART, KEYS, values)
        spec = component(manifests, "Deployment", "gateway")["spec"]["template"]["spec"]
        stop_s = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert stop_s == 10 + longest_s
        assert spec["terminationGracePeriodSeconds"] > stop_s


def test_the_constants_are_the_gateways_defaults(helm4: Helm) -> None:
    constants = chart_constants()
    assert (constants["studySeconds"], constants["uploadSeconds"]) == (Timeouts().study_s, Timeouts().upload_s)
    with pytest.raises(HelmError, match=rf"max_request_bytes \({Limits().max_request_bytes}\)"):
        rendered(
            helm4,
            SIDECAR,
            KEYS,
            {"gateway": {"resources": {"limits": {"memory": "512Mi"}, "requests": {"memory": "512Mi"}}}},
        )


def test_nobody_passes_by_a_gateway_of_its_own(helm4: Helm) -> None:
    manifests = rendered(helm4, APART, KEYS)
    policy = component(manifests, "NetworkPolicy", "server")["spec"]
    callers = [rule["from"] for rule in policy["ingress"] if {"port": "grpc", "protocol": "TCP"} in rule["ports"]]
    (peers,) = callers
    assert [peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in peers] == ["gateway"]
    for service in (component(manifests, "Service", "server"), component(manifests, "Service", "headless")):
        assert service["spec"]["selector"]["app.kubernetes.io/component"] == "gateway"
    servers = component(manifests, "Service", "servers")
    assert servers["spec"]["clusterIP"] == "None"
    (named,) = yaml.safe_load(find(manifests, "ConfigMap", "-gateway")["data"]["gateway.yaml"])["servers"]
    assert named == f"{servers['metadata']['name']}.mri.svc:8001"


def test_secrets_are_where_they_are_needed_alone(helm4: Helm) -> None:
    """Keys of callers are digests before Envoy starts, and the server's pod has neither keys nor tokens."""
    manifests = rendered(helm4, SIDECAR, KEYS, TLS)
    writer, envoy = gateway_of(manifests)
    assert "api-keys" in {mount["name"] for mount in writer["volumeMounts"]}
    assert "api-keys" not in {mount["name"] for mount in envoy["volumeMounts"]}
    assert "tls" not in {mount["name"] for mount in server(manifests)["volumeMounts"]}
    apart = rendered(helm4, APART, KEYS)
    assert "api-keys" not in {volume["name"] for volume in pod_spec(apart)["volumes"]}


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("who", SIDECAR, "set gateway.options.jwt, gateway.apiKeys.existingSecret or tls.clientCA"),
    ("unused", KEYS, "set gateway.mode to sidecar or deployment"),
    ("anonymous", merged(SIDECAR, KEYS, nested("gateway.options.anonymous", True)), "leave it out"),
    ("both", merged(SIDECAR, KEYS, nested("gateway.options.jwt", JWT)), "exclude each other"),
    ("no keys", merged(SIDECAR, nested("gateway.options.jwt", JWT)), "set its jwks_uri, or gateway.jwks.configMap"),
    (
        "walled in",
        merged(SIDECAR, nested("gateway.options.jwt", JWT | {"jwks_uri": "https://i.example"})),
        "name the issuer in networkPolicy.egress",
    ),
    ("jwks alone", merged(SIDECAR, KEYS, nested("gateway.jwks.configMap", "k")), "set gateway.options.jwt"),
    ("http", merged(SIDECAR, KEYS, nested("service.http.enabled", True)), "pass by the gateway"),
    ("admin", merged(SIDECAR, KEYS, nested("adminToken.enabled", True)), "leave it out"),
    ("token", merged(SIDECAR, nested("gateway.options.anonymous", True), nested("test.tokenSecret", "t")), "no token"),
    ("study", merged(SIDECAR, KEYS, nested("gateway.options.timeouts.study_s", 200)), "must not exceed shutdown.drain"),
    ("heap", merged(SIDECAR, KEYS, nested("gateway.options.limits.max_heap_bytes", 2 << 30)), "nine tenths"),
    ("owned", merged(SIDECAR, KEYS, nested("gateway.options.servers", ["a:1"])), "servers"),
    ("owned TLS", merged(SIDECAR, KEYS, nested("gateway.tls", {})), "use tls"),
    ("argument", {"extraArgs": ["--gateway=x"]}, "use gateway.mode"),
    ("loopback", {"extraArgs": ["--grpc-host=127.0.0.1"]}, "use gateway.mode"),
    ("null", merged(SIDECAR, KEYS, nested("gateway.resources.limits.memory", None)), "must not be null"),
    ("name", merged(SIDECAR, KEYS, {"extraVolumes": [{"name": "gateway", "emptyDir": {}}]}), "rename it"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_it_is_refused_with_what_to_write(helm4: Helm, values: dict[str, Any], said: str) -> None:
    with pytest.raises(HelmError, match=said):
        rendered(helm4, values)
