"""Values by platform: rendered alike by both Helms, valid, restricted; or refused with what to write."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from support.cluster.crd_schemas import SCHEMAS
from support.cluster.helm_tools import CLAIM, Helm, HelmError, Manifest, find, helm_binaries, merged
from support.cluster.kubernetes_schemas import validate_object
from support.cluster.manifest_checks import problems

from .platform_combinations import PLATFORM_REFUSED, PLATFORM_WEAKER, PLATFORM_WORKS

pytestmark = [pytest.mark.helm, pytest.mark.long]

OUTSIDE = {
    *("Rollout", "ExternalSecret", "CiliumNetworkPolicy", "TriggerAuthentication", "VerticalPodAutoscaler"),
}
"""Kinds of operators for which no schema is at hand."""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Helm, Helm]:
    found = helm_binaries()
    if isinstance(found, str):
        pytest.skip(found)
    folder: Path = tmp_path_factory.mktemp("helm")
    return Helm(found["helm-3"], folder), Helm(found["helm-4"], folder)


def rendered(both: tuple[Helm, Helm], values: dict[str, Any]) -> list[Manifest]:
    """The manifests, which both majors render alike and the schemas take."""
    older, newer = (helm.template(merged(CLAIM, values)) for helm in both)
    assert older == newer
    for manifest in newer:
        if manifest["kind"] in SCHEMAS:
            jsonschema.validate(manifest, SCHEMAS[manifest["kind"]])
        elif manifest["kind"] not in OUTSIDE:
            validate_object(manifest, "1.37")
    return newer


def faults(manifests: list[Manifest]) -> list[str]:
    """Faults of a release, but for the Secrets, ConfigMaps and claims that are the operator's."""
    return [fault for fault in problems(manifests) if not re.search(r": no (Secret|ConfigMap|PersistentV\w+) ", fault)]


@pytest.mark.parametrize("name", PLATFORM_WORKS)
def test_it_works_on_the_platform(both: tuple[Helm, Helm], name: str) -> None:
    assert faults(rendered(both, PLATFORM_WORKS[name])) == []


@pytest.mark.parametrize("name", PLATFORM_WEAKER)
def test_what_is_weaker_has_that_fault_alone(both: tuple[Helm, Helm], name: str) -> None:
    values, fault = PLATFORM_WEAKER[name]
    found = faults(rendered(both, values))
    assert found
    assert all(fault in each for each in found), found


@pytest.mark.parametrize("name", PLATFORM_REFUSED)
def test_it_is_refused_on_the_platform_with_what_to_write(both: tuple[Helm, Helm], name: str) -> None:
    values, said = PLATFORM_REFUSED[name]
    for helm in both:
        with pytest.raises(HelmError, match=re.escape(said)):
            helm.template(merged(CLAIM, values))


def test_kedas_own_triggers_show_who_they_are(both: tuple[Helm, Helm]) -> None:
    scaled = find(rendered(both, PLATFORM_WORKS["openshift: keda asks thanos"]), "ScaledObject")
    for trigger in scaled["spec"]["triggers"]:
        assert trigger["authenticationRef"] == {"name": "thanos", "kind": "TriggerAuthentication"}
        assert (trigger["metadata"]["authModes"], trigger["metadata"]["namespace"]) == ("bearer", "radiology")
        assert trigger["metadata"]["query"].startswith(("sum(nv_", "max(sum"))


def test_an_account_that_is_there_is_the_preflights_too(both: tuple[Helm, Helm]) -> None:
    """Its fetch needs the role of that account, and its image perhaps the account's pull secrets."""
    values, _ = PLATFORM_WEAKER["eks: a service account that is there"]
    job = find(rendered(both, values), "Job")
    assert job["spec"]["template"]["spec"]["serviceAccountName"] == "mri-irsa"
    made = find(rendered(both, {}), "Job")
    assert made["spec"]["template"]["spec"]["serviceAccountName"] == "default"
