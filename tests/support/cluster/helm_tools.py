"""The chart as the real ``helm`` renders it, for tests.

``helm_binaries()`` fetches the pinned binaries once (``scripts/get_tools.py``); where they cannot be had, the tests
that need them skip and say why.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from glioserve_cli.serving import serve as command
from support.scripts import script

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "helm" / "glioserve"
CI_VALUES = tuple(sorted((CHART / "ci").glob("*-values.yaml")))
VALUES_TEXT = (CHART / "values.yaml").read_text()
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
GOLDEN = ROOT / "tests" / "helm" / "golden"
RELEASE = "rel"
NAMESPACE = "mri"
TIMEOUT_S = 60
CLAIM = {"persistence": {"existingClaim": "glioma-models"}}
"""The one value without which nothing renders."""
SECRET_MOUNT = "/etc/glioserve/admin"
"""Folder in which the pod has the admin token's Secret."""

Manifest = dict[str, Any]


def updating() -> bool:
    """Return whether golden files and tables are to be written instead of being compared (UPDATE_GOLDEN=1)."""
    return os.environ.get("UPDATE_GOLDEN") == "1"


class HelmError(AssertionError):
    """Helm refused; the message is its own."""


@dataclass(frozen=True)
class Helm:
    """One version of the binary, cut off from the user's own configuration and clusters."""

    binary: Path
    home: Path
    """A folder of its own for caches and settings."""

    def run(self, *arguments: str, stdin: str = "", kubeconfig: Path | None = None) -> str:
        """Standard output. Raises HelmError with what Helm said on standard error."""
        done = subprocess.run(
            [str(self.binary), *arguments],
            input=stdin,
            env={
                "PATH": os.defpath,
                "HOME": str(self.home),
                "HELM_CACHE_HOME": str(self.home / "cache"),
                "HELM_CONFIG_HOME": str(self.home / "config"),
                "HELM_DATA_HOME": str(self.home / "data"),
                "KUBECONFIG": str(kubeconfig or self.home / "none"),
            },
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise HelmError(done.stderr.strip() or done.stdout.strip())
        return done.stdout

    def lint(self, values: Path | None = None) -> str:
        """``helm lint --strict``; raises HelmError where it finds fault."""
        return self.run("lint", "--strict", str(CHART), *(["-f", str(values)] if values else []))

    def template(
        self,
        values: Mapping[str, Any] | Path | None = None,
        *,
        arguments: Sequence[str] = (),
        release: str = RELEASE,
        kube_version: str = "1.34.0",
        kubeconfig: Path | None = None,
    ) -> list[Manifest]:
        """The objects, in Helm's order; hooks and tests among them. Values as a file or as a dictionary."""
        given = values if isinstance(values, Path) else None
        stdin = json.dumps({} if values is None or given else values)
        where = ["--kube-version", kube_version] if kubeconfig is None else ["--dry-run=server"]
        asked = ("template", release, str(CHART), "-n", NAMESPACE, "-f", str(given or "-"), *where, *arguments)
        text = self.run(*asked, stdin=stdin, kubeconfig=kubeconfig) if kubeconfig else _rendered(self, asked, stdin)
        return [document for document in yaml.load_all(text, Loader=_YAML) if document]

    def notes(self, values: Mapping[str, Any], kubeconfig: Path) -> str:
        """Return what an install would tell its user. Needs a cluster or its stub."""
        text = self.run(
            "install", RELEASE, str(CHART), "-n", NAMESPACE, "-f", "-", "--dry-run=server",
            stdin=json.dumps(values), kubeconfig=kubeconfig,
        )  # fmt: skip
        return text.split("NOTES:\n", 1)[1]


@functools.lru_cache(maxsize=256)
def _rendered(helm: Helm, asked: tuple[str, ...], stdin: str) -> str:
    """Return what Helm printed. A render depends on its values alone, and takes longer than most checks of it."""
    return helm.run(*asked, stdin=stdin)


_YAML: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@functools.cache
def helm_binaries() -> dict[str, Path] | str:
    """``helm-4`` and ``helm-3``, or why they are not here."""
    module = script("get_tools")
    try:
        return {name: folder / "helm" for name, folder in module.get_tools("helm").items()}
    except module.FetchError as error:
        return f"no helm: {error}"


def merged(*values: Mapping[str, Any]) -> dict[str, Any]:
    """Values laid over one another as Helm does: maps are merged, all else replaced."""
    result: dict[str, Any] = {}
    for layer in values:
        for key, value in layer.items():
            old = result.get(key)
            result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def nested(path: str, value: object) -> dict[str, Any]:
    """``nested("a.b", 1)`` is ``{"a": {"b": 1}}``."""
    first, _, rest = path.partition(".")
    return {first: nested(rest, value) if rest else value}


def find(manifests: Sequence[Manifest], kind: str, suffix: str = "") -> Manifest:
    """The one object of a kind whose name ends with ``suffix``."""
    found = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"].endswith(suffix)]
    assert len(found) == 1, f"{len(found)} of {kind} …{suffix}"
    return found[0]


def chart_constants() -> dict[str, Any]:
    """The numbers that the chart's sums rest on."""
    text = (CHART / "templates" / "_sums.tpl").read_text()
    constants: dict[str, Any] = yaml.safe_load(text.split('define "glioserve.constants" -}}')[1].split("{{- end")[0])
    return constants


def pod_spec(manifests: Sequence[Manifest]) -> Manifest:
    """The server's pod."""
    spec: Manifest = component(manifests, "Deployment", "server")["spec"]["template"]["spec"]
    return spec


def component(manifests: Sequence[Manifest], kind: str, name: str) -> Manifest:
    """The one object of a kind that belongs to a component: ``server``, ``gateway``, ``test`` and so on."""
    label = "app.kubernetes.io/component"
    (found,) = (m for m in manifests if m["kind"] == kind and m["metadata"]["labels"].get(label) == name)
    return found


def server(manifests: Sequence[Manifest]) -> Manifest:
    """The server's container."""
    container = pod_spec(manifests)["containers"][0]
    assert isinstance(container, dict)
    return container


def parse_serve(arguments: Sequence[str], secrets: Path) -> argparse.Namespace:
    """Parse them as the real ``glioserve serve`` does; ``secrets`` stands for the folder of the pod's Secret."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    command.add_arguments(parser)
    return parser.parse_args([argument.replace(SECRET_MOUNT, str(secrets)) for argument in arguments])


@dataclass(frozen=True)
class Value:
    """One line of the README's table: a value that a user may set."""

    path: str
    default: str
    """The default as JSON."""
    description: str


def documented_values(text: str) -> list[Value]:
    """The values of a values.yaml, each with the comment above it.

    A map whose keys carry comments is a section; any other thing with a comment is one value. Raises ValueError for
    a key without a comment, so that nothing stays undescribed.
    """
    values: list[Value] = []
    _collect(yaml.safe_load(text), _comments(text), (), values)
    return values


def _collect(
    node: Mapping[str, Any], comments: Mapping[tuple[str, ...], str], at: tuple[str, ...], into: list[Value]
) -> None:
    for key, value in node.items():
        path = (*at, key)
        if any(other[: len(path)] == path and len(other) > len(path) for other in comments):
            _collect(value, comments, path, into)
        elif path in comments:
            into.append(Value(".".join(path), json.dumps(value), comments[path]))
        else:
            raise ValueError(f"{'.'.join(path)} has no comment above it")


def _comments(text: str) -> dict[tuple[str, ...], str]:
    """The comment block directly above each key, by the key's path. Keys within lists are not followed."""
    comments: dict[tuple[str, ...], str] = {}
    stack: list[tuple[int, str]] = []
    block: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        if stripped.startswith("#"):
            block.append(stripped.lstrip("# "))
        elif not stripped:
            block = []
        elif not stripped.startswith("- "):
            stack = [(depth, key) for depth, key in stack if depth < indent]
            stack.append((indent, stripped.split(":")[0]))
            if block:
                comments[tuple(key for _, key in stack)] = " ".join(block)
            block = []
    return comments


def values_table(values: Sequence[Value]) -> str:
    """The README's table."""
    rows = ["| Value | Default | What it does |", "|---|---|---|"]
    rows += [f"| `{v.path}` | `{v.default}` | {v.description} |" for v in values]
    return "\n".join(rows)
