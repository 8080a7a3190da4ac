"""The files of an evaluation: ``evaluation.json``, ``evaluation.html``, ``cases.csv``; and its lines for a terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

from glioserve_evaluation.figures.figures import Estimate, Proportion
from glioserve_evaluation.reports.html import as_html
from glioserve_evaluation.reports.report import EvaluationReport, report_bytes
from glioserve_evaluation.runs.results import Outcome
from glioserve_export.files import write_if_changed

REPORT_FILE, PAGE_FILE, CASES_FILE = "evaluation.json", "evaluation.html", "cases.csv"


def write_evaluation(report: EvaluationReport, outcomes: Sequence[Outcome], out: Path) -> tuple[Path, ...]:
    """Write the three files into ``out``, each whole or not at all; their paths."""
    contents = {
        REPORT_FILE: report_bytes(report),
        PAGE_FILE: as_html(report).encode(),
        CASES_FILE: cases_csv(outcomes).encode(),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        write_if_changed(out / name, content)
    return tuple(out / name for name in contents)


def cases_csv(outcomes: Sequence[Outcome]) -> str:
    """Return the table of one row per case, whose columns are :class:`Outcome`'s fields."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [f.name for f in fields(Outcome)]
    writer.writerow(names)
    for outcome in outcomes:
        values = (getattr(outcome, name) for name in names)
        writer.writerow(["" if value is None else value for value in values])
    return text.getvalue()


def summary_lines(report: EvaluationReport) -> Iterator[str]:
    """Yield a short table: counts, the main figures with their intervals, warnings."""
    counts, model = report.counts, report.model
    yield f"{model.name} ({model.source}), weights {model.weights_digest[:19]}…, threshold {model.threshold:g}"
    errors = ", ".join(f"{n} x {code}" for code, n in counts.errors.items())
    yield (
        f"{counts.studies} studies ({counts.necrosis} necrosis, {counts.recurrence} recurrence): {counts.answered} "
        f"answered, {counts.abstained} abstained, {counts.failed} failed" + (f" ({errors})" if errors else "")
    )
    yield f"{'':<22}{'answered only':<28}failures count as wrong"
    for name in ("sensitivity", "specificity", "accuracy"):
        answered, every = getattr(report.answered.rates, name), getattr(report.every_study, name)
        yield f"{name:<22}{share(answered):<28}{share(every)}"
    yield f"{'AUC (DeLong)':<22}{figure(report.answered.auc)}"
    yield f"{'AUC (bootstrap)':<22}{figure(report.answered.auc_bootstrap)}"
    yield f"{'calibration error':<22}{_plain(report.answered.calibration_error)}"
    yield f"{'Brier':<22}{_plain(report.answered.brier)}"
    point = report.operating_point
    if point is not None:
        yield (
            f"sensitivity {point.wanted_sensitivity:g} wanted: threshold {point.threshold:.4g} gives "
            f"{point.sensitivity:.3f}, specificity {point.specificity:.3f} on these studies"
        )
    yield from (f"warning: {warning}" for warning in report.warnings)


def share(found: Proportion | None) -> str:
    """Return the proportion as ``7/9 0.78 (0.40-0.96)``."""
    if found is None:
        return "no studies"
    return f"{found.successes}/{found.n} {found.value:.2f} ({found.lower:.2f}-{found.upper:.2f})"


def figure(found: Estimate | None) -> str:
    """Return the estimate as ``0.830 (0.733-0.927)``."""
    if found is None:
        return "one diagnosis alone"
    if found.lower is None or found.upper is None:
        return f"{found.value:.3f}, no interval"
    return f"{found.value:.3f} ({found.lower:.3f}-{found.upper:.3f})"


def _plain(value: float | None) -> str:
    return "no studies" if value is None else f"{value:.3f}"
