"""An exported folder becomes a version: what is added to it, what is refused, and that it is whole or not there."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_evaluation.reports.report import read_summary
from glioserve_preprocess.files import file_digest
from glioserve_registry.layout.repository import MARKER, add_version, check_can_join, ensure_version, versions
from glioserve_registry.layout.serving import classifier_folder, version_folder
from glioserve_registry.promoting.promotion import promote, rollback
from glioserve_registry.publishing.publication import Terms, checked_export, exported_files
from glioserve_registry.recipe_override import with_recipe_override
from glioserve_triton.served.promotions import load_promotion, serving_version
from glioserve_triton.served.versions import load_manifest
from support.models.promotable import promotable
from support.models.recipes import HELD_PARITY, fake_export, tiny_recipe
from support.results.evaluations import write_evaluation


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return promotable(tmp_path / "exported", 1.0)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    return tmp_path / "repository"


def gate(repository: Path, **limits: object) -> None:
    repository.mkdir(parents=True, exist_ok=True)
    (repository / "gate.json").write_text(json.dumps({"schema": "glioserve/gate/1", **limits}))


def test_a_version_says_how_it_came_there(empty: Path, source: Path) -> None:
    before = {p.name: p.read_bytes() for p in source.iterdir()}
    add_version(empty, source)
    published = load_manifest(version_folder(empty, 1), verify_files=True)
    assert published.publication is not None
    assert published.publication.source_manifest == file_digest(source / "manifest.json")
    assert published.publication.at.endswith("+00:00")
    assert published.publication.gate.passed is True
    assert published.publication.override is None
    exported = load_manifest(source)
    unchanged = replace(published, publication=None, files=exported_files(published))
    assert unchanged == exported
    assert {p.name: p.read_bytes() for p in source.iterdir()} == before, "the source is as it was"


def test_the_first_serves_at_once_and_later_ones_wait(empty: Path, source: Path, tmp_path: Path) -> None:
    add_version(empty, source)
    assert serving_version(empty) == 1
    add_version(empty, promotable(tmp_path / "better", 2.0))
    assert serving_version(empty) == 1
    record = load_promotion(classifier_folder(empty))
    assert record is not None
    (first,) = record.history
    assert (first.action, first.from_version, first.to_version) == ("publish", None, 1)


def test_the_first_need_not_be_number_1(empty: Path, source: Path, tmp_path: Path) -> None:
    add_version(empty, source, 7)
    add_version(empty, promotable(tmp_path / "earlier", 2.0), 3)
    assert (versions(empty), serving_version(empty)) == ((3, 7), 7)


def test_a_number_that_once_served_is_not_given_again(repository: Path, source: Path) -> None:
    """Else the record's history would be of another version."""
    promote(repository, 3)
    rollback(repository)
    shutil.rmtree(version_folder(repository, 3))
    shutil.rmtree(version_folder(repository, 2))
    assert add_version(repository, source) == 4


def test_an_evaluation_joins_the_manifest(empty: Path, source: Path, tmp_path: Path) -> None:
    report = write_evaluation(tmp_path / "evaluation.json", load_manifest(source))
    gate(empty, min_auc=0.8)
    with pytest.raises(GlioserveError) as caught:
        add_version(empty, source)
    assert caught.value.code is ErrorCode.GATE_REFUSED
    assert versions(empty) == ()
    assert add_version(empty, source, terms=Terms(read_summary(report))) == 1
    evaluation = load_manifest(version_folder(empty, 1)).evaluation
    assert evaluation is not None
    auc = evaluation.metrics.auc
    assert auc is not None
    assert (auc.value, auc.lower, auc.upper) == (0.83, 0.73, 0.93)
    assert evaluation.digest == file_digest(report)


def test_a_version_published_again_elsewhere_keeps_its_evaluation(empty: Path, source: Path, tmp_path: Path) -> None:
    report = write_evaluation(tmp_path / "evaluation.json", load_manifest(source))
    add_version(empty, source, terms=Terms(read_summary(report)))
    other = tmp_path / "another hospital"
    gate(other, min_auc=0.8)
    assert add_version(other, version_folder(empty, 1)) == 1
    one, two = (load_manifest(version_folder(r, 1)) for r in (empty, other))
    assert one.evaluation == two.evaluation is not None
    assert two.publication is not None
    assert two.publication.source_manifest == file_digest(version_folder(empty, 1) / "manifest.json")
    assert exported_files(one) == exported_files(two)


@pytest.mark.parametrize("what", ["weights_digest", "recipe_digest"])
def test_an_evaluation_of_another_network_or_recipe_is_refused(
    empty: Path, source: Path, tmp_path: Path, what: str
) -> None:
    """The same weights make other errors with another temperature."""
    other = {what: "sha256:" + "0" * 64}
    report = write_evaluation(tmp_path / "evaluation.json", load_manifest(source), **other)
    with pytest.raises(GlioserveError, match=f"is of the {what.split('_')[0]} sha256:000000") as caught:
        add_version(empty, source, terms=Terms(read_summary(report), override="close enough"))
    assert caught.value.code is ErrorCode.INVALID_COHORT
    assert versions(empty) == ()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": "glioserve/evaluation/9"}'])
