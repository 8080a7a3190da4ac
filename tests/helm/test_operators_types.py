"""The examples' custom resources, held to types made from the operators' own definitions, where those are installed.

Our own schemas (``support.cluster.crd_schemas``) are reduced to what the chart uses. These have every field; the
kinds of the Gateway API are not among them.
"""

from __future__ import annotations

import copy
import json
import subprocess

import pytest
import yaml

from support.cluster.helm_tools import GOLDEN, ROOT, Manifest

pytestmark = pytest.mark.slow

PYTHON = ROOT / "build" / "tools" / "crds" / "bin" / "python"
CHECK = """
import json, sys
from cloudcoil.models.cert_manager import v1 as cert_manager
from cloudcoil.models.keda import v1alpha1 as keda
from cloudcoil.models.prometheus_operator import v1 as prometheus

types = {"Certificate": cert_manager, "ScaledObject": keda}
faults = []
for manifest in json.load(sys.stdin):
    kind = getattr(types.get(manifest["kind"], prometheus), manifest["kind"])
    try:
        read = kind.model_validate(manifest).model_dump(mode="json", by_alias=True, exclude_unset=True)
        faults.append("" if read["spec"] == manifest["spec"] else "a field is unknown")
    except ValueError as error:
        faults.append(str(error))
json.dump(faults, sys.stdout)
"""
KINDS = {"Certificate", "ScaledObject", "ServiceMonitor", "PodMonitor", "PrometheusRule"}


def faults(manifests: list[Manifest]) -> list[str]:
    """Return what the operators' types find wrong in the manifests; empty where nothing."""
    done = subprocess.run(
        [PYTHON, "-c", CHECK], input=json.dumps(manifests), capture_output=True, text=True, timeout=300, check=True
    )
    found: list[str] = json.loads(done.stdout)
    return found


def test_the_operators_types_take_what_the_chart_renders() -> None:
    if not PYTHON.exists():
        pytest.skip("no types of the operators: run make crds")
    every = [m for file in sorted(GOLDEN.glob("*.yaml")) for m in yaml.safe_load_all(file.read_text()) if m]
    ours = [manifest for manifest in every if manifest["kind"] in KINDS]
    assert {manifest["kind"] for manifest in ours} == KINDS
    misspelt, wrong = (copy.deepcopy(next(m for m in ours if m["kind"] == "PodMonitor")) for _ in range(2))
    misspelt["spec"]["podMetricsEndpoints"][0]["scrapeTimout"] = "10s"
    wrong["spec"]["podMetricsEndpoints"] = "metrics"
    *found, unknown, mistyped = faults([*ours, misspelt, wrong])
    assert found == [""] * len(ours)
    assert unknown == "a field is unknown"
    assert "podMetricsEndpoints" in mistyped
