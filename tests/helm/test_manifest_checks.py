"""Every check of ``support.cluster.manifest_checks`` notices the fault it is there for, seeded into a good release."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from support.cluster.helm_tools import GOLDEN, Manifest, find, pod_spec, server
from support.cluster.manifest_checks import problems, quantity

OUTSIDE = {"PersistentVolumeClaim/glioma-models", "Secret/glioma-admin", "Secret/glioma-tls"}


@pytest.fixture(scope="module")
def good() -> list[Manifest]:
    return [m for m in yaml.safe_load_all((GOLDEN / "full.yaml").read_text()) if m]


def put(container: Any, key: Any, value: Any) -> None:
    container[key] = value


def volume(release: list[Manifest], name: str) -> Any:
    return next(v for v in pod_spec(release)["volumes"] if v["name"] == name)


Fault = Callable[[list[Manifest]], object]
FAULTS: list[tuple[str, Fault]] = [
    ("bad name", lambda r: put(find(r, "Deployment")["metadata"], "name", "Rel_glioserve")),
    ("bad name", lambda r: put(find(r, "Service", "-metrics")["metadata"], "name", "9-metrics")),
    ("twice", lambda r: r.append(copy.deepcopy(find(r, "ServiceAccount")))),
    ("label", lambda r: put(find(r, "Deployment")["metadata"]["labels"], "team", True)),
    ("misses its own pods", lambda r: put(find(r, "Deployment")["spec"]["selector"]["matchLabels"], "a", "b")),
    ("Service/.*selects", lambda r: put(find(r, "Service", "-metrics")["spec"], "selector", {"a": "b"})),
    (
        "Service/.*selects.*Pod/",
        lambda r: find(r, "Service", "-metrics")["spec"]["selector"].pop("app.kubernetes.io/component"),
    ),
    ("PodDisruptionBudget/.*selects", lambda r: put(find(r, "PodDisruptionBudget")["spec"], "selector", {})),
    ("NetworkPolicy/.*selects", lambda r: put(find(r, "NetworkPolicy", "glioma-server")["spec"], "podSelector", {})),
    ("no port web", lambda r: put(find(r, "Service", "-metrics")["spec"]["ports"][0], "targetPort", "web")),
    (
        "no port web",
        lambda r: put(find(r, "NetworkPolicy", "glioma-server")["spec"]["ingress"][0]["ports"][0], "port", "web"),
    ),
    ("ServiceMonitor", lambda r: put(find(r, "ServiceMonitor")["spec"]["endpoints"][0], "port", "web")),
    (
        "ServiceMonitor",
        lambda r: find(r, "ServiceMonitor")["spec"]["selector"]["matchLabels"].pop("app.kubernetes.io/component"),
    ),
    ("no ConfigMap", lambda r: r.remove(find(r, "ConfigMap"))),
    ("no ServiceAccount", lambda r: r.remove(find(r, "ServiceAccount"))),
    ("no Secret", lambda r: put(volume(r, "admin-token")["secret"], "secretName", "other")),
    ("is a hostPath", lambda r: put(pod_spec(r)["volumes"], 0, {"name": "models", "hostPath": {"path": "/"}})),
    ("a volume twice", lambda r: pod_spec(r)["volumes"].append({"name": "shm", "emptyDir": {}})),
    ("token", lambda r: find(r, "Pod")["spec"].pop("automountServiceAccountToken")),
    ("hostNetwork", lambda r: put(pod_spec(r), "hostNetwork", True)),
    ("unknown port web", lambda r: put(server(r)["livenessProbe"]["httpGet"], "port", "web")),
    ("unknown volume x", lambda r: put(server(r)["volumeMounts"][0], "name", "x")),
    ("two mounts", lambda r: put(server(r)["volumeMounts"][0], "mountPath", "/tmp")),
    ("a variable twice", lambda r: server(r)["env"].append({"name": "GLIOSERVE_SITE", "value": ""})),
    ("neither tag nor digest", lambda r: put(server(r), "image", "registry.example.org/glioserve")),
    ("is not a quantity", lambda r: put(server(r)["resources"]["limits"], "memory", "20 GB")),
    ("must be whole", lambda r: put(server(r)["resources"]["limits"], "nvidia.com/gpu", 0.5)),
    ("more memory than its limit", lambda r: put(server(r)["resources"]["requests"], "memory", "21Gi")),
    ("requests no cpu", lambda r: find(r, "Pod")["spec"]["containers"][0]["resources"]["requests"].pop("cpu")),
    ("shm may take all", lambda r: put(volume(r, "shm")["emptyDir"], "sizeLimit", "20Gi")),
    ("shm may take all", lambda r: volume(r, "shm")["emptyDir"].pop("sizeLimit")),
    ("runAsNonRoot", lambda r: put(pod_spec(r)["securityContext"], "runAsNonRoot", False)),
    ("runAsNonRoot", lambda r: put(pod_spec(r)["securityContext"], "runAsUser", 0)),
    ("seccomp", lambda r: put(pod_spec(r)["securityContext"]["seccompProfile"], "type", "Unconfined")),
    (
        "privilege escalation",
        lambda r: pod_spec(r)["initContainers"][0]["securityContext"].pop("allowPrivilegeEscalation"),
    ),
    ("no capabilities", lambda r: put(server(r)["securityContext"]["capabilities"], "add", ["SYS_ADMIN"])),
    ("not privileged", lambda r: put(server(r)["securityContext"], "privileged", True)),
    (
        "read-only root",
        lambda r: find(r, "Pod")["spec"]["containers"][0]["securityContext"].pop("readOnlyRootFilesystem"),
    ),
    ("whole grace", lambda r: put(pod_spec(r), "terminationGracePeriodSeconds", 15)),
]


def test_the_golden_release_is_good(good: list[Manifest]) -> None:
    assert list(problems(good, outside=OUTSIDE)) == []


@pytest.mark.parametrize(("message", "seed"), FAULTS, ids=[f"{i}-{row[0]}" for i, row in enumerate(FAULTS)])
def test_a_seeded_fault_is_found(good: list[Manifest], message: str, seed: Fault) -> None:
    release = copy.deepcopy(good)
    seed(release)
    found = "\n".join(problems(release, outside=OUTSIDE))
    assert re.search(message, found), found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2Gi", 2 * 1024**3),
        ("500m", 0.5),
        (4, 4),
        ("1.5", 1.5),
        ("13000M", 13e9),
        ("2 Gi", None),
        ("", None),
        ("1g", None),
    ],
)
def test_quantities(text: object, value: float | None) -> None:
    assert quantity(text) == value
