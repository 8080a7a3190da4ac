"""Findings of a review of the chart that no other test covers: pods, Secrets and examples."""

from __future__ import annotations

import argparse
import base64
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from glioserve_cli.serving.serve import add_arguments
from support.cluster.helm_tools import (
    CHART,
    CI_VALUES,
    CLAIM,
    NAMESPACE,
    RELEASE,
    Helm,
    Manifest,
    component,
    find,
    merged,
    nested,
    pod_spec,
    server,
)
from support.cluster.kube_stub import kube_stub
from support.cluster.manifest_checks import problems

pytestmark = pytest.mark.helm

PLACEMENT = {
    "nodeSelector": {"pool": "imaging"},
    "tolerations": [{"key": "imaging", "operator": "Exists"}],
    "runtimeClassName": "nvidia",
    "priorityClassName": "high",
    "schedulerName": "kai-scheduler",
    "imagePullSecrets": [{"name": "registry"}],
    "gpu": {"products": ["NVIDIA-L4"]},
}


def test_a_canary_is_a_second_release_behind_one_route(helm4: Helm) -> None:
    (example,) = (path for path in CI_VALUES if path.stem == "keda-gateway-values")
    rule = find(helm4.template(example), "GRPCRoute")["spec"]["rules"][0]
    main, canary = rule["backendRefs"]
    assert main["weight"] + canary["weight"] == 100
    for backend, release in ((main, "rel"), (canary, "canary")):
        service = component(helm4.template(CLAIM, release=release), "Service", "server")
        assert backend["name"] == service["metadata"]["name"]
        assert backend["port"] in {port["port"] for port in service["spec"]["ports"]}
    shadow = {"enabled": True, "parentRefs": [{"name": "g"}], "mirror": {"name": "canary-glioserve", "percent": 10}}
    (mirror,) = find(helm4.template(merged(CLAIM, {"grpcRoute": shadow})), "GRPCRoute")["spec"]["rules"][0]["filters"]
    assert mirror["requestMirror"] == {"backendRef": {"name": "canary-glioserve", "port": 8001}, "percent": 10}
    selectors = [
        component(helm4.template(CLAIM, release=release), "Service", "server")["spec"]["selector"]
        for release in ("rel", "canary")
    ]
    assert selectors[0] != selectors[1]  # neither gets the other's studies


def test_the_package_names_its_images(helm4: Helm) -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())["annotations"]
    named = {each["name"]: each["image"] for each in yaml.safe_load(chart["artifacthub.io/images"])}
    rendered = helm4.template(merged(CLAIM, {"gateway": {"mode": "sidecar", "apiKeys": {"existingSecret": "k"}}}))
    envoy = next(c for c in pod_spec(rendered)["initContainers"] if c["name"] == "gateway")
    assert named == {"glioserve": server(rendered)["image"], "envoy": envoy["image"].removeprefix("docker.io/")}
    assert {change["kind"] for change in yaml.safe_load(chart["artifacthub.io/changes"])} <= {
        "added",
        "changed",
        "fixed",
    }
    assert (chart["artifacthub.io/license"], chart["artifacthub.io/prerelease"]) == ("Apache-2.0", "true")


def listed(name: str) -> dict[str, Any]:
    """A list of options in the chart's templates."""
    text = (CHART / "templates" / "_additions.tpl").read_text()
    (block,) = re.findall(rf'define "glioserve.{name}" -}}}}(.*?){{{{- end -}}}}', text, re.DOTALL)
    found = yaml.safe_load(block)
    assert isinstance(found, dict)
    return found


def test_every_option_of_the_server_is_the_charts_or_free() -> None:
    """An option of neither list would be refused as unknown, and one of both could undo what the chart sets."""
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    options = {word: action.nargs != 0 for action in parser._actions for word in action.option_strings}
    owned, free = listed("ownedOptions"), listed("freeOptions")
    assert not owned.keys() & free.keys()
    assert options.keys() == owned.keys() | free.keys()
    assert free == {name: options[name] for name in free}


@pytest.mark.parametrize(
    "words",
    [
        ["--log-verbosity", "1", "--triton-f=--id=1"],
        ["--shared-memory-token-file=/a", "--allow-network-with-known-cves", "--tritonserver=/b"],
        ["--triton-flag=--trace-config=mode={{ .Release.Name }}"],
    ],
)
def test_free_options_reach_the_server_as_they_are(helm4: Helm, words: list[str]) -> None:
    args = server(helm4.template(merged(CLAIM, {"extraArgs": words})))["args"]
    assert args[-len(words) :] == [word.replace("{{ .Release.Name }}", RELEASE) for word in words]


