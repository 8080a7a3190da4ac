"""The variant of a recipe, the repository of the demo, and the model that ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.manifest import digest_of_model_id
from glioserve_contract.records.recipe import preprocessing_digest
from glioserve_export.graphs.onnx_export import cam_grid, check_signature
from glioserve_registry import demo_model
from glioserve_registry.demo_model import demo_model_dir, demo_repository
from glioserve_registry.layout.repository import add_version, versions
from glioserve_registry.layout.serving import version_folder
from glioserve_registry.promoting.promotion import promote
from glioserve_registry.publishing.publication import checked_export, exported_files
from glioserve_registry.recipe_override import with_recipe_override
from glioserve_triton.served.promotions import serving_version
from glioserve_triton.served.versions import load_manifest
from support.models.recipes import fake_export, tiny_recipe

MAX_SHIPPED_BYTES = 5_000_000


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the demo model."""
    folder = fake_export(tmp_path / "shipped", tiny_recipe(name="demo"))
    monkeypatch.setattr(demo_model, "_CHECKOUT", folder)
    return folder


def test_the_variant_differs_in_its_slice_rule_and_what_follows_from_it(tmp_path: Path) -> None:
    source = fake_export(tmp_path / "source")
    with_recipe_override(source, tmp_path / "variant", min_slices=20)
    was, now = checked_export(source), checked_export(tmp_path / "variant")
    assert now.recipe == was.recipe.with_min_slices(20)
    assert now.recipe.provenance.min_slices_overridden_from == 32
    assert now.preprocessing_digest == preprocessing_digest(now.recipe) != was.preprocessing_digest
    assert now.files["model.onnx"] == was.files["model.onnx"]
    assert now.files["recipe.json"] != was.files["recipe.json"]
    assert (now.weights_digest, now.parity, now.cam_grid) == (was.weights_digest, was.parity, was.cam_grid)
    assert checked_export(source) == was, "the source is as it was"


@pytest.mark.parametrize("slices", [0, 1025])
def test_a_slice_rule_out_of_range_is_refused(tmp_path: Path, slices: int) -> None:
    with pytest.raises(ValueError, match="min_slices"):
        with_recipe_override(fake_export(tmp_path / "source"), tmp_path / "variant", min_slices=slices)
    assert not (tmp_path / "variant").exists()


def test_the_demo_is_assembled_once(tmp_path: Path, shipped: Path) -> None:
    repository = demo_repository(tmp_path / "build")
    assert repository == tmp_path / "build" / "repository"
    stamps = {p: p.stat().st_mtime_ns for p in repository.rglob("*")}
    assert demo_repository(tmp_path / "build") == repository
    assert demo_repository(tmp_path / "build", min_slices=32) == repository
    assert {p: p.stat().st_mtime_ns for p in repository.rglob("*")} == stamps
    assert exported_files(load_manifest(version_folder(repository, 1))) == load_manifest(shipped).files
    assert serving_version(repository) == 1


def test_a_variant_gets_a_repository_of_its_own(tmp_path: Path, shipped: Path) -> None:
    plain = demo_repository(tmp_path / "build")
    variant = demo_repository(tmp_path / "build", min_slices=20)
    assert variant != plain
    assert variant == demo_repository(tmp_path / "build", min_slices=20)
    assert load_manifest(version_folder(variant, 1)).recipe.min_slices == 20
    assert versions(plain) == versions(variant) == (1,)
    assert demo_repository(tmp_path / "build") == plain


def test_another_models_repository_is_left_as_it_is(tmp_path: Path, shipped: Path) -> None:
    """A demo never answers with a user's own model, nor puts its own in front of it."""
    own = tmp_path / "build" / "repository"
    add_version(own, fake_export(tmp_path / "own", tiny_recipe(size_voxels=(24, 24, 24))))
    demo = demo_repository(tmp_path / "build")
    assert demo.parent == own.parent
    assert demo != own
    assert versions(own) == (1,)


def test_the_demo_model_serves_whatever_else_was_published(tmp_path: Path, shipped: Path) -> None:
    """A version that waits changes nothing; where another was promoted, the demo gets a repository of its own, and
    where that is its own already, it is promoted again."""
    repository = demo_repository(tmp_path / "build")
    newer = add_version(repository, fake_export(tmp_path / "newer", tiny_recipe(name="demo"), model=b"newer"))
    assert demo_repository(tmp_path / "build") == repository
    assert serving_version(repository) == 1
    promote(repository, newer)
    own = demo_repository(tmp_path / "build")
    assert own != repository
    promote(own, add_version(own, fake_export(tmp_path / "newest", tiny_recipe(name="demo"), model=b"newest")))
    assert serving_version(own) == 2
    assert demo_repository(tmp_path / "build") == own
    assert serving_version(own) == 1
    assert serving_version(repository) == newer


def test_an_installation_without_the_demo_model_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_model, "_PACKAGED", tmp_path)
    monkeypatch.setattr(demo_model, "_CHECKOUT", tmp_path)
    with pytest.raises(GlioserveError, match="make demo-model") as caught:
        demo_model_dir()
    assert caught.value.code is ErrorCode.INVALID_MANIFEST


# What ships


def test_the_shipped_model_is_whole_small_and_proven() -> None:
    folder = demo_model_dir()
    manifest = checked_export(folder)
    assert sum(p.stat().st_size for p in folder.iterdir()) < MAX_SHIPPED_BYTES
    assert (manifest.recipe.name, manifest.recipe.min_slices) == ("glioserve-demo", 32)
    assert manifest.parity.model_id_equal
    assert [figure.output for figure in manifest.parity.figures] == ["LOGITS", "CAM"]
    assert all(figure.held for figure in manifest.parity.figures)


def test_the_shipped_graph_has_the_contracts_signature_and_its_own_identity() -> None:
    folder = demo_model_dir()
    manifest = checked_export(folder)
    content = (folder / "model.onnx").read_bytes()
    model = onnx.load_from_string(content)
    check_signature(model, manifest.recipe)
    assert cam_grid(model) == manifest.cam_grid
    assert b"site-packages" not in content
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    image = np.zeros((1, len(manifest.recipe.channels), *manifest.recipe.grid.shape), dtype=np.float32)
    (words,) = session.run(["MODEL_ID"], {"IMAGE": image})[0]
    assert digest_of_model_id(tuple(words.tolist())) == manifest.weights_digest


def test_the_shipped_weights_were_trained() -> None:
    provenance = checked_export(demo_model_dir()).recipe.provenance
    assert (provenance.validation_auc or 0) >= 0.95
    assert provenance.settings["preset"] == "demo"
