"""Example manifests and the commands of the chart's documents, held to what is rendered."""

from __future__ import annotations

import argparse
import functools
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from glioserve_cli.pacs.command import add_arguments
from support.cluster.helm_tools import CHART, ROOT, Helm, component, find, merged, pod_spec
from support.cluster.image import DOCKER
from support.cluster.kubernetes_schemas import validate_object
from support.cluster.manifest_checks import problems

OUTSIDE = {"PersistentVolumeClaim/glioma-models", "Secret/pacs-token"}


@pytest.fixture(scope="module")
def bridge() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((CHART / "examples" / "pacs.yaml").read_text()))


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_the_bridge_is_valid_and_restricted(bridge: list[dict[str, Any]], version: str) -> None:
    for manifest in bridge:
        validate_object(manifest, version)
    assert list(problems(bridge, outside=OUTSIDE)) == []
    spec = find(bridge, "Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})  # SQLite has one writer


def test_the_bridge_takes_its_arguments(bridge: list[dict[str, Any]], tmp_path: Path) -> None:
    (container,) = find(bridge, "Deployment")["spec"]["template"]["spec"]["containers"]
    (tmp_path / "token").write_text("a-token-of-the-pacs")
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(parser)
    given = parser.parse_args([a.replace("/etc/glioserve-pacs", str(tmp_path)) for a in container["args"]])
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert str(given.state.parent) in mounts
    assert not mounts[str(given.state.parent)].get("readOnly")
    assert any(given.recipe.is_relative_to(path) for path in mounts)
    assert given.metrics_port == container["ports"][0]["containerPort"]
    assert given.metrics_host == "0.0.0.0"
    assert '"--", "glioserve", "pacs"]' in (DOCKER / "Dockerfile").read_text()


@pytest.mark.helm
def test_the_bridge_reaches_the_release_that_it_names(helm4: Helm, bridge: list[dict[str, Any]]) -> None:
    values = {"persistence": {"existingClaim": "glioma-models"}}
    release = helm4.template(values, release="mri", arguments=["-n", "radiology"])
    service = component(release, "Service", "server")
    (url,) = (
        argument.removeprefix("--url=")
        for argument in find(bridge, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
        if argument.startswith("--url=")
    )
    metadata = service["metadata"]
    assert url == f"{metadata['name']}.{metadata['namespace']}.svc:{service['spec']['ports'][0]['port']}"
    reached = find(bridge, "NetworkPolicy")["spec"]["egress"][1]["to"][0]["podSelector"]["matchLabels"]
    labels = component(release, "Deployment", "server")["spec"]["template"]["metadata"]["labels"]
    assert reached.items() <= labels.items()
    claims = {v.get("persistentVolumeClaim", {}).get("claimName") for v in pod_spec(release)["volumes"]}
    assert "glioma-models" in claims


# --- The commands of the documents ---

DOCUMENTS = [ROOT / "docs" / "kubernetes.md", ROOT / "docs" / "pacs.md", ROOT / "helm" / "glioserve" / "README.md"]
CLAIM = {"persistence": {"existingClaim": "glioma-models"}}


def commands() -> list[list[str]]:
    """Every line of helm and kubectl in the documents, in code blocks and between words, as words of a shell."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text().replace("\\\n", " ")
        lines = [line.strip() for line in re.findall(r"^ *((?:helm|kubectl) [^\n|]+)", text, re.MULTILINE)]
        lines += re.findall(r"`((?:helm|kubectl) [^`|]+)`", text)
        found += [shlex.split(line, comments=True) for line in lines]
    return [words for words in found if len(words) > 2 and words[1] != "describe"]


@functools.cache
def flags(program: Path, *verb: str) -> set[str]:
    """The options that a command takes."""
    said = subprocess.run([program, *verb, "--help"], capture_output=True, text=True, timeout=60, check=True).stdout
    return set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", said)) | {"-n", "--namespace"}


@pytest.mark.helm
def test_the_documents_commands_exist_and_name_what_is_there(helm4: Helm) -> None:
    release = helm4.template(CLAIM, release="mri", arguments=["-n", "radiology"])
    names = {f"{manifest['kind'].lower()}/{manifest['metadata']['name']}" for manifest in release}
    seen = set()
    for words in commands():
        program, rest = helm4.binary.with_name(words[0]), words[1:]
        plain = [w for i, w in enumerate(rest) if not w.startswith("-") and not (i and rest[i - 1] in ("-n", "-f"))]
        verb = plain[: {"rollout": 2, "create": 2}.get(plain[0], 1) + ("secret" in plain)]
        options = {word.split("=")[0] for word in rest[: rest.index("--") if "--" in rest else None] if word[0] == "-"}
        assert options <= flags(program, *verb), words
        assert verb == ["create", "namespace"] or verb == ["template"] or options & {"-n", "--namespace"}, words
        seen.add((words[0], verb[0]))
        for kind, name in re.findall(r"\b(deployment|job)/(mri-[\w-]+)", " ".join(words)):
            assert f"{kind}/{name}" in names, words
    wanted = {("helm", v) for v in ("install", "upgrade", "rollback", "test", "uninstall")}
    assert wanted | {("kubectl", v) for v in ("create", "logs", "rollout", "apply")} <= seen


@pytest.mark.helm
def test_the_documents_canary_renders(helm4: Helm) -> None:
    mine = merged(CLAIM, {"grpcRoute": {"enabled": True, "parentRefs": [{"name": "g"}]}})
    install, upgrade = (words for words in commands() if any("grpcRoute." in word for word in words))
    for words in (install, upgrade):
        sets = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
        values = [word for each in sets if not each.startswith("persistence.") for word in ("--set", each)]
        rendered = helm4.template(mine, release=words[2], arguments=["-n", "radiology", *values])
        routes = [m["spec"]["rules"][0]["backendRefs"] for m in rendered if m["kind"] == "GRPCRoute"]
        if words is install:
            assert routes == []
            service = component(rendered, "Service", "server")["metadata"]["name"]
        else:
            assert [(r["name"], r["weight"]) for r in routes[0]] == [("mri-glioserve", 90), (service, 10)]
