"""The night: its faults name alerts and pages that are there, and panels are drawn from the boards' own queries."""

import importlib
import json
import re
from pathlib import Path

import promql_parser
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = [
    rule["alert"]
    for file in sorted((ROOT / "helm" / "glioserve" / "rules").glob("*.yaml"))
    for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
BOARDS = sorted((ROOT / "helm" / "glioserve" / "dashboards").glob("*.json"))


@pytest.fixture
def faults():
    return importlib.import_module("night.faults").FAULTS


@pytest.fixture
def panels():
    return importlib.import_module("night.panels")


def test_each_fault_rings_alerts_of_the_chart(faults):
    assert {alert for fault in faults for alert in (*fault.alerts, *fault.also)} <= set(RULES)
    names = [fault.name for fault in faults]
    assert len(set(names)) == len(names)


def test_every_alert_is_played(faults):
    assert {alert for fault in faults for alert in fault.alerts} == set(RULES)
    page = (ROOT / "docs" / "runbooks" / "index.md").read_text(encoding="utf-8").partition("## A night, played")[2]
    for alert in RULES:
        assert alert.removeprefix("Glioserve") in page, alert


def test_each_action_is_a_step_of_the_runbook(faults):
    """ "1 of Rejects: ..." is step 1 of its page; a step without a page's name is one of every alert's page."""
    for fault in faults:
        for part in fault.action.split("; ") if fault.alerts else ():
            numbers = re.match(r"([\d, ]+)(?: of (\w+))?:", part)
            assert numbers, part
            alerts = [f"Glioserve{numbers[2]}"] if numbers[2] and numbers[2] != "both" else fault.alerts
            for alert in alerts:
                page = (ROOT / "docs" / "runbooks" / f"{alert}.md").read_text(encoding="utf-8")
                steps = re.findall(r"^(\d)\. ", page.partition("## What to do")[2].partition("## ")[0], re.MULTILINE)
                assert set(numbers[1].split(", ")) <= set(steps), (fault.name, alert)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.stem)
def test_each_panel_can_be_drawn(panels, board):
    for panel in json.loads(board.read_text(encoding="utf-8"))["panels"]:
        if panel["type"] != "row":
            assert panel["fieldConfig"]["defaults"]["unit"] in panels.UNITS
            for target in panel["targets"]:
                promql_parser.parse(panels.filled(target["expr"], 600.0, 2.5))


def test_a_variable_that_is_not_known_is_refused(panels):
    with pytest.raises(ValueError, match=r"\$site"):
        panels.filled('up{site="$site"}', 600.0, 2.5)


def test_a_legend_takes_its_labels(panels):
    assert panels.legend("{{pod}} {{model}}", {"pod": "rel-1", "model": "report"}) == "rel-1 report"
    assert panels.legend("__auto", {"pod": "rel-1"}) == ""


def test_every_picture_is_of_a_board_and_all_are_small():
    pictures = sorted((ROOT / "docs" / "img").glob("*.png"))
    assert {"service", "preprocessing", "models", "capacity"} <= {picture.stem for picture in pictures}
    assert {picture.stem for picture in pictures} <= {board.stem for board in BOARDS}
    assert sum(picture.stat().st_size for picture in pictures) < 1_000_000
