"""The artifact: what is saved is what is loaded, and whatever is wrong names itself."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.records.recipe import RECIPE_SCHEMA, Architecture, Grid, Recipe
from glioserve_networks import build, load_artifact, save_artifact
from glioserve_preprocess.files import file_digest

RECIPE = Recipe(
    schema=RECIPE_SCHEMA,
    name="tiny",
    architecture=Architecture("resnet10", {"widen_factor": 0.0625, "conv1_t_size": 3, "conv1_t_stride": 4}),
    channels=(Modality.T1CE, Modality.T2),
    classes=("necrosis", "recurrence"),
    grid=Grid((16, 16, 16), (8.0, 8.0, 8.0)),
)


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return build(RECIPE.architecture, len(RECIPE.channels)).state_dict()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_artifact(tmp_path / "artifact", RECIPE, weights())
    return tmp_path / "artifact"


def test_round_trip(folder: Path) -> None:
    artifact = load_artifact(folder)
    assert artifact.recipe == RECIPE
    for name, tensor in weights().items():
        torch.testing.assert_close(artifact.state_dict[name], tensor, rtol=0, atol=0)
    assert artifact.weights_digest == file_digest(folder / "weights.safetensors")
    assert artifact.network()(torch.zeros(1, 2, 16, 16, 16)).shape == (1, 2)


def test_equal_weights_have_equal_digests(tmp_path: Path) -> None:
    digests = [save_artifact(tmp_path / str(i), RECIPE, weights(seed)) for i, seed in enumerate((0, 0, 1))]
    assert digests[0] == digests[1] != digests[2]


def test_saving_again_replaces_and_leaves_nothing_behind(folder: Path) -> None:
    digest = save_artifact(folder, RECIPE, weights(7))
    assert load_artifact(folder).weights_digest == digest
    assert sorted(p.name for p in folder.iterdir()) == ["recipe.json", "weights.safetensors"]
    assert list(folder.parent.iterdir()) == [folder]


def test_a_folder_of_other_things_is_not_replaced(folder: Path) -> None:
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(GlioserveError, match="is not an artifact"):
        save_artifact(folder, RECIPE, weights())
    assert (folder / "thesis.txt").read_text() == "mine"


def broken(change: str) -> dict[str, torch.Tensor]:
    state = weights()
    if change == "missing":
        del state["layer2.0.conv1.weight"]
    elif change == "unknown":
        state["layer5.0.conv1.weight"] = torch.zeros(1)
    elif change == "shape":
        state["fc.weight"] = torch.zeros(3, 32)
    elif change == "dtype":
        state["fc.weight"] = state["fc.weight"].half()
    else:
        state["fc.bias"] = torch.tensor([0.0, float("nan")])
    return state


CASES = [
    ("missing", "layer2.0.conv1.weight"),
    ("unknown", "layer5.0.conv1.weight"),
    ("shape", "fc.weight"),
    ("dtype", "fc.weight"),
    ("nan", "fc.bias"),
]


@pytest.mark.parametrize(("change", "culprit"), CASES)
def test_wrong_weights_name_the_tensor(tmp_path: Path, folder: Path, change: str, culprit: str) -> None:
    with pytest.raises(GlioserveError, match=culprit) as caught:
        save_artifact(tmp_path / "never", RECIPE, broken(change))
    assert caught.value.code is ErrorCode.INVALID_ARTIFACT
    assert not (tmp_path / "never").exists()
    save_file(broken(change), folder / "weights.safetensors")
    with pytest.raises(GlioserveError, match=culprit) as caught:
        load_artifact(folder)
    assert caught.value.code is ErrorCode.INVALID_ARTIFACT


def test_a_wrong_recipe_names_the_key(folder: Path) -> None:
    recipe = json.loads((folder / "recipe.json").read_text())
    recipe["grid"]["spacing_mm"][1] = 99.0
    (folder / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(GlioserveError, match=r"recipe\.grid\.spacing_mm") as caught:
        load_artifact(folder)
    assert caught.value.code is ErrorCode.INVALID_RECIPE


def test_a_recipe_of_other_channels_does_not_fit(folder: Path) -> None:
    recipe = json.loads((folder / "recipe.json").read_text())
    recipe["channels"] = ["t1ce"]
    (folder / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(GlioserveError, match=r"conv1\.weight"):
        load_artifact(folder)


@pytest.mark.parametrize("name", ["weights.safetensors", "recipe.json"])
def test_a_missing_or_damaged_file_names_itself(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GlioserveError, match=name):
        load_artifact(folder)
    (folder / name).unlink()
    with pytest.raises(GlioserveError, match=f"no {name}"):
        load_artifact(folder)


def test_weights_that_load_are_the_ones_written(folder: Path) -> None:
    assert set(load_file(folder / "weights.safetensors")) == set(weights())
