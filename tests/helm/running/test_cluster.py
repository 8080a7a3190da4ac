"""Helm's use of a cluster's answers: tokens that are kept, capabilities, and the notes after an install."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.cluster.helm_tools import CI_VALUES, CLAIM, NAMESPACE, RELEASE, Helm, Manifest, find, merged, server
from support.cluster.kube_stub import MONITORING, kube_stub

pytestmark = pytest.mark.helm

WITH_TOKEN = merged(CLAIM, {"adminToken": {"enabled": True}})
OWNED = {"meta.helm.sh/release-name": RELEASE, "meta.helm.sh/release-namespace": NAMESPACE}
"""Annotations that Helm wrote beside the first install's objects."""


def token(rendered: list[Manifest]) -> str:
    """The admin token of a rendered Secret."""
    return base64.b64decode(find(rendered, "Secret")["data"]["token"]).decode()


def test_an_admin_token_is_made_once_and_kept(helm: Helm, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    with kube_stub(kubeconfig):
        first = helm.template(WITH_TOKEN, kubeconfig=kubeconfig)
        other = helm.template(WITH_TOKEN, kubeconfig=kubeconfig)
    secret = find(first, "Secret")
    assert re.fullmatch("[A-Za-z0-9]{48}", token(first))  # what the server takes: 16 to 256 of these
    assert token(first) != token(other)
    assert secret["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    secret["metadata"]["annotations"] |= OWNED
    with kube_stub(kubeconfig, objects=[secret]):
        upgrade = helm.template(WITH_TOKEN, kubeconfig=kubeconfig)
    assert token(upgrade) == token(first)
    (volume,) = (
        v for v in find(first, "Deployment")["spec"]["template"]["spec"]["volumes"] if v["name"] == "admin-token"
    )
    assert volume["secret"]["secretName"] == secret["metadata"]["name"]


def test_a_secret_of_ones_own_is_used_and_none_made(helm4: Helm) -> None:
    values = merged(WITH_TOKEN, {"adminToken": {"existingSecret": "mine", "key": "t"}})
    rendered = helm4.template(values)
    assert "Secret" not in {manifest["kind"] for manifest in rendered}
    assert "--admin-token-file=/etc/glioserve/admin/t" in server(rendered)["args"]


def test_without_the_option_no_token_leaves_the_pod(helm4: Helm) -> None:
    rendered = helm4.template(CLAIM)
    assert "Secret" not in {manifest["kind"] for manifest in rendered}
    assert not any("admin" in argument for argument in server(rendered)["args"])


def test_a_monitor_that_is_asked_for_is_never_left_out(helm4: Helm) -> None:
    values = merged(CLAIM, {"metrics": {"serviceMonitor": {"enabled": True}}})
    assert find(helm4.template(values), "ServiceMonitor")  # as GitOps renders: nothing known of the cluster


KEYS = {"apiKeys": {"existingSecret": "callers"}}
GATEWAY: dict[str, Any] = {"gateway": {"mode": "sidecar", **KEYS}}
APART: dict[str, Any] = {"gateway": {"mode": "deployment", **KEYS}}
NOTES: list[tuple[str, dict[str, Any], Mapping[str, tuple[str, ...]], str]] = [
    ("operator unused", {}, MONITORING, "nothing scrapes the pods"),
    ("no operator", {}, {}, "have your Prometheus scrape"),
    ("tag only", {}, {}, "set image.digest"),
    ("no registry", {}, {}, "glioserve:0.1.0 must be on the nodes"),
    ("not encrypted", {}, {}, "not encrypted"),
    ("clients", {}, {}, "networkPolicy.clients"),
    ("open network", {"networkPolicy": {"enabled": False}}, {}, "every pod of the cluster can send studies"),
    ("identified", {"dicom": {"acceptIdentified": True}}, {}, "DICOM that names the patient"),
    ("one pod", {}, {}, "interrupts the service"),
    ("TensorRT anywhere", {"profile": "tensorrt-gpu"}, {}, "set gpu.products"),
    ("no GPU", {"profile": "onnxruntime-cpu", "gpu": {"enabled": False}}, {}, "runs on the CPU"),
    ("made token", {"adminToken": {"enabled": True}}, {}, "rel-glioserve-admin"),
    ("clinical use", {}, {}, "Not for clinical use"),
    ("tokens in the open", GATEWAY, {}, "keys of callers pass without encryption"),
    ("test without a token", GATEWAY, {}, "set test.tokenSecret"),
    ("anyone", {"gateway": {"mode": "sidecar", "options": {"anonymous": True}}}, {}, "who reaches the gateway may ask"),
    (
        "round the gateway",
        merged(APART, {"networkPolicy": {"enabled": False}}),
        {},
        "can pass by the gateway",
    ),
    (
        "a weaker container",
        {"containerSecurityContext": {"allowPrivilegeEscalation": True}},
        {},
        "weaker than the restricted",
    ),
    ("a weaker pod", {"podSecurityContext": {"runAsNonRoot": False}}, {}, "podSecurityContext is weaker"),
    ("a writable root", {"containerSecurityContext": {"readOnlyRootFilesystem": False}}, {}, "write to their own root"),
    (
        "a volume that admission refuses",
        {"extraVolumes": [{"name": "n", "nfs": {}}]},
        {},
        "is a nfs, which the restricted",
    ),
    (
        "a device and a claim",
        {"resourceClaims": [{"name": "a"}], "resources": {"claims": [{"name": "a"}]}},
        {},
        "set gpu.enabled to",
    ),
    ("a shadow", {"studyLog": {"enabled": True, "ephemeral": True, "shadowVersion": 4}}, {}, "shadowVersion is 4"),
    (
        "a budget of all that scale",
        {"autoscaling": {"enabled": True, "minReplicas": 2}, "podDisruptionBudget": {"minAvailable": 2}},
        {"autoscaling/v2": ("HorizontalPodAutoscaler",)},
        "no node with a pod on it can be drained",
    ),
    ("small memory", {"resources": {k: {"memory": "6Gi"} for k in ("requests", "limits")}}, {}, "set 6983Mi or more"),
]


@pytest.mark.parametrize(("values", "crds", "said"), [row[1:] for row in NOTES], ids=[row[0] for row in NOTES])
def test_the_notes_warn(helm4: Helm, tmp_path: Path, values: Any, crds: Any, said: str) -> None:
    with kube_stub(tmp_path / "kubeconfig", crds=crds):
        notes = helm4.notes(merged(CLAIM, values), tmp_path / "kubeconfig")
    assert said in notes
    assert "<no value>" not in notes


def test_the_notes_next_commands_name_what_is_there(helm4: Helm, tmp_path: Path) -> None:
    with kube_stub(tmp_path / "kubeconfig"):
        notes = helm4.notes(CLAIM, tmp_path / "kubeconfig")
    rendered = helm4.template(CLAIM)
    commands = [line.split() for line in notes.splitlines() if line.startswith(("  kubectl ", "  helm "))]
    (rollout, test) = commands
    assert rollout[:5] == ["kubectl", "--namespace", NAMESPACE, "rollout", "status"]
    assert rollout[5] == f"deployment/{find(rendered, 'Deployment')['metadata']['name']}"
    assert rollout[6] == f"--timeout={find(rendered, 'Deployment')['spec']['progressDeadlineSeconds']}s"
    assert test[:5] == ["helm", "--namespace", NAMESPACE, "test", RELEASE]
    assert test[-1] == f"{find(rendered, 'Pod')['spec']['activeDeadlineSeconds']}s"
    for address in re.findall(r"(\S+)\.mri\.svc:(\d+)", notes):
        name = address[0].removeprefix("dns:///")
        ports = {port["port"] for port in find(rendered, "Service", name)["spec"]["ports"]}
        assert int(address[1]) in ports, address


def test_the_notes_of_the_defaults_have_no_doubt_about_safety(helm: Helm, tmp_path: Path) -> None:
    with kube_stub(tmp_path / "kubeconfig"):
        notes = helm.notes(CLAIM, tmp_path / "kubeconfig")
    for silent in ("weaker", "own root", "refuses", "shadowVersion", "drained", "resource claims"):
        assert silent not in notes


def test_the_notes_of_a_full_install_warn_of_nothing_that_is_set(helm: Helm, tmp_path: Path) -> None:
    (full,) = (yaml.safe_load(path.read_text()) for path in CI_VALUES if path.stem == "full-values")
    with kube_stub(tmp_path / "kubeconfig", crds=MONITORING):
        notes = helm.notes(full, tmp_path / "kubeconfig")
    for silent in (
        "image.digest",
        "on the nodes",
        "gpu.products",
        "interrupts",
        "GitOps",
        "nothing scrapes",
        "no ServiceM",
    ):
        assert silent not in notes
    assert "rel-glioma-server.mri.svc:50051" in notes
    assert "DICOM that names the patient" in notes


def test_a_missing_operator_stops_the_install_and_names_the_kind(helm: Helm, tmp_path: Path) -> None:
    values = merged(CLAIM, {"metrics": {"serviceMonitor": {"enabled": True}}})
    with kube_stub(tmp_path / "kubeconfig"), pytest.raises(AssertionError, match="ServiceMonitor"):
        helm.notes(values, tmp_path / "kubeconfig")
