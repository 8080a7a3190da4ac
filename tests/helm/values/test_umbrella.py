"""The chart as a part of another: condition, alias, and the globals, anchors and nulls of the parent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.cluster.helm_tools import (
    CHART,
    CLAIM,
    NAMESPACE,
    RELEASE,
    Helm,
    HelmError,
    find,
    merged,
    nested,
    pod_spec,
    server,
)
from support.cluster.manifest_checks import problems

pytestmark = pytest.mark.helm


ALIASES = ["a" * 60, "b" * 53, "_3t.mri_".replace(".", "-"), "c" * 61]
"""Names at whose cutting something invalid could be left: a full stop, a hyphen, a digit."""


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """A chart that has this one under its own name and under aliases: in camel case, and odd ones."""
    folder = tmp_path / "umbrella"
    shutil.copytree(CHART, folder / "charts" / "glioserve")
    odd = [{"name": "glioserve", "version": "*", "condition": f"{alias}.enabled", "alias": alias} for alias in ALIASES]
    dependencies = [
        *odd,
        {"name": "glioserve", "version": "*", "condition": "glioserve.enabled"},
        {"name": "glioserve", "version": "*", "condition": "secondServer.enabled", "alias": "secondServer"},
    ]
    chart = {"apiVersion": "v2", "name": "umbrella", "version": "1.0.0", "dependencies": dependencies}
    (folder / "Chart.yaml").write_text(yaml.safe_dump(chart))
    return folder


def render(helm: Helm, parent: Path, values: Any, given: Any = None) -> list[Any]:
    """Render with the parent's own values.yaml and what its user gives."""
    (parent / "values.yaml").write_text(yaml.safe_dump(values))
    where = ["-n", NAMESPACE, "--kube-version", "1.34.0", "-f", "-"]
    text = helm.run("template", RELEASE, str(parent), *where, stdin=json.dumps(given or {}))
    return [document for document in yaml.safe_load_all(text) if document]


OFF: dict[str, Any] = {alias: {"enabled": False} for alias in ALIASES}
ON: dict[str, Any] = {"glioserve": merged(CLAIM, {"enabled": True}), "secondServer": {"enabled": False}, **OFF}


def test_a_condition_turns_it_on_and_off(helm: Helm, parent: Path) -> None:
    assert find(render(helm, parent, ON), "Deployment")["metadata"]["name"] == "rel-glioserve"
    assert render(helm, parent, merged(ON, nested("glioserve.enabled", False))) == []


def test_an_alias_gives_valid_names(helm: Helm, parent: Path) -> None:
    values = {"glioserve": {"enabled": False}, "secondServer": merged(CLAIM, {"enabled": True}), **OFF}
    assert find(render(helm, parent, values), "Deployment")["metadata"]["name"] == "rel-secondserver"


def test_odd_aliases_give_valid_names_and_labels(helm4: Helm, parent: Path) -> None:
    each = merged(CLAIM, {"enabled": True})
    off = {"glioserve": {"enabled": False}, "secondServer": {"enabled": False}}
    rendered = render(helm4, parent, off | dict.fromkeys(ALIASES, each))
    servers = {m["metadata"]["name"] for m in rendered if m["kind"] == "Deployment"}
    assert len(servers) == len(ALIASES)
    assert "rel-3t-mri" in servers
    assert list(problems(rendered, outside={"PersistentVolumeClaim/glioma-models"})) == []


def test_globals_and_anchors_come_from_the_parent(helm: Helm, parent: Path) -> None:
    values = {"global": {"imageRegistry": "r.example.org", "imagePullSecrets": ["a"]}, "glioserve": {"x-own": {"a": 1}}}
    rendered = render(helm, parent, merged(ON, values))
    assert server(rendered)["image"] == "r.example.org/glioserve:0.1.0"
    assert pod_spec(rendered)["imagePullSecrets"] == [{"name": "a"}]


def test_nulls_take_no_safety_away(helm: Helm, parent: Path) -> None:
    openshift = nested("glioserve.podSecurityContext", {"runAsUser": None, "runAsGroup": None, "fsGroup": None})
    context = pod_spec(render(helm, parent, ON, openshift))["securityContext"]
    assert context["runAsNonRoot"] is True
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & context.keys()
    assert (
        "replicas" not in find(render(helm, parent, ON, nested("glioserve.replicaCount", None)), "Deployment")["spec"]
    )
    for path in ("shutdown.marginSeconds", "containerSecurityContext.readOnlyRootFilesystem"):
        with pytest.raises(HelmError, match=path):
            render(helm, parent, ON, nested(f"glioserve.{path}", None))
