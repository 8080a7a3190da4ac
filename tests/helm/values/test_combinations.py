"""Combinations of values that platform teams use: each works, or is refused with words that say what to write."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from support.cluster.crd_schemas import SCHEMAS
from support.cluster.helm_tools import (
    CI_VALUES,
    CLAIM,
    Helm,
    HelmError,
    Manifest,
    find,
    merged,
    nested,
    pod_spec,
    server,
)
from support.cluster.kubernetes_schemas import validate_object
from support.cluster.manifest_checks import problems
from support.cluster.odd_combinations import ODD_REFUSED, ODD_WORKS
from support.cluster.value_combinations import DIGEST, NODE_AFFINITY, READ_WRITE, REFUSED, WORKS

pytestmark = pytest.mark.helm

ALL_WORK, ALL_REFUSED = [*WORKS, *ODD_WORKS], [*REFUSED, *ODD_REFUSED]


@pytest.mark.parametrize("values", [row[1] for row in ALL_WORK], ids=[row[0] for row in ALL_WORK])
def test_it_works(helm4: Helm, values: dict[str, Any]) -> None:
    rendered = helm4.template(merged(CLAIM, values))
    writable = values in (nested("gpu.writableRoot", True), READ_WRITE)
    assert [fault for fault in faults(rendered) if not (writable and "read-only root" in fault)] == []
    for manifest in rendered:
        if manifest["apiVersion"].split("/")[0] in CUSTOM:
            jsonschema.validate(manifest, SCHEMAS[manifest["kind"]])
        elif manifest["kind"] != "X":  # a kind that no operator defines
            validate_object(manifest, "1.37")


@pytest.mark.parametrize(("values", "said"), [row[1:] for row in ALL_REFUSED], ids=[row[0] for row in ALL_REFUSED])
def test_it_is_refused_with_what_to_write(helm4: Helm, values: dict[str, Any], said: str) -> None:
    with pytest.raises(HelmError, match=said):
        helm4.template(merged(CLAIM, values))


@pytest.mark.parametrize("row", ["gpu0", "dra-claims", "nodesel-bool", "pdb-null", "margin-null", "tls-args"])
def test_both_majors_refuse_in_the_same_words(helm: Helm, row: str) -> None:
    (values, said) = next(given for name, *given in REFUSED if name == row)
    with pytest.raises(HelmError, match=said):
        helm.template(merged(CLAIM, values))


CUSTOM = {"monitoring.coreos.com", "keda.sh", "gateway.networking.k8s.io", "cert-manager.io"}


def faults(rendered: list[Manifest]) -> list[str]:
    """Faults of a release, but for what it refers to outside: that is there."""
    return [fault for fault in problems(rendered) if not re.search(r": no (Secret|ConfigMap|PersistentV\w+) ", fault)]


OVER = {
    "resources": {"requests": {"memory": "16Gi", "cpu": "7500m"}, "limits": {"memory": "17179869184"}},
    "image": {"tag": "9.9.9", "digest": ""},
    "podAnnotations": {"a": "b"},
    "extraObjects": [],
    "extraArgs": ["--log-verbosity=1"],
}


@pytest.mark.parametrize("example", CI_VALUES, ids=lambda path: path.stem.removesuffix("-values"))
def test_values_over_an_example_work(helm4: Helm, example: Path) -> None:
    """Helm lays ``--set-json`` over a values file: the example's own values stay."""
    over = [word for key, value in OVER.items() for word in ("--set-json", f"{key}={json.dumps(value)}")]
    rendered = helm4.template(example, arguments=over)
    assert [fault for fault in faults(rendered) if "read-only root" not in fault] == []
    container = server(rendered)
    assert container["image"].endswith(":9.9.9")
    assert container["resources"]["limits"]["memory"] == "17179869184"
    assert "--log-verbosity=1" in container["args"]


# --- What some of them do ---


@pytest.mark.parametrize("values", [{"replicaCount": None}, nested("autoscaling.enabled", True)])
def test_replicas_are_left_to_their_owner(helm: Helm, values: dict[str, Any]) -> None:
    assert "replicas" not in find(helm.template(merged(CLAIM, values)), "Deployment")["spec"]


@pytest.mark.parametrize("release", ["3t-mri", "mri.v1", "0", "a" * 53, "9" + "b" * 52])
def test_names_are_valid_whatever_the_release_is_called(helm: Helm, release: str) -> None:
    rendered = helm.template(merged(CLAIM, nested("adminToken.enabled", True)), release=release)
    assert faults(rendered) == []


def test_long_names_stay_different(helm4: Helm) -> None:
    names = {find(helm4.template(CLAIM, release="a" * 52 + c), "Deployment")["metadata"]["name"] for c in "xy"}
    assert len(names) == 2


def test_products_are_added_to_a_node_affinity_of_ones_own(helm4: Helm) -> None:
    values = {"gpu": {"products": ["NVIDIA-A30"]}, "affinity": {"nodeAffinity": NODE_AFFINITY}}
    affinity = pod_spec(helm4.template(merged(CLAIM, values)))["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert [e["key"] for e in term["matchExpressions"]] == ["zone", "nvidia.com/gpu.product"]


def test_dra_takes_the_place_of_the_device_plugin(helm4: Helm) -> None:
    rendered = helm4.template(merged(CLAIM, nested("gpu.dra.enabled", True)))
    assert not any(name.startswith("nvidia.com/") for name in server(rendered)["resources"]["limits"])
    assert server(rendered)["resources"]["claims"] == [{"name": "gpu"}]
    (claim,) = pod_spec(rendered)["resourceClaims"]
    assert claim["resourceClaimTemplateName"] == find(rendered, "ResourceClaimTemplate")["metadata"]["name"]


@pytest.mark.parametrize(
    ("values", "kube_version", "said"),
    [
        (nested("gpu.dra.enabled", True), "1.33.0", "1.34 or newer"),
        (
            {"persistence": {"existingClaim": "", "image": {"reference": f"m@{DIGEST}"}}},
            "1.32.5-gke.100",
            "1.33 or newer",
        ),
    ],
)
def test_what_an_older_kubernetes_lacks_is_told(helm: Helm, values: Any, kube_version: str, said: str) -> None:
    with pytest.raises(HelmError, match=said):
        helm.template(merged(CLAIM, values), kube_version=kube_version)


def test_ipv6_listens_on_all_addresses(helm4: Helm) -> None:
    assert "--host=::" in server(helm4.template(merged(CLAIM, {"service": {"ipFamilies": ["IPv6"]}})))["args"]
