"""A checkpoint's names and shapes against the recipe: MONAI's own answers stay, and what does not fit says why."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets.densenet import DenseNet
from monai.networks.nets.resnet import ResNet
from safetensors.torch import save_file
from torch import nn

from glioserve_contract import Modality
from glioserve_contract.records.recipe import Architecture, Recipe
from glioserve_networks import build
from glioserve_networks.architectures.options import defaults_of, likely, shapes_of
from glioserve_networks.checkpoints.checkpoint import SHOWN, read_weights
from glioserve_networks.checkpoints.fit import fit
from glioserve_preprocess.files import file_digest
from support.models.checkpoints import (
    RECIPE,
    recipe_of,
    refused,
    saved,
    tiny_weights,
)
from support.models.recipes import SMALL, TINY, tiny_recipe


def scrambled(network: nn.Module) -> nn.Module:
    """Return the network with normalisation statistics and biases that show when one is lost."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.get_buffer("running_mean").normal_(0, 0.2, generator=generator)
                module.get_buffer("running_var").uniform_(0.5, 1.5, generator=generator)
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.2, generator=generator)
            elif isinstance(module, (nn.Conv3d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, generator=generator)
                if module.bias is not None:
                    module.bias.normal_(0, 0.2, generator=generator)
    return network.eval()


def vgg_made_3d(width: int, hidden: int) -> nn.Module:
    """The published 2D layout of VGG11 with batch normalisation, each layer replaced by its 3D twin."""
    layers: list[nn.Module] = []
    given = 3
    for entry in (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"):
        if entry == "M":
            layers.append(nn.MaxPool3d(kernel_size=2, stride=2))
            continue
        taken = int(entry) * width // 64
        layers += [nn.Conv3d(given, taken, kernel_size=3, padding=1), nn.BatchNorm3d(taken), nn.ReLU(inplace=True)]
        given = taken
    network = nn.Module()
    network.features = nn.Sequential(*layers)
    network.avgpool = nn.AdaptiveAvgPool3d((7, 7, 7))
    network.classifier = nn.Sequential(
        nn.Linear(given * 343, hidden), nn.ReLU(True), nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(True),
        nn.Dropout(), nn.Linear(hidden, 2),
    )  # fmt: skip
    network.forward = lambda x: network.classifier(torch.flatten(network.avgpool(network.features(x)), 1))
    return network


def monai_resnet(block: str, layers: list[int], **options: Any) -> ResNet:
    return ResNet(block, layers, [64, 128, 256, 512], n_input_channels=3, num_classes=2, widen_factor=0.0625, **options)


ORIGINALS: dict[str, tuple[Callable[[], nn.Module], Recipe]] = {
    "resnet10": (lambda: monai_resnet("basic", [1, 1, 1, 1]), recipe_of("resnet10")),
    "resnet10, strided": (
        lambda: monai_resnet("basic", [1, 1, 1, 1], conv1_t_stride=2, no_max_pool=True),
        recipe_of("resnet10", conv1_t_stride=2, no_max_pool=True),
    ),
    "resnet50": (
        lambda: monai_resnet("bottleneck", [3, 4, 6, 3], bias_downsample=False),
        recipe_of("resnet50"),
    ),
    "densenet121": (
        lambda: DenseNet(3, 3, 2, init_features=8, growth_rate=4, block_config=(6, 12, 24, 16)),
        recipe_of("densenet121"),
    ),
    "vgg11": (lambda: vgg_made_3d(8, 24), recipe_of("vgg11", widen_factor=0.125, hidden=24, pool_cells=7)),
}


@pytest.mark.long
@pytest.mark.parametrize("name", ORIGINALS)
def test_a_network_made_elsewhere_answers_the_same(name: str, tmp_path: Path) -> None:
    make, recipe = ORIGINALS[name]
    torch.manual_seed(0)
    original = scrambled(make())
    torch.save(original.state_dict(), tmp_path / "weights.pt")
    network = build(recipe.architecture, 3)
    network.load_state_dict(fit(read_weights(tmp_path / "weights.pt"), recipe).state_dict)
    study = torch.rand(2, 3, 32, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = original(study)
        torch.testing.assert_close(network.eval()(study), wanted, rtol=0, atol=1e-6)
    assert (wanted[0] - wanted[1]).abs().max() > 1e-4  # it hears its input


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return tiny_weights()


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict", "net", "network"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module."])
def test_wrappers_and_prefixes_come_off_and_are_told(
    weights: dict[str, torch.Tensor], wrapper: str | None, prefix: str, tmp_path: Path
) -> None:
    named: Any = OrderedDict((prefix + name, tensor) for name, tensor in weights.items())
    content = named if wrapper is None else {"epoch": 3, "optimizer": {"state": {}}, wrapper: named}
    checkpoint = read_weights(saved(content, tmp_path))
    fitted = fit(checkpoint, RECIPE)
    assert fitted.state_dict.keys() == weights.keys()
    assert all(torch.equal(fitted.state_dict[name], tensor) for name, tensor in weights.items())
    assert checkpoint.notes == (() if wrapper is None else (f"took the state dict under {wrapper!r}",))
    assert fitted.notes == ((f"took the prefix {prefix!r} off all {len(weights)} names",) if prefix else ())
    assert checkpoint.digest == file_digest(tmp_path / "weights.pt")


@pytest.mark.parametrize("file_format", ["zip", "legacy", "safetensors"])
def test_every_file_format(weights: dict[str, torch.Tensor], file_format: str, tmp_path: Path) -> None:
    path = tmp_path / "a name that says nothing"
    if file_format == "safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=file_format == "zip")
    checkpoint = read_weights(path)
    assert checkpoint.format.startswith("safetensors" if file_format == "safetensors" else "PyTorch state dict")
    path.unlink()  # nothing of the file is needed any more
    fitted = fit(checkpoint, RECIPE)
    assert all(torch.equal(fitted.state_dict[name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_single_precision_and_it_is_told(
    weights: dict[str, torch.Tensor], dtype: torch.dtype, tmp_path: Path
) -> None:
    other = {name: t.to(dtype) if t.is_floating_point() else t for name, t in weights.items()}
    fitted = fit(read_weights(saved(other, tmp_path)), RECIPE)
    converted = sum(t.is_floating_point() for t in weights.values())
    assert fitted.notes == (f"converted {converted} tensors from {str(dtype)[6:]} to float32",)
    for name, tensor in other.items():
        assert fitted.state_dict[name].dtype == weights[name].dtype
        assert torch.equal(fitted.state_dict[name].to(dtype), tensor)


def test_counters_of_older_files_may_be_absent(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    older = {name: tensor for name, tensor in weights.items() if not name.endswith("num_batches_tracked")}
    fitted = fit(read_weights(saved(older, tmp_path)), RECIPE)
    (note,) = fitted.notes
    assert f"{len(weights) - len(older)} counters (num_batches_tracked)" in note
    build(RECIPE.architecture, 3).load_state_dict(fitted.state_dict)


def test_a_prefix_that_the_network_itself_has_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = {"trunk.conv.weight": (2, 3, 1, 1, 1), "trunk.fc.weight": (2, 2)}
    monkeypatch.setattr("glioserve_networks.checkpoints.fit.shapes_of", lambda *_: shapes)
    for prefix, told in (("", 0), ("module.", 1)):
        path = saved({prefix + name: torch.ones(shape) for name, shape in shapes.items()}, tmp_path)
        fitted = fit(read_weights(path), RECIPE)
        assert fitted.state_dict.keys() == shapes.keys()
        assert len(fitted.notes) == told


def changed(weights: dict[str, torch.Tensor], change: str) -> dict[str, torch.Tensor]:
    state = dict(weights)
    if change == "missing":
        state = {name: t for name, t in state.items() if not name.startswith("layer")}
    elif change == "unexpected":
        state |= {f"extra{i}.weight": torch.zeros(1) for i in range(12)}
    elif change == "integer":
        state["conv1.weight"] = state["conv1.weight"].to(torch.int8)
    elif change == "nan":
        state["fc.bias"] = torch.tensor([0.0, float("nan")])
    elif change == "too large":
        state["fc.bias"] = torch.tensor([0.0, 1e300], dtype=torch.float64)
    elif change == "variance":
        state["bn1.running_var"] = -torch.ones_like(state["bn1.running_var"])
    elif change == "sigmoid":
        state |= {"fc.weight": state["fc.weight"][:1], "fc.bias": state["fc.bias"][:1]}
    elif change == "three classes":
        state |= {"fc.weight": torch.zeros(3, state["fc.weight"].shape[1]), "fc.bias": torch.zeros(3)}
    elif change == "sparse":
        state["fc.weight"] = state["fc.weight"].to_sparse()
    elif change == "2D":
        state = {n: t[..., 0] if t.dim() == 5 else t for n, t in state.items()}
    elif change == "stretched":  # one number that claims to be a terabyte
        state["conv1.weight"] = torch.zeros(1).expand(10**6, 10**6)
    return state


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("missing", ["58 missing", "'layer1.0.conv1.weight'", "and 48 more"]),
        ("unexpected", ["12 unexpected", "'extra9.weight' and 2 more"]),
        ("integer", ["'conv1.weight' is torch.int8"]),
        ("nan", ["'fc.bias' has values that are not finite"]),
        ("too large", ["'fc.bias' has values that are not finite in single precision"]),
        ("variance", ["'bn1.running_var' is a variance"]),
        ("sigmoid", ["one output", "a row of zeros", "recipe.classes"]),
        ("three classes", ["3 outputs", "necrosis, recurrence"]),
        ("sparse", ["'fc.weight' is sparse"]),
        ("2D", ["convolutions are 2D"]),
        ("stretched", ["'conv1.weight' is [1000000, 1000000]"]),
    ],
)
def test_what_does_not_fit_is_named(
    weights: dict[str, torch.Tensor], change: str, says: list[str], tmp_path: Path
) -> None:
    detail = refused(saved(changed(weights, change), tmp_path))
    for part in says:
        assert part in detail


@pytest.mark.parametrize(
    ("stored", "recipe", "says"),
    [
        (TINY, tiny_recipe((Modality.T1CE,)), ["takes 3 channels; recipe.channels names 1"]),
        (SMALL["mresnet"], replace(recipe_of("mresnet"), channels=(Modality.T1, Modality.T2)), ["takes 3 channels"]),
        (SMALL["resnet10"], recipe_of("resnet10", widen_factor=0.125), ['"widen_factor": 0.0625']),
        (SMALL["resnet10"], recipe_of("resnet10", bias_downsample=False), ['"bias_downsample": true']),
        (
            Architecture("resnet50", {"widen_factor": 0.0625, "bias_downsample": True}),
            recipe_of("resnet50"),
            ['"bias_downsample": true'],
        ),
        (SMALL["resnet10"], recipe_of("resnet10", conv1_t_size=3), ['"conv1_t_size": 7']),
        (
            Architecture("vgg16", {"widen_factor": 0.0625, "hidden": 32, "pool_cells": 2}),
            recipe_of("vgg16"),
            ['{"pool_cells": 2}'],
        ),
        (
            Architecture("vgg11", {"widen_factor": 0.0625, "hidden": 16, "batch_norm": False}),
            recipe_of("vgg11"),
            ['"hidden": 16', '"batch_norm": false'],
        ),
        (SMALL["resnet50"], recipe_of("resnet10"), ["those of resnet50", '"widen_factor": 0.0625']),
        (SMALL["densenet121"], recipe_of("vgg11"), ["those of densenet121", '{"widen_factor": 0.125}']),
        (SMALL["vgg16"], recipe_of("vgg11"), ["those of vgg16"]),
        (SMALL["mresnet"], recipe_of("resnet10"), ["those of mresnet"]),
    ],
    ids=str,
)
def test_the_shapes_say_what_the_recipe_should(
    stored: Architecture, recipe: Recipe, says: list[str], tmp_path: Path
) -> None:
    detail = refused(saved(build(stored, 3).state_dict(), tmp_path), recipe)
    for part in says:
        assert part in detail


def test_shapes_of_no_known_network_say_so(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    odd = {name: tensor for name, tensor in weights.items() if ".downsample." not in name}
    detail = refused(saved(odd, tmp_path))
    assert "shortcut_type A" in detail
    assert "No architecture of the registry" in detail


@pytest.mark.parametrize("name", SMALL)
def test_every_architecture_is_known_by_its_shapes(name: str) -> None:
    for channels in (1, 4):
        found = likely(shapes_of(SMALL[name], channels))
        assert found is not None
        assert found[0].name == name
        assert found[1] == channels
        stated = {**defaults_of(name), **SMALL[name].options}
        assert {key: stated[key] for key in found[0].options} == found[0].options


def test_names_that_a_file_chose_are_kept_short(tmp_path: Path) -> None:
    detail = refused(saved({f"x{'y' * 5000}{i}": torch.zeros(1) for i in range(1000)}, tmp_path))
    assert len(detail) < 4000
    assert f"and {1000 - SHOWN} more" in detail


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([torch.zeros(1)], "holds a list"),
        (torch.zeros(3), "holds a Tensor"),
        ({}, "holds a dict"),
        ({"epoch": 1, "lr": 0.1}, "holds 'epoch', 'lr'"),
        ({"model": {"a": torch.zeros(1)}, "net": {"a": torch.zeros(1)}}, "several state dicts (model, net)"),
        ({"model": {"a": torch.zeros(1), "b": 3}}, "'b' under 'model' are not tensors"),
        ({1: torch.zeros(1)}, "has the name '1', which is not a text"),
    ],
    ids=str,
)
def test_what_is_no_state_dict_says_so(content: Any, says: str, tmp_path: Path) -> None:
    assert says in refused(saved(content, tmp_path))
