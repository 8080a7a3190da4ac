"""The chart's rules as the real Helm renders them, for promtool and Prometheus."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from support.cluster.helm_tools import CHART, CLAIM, RELEASE, Helm, find, helm_binaries, merged, nested

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


def rendered_rules(values: Mapping[str, Any] | None = None, *arguments: str, release: str = RELEASE) -> dict[str, Any]:
    """The rule file: groups with their rules."""
    only_rules = ["-s", "templates/monitoring.yaml", *arguments]
    manifests = helm().template(merged(ENABLED, values or {}), arguments=only_rules, release=release)
    return {"groups": find(manifests, "PrometheusRule")["spec"]["groups"]}


def alerts(rules: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Alerts by name."""
    return {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule}


def rule_files() -> list[Path]:
    """The chart's own files, in which words are not replaced yet."""
    return sorted((CHART / "rules").glob("*.yaml"))


_DURATION = re.compile(r"\b(\d+)(s|m|h|d)\b")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def shortened(rules: Mapping[str, Any], times: int) -> dict[str, Any]:
    """The same rules with every window and every ``for`` so many times shorter; thresholds stay as they are."""

    def shorter(text: str) -> str:
        def replace(match: re.Match[str]) -> str:
            return f"{max(int(match[1]) * _SECONDS[match[2]] * 1000 // times, 1000)}ms"

        return _DURATION.sub(replace, text)

    groups = []
    for group in rules["groups"]:
        own = []
        for rule in group["rules"]:
            windows = re.sub(r"\[[^\]]*\]", lambda match: shorter(match[0]), rule["expr"])
            hold = {"for": shorter(rule["for"])} if "for" in rule else {}
            own.append({**rule, "expr": windows, **hold})
        groups.append({**group, "rules": own})
    return {"groups": groups}
