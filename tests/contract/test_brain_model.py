"""The card of a brain model, its digest, and how a recipe names one."""

import hashlib
import json
import re
import subprocess
from dataclasses import fields, replace
from pathlib import Path

import pytest

from glioserve_contract import ErrorCode, GlioserveError, SchemaError, to_dict
from glioserve_contract.records import recipe as recipes
from glioserve_contract.records.brain_model import (
    DEFAULT_BRAIN_DIGEST,
    DEFAULT_BRAIN_MODEL,
    BrainModelCard,
    brain_model_digest,
    is_model_file_name,
    parse_brain_model_card,
    sidecar_name,
)
from glioserve_contract.records.recipe import RECIPE_SCHEMA, BrainExtraction, parse_recipe, preprocessing_digest
from glioserve_preprocess.files import load_recipe

ROOT = Path(__file__).resolve().parents[2]
PACKAGED = ROOT / "preprocess_service" / "glioserve_preprocess" / "models"
DIGEST = "sha256:" + "ab" * 32
RECIPE = {
    "schema": RECIPE_SCHEMA,
    "name": "demo",
    "architecture": {"name": "resnet10"},
    "channels": ["t1", "t1ce"],
    "classes": ["necrosis", "recurrence"],
}
CARD = {
    "schema": "glioserve/brain-model/1",
    "name": "synthstrip-like",
    "licence": "none",
    "source": "a test",
    "input": "image",
    "output": "distance",
    "spacing_mm": 1,
    "orientation": "LIA",
    "size_multiple": 64,
    "min_size_voxels": [192, 192, 192],
    "max_size_voxels": [320, 320, 320],
    "intensity": {"method": "percentile"},
    "output_kind": "signed_distance_mm",
    "threshold": 1,
}


def card_of(**changes):
    return parse_brain_model_card(json.dumps({**CARD, **changes}).encode())


def test_a_card_survives_its_file_and_fills_in_what_its_intensity_leaves_open():
    card = card_of()
    assert card.intensity.percentiles == (0.0, 99.0)
    assert card.intensity.clip is True
    assert card.intensity.over == "field_of_view"
    assert card_of(intensity={"method": "zscore"}).intensity.over == "nonzero"
    assert parse_brain_model_card(json.dumps(to_dict(card)).encode()) == card


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"colour": 1}, "card.colour"),
        ({"schema": "glioserve/brain-model/2"}, "card.schema"),
        ({"name": ""}, "card.name"),
        ({"input": ""}, "card.input"),
        ({"output": ""}, "card.output"),
        ({"spacing_mm": 0.4}, "card.spacing_mm"),
        ({"spacing_mm": [1, 1, 1]}, "card.spacing_mm"),
        ({"orientation": "LI"}, "card.orientation"),
        ({"orientation": "LRA"}, "card.orientation"),
        ({"orientation": "lia"}, "card.orientation"),
        ({"orientation": "LIAS"}, "card.orientation"),
        ({"size_multiple": 0}, "card.size_multiple"),
        ({"size_multiple": 129}, "card.size_multiple"),
        ({"min_size_voxels": [192, 192]}, "card.min_size_voxels"),
        ({"min_size_voxels": [192, 100, 192]}, "card.min_size_voxels"),
        ({"max_size_voxels": [320, 320, 448]}, "card.max_size_voxels"),
        ({"max_size_voxels": [320, 128, 320]}, "card.max_size_voxels"),
        ({"size_multiple": 1, "min_size_voxels": [7, 8, 8]}, "card.min_size_voxels"),
        ({"intensity": {"method": "minmax"}}, "card.intensity.method"),
        ({"intensity": {"method": "percentile", "percentiles": [99, 0]}}, "card.intensity.percentiles"),
        ({"intensity": {"method": "zscore", "percentiles": [0, 99]}}, "card.intensity.percentiles"),
        ({"intensity": {"method": "zscore", "clip": True}}, "card.intensity.clip"),
        ({"intensity": {"method": "zscore", "over": "brain"}}, "card.intensity.over"),
        ({"output_kind": "mask"}, "card.output_kind"),
        ({"output_kind": "probability"}, "card.threshold"),
        ({"threshold": float("inf")}, "card.threshold"),
    ],
)
def test_a_wrong_value_names_itself(change, named):
    with pytest.raises(SchemaError) as caught:
        card_of(**change)
    assert caught.value.path == named


@pytest.mark.parametrize("sidecar", [b"", b"{", b"\xff\xfe", b"[]", b"[" * 100_000], ids=lambda b: repr(b[:4]))
def test_a_file_that_is_no_card(sidecar):
    with pytest.raises(SchemaError, match=r"^card"):
        parse_brain_model_card(sidecar)


@pytest.mark.parametrize(
    ("size", "tensor"),
    [
        ((1, 192, 193), (192, 192, 256)),
        ((256, 257, 320), (256, 320, 320)),
        ((321, 1000, 64), (320, 320, 192)),
    ],
)
def test_a_tensor_is_rounded_up_to_the_multiple_and_kept_within_the_bounds(size, tensor):
    assert card_of().tensor_size(size) == tensor


