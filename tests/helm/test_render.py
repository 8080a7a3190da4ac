"""Every example of values: linted, rendered, validated against Kubernetes' schemas, cross-checked, kept as golden."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
import yaml

from support.cluster.crd_schemas import SCHEMAS
from support.cluster.helm_tools import CHART, CI_VALUES, CLAIM, GOLDEN, Helm, HelmError, Manifest, find, updating
from support.cluster.kubernetes_schemas import NEWEST_MINOR, validate_object
from support.cluster.manifest_checks import problems

pytestmark = pytest.mark.helm

OLDEST_MINOR = 30
KUBE_VERSIONS = [f"1.{minor}" for minor in range(OLDEST_MINOR, NEWEST_MINOR + 1)]
"""Versions from the chart's kubeVersion to the newest that the validator knows."""
OUTSIDE = {
    "PersistentVolumeClaim/glioma-models",  # the user's, by persistence.existingClaim
    "PersistentVolumeClaim/glioma-study-log",  # the user's, by studyLog.existingClaim of ci/production-values.yaml
    "PersistentVolumeClaim/glioma-plans",  # the user's, in ci/tensorrt-values.yaml
    "PersistentVolumeClaim/glioma-cache",  # the user's, by persistence.fetch.cacheClaim
    "Secret/glioma-tls",  # the user's, by tls.existingSecret
    "Secret/glioma-callers",  # the user's, by gateway.apiKeys of ci/sidecar-values.yaml
    "ConfigMap/hospital-ca",  # the user's, by caBundle of ci/gateway-values.yaml
    "Secret/rel-glioserve-tls",  # cert-manager's
    "Secret/glioma-admin",  # the user's, by adminToken.existingSecret of ci/full-values.yaml
}
CUSTOM = {"monitoring.coreos.com", "keda.sh", "gateway.networking.k8s.io", "cert-manager.io"}
OLDEST_FOR = {"airgapped-values": 33, "dra-values": 34}
"""Minor version of Kubernetes from which an example works, where it is not the chart's."""
examples = pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem.removesuffix("-values"))


def test_the_examples_are_those_of_the_readme() -> None:
    names = [path.name.removesuffix("-values.yaml") for path in CI_VALUES]
    readme = (CHART / "README.md").read_text()
    assert [name for name in names if f"`{name}`" not in readme] == []
    assert len(names) >= 12


@examples
def test_lint_finds_nothing(helm: Helm, values: Path) -> None:
    said = helm.lint(values)
    assert "0 chart(s) failed" in said
    assert "[" not in said, said  # not even a recommendation, such as a missing icon


def test_lint_needs_no_values(helm: Helm) -> None:
    assert "0 chart(s) failed" in helm.lint()


@examples
def test_both_majors_render_the_golden_file(helm: Helm, values: Path) -> None:
    golden = GOLDEN / f"{values.stem.removesuffix('-values')}.yaml"
    rendered = helm.template(values)
    if updating():
        text = yaml.safe_dump_all(rendered, sort_keys=False, width=120)
        golden.write_text(f"# UPDATE_GOLDEN=1 pytest tests/helm writes this file again. Values: {values.name}.\n{text}")
    assert rendered == list(yaml.safe_load_all(golden.read_text()))


@examples
def test_every_object_is_valid_from_the_oldest_to_the_newest_kubernetes(helm4: Helm, values: Path) -> None:
    for manifest in helm4.template(values):
        if manifest["apiVersion"].split("/")[0] in CUSTOM:
            jsonschema.validate(manifest, SCHEMAS[manifest["kind"]])
            continue
        for version in KUBE_VERSIONS[max(OLDEST_FOR.get(values.stem, OLDEST_MINOR) - OLDEST_MINOR, 0) :]:
            validate_object(manifest, version)


def test_the_validated_versions_begin_where_the_chart_does() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["kubeVersion"] == f">=1.{OLDEST_MINOR}.0-0"
    assert len(KUBE_VERSIONS) >= 5


@examples
def test_names_quantities_and_hardening_hold_together(helm4: Helm, values: Path) -> None:
    found = list(problems(helm4.template(values), outside=OUTSIDE))
    assert [fault for fault in found if values.stem != "gpu-cdi-values" or "read-only root" not in fault] == []


@pytest.mark.parametrize("kube_version", ["1.30.0", "1.37.0", "1.33.5-gke.1200", "1.31.4+rke2r1"])
def test_vendors_versions_are_accepted(helm: Helm, kube_version: str) -> None:
    assert helm.template(CLAIM, kube_version=kube_version)


def test_an_older_kubernetes_is_refused(helm: Helm) -> None:
    with pytest.raises(HelmError, match=r"1\.30"):
        helm.template(CLAIM, kube_version="1.29.9")


def test_names_that_look_like_numbers_stay_text(helm4: Helm) -> None:
    values = {
        "persistence": {"existingClaim": "1", "subPath": "2"},
        "adminToken": {"enabled": True, "existingSecret": "3", "key": "4"},
        "runtimeClassName": "5",
        "priorityClassName": "6",
        "serviceAccount": {"name": "7"},
        "metrics": {"serviceMonitor": {"enabled": True}},
        "commonLabels": {"team": "8"},
        "image": {"tag": "9"},
        "brainModels": {"existingClaim": "10", "subPath": "11"},
    }
    rendered = helm4.template(values, arguments=["-n", "12"])
    assert list(problems(rendered, outside={"PersistentVolumeClaim/1", "PersistentVolumeClaim/10", "Secret/3"})) == []
    for manifest in rendered:
        if manifest["kind"] == "ServiceMonitor":
            jsonschema.validate(manifest, SCHEMAS["ServiceMonitor"])
        else:
            validate_object(manifest, KUBE_VERSIONS[-1])


def test_the_chart_packages_without_its_neighbours(helm4: Helm, tmp_path: Path) -> None:
    helm4.run("package", str(CHART), "--destination", str(tmp_path))
    (package,) = tmp_path.glob("glioserve-*.tgz")
    assert package.stat().st_size < 150_000


SEEDED: list[tuple[str, str, Callable[[Manifest], object]]] = [
    ("full", "ServiceMonitor", lambda spec: spec["endpoints"][0].update(interval="15 s")),
    ("keda-gateway", "PodMonitor", lambda spec: spec["podMetricsEndpoints"][0].update(targetport="probes")),
    ("production", "PrometheusRule", lambda spec: spec["groups"][0]["rules"][0].pop("expr")),
    ("keda-gateway", "ScaledObject", lambda spec: spec["triggers"][0]["metadata"].update(threshold=2)),
    ("keda-gateway", "GRPCRoute", lambda spec: spec["rules"][0]["backendRefs"][0].update(wieght=1)),
    ("gateway", "Certificate", lambda spec: spec["dnsNames"].append("Not A Name")),
]


@pytest.mark.parametrize(("example", "kind", "seed"), SEEDED, ids=[row[1] for row in SEEDED])
def test_a_custom_resource_with_a_fault_is_found(example: str, kind: str, seed: Callable[[Manifest], object]) -> None:
    """The schemas are held to a fault each, and every kind that is rendered has one."""
    manifest = find([m for m in yaml.safe_load_all((GOLDEN / f"{example}.yaml").read_text()) if m], kind)
    jsonschema.validate(manifest, SCHEMAS[kind])
    seed(manifest["spec"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(manifest, SCHEMAS[kind])
