"""``evaluation.html``: one page that needs nothing else, for readers who must judge a network."""

from __future__ import annotations

import base64
from functools import cache

from jinja2 import Template

from glioserve_client.templates import page_template
from glioserve_contract.errors import find_code
from glioserve_evaluation.figures.figures import INTERVAL_NAMES, Estimate, Proportion, TTest
from glioserve_evaluation.reports.plots import calibration_plot, confusion_plot, roc_plot
from glioserve_evaluation.reports.report import COUNTINGS, EvaluationReport


def as_html(report: EvaluationReport) -> str:
    """Return the page; everything that is text in the report is text on it."""
    return _template().render(
        r=report,
        countings=COUNTINGS,
        methods=INTERVAL_NAMES,
        views={"answered": report.answered, "scored": report.scored},
        plots=_plots(report),
    )


def _plots(report: EvaluationReport) -> dict[str, str]:
    """Return a data URL for each caption: an image keeps its ids and styles to itself."""
    found = {}
    figures = report.answered
    sensitivity, specificity = figures.rates.sensitivity, figures.rates.specificity
    if figures.auc is not None and sensitivity is not None and specificity is not None:
        used = (1 - specificity.value, sensitivity.value)
        found["ROC curve"] = roc_plot(report.roc, figures.auc, used, report.operating_point)
    if figures.rates.n:
        found["Calibration: studies by bin"] = calibration_plot(report.calibration)
        found["Confusion matrix"] = confusion_plot(figures.confusion)
    return {
        caption: "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
        for caption, svg in found.items()
    }


@cache
def _template() -> Template:
    return page_template(
        "glioserve_evaluation",
        "reports",
        "page.html.j2",
        {"share": _share, "estimate": _estimate, "number": _number, "test": _test, "meaning": _meaning},
    )


def _share(found: Proportion | None) -> str:
    if found is None:
        return "no studies"
    return f"{found.value:.3f} ({found.lower:.3f} to {found.upper:.3f}), {found.successes} of {found.n}"


def _estimate(found: Estimate | None) -> str:
    if found is None:
        return "needs both diagnoses"
    if found.lower is None or found.upper is None:
        return f"{found.value:.3f}, no interval"
    return f"{found.value:.3f} ({found.lower:.3f} to {found.upper:.3f})"


def _number(value: float | None) -> str:
    return "no studies" if value is None else f"{value:.3f}"


def _meaning(code: str) -> str:
    known = find_code(code)
    return "An error that no stage knows; cases.csv has its kind." if known is None else known.row.summary


def _test(found: TTest | None) -> tuple[str, str, str, str]:
    """Return the test's n, mean with interval, t and p as text."""
    if found is None:
        return "fewer than two, or all equal", "", "", ""
    mean = f"{found.mean:.3f} ({found.lower:.3f} to {found.upper:.3f})"
    p = "< 0.0001" if found.p < 1e-4 else f"{found.p:.4f}"
    return str(found.n), mean, f"{found.t:.2f} ({found.degrees_of_freedom} df)", p
