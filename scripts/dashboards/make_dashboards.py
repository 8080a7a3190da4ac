"""Write the Grafana dashboards of the chart: ``helm/glioserve/dashboards/*.json``.

Four boards with fixed uids: service, preprocessing, models, capacity. Thresholds are those at which the chart's rules
alert, by the defaults of its ``values.yaml``. ``--check`` writes nothing and reports what is out of date.

    python scripts/dashboards/make_dashboards.py
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

from capacity_board import CAPACITY
from models_board import MODELS
from panels import CHART, POD, Board, Panel
from preprocessing_board import PREPROCESSING
from service_board import SERVICE

FOLDER = CHART / "dashboards"
BOARDS = (SERVICE, PREPROCESSING, MODELS, CAPACITY)


def thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    """Return the colours of a panel's values."""
    red, green = "red", "green"
    if panel.red_below is not None:
        steps = [models.Threshold(value=None, color=red), models.Threshold(value=panel.red_below, color=green)]
    else:
        steps = [models.Threshold(value=None, color=green)]
        if panel.red_from is not None:
            steps.append(models.Threshold(value=panel.red_from, color=red))
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def build_panel(panel: Panel) -> stat.Panel | timeseries.Panel:
    """Return the panel as the SDK builds it."""
    source = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
    built: stat.Panel | timeseries.Panel
    if panel.single:
        last = common.ReduceDataOptions().calcs(["lastNotNull"])
        built = stat.Panel().span(6).height(4).reduce_options(last)
    else:
        built = timeseries.Panel().span(8).height(8)
        if panel.red_from is not None:
            style = common.GraphThresholdsStyleConfig().mode(common_models.GraphTresholdsStyleMode.DASHED)
            built = built.thresholds_style(style)
    built = built.title(panel.title).description(panel.description).datasource(source).unit(panel.unit)
    built = built.thresholds(thresholds(panel))
    for number, (expression, legend) in enumerate(panel.queries):
        query = prometheus.Dataquery().expr(expression).legend_format(legend or "__auto").ref_id(chr(ord("A") + number))
        built = built.with_target(query.range().datasource(source))
    return built


def variable(name: str, label: str, query: str, regex: str = "") -> dashboard.QueryVariable:
    """Return a variable whose values Prometheus has; all of them at first, also where the label is absent."""
    built = (
        dashboard.QueryVariable(name).label(label).query(query).refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    )
    source = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
    everything = models.VariableOption(text="All", value="$__all", selected=True)
    return built.datasource(source).regex(regex).include_all(True).all_value(".*").current(everything)


def build(board: Board) -> str:
    """Return the dashboard as JSON."""
    built = (
        dashboard.Dashboard(board.title)
        .uid(f"glioserve-{board.name}")
        .tags(["glioserve"])
        .timezone("browser")
        .refresh("1m")
        .time("now-6h", "now")
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(variable("namespace", "Namespace", "label_values(glioserve_ready, namespace)"))
        .with_variable(
            variable(
                "release", "Release", 'label_values(glioserve_ready{namespace=~"$namespace"}, pod)',
                "/^(.*?)(?:-[a-z0-9]+-[a-z0-9]{5})?$/",
            )
        )
    )  # fmt: skip
    if board.by_version:
        query = f"label_values(glioserve_model_info{{{POD}}}, version)"
        built = built.with_variable(variable("version", "Version", query))
    for title, panels in board.rows:
        built = built.with_row(dashboard.Row(title))
        for panel in panels:
            built = built.with_panel(build_panel(panel))
    made: dict[str, Any] = _with_ids(JSONEncoder(sort_keys=True, indent=2).encode(built.build()))
    return JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False).encode(made) + "\n"


def _with_ids(text: str) -> dict[str, Any]:
    """Give each panel the number of its place."""
    made: dict[str, Any] = json.loads(text)
    for number, panel in enumerate(made["panels"], 1):
        panel["id"] = number
    return made


def main(arguments: Sequence[str]) -> int:
    """Return 0 when every dashboard is (or now is) up to date."""
    stale = []
    for board in BOARDS:
        path = FOLDER / f"{board.name}.json"
        text = build(board)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
            if "--check" not in arguments:
                path.write_text(text, encoding="utf-8")
    if stale:
        print(("out of date, run `make docs`: " if "--check" in arguments else "written: ") + ", ".join(stale))
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