def test_what_is_no_evaluation_is_refused(empty: Path, source: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "evaluation.json").write_text(content)
    for path in (tmp_path / "evaluation.json", tmp_path / "none.json"):
        with pytest.raises(GlioserveError) as caught:
            add_version(empty, source, terms=Terms(read_summary(path)))
        assert caught.value.code is ErrorCode.INVALID_COHORT


def test_an_override_is_recorded_with_what_it_overrode(empty: Path, tmp_path: Path) -> None:
    poor = promotable(tmp_path / "poor", 1.0)
    cam = replace(HELD_PARITY.figures[1], difference=3e-4)
    parity = replace(HELD_PARITY, figures=(HELD_PARITY.figures[0], cam))
    source = fake_export(tmp_path / "exported", tiny_recipe(), cam_grid=(4, 4, 4), parity=parity)
    assert checked_export(poor)
    with pytest.raises(GlioserveError, match=r"parity of CAM: 3\.0e-04 \(at most 1\.0e-04\)"):
        add_version(empty, source)
    assert add_version(empty, source, terms=Terms(override="heat maps are not shown here")) == 1
    publication = load_manifest(version_folder(empty, 1)).publication
    assert publication is not None
    assert publication.override == "heat maps are not shown here"
    assert [rule.name for rule in publication.gate.failed] == ["parity of CAM"]
    record = load_promotion(classifier_folder(empty))
    assert record is not None
    assert record.history[0].override == "heat maps are not shown here"
    card = (version_folder(empty, 1) / "model_card.md").read_text()
    assert "The gate refused it, and was overridden: heat maps are not shown here" in card


def test_no_reason_overrides_what_would_serve_wrongly(empty: Path, source: Path, tmp_path: Path) -> None:
    add_version(empty, source)
    because = Terms(override="it must be today")
    other = fake_export(tmp_path / "other", tiny_recipe(min_slices=20), cam_grid=(4, 4, 4))
    coarse = fake_export(tmp_path / "coarse", cam_grid=(2, 2, 2))
    broken = promotable(tmp_path / "broken", 2.0)
    (broken / "model.onnx").write_bytes(b"?")
    for folder, code in (
        (other, ErrorCode.PREPROCESSING_MISMATCH),
        (coarse, ErrorCode.PREPROCESSING_MISMATCH),
        (broken, ErrorCode.INVALID_MANIFEST),
    ):
        with pytest.raises(GlioserveError) as caught:
            add_version(empty, folder, terms=because)
        assert caught.value.code is code
    assert versions(empty) == (1,)


def test_an_export_into_a_repository_that_wants_an_evaluation_is_refused_before_the_work(
    empty: Path, source: Path
) -> None:
    digest = load_manifest(source).preprocessing_digest
    check_can_join(empty, digest, None)
    gate(empty, require_evaluation=True)
    with pytest.raises(GlioserveError, match="--model-only") as caught:
        check_can_join(empty, digest, None)
    assert caught.value.code is ErrorCode.GATE_REFUSED


def test_a_broken_gate_stops_everything(empty: Path, source: Path) -> None:
    gate(empty, min_acu=0.8)
    with pytest.raises(GlioserveError, match=r"gate\.min_acu: unknown key"):
        add_version(empty, source)
    assert versions(empty) == ()


def test_the_same_export_is_known_again_whatever_its_card_says(empty: Path, source: Path) -> None:
    add_version(empty, source)
    assert ensure_version(empty, source) == 1
    assert ensure_version(empty, version_folder(empty, 1)) == 1
    assert versions(empty) == (1,)


def test_a_published_version_with_another_recipe_is_an_export_again(empty: Path, source: Path, tmp_path: Path) -> None:
    add_version(empty, source)
    with_recipe_override(version_folder(empty, 1), tmp_path / "variant", min_slices=20)
    variant = checked_export(tmp_path / "variant")
    assert variant.publication is None
    assert set(variant.files) == {"model.onnx", "recipe.json"}


def test_a_record_that_names_a_version_that_is_gone_stops_publication(
    repository: Path, source: Path, tmp_path: Path
) -> None:
    version_folder(repository, 1).rename(tmp_path / "lost")
    before = {p: p.read_bytes() for p in repository.rglob("*") if p.is_file() and p.name != MARKER}
    with pytest.raises(GlioserveError, match="Version 1 is to serve and is not there") as caught:
        add_version(repository, source)
    assert caught.value.code is ErrorCode.INVALID_REPOSITORY
    assert {p: p.read_bytes() for p in repository.rglob("*") if p.is_file() and p.name != MARKER} == before
