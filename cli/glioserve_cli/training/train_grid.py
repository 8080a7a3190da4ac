"""``glioserve train-grid``: the published study's tables, every network and combination of sequences."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glioserve_cli import argtypes
from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.records.recipe import CLASSES, RECIPE_SCHEMA, Architecture, Grid, Recipe
from glioserve_preprocess.files import load_recipe

if TYPE_CHECKING:
    from glioserve_evaluation.grid.cells import Cell, CellResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add = parser.add_argument
    add("--cohort", type=Path, required=True, metavar="CSV", help="columns study, label, and case or group if wanted")
    add("--out", type=Path, required=True, metavar="DIR", help="artifacts, tensors, grid.json and grid.csv")
    add("--networks", nargs="+", metavar="NAME", help="default: the study's six")
    add("--sequences", nargs="+", metavar="A+B", help="default: t1 t2 t1ce t1+t1ce+t2 t1+t1ce+t2+flair")
    add("--preset", choices=("paper", "demo"), default="paper", help="how each is trained (default: as published)")
    add("--epochs", type=argtypes.count, help="instead of the preset's")
    add("--seed", type=int, default=0, help="of the split, the weights and their training")
    add("--recipe", type=Path, help="recipe.json that gives grid, slice rule and intensities (default: production's)")
    add("--options", type=Path, metavar="JSON", help='options by network: {"resnet10": {"widen_factor": 0.25}}')
    add("--workers", type=argtypes.count, default=2, help="processes that preprocess studies")


def run(args: argparse.Namespace) -> int:
    """Train what is not trained yet, print the table, write it."""
    from glioserve_evaluation.grid.cells import STUDY_NETWORKS, STUDY_SEQUENCES, Cell, GridPlan, run_grid
    from glioserve_evaluation.grid.tables import GRID_FILE, exclusions, row_of, table, without_names, write
    from glioserve_evaluation.runs.cohort import load_cohort
    from glioserve_networks import architectures
    from glioserve_training.cohort_dataset import LabelledStudy
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
    return Recipe(RECIPE_SCHEMA, "grid", Architecture("resnet10"), channels, CLASSES, Grid())


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