def test_the_digest_is_what_cat_and_sha256sum_print(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"graph")
    (tmp_path / "a.json").write_bytes(b"{}")
    command = "cat a.onnx a.json | sha256sum"
    printed = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=10, check=True
    ).stdout
    digest = brain_model_digest(b"graph", b"{}")
    assert digest == "sha256:" + printed.split()[0] == "sha256:" + hashlib.sha256(b"graph{}").hexdigest()
    assert brain_model_digest(b"graph", b"{ }") != digest


@pytest.mark.parametrize("name", ["a.onnx", "glioserve-brain.onnx", "synthstrip_1.0.onnx"])
def test_plain_names(name):
    assert is_model_file_name(name)
    assert sidecar_name(name) == name[:-4] + "json"


@pytest.mark.parametrize(
    "name",
    ["", ".onnx", "a.json", "a", "../a.onnx", "a/b.onnx", "/a.onnx", "a\\b.onnx", "a..b.onnx", "..onnx", ".a.onnx",
     "a b.onnx", "a\n.onnx", "ä.onnx", "a.onnx\0", "x" * 130 + ".onnx"],
)  # fmt: skip
def test_names_that_are_paths_or_worse(name):
    assert not is_model_file_name(name)
    with pytest.raises(GlioserveError, match=r"brain_extraction\.model: must be a plain file name") as caught:
        parse_recipe({**RECIPE, "brain_extraction": {"method": "network", "model": name, "digest": DIGEST}})
    assert caught.value.code is ErrorCode.INVALID_RECIPE


@pytest.mark.parametrize(
    ("extraction", "named"),
    [
        ({"method": "network", "model": "a.onnx"}, "digest"),
        ({"method": "network", "digest": DIGEST}, "model"),
        ({"method": "network", "model": "a.onnx", "digest": DIGEST.upper()}, "digest"),
        ({"method": "network", "model": "a.onnx", "digest": DIGEST[:-1]}, "digest"),
        ({"method": "classical", "model": "a.onnx"}, "model"),
        ({"method": "classical", "digest": DIGEST}, "digest"),
        ({"method": "atlas"}, "method"),
    ],
)
def test_a_recipe_names_a_model_and_its_digest_or_neither(extraction, named):
    with pytest.raises(GlioserveError, match=rf"recipe\.brain_extraction\.{named}:"):
        parse_recipe({**RECIPE, "brain_extraction": extraction})


def test_a_network_that_is_not_named_is_ours_and_is_written_out():
    silent = parse_recipe({**RECIPE, "brain_extraction": {"method": "network"}})
    assert silent.brain_extraction == BrainExtraction("network", DEFAULT_BRAIN_MODEL, DEFAULT_BRAIN_DIGEST)
    assert to_dict(silent)["brain_extraction"] == {
        "method": "network", "model": DEFAULT_BRAIN_MODEL, "digest": DEFAULT_BRAIN_DIGEST,
    }  # fmt: skip
    assert parse_recipe(to_dict(silent)) == silent


def test_another_model_is_another_preprocessing_and_the_classical_digest_is_what_it_always_was():
    classical = parse_recipe({**RECIPE, "brain_extraction": {"method": "classical"}})
    assert to_dict(classical)["brain_extraction"] == {"method": "classical"}
    one = replace(classical, brain_extraction=BrainExtraction("network", "a.onnx", DIGEST))
    two = replace(classical, brain_extraction=BrainExtraction("network", "a.onnx", "sha256:" + "cd" * 32))
    assert len({preprocessing_digest(r) for r in (classical, one, two)}) == 3
    # Of this very recipe, computed before there was a choice of model.
    before = (
        "sha256:"
        + hashlib.sha256(
            b'{"brain_extraction":{"method":"classical"},"channels":["t1","t1ce"],'
            b'"grid":{"size_voxels":[96,96,96],"spacing_mm":[2.0,2.0,2.0]},"intensity":{"method":"minmax"},"min_slices":32}'
        ).hexdigest()
    )
    assert preprocessing_digest(classical) == before


def test_the_demo_recipes_digest_stands():
    folder = ROOT / "examples" / "demo_model"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert preprocessing_digest(load_recipe(folder / "recipe.json")) == manifest["preprocessing_digest"]


def test_the_cards_of_the_documentation_are_cards():
    text = (ROOT / "docs" / "brain-extraction.md").read_text(encoding="utf-8")
    cards = [parse_brain_model_card(block.encode()) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    assert [card.name for card in cards] == ["synthstrip-1", "hd-bet-2"]
    assert {f.name for f in fields(BrainModelCard)} <= set(re.findall(r"`(\w+)`", text))


def test_the_default_digest_is_that_of_the_packaged_files():
    model, card = PACKAGED / DEFAULT_BRAIN_MODEL, PACKAGED / sidecar_name(DEFAULT_BRAIN_MODEL)
    if model.is_file() or card.is_file():
        assert brain_model_digest(model.read_bytes(), card.read_bytes()) == DEFAULT_BRAIN_DIGEST
        parse_brain_model_card(card.read_bytes())
    else:  # a default that cannot be there would break every recipe that says nothing
        assert recipes.DEFAULT_BRAIN_METHOD == "classical"
