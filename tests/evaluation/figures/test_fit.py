"""Fit to a validation cohort: what it teaches a recipe, what it cannot teach it, and the copy that carries it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import special

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.facts.provenance import CalibrationRecord, ProvenanceRecord
from glioserve_contract.records.facts.variants import ComparisonRecord, VariantRecord
from glioserve_contract.records.recipe import Recipe
from glioserve_contract.records.reference_case import REFERENCE_CASE_FILE
from glioserve_evaluation.fit import CalibrationFit, fit, write_fitted
from glioserve_evaluation.reports.report import summary_for_manifest
from glioserve_evaluation.runs.results import Outcome
from glioserve_networks import load_artifact
from glioserve_preprocess.files import file_digest, load_recipe
from glioserve_registry.publishing.publication import checked_export
from glioserve_triton.served.versions import load_manifest, save_manifest
from support.models.recipes import tiny_recipe
from support.models.reference_cases import artifact_with_case
from support.results.evaluation import drawn_outcomes, outcome
from support.results.evaluations import report_for
from support.tensorrt.engines import engine_version

DIGEST = "sha256:" + "c" * 64
FOUND = CalibrationFit(2.5, 0.7, CalibrationRecord(DIGEST, 40, 20, "2031-05-06T07:08:09+00:00"))
OTHER = CalibrationFit(1.5, 0.6, CalibrationRecord(DIGEST, 60, 30, "2031-06-06T07:08:09+00:00"))


def of_temperature(true: float, recipe: Recipe, n: int = 4000) -> list[Outcome]:
    """Answers of a network whose logits tell the truth when they are divided by ``true``."""
    rng = np.random.default_rng(11)
    margins = rng.normal(0.5, 4.0, n) * true / 2
    recurrence = rng.random(n) < special.expit(margins / true)
    scores = special.expit(margins / recipe.temperature)
    labels = np.where(recurrence, "recurrence", "necrosis")
    return [outcome(f"c{i}", str(labels[i]), float(scores[i])) for i in range(n)]


def fitted(
    outcomes: list[Outcome], recipe: Recipe | None = None, *, sensitivity: float | None = None
) -> CalibrationFit:
    return fit(outcomes, recipe or tiny_recipe(), DIGEST, temperature=True, wanted_sensitivity=sensitivity)


@pytest.mark.parametrize("stored", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("true", [0.4, 1.0, 3.0])
def test_the_temperature_is_that_of_the_logits_whatever_the_recipe_divided_them_by(true: float, stored: float) -> None:
    recipe = replace(tiny_recipe(), temperature=stored)
    found = fitted(of_temperature(true, recipe), recipe)
    assert found.temperature == pytest.approx(true, rel=0.08)
    told = found.record.temperature
    assert told is not None
    assert (told.before, told.after) == (stored, found.temperature)
    assert told.cross_entropy_after <= told.cross_entropy_before


def test_overconfident_scores_are_cooled_and_say_by_how_much() -> None:
    found = fitted(drawn_outcomes(4, 60, 140, temperature=8.0))
    assert found.temperature > 5
    told = found.record.temperature
    assert told is not None
    assert told.cross_entropy_after < 0.5 * told.cross_entropy_before
    assert (found.record.cohort_digest, found.record.studies, found.record.necrosis) == (
        DIGEST, 200, 60,
    )  # fmt: skip


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.83])
def test_a_temperature_alone_carries_the_threshold_so_that_no_label_changes(threshold: float) -> None:
    recipe = replace(tiny_recipe(), threshold=threshold, temperature=0.5)
    outcomes = drawn_outcomes(5, 40, 60, temperature=2.0)
    found = fitted(outcomes, recipe)
    assert found.temperature != 0.5
    scores = np.array([o.score for o in outcomes])
    cooled = special.expit(special.logit(scores) * recipe.temperature / found.temperature)
    np.testing.assert_array_equal(cooled >= found.threshold, scores >= threshold)
    assert threshold == 0.5 or found.threshold != threshold


def test_a_threshold_alone_leaves_the_temperature() -> None:
    outcomes = drawn_outcomes(6, 30, 70)
    recipe = replace(tiny_recipe(), temperature=0.7)
    found = fit(outcomes, recipe, DIGEST, temperature=False, wanted_sensitivity=0.9)
    called = [o.score < found.threshold for o in outcomes if o.label == "necrosis"]
    assert np.mean(called) == pytest.approx(0.9)
    assert found.temperature == 0.7
    assert found.record.temperature is None
    told = found.record.threshold
    assert told is not None
    assert (told.before, told.wanted_sensitivity, told.sensitivity) == (0.5, 0.9, pytest.approx(0.9))


def test_both_give_the_threshold_of_the_scores_after_the_temperature() -> None:
    outcomes = drawn_outcomes(7, 30, 70, temperature=3.0)
    found = fitted(outcomes, sensitivity=0.9)
    scores = np.array([o.score for o in outcomes])
    necrosis = np.array([o.label == "necrosis" for o in outcomes])
    cooled = special.expit(special.logit(scores) / found.temperature)
    assert np.mean(cooled[necrosis] < found.threshold) == pytest.approx(0.9)
    assert np.mean(scores[necrosis] < found.threshold) != pytest.approx(0.9), "of the scores as they were"
    assert found.record.threshold is not None
    assert found.record.threshold.carried == pytest.approx(0.5)


def test_what_failed_or_abstained_teaches_nothing() -> None:
    answered = drawn_outcomes(8, 30, 70, temperature=2.0)
    noise = [outcome(f"a{i}", "necrosis", 0.999, abstained=1) for i in range(50)]
    failed = [outcome(f"f{i}", "recurrence", None, error="GLIO-1303") for i in range(5)]
    found, alone = fitted([*answered, *noise, *failed]), fitted(answered)
    assert (found.temperature, found.record.studies) == (alone.temperature, 100)


def test_scores_of_exactly_zero_and_one_are_taken() -> None:
    outcomes = [*drawn_outcomes(9, 30, 70), outcome("x", "necrosis", 0.0), outcome("y", "recurrence", 1.0)]
    assert 0.1 < fitted(outcomes).temperature < 10


@pytest.mark.parametrize(
    ("outcomes", "told"),
    [
        ([outcome("a", "necrosis", 0.2), outcome("b", "necrosis", 0.7)], "both diagnoses"),
        (
            [outcome("a", "necrosis", 0.2), outcome("b", "recurrence", 0.9, abstained=1)],
            "both diagnoses must have been answered",
        ),
        ([outcome("a", "necrosis", 0.4), outcome("b", "recurrence", 0.6)], "already on the correct side of 0.5"),
        (
            [outcome("a", "necrosis", 0.8), outcome("b", "recurrence", 0.2), outcome("c", "recurrence", 0.3)],
            "the opposite of the network",
        ),
    ],
    ids=["one diagnosis", "one diagnosis answered", "apart", "inverted"],
)
def test_studies_that_cannot_teach_a_temperature_are_refused(outcomes: list[Outcome], told: str) -> None:
    with pytest.raises(GlioserveError, match=told) as caught:
        fitted(outcomes)
    assert caught.value.code is ErrorCode.INVALID_COHORT


def test_what_was_fitted_before_stays_in_the_provenance() -> None:
    recipe = replace(tiny_recipe(), provenance=ProvenanceRecord(notes={"seed": 3}))
    twice = OTHER.applied_to(FOUND.applied_to(recipe))
    assert (twice.temperature, twice.threshold) == (1.5, 0.6)
    assert twice.provenance == ProvenanceRecord(notes={"seed": 3}, calibrations=(FOUND.record, OTHER.record))


def test_an_artifacts_copy_has_the_recipe_the_same_weights_and_its_reference_case(tmp_path: Path) -> None:
    source, target = tmp_path / "artifact", tmp_path / "new" / "fitted"
    artifact_with_case(source, tiny_recipe())
    before = {p.name: file_digest(p) for p in source.iterdir()}
    returned = write_fitted(source, target, FOUND)
    copy, original = load_artifact(target), load_artifact(source)
    assert copy.recipe == returned
    assert copy.recipe == FOUND.applied_to(original.recipe)
    assert copy.weights_digest == original.weights_digest
    assert copy.reference_case is not None, "its score is before the temperature, so it still holds"
    assert file_digest(target / REFERENCE_CASE_FILE) == before[REFERENCE_CASE_FILE]
    assert {p.name: file_digest(p) for p in source.iterdir()} == before
    assert [p.name for p in target.parent.iterdir()] == ["fitted"]


def judged_version(folder: Path) -> Path:
    """An exported version with stored answers, a variant and an evaluation."""
    manifest = load_manifest(engine_version(folder))
    figures = ComparisonRecord(8, 0.001, 0, 0.99, 0.999, 1.0)
    variants = {"fp16": VariantRecord("model_fp16.onnx", "onnxruntime, CPU", figures, manifest.recipe.variant_limits)}
    evaluation = summary_for_manifest(report_for(manifest))
    save_manifest(replace(manifest, variants=variants, evaluation=evaluation), folder)
    return folder


def test_a_versions_copy_leaves_behind_what_the_recipe_before_was_judged_by(tmp_path: Path) -> None:
    source = judged_version(tmp_path / "version")
    target = tmp_path / "fitted"
    write_fitted(source, target, FOUND)
    original, copy = load_manifest(source), checked_export(target)
    assert (copy.variants, copy.evaluation) == ({}, None)
    assert (
        set(copy.files)
        == {"model.onnx", "recipe.json", "vectors.npz"}
        == {p.name for p in target.iterdir()} - {"manifest.json"}
    )
    assert (copy.weights_digest, copy.parity) == (original.weights_digest, original.parity)
    assert copy.preprocessing_digest == original.preprocessing_digest, "it may join the same repository"
    assert (copy.recipe.temperature, copy.recipe.threshold) == (2.5, 0.7)
    assert load_recipe(target / "recipe.json") == copy.recipe
    assert load_manifest(source).evaluation is not None


def test_a_folder_that_is_there_is_never_written_into(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    source = judged_version(tmp_path / "version")
    with pytest.raises(GlioserveError, match="taken exists already") as caught:
        write_fitted(source, tmp_path / "taken", FOUND)
    assert caught.value.code is ErrorCode.INVALID_ARTIFACT
    assert list((tmp_path / "taken").iterdir()) == []


@pytest.mark.parametrize("kind", ["artifact", "version"])
def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, kind: str) -> None:
    """A threshold of 1 is in no recipe."""
    source = tmp_path / kind
    if kind == "artifact":
        artifact_with_case(source, tiny_recipe())
    else:
        judged_version(source)
    names = {p.name for p in tmp_path.iterdir()}
    with pytest.raises(GlioserveError, match="threshold") as caught:
        write_fitted(source, tmp_path / "fitted", replace(FOUND, threshold=1.0))
    assert caught.value.code is ErrorCode.INVALID_RECIPE
    assert {p.name for p in tmp_path.iterdir()} == names
