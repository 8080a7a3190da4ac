"""A release through its life with the real Helm: hooks, an autoscaler's replicas, tests, rollback, uninstall."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.cluster.helm_tools import CHART, NAMESPACE, RELEASE, Helm, HelmError
from support.cluster.kube_recorder import KINDS, Recorder

pytestmark = [pytest.mark.helm, pytest.mark.long]

Run = Callable[..., str]
CLAIM = ("--set", "persistence.existingClaim=models")


@pytest.fixture
def api() -> Iterator[Recorder]:
    with Recorder({**KINDS, "apps/v1": {"deployments": ("Deployment", 1)}}) as recorder:
        yield recorder


@pytest.fixture
def run(helm: Helm, api: Recorder, tmp_path: Path) -> Run:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(api.kubeconfig(NAMESPACE))

    def call(verb: str, *arguments: str, chart_at: Path = CHART) -> str:
        chart = [str(chart_at), *CLAIM] if verb in ("install", "upgrade") else []
        return helm.run(verb, RELEASE, *chart, *arguments, "-n", NAMESPACE, kubeconfig=kubeconfig)

    return call


def deployment(api: Recorder) -> dict[str, Any]:
    (one,) = api.all("Deployment")
    return one


def test_a_failing_preflight_leaves_the_old_pods(api: Recorder, run: Run) -> None:
    run("install")
    before = deployment(api)["metadata"]["resourceVersion"]
    api.failing.add("rel-glioserve-preflight")
    with pytest.raises(HelmError, match="pre-upgrade hooks failed"):
        run("upgrade", "--set", "profile=tensorrt-gpu")
    assert deployment(api)["metadata"]["resourceVersion"] == before


@pytest.mark.parametrize("owner", ["autoscaling.enabled=true", "replicaCount=null"], ids=["ours", "an outside one"])
def test_what_an_autoscaler_counted_stays_through_upgrade_and_rollback(api: Recorder, run: Run, owner: str) -> None:
    owned = ("--set", owner)
    run("install", *owned)
    deployment(api)["spec"]["replicas"] = 3
    run("upgrade", *owned, "--set", "minReadySeconds=5")
    assert deployment(api)["spec"]["replicas"] == 3
    api.failing.add("rel-glioserve-preflight")  # it holds up no rollback
    run("rollback")
    assert deployment(api)["spec"]["replicas"] == 3
    assert deployment(api)["spec"]["minReadySeconds"] == 0


def test_it_is_tested_uninstalled_and_installed_again(api: Recorder, run: Run) -> None:
    run("install")
    run("test")
    api.failing.add("rel-glioserve-test")
    with pytest.raises(HelmError, match="rel-glioserve-test"):
        run("test")
    run("uninstall")
    assert api.all("Deployment") == []
    run("install")
    assert deployment(api)["spec"]["replicas"] == 1


def test_an_upgrade_over_an_older_charts_values_says_how(api: Recorder, run: Run, tmp_path: Path) -> None:
    """Helm keeps the old chart's defaults with --reuse-values, in which later values are missing."""
    older = shutil.copytree(CHART, tmp_path / "older")
    values = yaml.safe_load((older / "values.yaml").read_text())
    del values["minReadySeconds"], values["studyLog"]["shadowVersion"]
    (older / "values.yaml").write_text(yaml.safe_dump(values))
    for template in older.rglob("_check.tpl"):  # it had no need of them
        template.write_text(re.sub(r"\b(minReadySeconds|studyLog\.shadowVersion) ", "", template.read_text()))
    run("install", "--set", "logLevel=error", chart_at=older)
    with pytest.raises(HelmError, match=r"studyLog.shadowVersion must not be null.*--reset-then-reuse-values"):
        run("upgrade", "--reuse-values")
    run("upgrade", "--reset-then-reuse-values")
    (container,) = deployment(api)["spec"]["template"]["spec"]["containers"]
    assert "--log-level=error" in container["args"]
