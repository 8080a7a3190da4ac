"""A repository that was made under contract 1 goes on: it is read, verified, promoted in and published from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from glioserve_contract import SchemaError, from_dict
from glioserve_contract.records.facts.evaluation import EvaluationFigure
from glioserve_contract.records.facts.parity import ParityRecord, ReferenceCaseParity
from glioserve_contract.records.manifest import MANIFEST_SCHEMA, Manifest
from glioserve_contract.records.promotion import CanaryRecord, parse_promotion
from glioserve_contract.records.recipe import Recipe, parse_recipe, preprocessing_digest
from glioserve_contract.records.version_1 import manifest_of_1, promotion_of_1, recipe_of_1
from glioserve_registry.layout.repository import add_version, versions
from glioserve_registry.layout.serving import version_folder
from glioserve_registry.layout.verify import verify
from glioserve_registry.promoting.promotion import promote, rollback
from glioserve_registry.publishing.publication import checked_export
from glioserve_triton.served.promotions import load_promotion, serving_version
from glioserve_triton.served.versions import load_manifest
from support.models.recipes import fake_export, tiny_recipe

MADE = Path(__file__).parent / "contract_1"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy that may be changed."""
    shutil.copytree(MADE, tmp_path / "repository", ignore=shutil.ignore_patterns("README.md"))
    return tmp_path / "repository"


def written(name: str) -> dict[str, object]:
    """The plain values of a file of version 1."""
    value: dict[str, object] = json.loads((MADE / "classifier" / "1" / name).read_text())
    return value


def test_a_manifest_is_read_into_records_with_nothing_lost() -> None:
    manifest = load_manifest(MADE / "classifier" / "1", verify_files=True)
    assert manifest.schema == MANIFEST_SCHEMA
    assert [(f.output, f.difference) for f in manifest.parity.figures] == [("LOGITS", 1e-6), ("CAM", 5e-6)]
    assert manifest.parity.model_id_equal
    assert (manifest.parity.inputs, manifest.parity.batches) == (("random", "zeros"), (8, 1))
    assert manifest.parity.runtime == "onnxruntime 1.32.0, CPU"
    assert manifest.parity.reference_case == ReferenceCaseParity(0.9, 0.01, 0.9, 0.8999)
    fp16 = manifest.variants["fp16"]
    assert (fp16.figures.studies, fp16.figures.max_probability_drift, fp16.subnormal_share) == (8, 0.001, 0.01)
    assert manifest.evaluation is not None
    assert manifest.evaluation.metrics.auc == EvaluationFigure(0.83, 0.73, 0.93, "delong")
    sensitivity = manifest.evaluation.every_study.sensitivity
    assert sensitivity is not None
    assert (sensitivity.successes, sensitivity.n) == (7, 10)
    assert manifest.evaluation.weights_digest == manifest.weights_digest
    assert manifest.publication is not None
    assert manifest.publication.contract == "1.3.0"
    assert manifest.publication.gate.passed
    assert len(manifest.publication.gate.rules) == 6


def test_a_recipes_free_provenance_is_sorted_and_the_rest_are_notes() -> None:
    recipe = parse_recipe(written("recipe.json"))
    provenance = recipe.provenance
    assert (provenance.data, provenance.best_epoch, provenance.validation_auc) == ("234 patients", 20, 0.9986)
    assert provenance.settings == {"preset": "demo", "learning_rate": 0.005, "one_cycle": True}
    assert provenance.min_slices_overridden_from == 32
    assert provenance.imported is not None
    assert provenance.imported.changes == ("a prefix was removed",)
    assert provenance.notes == {"sites": "A, B", "scanner.field_t": 3, "scanner.vendor": "X"}
    older, newer = provenance.calibrations
    assert older.temperature is not None
    assert newer.temperature is not None
    assert (older.temperature.before, newer.temperature.before) == (1.0, older.temperature.after)
    assert older.threshold is None
    assert newer.threshold is not None
    assert newer.threshold.wanted_sensitivity == 0.9
    assert (recipe.temperature, recipe.threshold) == (newer.temperature.after, newer.threshold.threshold)


def test_the_preprocessing_digest_is_the_one_that_contract_1_wrote() -> None:
    """Else no version of this contract could join such a repository."""
    assert (
        preprocessing_digest(parse_recipe(written("recipe.json"))) == written("manifest.json")["preprocessing_digest"]
    )


