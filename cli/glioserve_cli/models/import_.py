"""``glioserve import``: an outside checkpoint and a recipe into an artifact."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from glioserve_contract.records.recipe import Recipe
from glioserve_contract.records.reference_case import REFERENCE_CASE_FILE
from glioserve_export.importer import Imported, import_checkpoint, with_case
from glioserve_networks.architectures.options import defaults_of
from glioserve_preprocess.files import load_recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``glioserve import CHECKPOINT --recipe FILE --out DIR [--reference-case FILE --reference-score S]``."""
    add = parser.add_argument
    add(
        "checkpoint",
        type=Path,
        metavar="CHECKPOINT",
        help="PyTorch state dict (.pt, .pth), .safetensors, or MONAI bundle (folder or .zip)",
    )
    add("--recipe", type=Path, required=True, metavar="FILE", help="recipe.json of the network: nothing is guessed")
    add("--out", type=Path, required=True, metavar="DIR", help="the artifact; an artifact that is there is replaced")
    add(
        "--reference-case",
        type=Path,
        metavar="FILE",
        help="study with a known answer, .npz (docs/networks.md); default: reference_case.npz beside the recipe, where "
        "the recipe has one",
    )
    add("--reference-score", type=float, metavar="P", help="probability of recurrence that the network gives there")
    add("--reference-tolerance", type=float, metavar="T", help="default: 0.01")


def run(args: argparse.Namespace) -> int:
    """Import, and say what was taken on trust."""
    recipe, case = load_recipe(args.recipe), None
    file = args.reference_case
    if file is None and (recipe.reference_case is not None or args.reference_score is not None):
        file = args.recipe.parent / REFERENCE_CASE_FILE
    if file is not None:
        recipe, case = with_case(recipe, file, args.reference_score, args.reference_tolerance)
    imported = import_checkpoint(args.checkpoint, recipe, args.out, case)
    for line in summary(imported, f"{args.out}"):
        print(line)
    return 0


def summary(imported: Imported, where: str) -> Iterator[str]:
    """Yield what was imported and changed, the values taken from the recipe unchecked, and what the case showed."""
    recipe = imported.recipe
    yield f"imported {recipe.name} as {where}"
    yield f"  source    {imported.source_format}, {imported.source_digest}"
    yield f"  weights   {imported.weights_digest}"
    yield from (f"  note      {note}" for note in imported.notes)
    yield "taken from the recipe as it stands, for a state dict does not hold it:"
    yield from (f"  {name:<9} {value}" for name, value in _taken(recipe))
    yield from _judged(imported)


def _taken(recipe: Recipe) -> Iterator[tuple[str, str]]:
    options = {**defaults_of(recipe.architecture.name), **recipe.architecture.options}
    yield "network", f"{recipe.architecture.name} {json.dumps(options)}: strides and pooling above all"
    yield "channels", f"{', '.join(m.value for m in recipe.channels)}, in this order"
    yield "classes", f"{', '.join(recipe.classes)}, in this order"
    x, y, z = recipe.grid.size_voxels
    yield "grid", f"{x} x {y} x {z} voxels of {' x '.join(f'{s:g}' for s in recipe.grid.spacing_mm)} mm (x, y, z)"
    percentiles = recipe.intensity.percentiles
    yield "intensity", recipe.intensity.method + (f" {percentiles[0]:g} to {percentiles[1]:g} %" if percentiles else "")
    yield "brain", f"{recipe.brain_extraction.method} {recipe.brain_extraction.model or ''}".rstrip()
    yield "answer", f"threshold {recipe.threshold:g}, temperature {recipe.temperature:g}"


def _judged(imported: Imported) -> Iterator[str]:
    case = imported.recipe.reference_case
    if case is None or imported.score is None:
        yield (
            "reference case: none. Names and shapes fit whatever the strides and the order of channels and classes "
            "are; a wrong one spoils or inverts every answer without a sign of it. Give a study whose score is known "
            "from where the network was trained: --reference-case FILE.npz --reference-score P (docs/networks.md)."
        )
        return
    yield f"reference case: score {imported.score:.4f}, expected {case.score:.4f} (within {case.tolerance:g})"
    if not imported.case_names_channels:
        yield (
            "  note: the case's file does not name its channels: they are taken to be in the recipe's order, so that a "
            "swapped order is seen only if the image was made by this recipe."
        )
    for first, second in imported.unnoticed_swaps:
        yield f"  note: {first} and {second} could be swapped and this case would not tell; another one may."
