"""Costs of a study, from the kept results of the other benchmarks, and what the chart's defaults are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from statistics import median
from typing import Any

import yaml

from capacity.fleet import Autoscaler
from common import RESULTS, ROOT

PREPROCESS_STAGES = ("read", "series", "assemble", "register", "brain", "grid", "normalise")
REPORT_STAGES = ("report", "heatmap")
CHART: dict[str, Any] = yaml.safe_load((ROOT / "helm" / "glioserve" / "values.yaml").read_text(encoding="utf-8"))
THRESHOLDS: dict[str, float] = CHART["metrics"]["prometheusRule"]["thresholds"]


@dataclass(frozen=True)
class Costs:
    """Measured seconds of one study. CPU seconds are those of one core."""

    preprocess_cpu_s: float
    speed_up: float
    """Speed-up of preprocessing on two threads, over one."""
    classifier_cpu_s: dict[str, float]
    """Seconds by network: ONNX Runtime with Grad-CAM, one core, median."""
    report_cpu_s: float
    load_s: float
    """Start of a server until it is ready, of the demo model."""


def measured() -> Costs:
    """Read ``results/stages.json`` (the costlier of its studies), ``preprocess``, ``classifier`` and ``overhead``."""
    stages = max(_figures("stages").values(), key=lambda study: sum(study[name] for name in PREPROCESS_STAGES))
    networks = _figures("classifier")["networks"]
    bars = {bar["name"]: bar["value"] for bar in _figures("overhead")["bars"]}
    return Costs(
        sum(stages[name] for name in PREPROCESS_STAGES),
        _figures("preprocess")["two_threads"]["speed_up"]["pipeline"],
        {name: median(network["seconds"]["ONNX Runtime, with Grad-CAM"]) for name, network in networks.items()},
        sum(stages[name] for name in REPORT_STAGES),
        bars["start until ready, least of three"],
    )


def charts_autoscaler(most: int) -> Autoscaler:
    """Return the chart's autoscaler with its own values, but for ``maxReplicas``."""
    values = CHART["autoscaling"]
    up, down = values["behavior"]["scaleUp"], values["behavior"]["scaleDown"]
    return Autoscaler(
        waiting_per_pod=values["pendingPerPod"],
        least=values["minReplicas"],
        most=most,
        up_every_s=up["policies"][0]["periodSeconds"],
        down_every_s=down["policies"][0]["periodSeconds"],
        down_after_s=down["stabilizationWindowSeconds"],
        scrape_s=float(CHART["metrics"]["serviceMonitor"]["interval"].removesuffix("s")),
    )


def _figures(name: str) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["figures"]
    return figures
