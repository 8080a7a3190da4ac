"""An outside checkpoint to an artifact: read, held to the recipe, run once, judged by the reference case, written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import version as package_version
from pathlib import Path

import numpy as np
from torch import nn

from glioserve_contract import ErrorCode, GlioserveError, to_dict
from glioserve_contract.records.facts.provenance import ImportRecord
from glioserve_contract.records.recipe import Recipe, ReferenceCase, parse_recipe
from glioserve_contract.records.reference_case import REFERENCE_CASE_FILE
from glioserve_export.reference_case import check_network, network_logits, unnoticed_swaps
from glioserve_networks import build, save_artifact
from glioserve_networks.architectures.options import shapes_of
from glioserve_networks.checkpoints.bundle import compare, is_bundle, open_bundle
from glioserve_networks.checkpoints.checkpoint import Checkpoint, read_weights
from glioserve_networks.checkpoints.fit import Fitted, fit
from glioserve_networks.reference_case import StoredCase, load_case

_LIBRARIES = ("glioserve", "torch", "monai", "safetensors")
_ROOM_BYTES = 64 << 20
_BYTES_A_NUMBER = 32
"""Bytes that a bundle's ``model.pt`` may unpack to for each number of the network: double precision with an
optimiser's two moments and one more copy."""


@dataclass(frozen=True)
class Imported:
    """Result of an import."""

    recipe: Recipe
    weights_digest: str
    source_format: str
    source_digest: str
    notes: tuple[str, ...]
    """Changes and comparisons on the way, a line each."""
    score: float | None
    """Score of the reference case; None where there is no case."""
    unnoticed_swaps: tuple[tuple[str, str], ...] = ()
    """Pairs of channels that the case would not tell apart."""
    case_names_channels: bool = False


def import_checkpoint(source: Path, recipe: Recipe, out: Path, case: StoredCase | None = None) -> Imported:
    """Write the artifact ``out`` from ``source``: a state dict, a safetensors file or a MONAI bundle.

    ``case`` is the file of ``recipe.reference_case``. GLIO-5116 for a checkpoint that is not the recipe's network's,
    GLIO-5117 where the network gives the case another score; nothing is written then.
    """
    if (case is None) != (recipe.reference_case is None):
        raise GlioserveError(ErrorCode.INVALID_RECIPE, "A reference case needs both its file and its expected score.")
    checkpoint, fitted, compared = _read(source, recipe)
    network = build(recipe.architecture, len(recipe.channels))
    network.load_state_dict(fitted.state_dict)
    network.eval()
    score = None
    swaps: tuple[tuple[str, str], ...] = ()
    if case is None:
        _check_answers(network, recipe)
    else:
        score, swaps = check_network(network, case, recipe), unnoticed_swaps(network, case, recipe)
    notes = (*checkpoint.notes, *fitted.notes)
    described = replace(recipe, provenance=replace(recipe.provenance, imported=_record(checkpoint, notes)))
    digest = save_artifact(out, described, fitted.state_dict, None if case is None else case.content)
    return Imported(
        recipe=described,
        weights_digest=digest,
        source_format=checkpoint.format,
        source_digest=checkpoint.digest,
        notes=(*notes, *compared),
        score=score,
        unnoticed_swaps=swaps,
        case_names_channels=case is not None and case.names_channels,
    )


def with_case(recipe: Recipe, file: Path, score: float | None, tolerance: float | None) -> tuple[Recipe, StoredCase]:
    """Return the recipe with ``file`` as its reference case, and the case.

    A recipe that has one already decides on score and tolerance, and must mean this file (GLIO-5101, GLIO-5102).
    """
    case = load_case(file, recipe)
    stated = recipe.reference_case
    if stated is None:
        if score is None:
            raise GlioserveError(
                ErrorCode.INVALID_RECIPE, "The reference case's expected score is missing: say --reference-score."
            )
        stated = (
            ReferenceCase(case.digest, score) if tolerance is None else ReferenceCase(case.digest, score, tolerance)
        )
    elif (score, tolerance) != (None, None) and (score, tolerance) != (stated.score, stated.tolerance):
        raise GlioserveError(
            ErrorCode.INVALID_RECIPE,
            f"The recipe's reference_case has the score {stated.score} within {stated.tolerance} already: "
            "leave out --reference-score and --reference-tolerance, or change the recipe.",
        )
    elif stated.digest != case.digest:
        raise GlioserveError(ErrorCode.INVALID_ARTIFACT, f"{REFERENCE_CASE_FILE} is not the recipe's: {case.digest}.")
    return parse_recipe(to_dict(replace(recipe, reference_case=stated))), case


def _read(source: Path, recipe: Recipe) -> tuple[Checkpoint, Fitted, tuple[str, ...]]:
    """Return the checkpoint, its weights as the network takes them, and what a bundle's metadata was compared with."""
    if not is_bundle(source):
        checkpoint = read_weights(source)
        return checkpoint, fit(checkpoint, recipe), ()
    shapes = shapes_of(recipe.architecture, len(recipe.channels)).values()
    numbers = sum(int(np.prod(shape, dtype=np.int64)) for shape in shapes)
    with open_bundle(source, _ROOM_BYTES + _BYTES_A_NUMBER * numbers) as bundle:
        compared = compare(bundle, recipe)
        weights = read_weights(bundle.model)
        checkpoint = replace(weights, format=f"MONAI bundle, {weights.format}", digest=bundle.digest)
        return checkpoint, fit(checkpoint, recipe), compared


def _check_answers(network: nn.Module, recipe: Recipe) -> None:
    """Run one synthetic study: the grid must be large enough for the network, and its answer finite."""
    shape = (len(recipe.channels), *recipe.grid.shape)
    ramp = np.linspace(0, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    if not np.isfinite(network_logits(network, ramp)).all():
        raise GlioserveError(ErrorCode.INVALID_CHECKPOINT, "The network answers a made study with no finite numbers.")


def _record(checkpoint: Checkpoint, notes: tuple[str, ...]) -> ImportRecord:
    """Return the origin of the weights; no name and no path, which may identify people."""
    return ImportRecord(
        format=checkpoint.format,
        source_digest=checkpoint.digest,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        changes=notes,
        versions={name: package_version(name) for name in _LIBRARIES},
    )
