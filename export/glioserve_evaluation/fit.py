"""Fit a recipe's temperature and threshold to a validation cohort; the network's weights stay as they are.

The result is a copy of the artifact or exported version with a changed recipe, whose provenance names the cohort.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from scipy import special

from glioserve_contract import ErrorCode, GlioserveError, to_dict
from glioserve_contract.records.facts.provenance import CalibrationRecord, TemperatureFit, ThresholdFit
from glioserve_contract.records.recipe import Recipe, parse_recipe
from glioserve_evaluation.figures.assess import scores_of
from glioserve_evaluation.figures.roc import necrosis_auc, operating_point
from glioserve_evaluation.figures.statistics import Scores, Truths
from glioserve_evaluation.runs.results import Outcome
from glioserve_export.files import copy_files, sync_folder
from glioserve_export.version_files import DRIFT_REFERENCE_FILE, MANIFEST_FILE, RECIPE_FILE
from glioserve_networks.calibration import MAX_TEMPERATURE, MIN_TEMPERATURE, cross_entropy, fit_temperature
from glioserve_preprocess.files import load_recipe, save_recipe
from glioserve_registry.recipe_override import with_changed_recipe

_NEAREST_SCORE = 1e-12
"""Least distance of a score from 0 and 1: nearer ones have lost the difference of the logits to rounding."""


@dataclass(frozen=True)
class CalibrationFit:
    """A recipe's temperature and threshold, and the record of their fit."""

    temperature: float
    threshold: float
    record: CalibrationRecord
    """Entry for the recipe's provenance: figures alone, no case."""

    def applied_to(self, recipe: Recipe) -> Recipe:
        """Return the recipe with both numbers; its provenance keeps earlier fits and ends with this one."""
        calibrations = (*recipe.provenance.calibrations, self.record)
        return replace(
            recipe,
            temperature=self.temperature,
            threshold=self.threshold,
            provenance=replace(recipe.provenance, calibrations=calibrations),
        )


def fit(
    outcomes: Sequence[Outcome],
    recipe: Recipe,
    cohort_digest: str,
    *,
    temperature: bool,
    wanted_sensitivity: float | None,
) -> CalibrationFit:
    """Fit a temperature, a threshold for a sensitivity, or both to the answered studies of a validation cohort.

    A temperature alone carries the threshold along, so that no label changes by it. GLIO-5121 where the studies
    do not determine it: one diagnosis alone, or all of them on the right side with room (any smaller temperature would
    then look better).
    """
    answered = [o for o in outcomes if o.labelled]
    scores, necrosis = scores_of(answered)
    if not necrosis.any() or necrosis.all():
        raise _unfit("Studies of both diagnoses must have been answered")
    entry = CalibrationRecord(
        cohort_digest=cohort_digest,
        studies=len(answered),
        necrosis=int(necrosis.sum()),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    fitted, threshold = recipe.temperature, recipe.threshold
    if temperature:
        margins = _margins(scores, recipe.temperature)
        fitted = _temperature(scores, margins, necrosis)
        threshold = float(special.expit(special.logit(recipe.threshold) * recipe.temperature / fitted))
        fit_of_temperature = TemperatureFit(
            before=recipe.temperature,
            after=fitted,
            cross_entropy_before=round(_loss(margins / recipe.temperature, necrosis), 6),
            cross_entropy_after=round(_loss(margins / fitted, necrosis), 6),
        )
        entry = replace(entry, temperature=fit_of_temperature)
        scores = special.expit(margins / fitted)
    if wanted_sensitivity is not None:
        point = operating_point(scores, necrosis, wanted_sensitivity)
        entry = replace(entry, threshold=ThresholdFit(recipe.threshold, threshold, **asdict(point)))
        threshold = point.threshold
    return CalibrationFit(fitted, threshold, entry)


def write_fitted(source: Path, target: Path, found: CalibrationFit) -> Recipe:
    """Write a copy of ``source`` (artifact or exported version) with the fitted recipe into the new folder ``target``.

    Weights keep their digest; an exported copy leaves its evaluation and its variants behind: they belong to the recipe
    before the fit. GLIO-5102 where ``target`` exists.
    """
    there = GlioserveError(ErrorCode.INVALID_ARTIFACT, f"{target.name} exists already.", "Name a new folder.")
    if target.exists():
        raise there
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        stage = Path(scratch) / "fresh"
        stage.mkdir()
        if (source / MANIFEST_FILE).is_file():
            recipe = with_changed_recipe(source, stage, found.applied_to)
        else:
            recipe = _copy_artifact(source, stage, found)
        try:
            stage.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            raise there from error
        sync_folder(target.parent)
    return recipe


def _copy_artifact(source: Path, stage: Path, found: CalibrationFit) -> Recipe:
    from glioserve_networks import load_artifact

    artifact = load_artifact(source)
    recipe = parse_recipe(to_dict(found.applied_to(artifact.recipe)))
    # A drift reference has scores at the old temperature.
    left_behind = (RECIPE_FILE, DRIFT_REFERENCE_FILE)
    copy_files(source, [p.name for p in source.iterdir() if p.is_file() and p.name not in left_behind], stage)
    save_recipe(recipe, stage / RECIPE_FILE)
    load_artifact(stage)  # whole, and of the weights that were evaluated
    return load_recipe(stage / RECIPE_FILE)


def _margins(scores: Scores, temperature: float) -> Scores:
    """Return the difference of the two logits (recurrence less necrosis) that gave each score."""
    margins: Scores = special.logit(np.clip(scores, _NEAREST_SCORE, 1 - _NEAREST_SCORE)) * temperature
    return margins


def _temperature(scores: Scores, margins: Scores, necrosis: Truths) -> float:
    if necrosis_auc(scores, necrosis) == 1 and (margins[necrosis] < 0).all() and (margins[~necrosis] > 0).all():
        raise _unfit(
            "Cannot fit a temperature: every study is already on the correct side of 0.5. Add more, or harder, studies"
        )
    found = fit_temperature(_logits(margins), (~necrosis).astype(np.int64))
    if not 1.01 * MIN_TEMPERATURE < found < 0.99 * MAX_TEMPERATURE:
        raise _unfit(f"The temperature runs to its bound ({found:g}): these studies say the opposite of the network")
    return found


def _loss(margins: Scores, necrosis: Truths) -> float:
    return cross_entropy(_logits(margins), (~necrosis).astype(np.int64))


def _logits(margins: Scores) -> Scores:
    """Return two logits [n, 2] of this difference, zero and the margin; the second is recurrence."""
    return np.stack([np.zeros_like(margins), margins], axis=1)


def _unfit(problem: str) -> GlioserveError:
    return GlioserveError(ErrorCode.INVALID_COHORT, f"{problem}.")
