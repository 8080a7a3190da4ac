"""The chart's rules, queries of the autoscalers, and dashboards for Prometheus and Grafana, all parsed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from support.cluster.helm_tools import CHART, CLAIM, Helm, component, find, merged, nested

pytestmark = pytest.mark.helm

ADAPTER = CHART / "examples" / "prometheus-adapter.yaml"
METRICS = re.compile(r"\b(?:nv|glioserve)_[a-z0-9_]+")


def test_rules_are_rendered_for_this_release_and_parse(helm4: Helm) -> None:
    rules = nested("metrics.prometheusRule", {"enabled": True, "namespace": "monitoring", "labels": {"release": "kps"}})
    rule = find(helm4.template(merged(CLAIM, rules)), "PrometheusRule")
    assert (rule["metadata"]["namespace"], rule["metadata"]["labels"]["release"]) == ("monitoring", "kps")
    assert "@" not in json.dumps(rule["spec"])  # every word that stands for the release was replaced
    files = [yaml.safe_load(file.read_text()) for file in sorted((CHART / "rules").glob("*.yaml"))]
    assert [group["name"] for group in rule["spec"]["groups"]] == [g["name"] for file in files for g in file["groups"]]
    for group in rule["spec"]["groups"]:
        for each in group["rules"]:
            promql_parser.parse(each["expr"])


def test_the_autoscalers_ask_for_metrics_that_are_there(helm4: Helm) -> None:
    address = {"keda": {"enabled": True, "prometheusAddress": "http://p:9090", "queueSeconds": 5}}
    triggers = find(helm4.template(merged(CLAIM, address)), "ScaledObject")["spec"]["triggers"]
    queries = [trigger["metadata"]["query"] for trigger in triggers]
    assert len(queries) == 2
    for query in queries:
        promql_parser.parse(query)
        assert set(METRICS.findall(query)) <= {
            "nv_inference_pending_request_count",
            "nv_inference_queue_duration_us",
            "nv_inference_count",
        }
        assert "clamp_min" not in query
        assert 'namespace="mri"' in query
    selector = re.search(r'pod=~"([^"]+)"', queries[0])
    assert selector is not None
    assert re.fullmatch(selector[1], "rel-glioserve-7d9c5b6f4-x2x9q")
    assert not re.fullmatch(selector[1], "rel-glioserve-gateway-7d9c5b6f4-x2x9q")


def test_the_adapters_rules_are_what_the_autoscaler_asks_for(helm4: Helm) -> None:
    rules = yaml.safe_load(ADAPTER.read_text())["rules"]["custom"]
    values = {"autoscaling": {"enabled": True, "queueSeconds": 5}}
    asked = find(helm4.template(merged(CLAIM, values)), "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert [metric["pods"]["metric"]["name"] for metric in asked] == [rule["name"]["as"] for rule in rules]
    for rule in rules:
        (series,) = METRICS.findall(rule["seriesQuery"])
        promql_parser.parse(rule["seriesQuery"])
        query = (
            rule["metricsQuery"]
            .replace("<<.Series>>", series)
            .replace("<<.LabelMatchers>>", 'namespace="mri",pod=~"rel-glioserve-a|rel-glioserve-b"')
            .replace("<<.GroupBy>>", "pod")
        )
        promql_parser.parse(query)
        assert "<<" not in query
        assert set(rule["resources"]["overrides"]) == {"namespace", "pod"}
        assert not re.search(r"clamp_min|\+ *1\b", query)  # never by at least one request a second


def test_dashboards_are_config_maps_as_they_are(helm4: Helm, tmp_path: Path) -> None:
    chart = tmp_path / "glioserve"
    shutil.copytree(CHART, chart)
    board = {"uid": "x", "title": "{{ not a template of Helm's }}", "panels": []}
    (chart / "dashboards" / "live_view.json").write_text(json.dumps(board, indent=1))
    values: dict[str, Any] = merged(
        CLAIM, {"metrics": {"dashboards": {"enabled": True, "namespace": "grafana", "annotations": {"folder": "MRI"}}}}
    )
    text = helm4.run("template", "rel", str(chart), "-n", "mri", "-f", "-", stdin=json.dumps(values))
    rendered = [document for document in yaml.safe_load_all(text) if document]
    mine = [m for m in rendered if m["kind"] == "ConfigMap" and m["metadata"]["name"] == "rel-glioserve-live-view"]
    (found,) = mine
    assert json.loads(found["data"]["live_view.json"]) == board
    assert found["metadata"]["namespace"] == "grafana"
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_a_gateway_is_scraped_too(helm4: Helm) -> None:
    keys = {"gateway": {"mode": "sidecar", "apiKeys": {"existingSecret": "k"}}}
    rendered = helm4.template(merged(CLAIM, keys, nested("metrics.podMonitor.enabled", True)))
    ports = [e["port"] for e in find(rendered, "PodMonitor")["spec"]["podMetricsEndpoints"]]
    assert ports == ["probes", "gateway-status"]
    rendered = helm4.template(merged(CLAIM, keys, nested("metrics.serviceMonitor.enabled", True)))
    chosen = find(rendered, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    services = [m for m in rendered if m["kind"] == "Service" and chosen.items() <= m["metadata"]["labels"].items()]
    assert [s["spec"]["ports"][0]["targetPort"] for s in services] == [8004, "probes"]
    assert component(rendered, "NetworkPolicy", "server")


def test_the_pods_of_a_release_are_its_own_whatever_their_names_length(helm4: Helm) -> None:
    """Kubernetes names them with at most 58 characters of Deployment, hash and hyphen, and five more."""
    for release, hash_ in (("mri", "7d9f8b6c5d"), ("a" * 53, "7d9f8b6c5d"), ("glioserve", "5c4")):
        rendered = helm4.template(merged(CLAIM, nested("metrics.prometheusRule.enabled", True)), release=release)
        name = component(rendered, "Deployment", "server")["metadata"]["name"]
        selected = re.search(r'pod=~"(.*?)"', json.dumps(find(rendered, "PrometheusRule")).replace('\\"', '"'))
        assert selected is not None
        assert re.fullmatch(selected[1], f"{name}-{hash_}-"[:58] + "abcde")
        for other in (f"{name}-gateway", f"{name}-canary"):
            assert len(other) > 45 or not re.fullmatch(selected[1], f"{other}-{hash_}-abcde")