def test_a_provenance_that_no_tool_of_ours_wrote_becomes_notes() -> None:
    free = {"data": 7, "settings": "none", "import": {"from": "a friend"}, "calibration": {"by": "hand"}, "torch": None}
    recipe = parse_recipe({**written("recipe.json"), "provenance": free})
    assert recipe.provenance.notes == {
        "data": 7, "settings": "none", "import.from": "a friend", "calibration.by": "hand", "torch": None,
    }  # fmt: skip


def test_a_promotion_record_is_read_with_its_verdicts_and_answers() -> None:
    text = (MADE / "classifier" / "promotion.json").read_bytes()
    first, second = parse_promotion(text).history
    assert first.gate is not None
    assert first.gate.passed
    assert [rule.name for rule in first.gate.rules][:2] == ["files", "preprocessing and CAM grid"]
    assert (first.canary, second.canary) == ({}, {"one:8001": CanaryRecord("2", 0.5, "recurrence")})


def test_it_is_promoted_in_and_its_versions_stay_as_they_are(repository: Path) -> None:
    def sealed() -> list[bytes]:
        return [(version_folder(repository, n) / "manifest.json").read_bytes() for n in (1, 2)]

    before = sealed()
    assert serving_version(repository) == 2
    assert promote(repository, 1).before == 2
    record = load_promotion(repository / "classifier")
    assert record is not None
    assert [change.to_version for change in record.history] == [1, 2, 1]
    assert b"glioserve/promotion/2" in (repository / "classifier" / "promotion.json").read_bytes()
    assert rollback(repository).version == 2
    assert sealed() == before


def test_a_new_version_joins_it_and_all_is_verified(repository: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe().with_min_slices(30)
    assert add_version(repository, fake_export(tmp_path / "new", recipe, model=b"new")) == 3
    assert versions(repository) == (1, 2, 3)
    promote(repository, 3)
    assert verify(repository).problems == ()


def test_its_versions_are_published_elsewhere_with_their_evaluation(tmp_path: Path) -> None:
    source = MADE / "classifier" / "1"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "gate.json").write_text('{"schema": "glioserve/gate/1", "min_auc": 0.8}')
    assert add_version(tmp_path / "other", source) == 1
    published = checked_export(version_folder(tmp_path / "other", 1))
    assert published.evaluation == load_manifest(source).evaluation
    assert b'"glioserve/manifest/2"' in (version_folder(tmp_path / "other", 1) / "manifest.json").read_bytes()


@pytest.mark.parametrize("value", [None, [], 7, {}, {"schema": "glioserve/manifest/9"}])
def test_what_is_not_of_schema_1_is_left_to_its_record(value: object) -> None:
    assert manifest_of_1(value) is recipe_of_1(value) is promotion_of_1(value) is value


@pytest.mark.parametrize("value", [7, "x", [1], {"x": 1}])
@pytest.mark.parametrize("key", ["recipe", "variants"])
def test_a_manifest_with_nonsense_in_it_names_the_key(key: str, value: object) -> None:
    with pytest.raises(SchemaError, match=rf"manifest\.{key}"):
        from_dict(Manifest, manifest_of_1({**written("manifest.json"), key: value}))


@pytest.mark.parametrize("value", [7, "x", [1], {"x": 1}])
def test_nonsense_for_a_parity_shows_nothing(value: object) -> None:
    manifest = from_dict(Manifest, manifest_of_1({**written("manifest.json"), "parity": value}))
    assert manifest.parity == ParityRecord()


@pytest.mark.parametrize("key", ["evaluation", "publication"])
def test_half_a_record_names_what_it_lacks(key: str) -> None:
    with pytest.raises(SchemaError, match=rf"manifest\.{key}"):
        from_dict(Manifest, manifest_of_1({**written("manifest.json"), key: {"x": 1}}))


def test_a_recipe_with_nonsense_in_its_provenance_names_the_key() -> None:
    with pytest.raises(SchemaError, match=r"recipe\.provenance\.settings\.a"):
        from_dict(Recipe, recipe_of_1({**written("recipe.json"), "provenance": {"settings": {"a": float("inf")}}}))