OWNED = {"meta.helm.sh/release-name": RELEASE, "meta.helm.sh/release-namespace": NAMESPACE}
"""Annotations that Helm wrote beside the first install's objects."""


def test_a_writable_root_stays_restricted(helm4: Helm) -> None:
    rendered = helm4.template(merged(CLAIM, nested("gpu.writableRoot", True)))
    faults = [fault for fault in problems(rendered) if "not restricted" in fault]
    assert faults == ["Deployment/rel-glioserve.glioserve: not restricted (read-only root)"]
    assert server(rendered)["securityContext"]["allowPrivilegeEscalation"] is False


@pytest.mark.parametrize("example", CI_VALUES, ids=lambda path: path.stem.removesuffix("-values"))
def test_no_example_publishes_without_encryption(example: Path) -> None:
    values = yaml.safe_load(example.read_text())
    assert not values.get("service", {}).get("allowPlaintext", False)
    if values.get("service", {}).get("type", "ClusterIP") != "ClusterIP":
        assert values["tls"]["enabled"]
        blocks = [peer for peer in values["networkPolicy"]["clients"] if "ipBlock" in peer]
        assert not blocks or values["service"]["externalTrafficPolicy"] == "Local"


def test_hook_and_test_pods_go_wherever_the_server_can(helm4: Helm) -> None:
    rendered = helm4.template(merged(CLAIM, PLACEMENT))
    wanted = pod_spec(rendered)
    hooks = {"Pod": find(rendered, "Pod")["spec"], "Job": find(rendered, "Job")["spec"]["template"]["spec"]}
    for kind, spec in hooks.items():
        for field in ("nodeSelector", "tolerations", "runtimeClassName", "priorityClassName", "schedulerName"):
            assert spec[field] == wanted[field], (kind, field)
        assert spec["imagePullSecrets"] == wanted["imagePullSecrets"]
        assert spec["affinity"]["nodeAffinity"] == wanted["affinity"]["nodeAffinity"], kind
        assert {c["image"] for c in spec["containers"]} == {server(rendered)["image"]}
        assert spec["containers"][0]["resources"]["requests"]["memory"], kind
    assert find(rendered, "Pod")["spec"]["serviceAccountName"] == wanted["serviceAccountName"]
    (policy,) = (p for p in rendered if p["kind"] == "NetworkPolicy" and p["metadata"]["name"].endswith("-test"))
    assert {"port": 53, "protocol": "UDP"} in policy["spec"]["egress"][0]["ports"]  # where the namespace denies all


def secret(name: str, **data: str) -> Manifest:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("admin-token", {"adminToken": {"enabled": True, "existingSecret": "mine"}}),
        ("tls", {"tls": {"enabled": True, "existingSecret": "mine"}}),
        ("api-keys", {"gateway": {"mode": "sidecar", "apiKeys": {"existingSecret": "mine"}}}),
    ],
)
def test_a_changed_secret_rolls_the_pods(helm4: Helm, tmp_path: Path, name: str, values: dict[str, Any]) -> None:
    stamps = []
    for content in ("a", "b", "b"):
        with kube_stub(tmp_path / "kubeconfig", objects=[secret("mine", token=content)]):
            rendered = helm4.template(merged(CLAIM, values), kubeconfig=tmp_path / "kubeconfig")
        template = component(rendered, "Deployment", "server")["spec"]["template"]
        stamps.append(template["metadata"]["annotations"][f"checksum/{name}"])
    assert stamps[0] != stamps[1] == stamps[2]


def test_a_new_key_keeps_the_old_token(helm4: Helm, tmp_path: Path) -> None:
    made = nested("adminToken.enabled", True)
    with kube_stub(tmp_path / "kubeconfig"):
        first = find(helm4.template(merged(CLAIM, made), kubeconfig=tmp_path / "kubeconfig"), "Secret")
    first["metadata"]["annotations"] |= OWNED
    with kube_stub(tmp_path / "kubeconfig", objects=[first]):
        values = merged(CLAIM, made, nested("adminToken.key", "second"))
        after = find(helm4.template(values, kubeconfig=tmp_path / "kubeconfig"), "Secret")
    assert after["data"]["token"] == first["data"]["token"]
    assert after["data"].keys() == {"token", "second"}
