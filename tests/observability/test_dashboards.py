"""The chart's dashboards: as the script writes them, each query parsed, each metric known, red where rules alert."""

import importlib
import json
import re
import sys
from pathlib import Path

import promql_parser
import pytest
import yaml

from glioserve_contract.metrics import DCGM_METRICS, METRICS, TRITON_METRICS, Kind
from support.cluster.helm_tools import find
from support.cluster.rules import alerts, helm, rendered_rules

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "helm" / "glioserve" / "dashboards"
BOARDS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}
THRESHOLDS = yaml.safe_load((FOLDER.parent / "values.yaml").read_text())["metrics"]["prometheusRule"]["thresholds"]
UNITS = {"none", "short", "s", "d", "bytes", "percentunit", "lengthmm", "litre"}
"""Ids of Grafana's units that the boards use."""
VARIABLES = {
    "$namespace": "mri",
    "$release": "rel-glioserve",
    "$version": "1",
    "$__range": "6h",
    "$__rate_interval": "1m",
}


def panels(board):
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries(board):
    return [(panel["title"], target["expr"]) for panel in panels(board) for target in panel["targets"]]


def filled(expression):
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def test_they_are_what_the_script_writes(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "dashboards"))
    module = importlib.import_module("make_dashboards")
    try:
        assert module.main(["--check"]) == 0, capsys.readouterr().out
        assert sorted(board.name for board in module.BOARDS) == list(BOARDS)
    finally:
        for name in [
            n for n, m in sys.modules.items() if str(getattr(m, "__file__", "")).startswith(str(ROOT / "scripts"))
        ]:
            del sys.modules[name]


@pytest.mark.parametrize("name", BOARDS)
def test_every_query_parses(name):
    for title, expression in queries(BOARDS[name]):
        try:
            promql_parser.parse(filled(expression))
        except ValueError as error:
            pytest.fail(f"{title}: {error}: {expression}")


def known_series():
    names = set(TRITON_METRICS) | set(DCGM_METRICS)
    for metric in METRICS:
        names |= {metric.name + s for s in (("_bucket", "_count", "_sum") if metric.kind is Kind.HISTOGRAM else ("",))}
    return names


@pytest.mark.parametrize("name", BOARDS)
def test_every_metric_and_label_is_in_the_table(name):
    declared = {metric.name: metric for metric in METRICS}
    for title, expression in queries(BOARDS[name]):
        found = re.findall(r"\b(?:glioserve|nv|DCGM)_\w+", expression)
        assert found, title
        assert set(found) <= known_series(), (title, expression)
        for series, selector in re.findall(r"\b(glioserve_\w+)\{([^}]*)\}", expression):
            metric = declared.get(series) or declared[re.sub(r"_(bucket|count|sum)$", "", series)]
            labels = set(re.findall(r"(\w+)(?:=~|!~|!=|=)", selector)) - {"namespace", "pod", "le"}
            assert labels <= set(metric.label_names), (title, series, labels)


def test_every_metric_of_ours_is_on_a_board():
    shown = " ".join(expression for board in BOARDS.values() for _, expression in queries(board))
    missing = [metric.name for metric in METRICS if metric.name not in shown]
    assert missing == ["glioserve_canary_failures_total"]  # the canaries are shown by outcome


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_is_whole(name):
    board = BOARDS[name]
    assert board["uid"] == f"glioserve-{name}"
    ids = [panel["id"] for panel in board["panels"]]
    assert ids == list(range(1, len(ids) + 1))
    variables = [variable["name"] for variable in board["templating"]["list"]]
    assert variables == ["datasource", "namespace", "release", *(["version"] if name == "models" else [])]
    for panel in panels(board):
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert panel["description"].endswith(".")
        assert all("pod=~" in target["expr"] for target in panel["targets"]), panel["title"]
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in board["panels"]]
    assert len(places) == len(set(places))


def red(board, title):
    panel = next(p for p in panels(BOARDS[board]) if p["title"] == title)
    return panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1]["value"]


def test_red_begins_where_the_rules_alert():
    rules = alerts(rendered_rules())

    def bound(alert):
        return float(re.search(r"(?:>|>=|<) ([\d.]+)\s*$", rules[alert]["expr"].strip())[1])

    assert red("service", "Available") == THRESHOLDS["availability"]
    assert red("service", "Answered in time") == THRESHOLDS["latencyShare"]
    assert red("service", "Time to the answer") == THRESHOLDS["latencySeconds"]
    assert red("service", "Certificate") == bound("GlioserveCertificateExpires") == THRESHOLDS["certificateDays"]
    assert red("service", "Starts") == float(re.search(r">= (\d)", rules["GlioserveRestarts"]["expr"])[1])
    assert red("service", "Repairs") - 0.5 == bound("GlioserveStageReplacedOften")
    assert red("preprocessing", "95th percentile by stage") == THRESHOLDS["stageSeconds"]
    assert red("preprocessing", "Longest running call") == bound("GlioserveStageHangs")
    assert red("capacity", "Studies that wait") == bound("GlioserveQueueGrowing") == THRESHOLDS["queuedStudies"]
    assert red("capacity", "Memory") == bound("GlioserveMemoryNearLimit")
    assert red("capacity", "Shared memory") == bound("GlioserveSharedMemoryNearLimit")


@pytest.mark.helm
def test_the_chart_renders_each_as_it_is():
    values = {"persistence": {"existingClaim": "models"}, "metrics": {"dashboards": {"enabled": True}}}
    manifests = helm().template(values, arguments=["-s", "templates/monitoring.yaml"])
    for name, board in BOARDS.items():
        data = find(manifests, "ConfigMap", f"-{name}")["data"]
        assert json.loads(data[f"{name}.json"]) == board
