"""A recipe or manifest that is wrong names what is wrong."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glioserve_contract import ErrorCode, GlioserveError, Modality, SchemaError, from_dict, to_dict
from glioserve_contract.records.manifest import digest_of_model_id, model_id
from glioserve_contract.records.recipe import RECIPE_SCHEMA, parse_recipe, preprocessing_digest
from glioserve_preprocess.files import load_recipe, save_recipe
from glioserve_triton.served.versions import load_manifest, load_versions

ROOT = Path(__file__).resolve().parents[2]
GOOD = {
    "schema": RECIPE_SCHEMA,
    "name": "demo",
    "architecture": {"name": "resnet10", "options": {"widen_factor": 0.25}},
    "channels": ["t1", "t1ce", "t2"],
    "classes": ["necrosis", "recurrence"],
}


def test_defaults_are_the_production_recipes():
    recipe = parse_recipe(GOOD)
    assert recipe.grid.size_voxels == (96, 96, 96)
    assert recipe.grid.spacing_mm == (2.0, 2.0, 2.0)
    assert recipe.min_slices == 32
    assert recipe.threshold == 0.5
    assert recipe.recurrence_index == 1


def test_it_survives_the_file(tmp_path):
    recipe = parse_recipe(GOOD)
    save_recipe(recipe, tmp_path / "recipe.json")
    assert load_recipe(tmp_path / "recipe.json") == recipe
    assert parse_recipe(to_dict(recipe)) == recipe


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"colour": 1}, "recipe.colour"),
        ({"channels": ["t1", "t9"]}, "recipe.channels[1]"),
        ({"channels": ["t1", "t1"]}, "recipe.channels"),
        ({"channels": []}, "recipe.channels"),
        ({"channels": "t1"}, "recipe.channels"),
        ({"classes": ["necrosis", "necrosis"]}, "recipe.classes"),
        ({"grid": {"size_voxels": [48, 48]}}, "recipe.grid.size_voxels"),
        ({"grid": {"size_voxels": [48, 48, 4]}}, "recipe.grid.size_voxels"),
        ({"grid": {"spacing_mm": [2, 2, "2"]}}, "recipe.grid.spacing_mm[2]"),
        ({"grid": {"spacing_mm": [2, 2, float("nan")]}}, "recipe.grid.spacing_mm[2]"),
        ({"min_slices": True}, "recipe.min_slices"),
        ({"min_slices": 0}, "recipe.min_slices"),
        ({"threshold": 1}, "recipe.threshold"),
        ({"temperature": 0}, "recipe.temperature"),
        ({"intensity": {"method": "zscore"}}, "recipe.intensity.method"),
        ({"intensity": {"percentiles": [1, 99]}}, "recipe.intensity.percentiles"),
        ({"intensity": {"method": "percentile", "percentiles": [99, 1]}}, "recipe.intensity.percentiles"),
        ({"intensity": {"method": "percentile", "percentiles": [-1, 99]}}, "recipe.intensity.percentiles"),
        ({"intensity": {"method": "percentile", "percentiles": [0, 100.5]}}, "recipe.intensity.percentiles"),
        ({"intensity": {"method": "percentile", "percentiles": [5]}}, "recipe.intensity.percentiles"),
        ({"intensity": {"method": "percentile", "percentiles": [5, "95"]}}, "recipe.intensity.percentiles[1]"),
        ({"schema": "glioserve/recipe/3"}, "recipe.schema"),
        ({"architecture": {"options": {}}}, "recipe.architecture.name"),
        ({"name": ""}, "recipe.name"),
    ],
)
def test_a_wrong_value_names_itself(change, named):
    with pytest.raises(GlioserveError) as caught:
        parse_recipe({**GOOD, **change})
    assert caught.value.code is ErrorCode.INVALID_RECIPE
    assert f"{named}:" in caught.value.detail


@pytest.mark.parametrize("key", GOOD)
def test_a_missing_key_names_itself(key):
    with pytest.raises(GlioserveError, match=rf"recipe\.{key}: is missing"):
        parse_recipe({k: v for k, v in GOOD.items() if k != key})


@pytest.mark.parametrize("text", ["", "{", "[]", "\0"])
def test_a_file_that_is_no_recipe(tmp_path, text):
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(GlioserveError) as caught:
        load_recipe(tmp_path / "recipe.json")
    assert caught.value.code is ErrorCode.INVALID_RECIPE


@pytest.mark.parametrize(
    ("channels", "reference"),
    [(("t1", "t2"), "t1"), (("t2", "t1ce"), "t1ce"), (("flair", "t2"), "t2"), (("flair",), "flair")],
)
def test_the_reference_is_the_first_in_the_studys_order(channels, reference):
    assert parse_recipe({**GOOD, "channels": list(channels)}).reference is Modality(reference)


def test_the_preprocessing_digest_covers_what_shapes_the_input_and_nothing_else():
    base = parse_recipe(GOOD)
    digest = preprocessing_digest(base)
    assert preprocessing_digest(replace(base, threshold=0.9, temperature=2.0, name="other")) == digest
    for changed in (
        replace(base, channels=base.channels[::-1]),
        replace(base, grid=replace(base.grid, spacing_mm=(2.0, 2.0, 3.0))),
        base.with_min_slices(20),
    ):
        assert preprocessing_digest(changed) != digest


def test_the_digest_of_a_recipe_without_percentiles_is_what_it_was_before_there_were_any():
    assert "percentiles" not in to_dict(parse_recipe(GOOD))["intensity"]
    demo = load_recipe(ROOT / "examples" / "demo_model" / "recipe.json")
    manifest = json.loads((ROOT / "examples" / "demo_model" / "manifest.json").read_text())
    assert preprocessing_digest(demo) == manifest["preprocessing_digest"]


def test_percentiles_have_one_spelling_and_are_in_the_digest():
    silent = parse_recipe({**GOOD, "intensity": {"method": "percentile"}})
    said = parse_recipe({**GOOD, "intensity": {"method": "percentile", "percentiles": [0.5, 99.5]}})
    other = parse_recipe({**GOOD, "intensity": {"method": "percentile", "percentiles": [1, 99]}})
    assert silent == said == parse_recipe(to_dict(silent))
    assert silent.intensity.percentiles == (0.5, 99.5)
    digests = {preprocessing_digest(r) for r in (parse_recipe(GOOD), silent, said, other)}
    assert len(digests) == 3


def test_a_lowered_slice_rule_is_written_down():
    lowered = parse_recipe(GOOD).with_min_slices(20)
    assert lowered.min_slices == 20
    assert lowered.provenance.min_slices_overridden_from == 32
    with pytest.raises(SchemaError):
        lowered.with_min_slices(0)


@given(st.binary(min_size=32, max_size=32))
def test_model_id_and_digest_are_one(content):
    digest = "sha256:" + content.hex()
    words = model_id(digest)
    assert len(words) == 8
    assert all(-(2**31) <= w < 2**31 for w in words)
    assert digest_of_model_id(words) == digest


def test_versions_are_ordered_by_number_not_by_name(tmp_path):
    from support.models.recipes import fake_export

    for version in ("9", "10", "2"):
        fake_export(tmp_path / version)
    (tmp_path / "notes").mkdir()
    assert [v.version for v in load_versions(tmp_path)] == ["2", "9", "10"]
    (tmp_path / "9" / "model.onnx").write_bytes(b"tampered")
    load_manifest(tmp_path / "9")
    with pytest.raises(GlioserveError) as caught:
        load_manifest(tmp_path / "9", verify_files=True)
    assert caught.value.code is ErrorCode.INVALID_MANIFEST


def test_a_manifest_of_another_preprocessing_is_refused(tmp_path):
    from support.models.recipes import fake_export

    fake_export(tmp_path)
    path = tmp_path / "manifest.json"
    document = json.loads(path.read_text())
    document["recipe"]["min_slices"] = 7
    path.write_text(json.dumps(document))
    with pytest.raises(GlioserveError, match="preprocessing_digest: is not the recipe's"):
        load_manifest(tmp_path)


def test_codec_takes_an_int_for_a_float_but_no_bool_for_an_int():
    grid = type(parse_recipe(GOOD).grid)
    assert from_dict(grid, {"spacing_mm": [2, 2, 2]}).spacing_mm == (2.0, 2.0, 2.0)
    with pytest.raises(SchemaError):
        from_dict(grid, {"size_voxels": [48, 48, True]})
