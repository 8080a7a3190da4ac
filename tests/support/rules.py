"""The chart's rules as the real Helm renders them, for promtool and Prometheus."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from support.helm_tools import CHART, CLAIM, Helm, find, helm_binaries, merged, nested

ENABLED = merged(CLAIM, nested("metrics.prometheusRule.enabled", True))
FULLNAME = "rel-glioserve"
POD = f"{FULLNAME}-0"
LABELS = f'namespace="mri",pod="{POD}"'
"""Labels by which the rendered rules know a pod of the release."""


def helm() -> Helm:
    """Helm 4; the test skips where it cannot be had."""
    found = helm_binaries()
    if isinstance(found, str):
        pytest.skip(found)
    return Helm(found["helm-4"], Path(tempfile.gettempdir()))


def rendered_rules(values: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The rule file: groups with their rules."""
    manifests = helm().template(merged(ENABLED, values or {}), arguments=["-s", "templates/monitoring.yaml"])
    return {"groups": find(manifests, "PrometheusRule")["spec"]["groups"]}


def alerts(rules: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Alerts by name."""
    return {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule}


def rule_files() -> list[Path]:
    """The chart's own files, in which words are not replaced yet."""
    return sorted((CHART / "rules").glob("*.yaml"))
