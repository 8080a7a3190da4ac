"""``glioserve train-grid``: the published study's tables, every network on every combination of sequences, of a cohort.

Binds training (:mod:`glioserve_training.grid`) to the evaluation's figures.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glioserve_contract import CONTRACT_VERSION, NOT_FOR_CLINICAL_USE, ErrorCode, GlioserveError, Modality, to_dict
from glioserve_contract.recipe import CLASSES, Architecture, Grid, Recipe, load_recipe

if TYPE_CHECKING:
    from glioserve_export.evaluation.figures import Estimate, Proportion, TTest
    from glioserve_training.cohort_dataset import CohortDataset, LabelledStudy
    from glioserve_training.grid import Cell, CellResult

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
    """Of all scores against 0.5."""
    t_test_necrosis: TTest | None
    t_test_recurrence: TTest | None
    best_epoch: int
    validation_auc: float
    weights_digest: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add = parser.add_argument
    add("--cohort", type=Path, required=True, metavar="CSV", help="columns study, label, and case or group if wanted")
    add("--out", type=Path, required=True, metavar="DIR", help="artifacts, tensors, grid.json and grid.csv")
    add("--networks", nargs="+", metavar="NAME", help="default: the study's six")
    add("--sequences", nargs="+", metavar="A+B", help="default: t1 t2 t1ce t1+t1ce+t2 t1+t1ce+t2+flair")
    add("--preset", choices=("paper", "demo"), default="paper", help="how each is trained (default: as published)")
    add("--epochs", type=int, help="instead of the preset's")
    add("--seed", type=int, default=0, help="of the split, the weights and their training")
    add("--recipe", type=Path, help="recipe.json that gives grid, slice rule and intensities (default: production's)")
    add("--options", type=Path, metavar="JSON", help='options by network: {"resnet10": {"widen_factor": 0.25}}')
    add("--workers", type=int, default=2, help="processes that preprocess studies")


def run(args: argparse.Namespace) -> int:
    """Train what is not trained yet, print the table, write it."""
    from glioserve_export.evaluation.cohort import load_cohort
    from glioserve_networks import architectures
    from glioserve_training.cohort_dataset import LabelledStudy
    from glioserve_training.grid import STUDY_NETWORKS, STUDY_SEQUENCES, Cell, GridPlan, run_grid
    from glioserve_training.settings import PRESETS

    networks = args.networks or list(STUDY_NETWORKS)
    if unknown := set(networks) - set(architectures()):
        raise GlioserveError(
            ErrorCode.UNSUPPORTED_ARCHITECTURE, f"{', '.join(sorted(unknown))}; known: {', '.join(architectures())}."
        )
    combinations = [_channels(text) for text in args.sequences] if args.sequences else list(STUDY_SEQUENCES)
    settings = replace(PRESETS[args.preset], seed=args.seed)
    settings = replace(settings, epochs=args.epochs or settings.epochs)
    cells = tuple(Cell(network, channels) for channels in combinations for network in networks)
    plan = GridPlan(_base(args.recipe), cells, settings, _options(args.options))
    cohort = load_cohort(args.cohort)
    studies = [LabelledStudy(case.case, case.folder, case.label) for case in cohort.cases]

    def on_cell(cell: Cell, result: CellResult | None) -> None:
        print(f"{cell.name}: " + ("training" if result is None else f"epoch {result.best_epoch} kept"), flush=True)

    results, datasets = run_grid(plan, studies, args.out, workers=args.workers, on_cell=on_cell)
    datasets = {name: without_names(dataset, studies) for name, dataset in datasets.items()}
    rows = [row_of(result, plan.base.threshold) for result in results]
    for line in table(rows):
        print(line)
    for line in exclusions(datasets):
        print(line)
    write(args.out, rows, datasets, {"settings": asdict(settings), "cohort_digest": cohort.digest})
    print(f"{args.out / GRID_FILE}, {args.out / 'grid.csv'}; artifacts under {args.out / 'cells'}")
    return 0


def row_of(result: CellResult, threshold: float) -> GridRow:
    """The figures of one cell's scores, by the evaluation's own methods."""
    import numpy as np

    from glioserve_export.evaluation.roc import auc_delong
    from glioserve_export.evaluation.statistics import proportion, t_test

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
    """One line a cell, intervals of 95% in brackets."""
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
    """Which studies no cell used, since some combination could not preprocess them."""
    found = {e.case: (name, e.code) for name, dataset in datasets.items() for e in dataset.excluded}
    return [f"left out of every cell: {case} ({code} for {name})" for case, (name, code) in sorted(found.items())]


def without_names(dataset: CohortDataset, studies: Sequence[LabelledStudy]) -> CohortDataset:
    """The dataset, in whose exclusions no study's folder is named: it may carry a patient's name."""
    from glioserve_export.evaluation.run import without_identifiers

    folders = {study.case: study.folder for study in studies}
    told = (replace(e, detail=without_identifiers(e.detail, folders[e.case])) for e in dataset.excluded)
    return replace(dataset, excluded=tuple(told))


def write(out: Path, rows: Sequence[GridRow], datasets: dict[str, CohortDataset], settings: dict[str, Any]) -> None:
    """``grid.json`` with everything, ``grid.csv`` with the table."""
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


def _channels(text: str) -> tuple[Modality, ...]:
    names = text.split("+")
    known = {m.value: m for m in Modality}
    if len(set(names)) != len(names) or not set(names) <= set(known):
        raise GlioserveError(
            ErrorCode.INVALID_RECIPE, f"--sequences {text}: different ones of {', '.join(known)}, joined by '+'."
        )
    return tuple(known[name] for name in names)


def _base(path: Path | None) -> Recipe:
    if path is not None:
        return load_recipe(path)
    channels = (Modality.T1, Modality.T1CE, Modality.T2)
    return Recipe("glioserve/recipe/1", "grid", Architecture("resnet10"), channels, CLASSES, Grid())


def _options(path: Path | None) -> dict[str, dict[str, Any]]:
    if path is None:
        return {}
    try:
        options = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise GlioserveError(ErrorCode.INVALID_RECIPE, f"{path.name} cannot be read: {error}.") from error
    if not isinstance(options, dict) or not all(isinstance(value, dict) for value in options.values()):
        raise GlioserveError(ErrorCode.INVALID_RECIPE, f"{path.name} must map a network's name to its options.")
    return options
