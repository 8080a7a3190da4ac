"""MONAI bundles: compared with the recipe, never believed, and never unpacked beyond what is needed."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from glioserve_networks.checkpoints.bundle import MAX_CONFIG_BYTES, compare, is_bundle, open_bundle
from glioserve_networks.checkpoints.checkpoint import read_weights
from glioserve_networks.checkpoints.fit import fit
from glioserve_preprocess.files import file_digest
from support.models.checkpoints import (
    RECIPE,
    ROOM,
    bundle_folder,
    in_memory,
    refused,
    tiny_weights,
    zipped,
)


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return tiny_weights()


METADATA = {
    "network_data_format": {
        "inputs": {
            "image": {
                "num_channels": 3,
                "spatial_shape": [16, 16, 16],
                "channel_def": {"0": "T1", "1": "T1-CE", "2": "T2w"},
            }
        },
        "outputs": {"pred": {"num_channels": 2, "channel_def": {"0": "Necrosis", "1": "recurrence"}}},
    }
}
NETWORK = {"_target_": "ResNet", "spatial_dims": 3, "conv1_t_stride": [2, 2, 2], "no_max_pool": True, "block": "basic"}


def with_change(tree: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    copy = json.loads(json.dumps(tree))
    *parents, last = path.split("/")
    node = copy
    for key in parents:
        node = node[key]
    node[last] = value
    return dict(copy)


@pytest.mark.parametrize("form", ["folder", "zip", "zip of a folder"])
def test_a_bundle_is_read_and_compared(weights: dict[str, torch.Tensor], form: str, tmp_path: Path) -> None:
    path = bundle_folder(tmp_path / "bundle", in_memory(weights), metadata=METADATA, inference={"network_def": NETWORK})
    if form != "folder":
        path = zipped(path, tmp_path / "bundle.zip", "bundle/" if form == "zip of a folder" else "")
    assert is_bundle(path)
    with open_bundle(path, ROOM) as bundle:
        compared = compare(bundle, RECIPE)
        fitted = fit(read_weights(bundle.model), RECIPE)
        wanted = path / "models" / "model.pt" if form == "folder" else path
        assert bundle.digest == file_digest(wanted)
    assert all(torch.equal(fitted.state_dict[name], tensor) for name, tensor in weights.items())
    for what in ("number of channels", "input size", "classes", "order of channels", "conv1_t_stride", "no_max_pool"):
        assert any(what in line for line in compared)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("inputs/image/num_channels", 4, "number of channels 4 in the bundle, 3 in the recipe"),
        ("inputs/image/spatial_shape", [96, 96, 96], "[96, 96, 96] in the bundle, [16, 16, 16] in the recipe"),
        ("inputs/image/channel_def", {"1": "T1", "0": "t1_ce", "2": "T2"}, "['t1ce', 't1', 't2'] in the bundle"),
        ("outputs/pred/num_channels", 1, "number of classes 1 in the bundle, 2 in the recipe"),
        ("outputs/pred/channel_def", {"0": "recurrence", "1": "necrosis"}, "order of classes ['recurrence'"),
    ],
)
def test_a_bundle_that_contradicts_the_recipe_is_refused(
    weights: dict[str, torch.Tensor], path: str, value: Any, says: str, tmp_path: Path
) -> None:
    metadata = with_change(METADATA, f"network_data_format/{path}", value)
    assert says in refused(bundle_folder(tmp_path / "bundle", in_memory(weights), metadata=metadata))


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("conv1_t_stride", 1, "conv1_t_stride 1 in the bundle, 2 in the recipe"),
        ("conv1_t_stride", [2, 2, 1], "conv1_t_stride [2, 2, 1] in the bundle, 2 in the recipe"),
        ("no_max_pool", False, "no_max_pool False in the bundle, True in the recipe"),
        ("shortcut_type", "A", "shortcut_type A in the bundle, B in the recipe"),
        ("spatial_dims", 2, "number of dimensions 2 in the bundle, 3 in the recipe"),
    ],
)
def test_strides_that_no_shape_shows_are_compared_where_a_bundle_has_them(
    weights: dict[str, torch.Tensor], key: str, value: Any, says: str, tmp_path: Path
) -> None:
    inference = {"network_def": {**NETWORK, key: value}}
    assert says in refused(bundle_folder(tmp_path / "bundle", in_memory(weights), inference=inference))


@pytest.mark.parametrize("words", [{}, {"network_data_format": []}, {"network_data_format": {"inputs": {"a": 3}}}])
def test_words_that_cannot_be_compared_are_left_aside(
    weights: dict[str, torch.Tensor], words: dict[str, Any], tmp_path: Path
) -> None:
    rules = with_change(METADATA, "network_data_format/inputs/image/spatial_shape", ["16*n", "*", "*"])
    rules = with_change(rules, "network_data_format/inputs/image/channel_def", {"0": "image"})
    for number, metadata in enumerate((words, rules)):
        network = {"_target_": "$lambda: 1", "conv1_t_stride": "@stride", "no_max_pool": None}
        folder = bundle_folder(
            tmp_path / str(number), in_memory(weights), metadata=metadata, inference={"network_def": network}
        )
        with open_bundle(folder, ROOM) as bundle:
            assert not any("input size" in line or "order of channels" in line for line in compare(bundle, RECIPE))


@pytest.mark.parametrize("lack", ["models/model.pt", "configs/metadata.json"])
@pytest.mark.parametrize("archive", [False, True])
def test_an_incomplete_bundle_says_what_it_lacks(
    weights: dict[str, torch.Tensor], lack: str, archive: bool, tmp_path: Path
) -> None:
    folder = bundle_folder(tmp_path / "bundle", in_memory(weights))
    (folder / lack).unlink()
    assert f"no {lack}" in refused(zipped(folder, tmp_path / "b.zip") if archive else folder)


def test_a_bundles_links_are_not_followed_out_of_it(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"network_data_format": {"inputs": {"x": {"num_channels": 7}}}}')
    folder = bundle_folder(tmp_path / "bundle", in_memory(weights))
    (folder / "configs" / "metadata.json").unlink()
    (folder / "configs" / "metadata.json").symlink_to(tmp_path / "secret.json")
    assert "link that leads out of its folder" in refused(folder)
    link = zipfile.ZipInfo("configs/metadata.json")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr("models/model.pt", in_memory(weights))
        archive.writestr(link, str(tmp_path / "secret.json"))
    assert "is a link" in refused(tmp_path / "link.zip")


@pytest.mark.parametrize("name", ["../../models/model.pt", "/models/model.pt", "../models/model.pt"])
def test_an_archives_names_lead_nowhere(weights: dict[str, torch.Tensor], name: str, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "down" / "bundle.zip"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, in_memory(weights))
        archive.writestr("configs/metadata.json", "{}")
    before = sorted(tmp_path.rglob("*"))
    assert "no models/model.pt" in refused(path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["models/model.pt", "configs/metadata.json"])
def test_an_archive_is_not_unpacked_beyond_its_bound(name: str, tmp_path: Path) -> None:
    members = {"models/model.pt": b"x", "configs/metadata.json": b"{}"}
    members[name] = bytes(ROOM + 1 if name == "models/model.pt" else MAX_CONFIG_BYTES + 1)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    assert (tmp_path / "bomb.zip").stat().st_size < 200_000
    assert "MiB" in refused(tmp_path / "bomb.zip")


def test_a_bundles_words_must_be_json(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    folder = bundle_folder(tmp_path / "bundle", in_memory(weights))
    for content in (b"{", b"[1]", b"\xff\xfe", b"[" * 100_000):
        (folder / "configs" / "metadata.json").write_bytes(content)
        assert "metadata.json is not a JSON object" in refused(folder)
