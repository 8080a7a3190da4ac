"""The published study's tables: the figures of every cell, by the evaluation's own methods."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from glioserve_contract import CONTRACT_VERSION, NOT_FOR_CLINICAL_USE, to_dict
from glioserve_evaluation.figures.figures import Estimate, Proportion, TTest
from glioserve_evaluation.figures.roc import auc_delong
from glioserve_evaluation.figures.statistics import proportion, t_test
from glioserve_evaluation.grid.cells import CellResult
from glioserve_evaluation.runs.run import without_identifiers
from glioserve_training.cohort_dataset import CohortDataset, LabelledStudy

GRID_SCHEMA = "glioserve/grid/1"
GRID_FILE = "grid.json"


@dataclass(frozen=True)
class GridRow:
    """A cell's figures on the test side; necrosis is the positive class."""

    network: str
    sequences: str
    cases: int
    sensitivity: Proportion | None
    specificity: Proportion | None
    accuracy: Proportion | None
    auc: Estimate
    t_test: TTest | None
    """Test of all scores against 0.5."""
    t_test_necrosis: TTest | None
    t_test_recurrence: TTest | None
    best_epoch: int
    validation_auc: float
    weights_digest: str


def row_of(result: CellResult, threshold: float) -> GridRow:
    """Compute the figures of one cell's scores, by the evaluation's own methods."""
    scores = np.array(result.scores, dtype=np.float64)
    necrosis = np.array([label == "necrosis" for label in result.labels])
    right = (scores < threshold) == necrosis
    return GridRow(
        network=result.cell.network,
        sequences="+".join(result.cell.channels),
        cases=len(scores),
        sensitivity=proportion(int(right[necrosis].sum()), int(necrosis.sum())),
        specificity=proportion(int(right[~necrosis].sum()), int((~necrosis).sum())),
        accuracy=proportion(int(right.sum()), len(right)),
        auc=auc_delong(scores, necrosis),
        t_test=t_test(scores),
        t_test_necrosis=t_test(scores[necrosis]),
        t_test_recurrence=t_test(scores[~necrosis]),
        best_epoch=result.best_epoch,
        validation_auc=result.validation_auc,
        weights_digest=result.weights_digest,
    )


def table(rows: Sequence[GridRow]) -> list[str]:
    """Yield one line per cell, intervals of 95% in brackets."""
    head = [
        "sequences",
        "network",
        "n",
        "sensitivity",
        "specificity",
        "accuracy",
        "AUC",
        "p(necrosis)",
        "p(recurrence)",
    ]
    lines = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return ["", *("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines), ""]


def exclusions(datasets: dict[str, CohortDataset]) -> list[str]:
    """Return a line for each study that no cell used, since some combination could not preprocess it."""
    found = {e.case: (name, e.code) for name, dataset in datasets.items() for e in dataset.excluded}
    return [f"left out of every cell: {case} ({code} for {name})" for case, (name, code) in sorted(found.items())]


def without_names(dataset: CohortDataset, studies: Sequence[LabelledStudy]) -> CohortDataset:
    """Return the dataset with no study's folder named in its exclusions: it may carry a patient's name."""
    folders = {study.case: study.folder for study in studies}
    excluded = (replace(e, detail=without_identifiers(e.detail, folders[e.case])) for e in dataset.excluded)
    return replace(dataset, excluded=tuple(excluded))


def write(
    out: Path, rows: Sequence[GridRow], datasets: dict[str, CohortDataset], settings: Mapping[str, object]
) -> None:
    """Write ``grid.json`` with everything, ``grid.csv`` with the table."""
    record = {
        "schema": GRID_SCHEMA,
        "notice": NOT_FOR_CLINICAL_USE,
        "contract_version": CONTRACT_VERSION,
        **settings,
        "rows": [to_dict(row) for row in rows],
        "excluded": {name: [to_dict(e) for e in d.excluded] for name, d in datasets.items() if d.excluded},
    }
    (out / GRID_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    with (out / "grid.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["sequences", "network", "cases", "figure", "value", "lower", "upper"])
        for row in rows:
            for name in ("sensitivity", "specificity", "accuracy", "auc"):
                figure = getattr(row, name)
                if figure is not None:
                    writer.writerow(
                        [row.sequences, row.network, row.cases, name, figure.value, figure.lower, figure.upper]
                    )


def _cells(row: GridRow) -> list[str]:
    figures = (row.sensitivity, row.specificity, row.accuracy, row.auc)
    p_values = (row.t_test_necrosis, row.t_test_recurrence)
    return [
        row.sequences,
        row.network,
        str(row.cases),
        *(_figure(figure) for figure in figures),
        *("–" if test is None else f"{test.p:.2g}" for test in p_values),
    ]


def _figure(figure: Proportion | Estimate | None) -> str:
    if figure is None:
        return "–"
    if figure.lower is None or figure.upper is None:
        return f"{figure.value:.2f}"
    return f"{figure.value:.2f} ({figure.lower:.2f} to {figure.upper:.2f})"
