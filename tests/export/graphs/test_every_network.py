"""Every architecture of the registry, thin, for one to four sequences: exported, and proven equal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.records.recipe import Architecture, Recipe
from glioserve_export.exporter import export_model
from glioserve_export.graphs.graph import ServedGraph, cam_method
from glioserve_export.graphs.onnx_export import cam_grid, export_onnx
from glioserve_export.graphs.parity import check_parity, reference
from glioserve_export.graphs.probes import probe_studies
from glioserve_export.graphs.vectors import load_vectors
from glioserve_networks import architectures
from support.models.networks import random_network, tiny_artifact
from support.models.recipes import SMALL, T1_T1CE_T2, tiny_recipe

DIGEST = "sha256:" + "0f" * 32
SINGLE, BEST, ALL = (Modality.T1,), T1_T1CE_T2, tuple(Modality)
"""The published study's: a single sequence, the best three, all four. A graph depends on their number alone."""
DEEP = ("resnet50", "vgg16", "mresnet", "densenet121")
"""Many seconds to export: long for the best three, slow for the others."""
GRIDS = {"densenet121": (64, 64, 64)}
"""Its map is a 32nd of the input: below this it would be one cell."""
OTHER_GRIDS = ((40, 32, 48), (33, 47, 38))


def recipe_of(name: str, channels: tuple[Modality, ...] = T1_T1CE_T2, **changes: object) -> Recipe:
    recipe = tiny_recipe(channels, GRIDS.get(name, (32, 32, 32)), architecture=SMALL[name])
    return replace(recipe, **changes)  # type: ignore[arg-type]


def proven(recipe: Recipe, folder: Path) -> onnx.ModelProto:
    artifact = tiny_artifact(folder, recipe, seed=3)
    model = export_onnx(artifact.network(), recipe, artifact.weights_digest)
    parity = check_parity(model, artifact)
    assert {f.output for f in parity.figures} >= {"LOGITS", "CAM"}
    assert parity.vectors.cam.max() > 0, "there is a map to compare"
    return onnx.load_from_string(model)


def test_all_of_the_registry_are_here() -> None:
    assert set(SMALL) == set(architectures())


def combinations() -> Iterator[object]:
    for name in SMALL:
        for channels in (SINGLE, BEST, ALL):
            is_slow = name in DEEP and (channels != BEST or name == "densenet121")
            is_long = name in DEEP or channels != BEST
            marks = pytest.mark.slow if is_slow else pytest.mark.long if is_long else ()
            yield pytest.param(name, channels, marks=marks, id=f"{name}-{'+'.join(channels)}")


@pytest.mark.parametrize(("name", "channels"), list(combinations()))
def test_network_and_sequences(name: str, channels: tuple[Modality, ...], tmp_path: Path) -> None:
    model = proven(recipe_of(name, channels), tmp_path / "artifact")
    assert all(n >= 2 for n in cam_grid(model))
    folded = not any(node.op_type == "BatchNormalization" for node in model.graph.node)
    assert folded or name == "densenet121", "a normalisation before a convolution cannot be folded into it"


def test_a_graph_depends_on_the_number_of_sequences_alone(tmp_path: Path) -> None:
    """The study's three single sequences share one graph: one of them is exported for every network."""
    made = []
    for sequence in (Modality.T1, Modality.T2):
        recipe = tiny_recipe((sequence,))
        model = onnx.load_from_string(export_onnx(random_network(recipe), recipe, DIGEST))
        del model.metadata_props[:]  # where the sequence's name stands
        made.append(model.SerializeToString(deterministic=True))
    assert made[0] == made[1]


@pytest.mark.parametrize(
    "name",
    [
        "resnet10",
        pytest.param("vgg11", marks=pytest.mark.long),
        pytest.param("mresnet", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("size_voxels", OTHER_GRIDS)
def test_grids_that_are_no_cube_or_no_multiple(name: str, size_voxels: tuple[int, int, int], tmp_path: Path) -> None:
    proven(tiny_recipe(T1_T1CE_T2, size_voxels, architecture=SMALL[name]), tmp_path / "artifact")


@pytest.mark.parametrize("cells", [pytest.param(2, marks=pytest.mark.long), pytest.param(3, marks=pytest.mark.slow)])
def test_overlapping_windows_of_a_pool_lose_nothing(cells: int, tmp_path: Path) -> None:
    options = {**SMALL["vgg11"].options, "pool_cells": cells}
    proven(tiny_recipe(size_voxels=(64, 64, 64), architecture=Architecture("vgg11", options)), tmp_path / "artifact")


@pytest.mark.parametrize("name", ["resnet10", "vgg11", pytest.param("mresnet", marks=pytest.mark.slow)])
def test_grad_cam_plus_plus_where_it_is_exact(name: str, tmp_path: Path) -> None:
    recipe = recipe_of(name, heatmap="gradcam++")
    proven(recipe, tmp_path / "artifact")
    studies, network = probe_studies(recipe)[:1], random_network(recipe, 3)
    plain = reference(network, studies[0], replace(recipe, heatmap="gradcam"))
    assert not np.allclose(reference(network, studies[0], recipe).cam, plain.cam), "another map"


def test_grad_cam_plus_plus_is_refused_where_it_is_not(tmp_path: Path) -> None:
    options = {**SMALL["vgg11"].options, "pool_cells": 2}
    recipe = replace(tiny_recipe(architecture=Architecture("vgg11", options)), heatmap="gradcam++")
    with pytest.raises(GlioserveError, match="pooled cell") as caught:
        ServedGraph(random_network(recipe), recipe, DIGEST)
    assert caught.value.code is ErrorCode.UNSUPPORTED_ARCHITECTURE


def test_a_recipe_may_ask_for_no_map(tmp_path: Path) -> None:
    recipe = recipe_of("resnet10", heatmap="none")
    artifact = tiny_artifact(tmp_path / "artifact", recipe)
    exported = export_model(artifact, tmp_path / "exported", progress=lambda _: None)
    assert exported.cam_method == "none"
    assert exported.cam_grid == (1, 1, 1)
    assert not load_vectors(tmp_path / "exported", recipe).cam.any()


class OddHead(nn.Module):
    """A head that no closed form knows: attention over the voxels."""

    cam_lattice = (0.0, 4.0)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv3d(3, 6, 4, stride=4)
        self.attention, self.out = nn.Linear(6, 1), nn.Linear(6, 2)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.convolution(x))

    def tail(self, a: torch.Tensor) -> torch.Tensor:
        voxels = a.flatten(2).transpose(1, 2)
        shares = torch.softmax(self.attention(voxels), dim=1)
        return self.out((shares * voxels).sum(dim=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.tail(self.features(x))


def test_a_traced_gradient_is_autograds() -> None:
    recipe = tiny_recipe()
    network = OddHead().eval()
    assert cam_method(network, recipe) == "traced"
    studies = probe_studies(recipe)
    graph = ServedGraph(network, recipe, DIGEST)
    model = export_onnx(network, recipe, DIGEST)
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for batch in (1, 2, 8):
        with torch.no_grad():
            logits, cam, _ = graph(torch.from_numpy(studies[:batch]))
        by_onnx = session.run(["LOGITS", "CAM"], {"IMAGE": studies[:batch]})
        for row in range(batch):
            ref = reference(network, studies[row], recipe)
            for found in (logits[row].numpy(), by_onnx[0][row]):
                np.testing.assert_allclose(found, ref.logits, rtol=1e-4, atol=1e-5)
            for found in (cam[row].numpy(), by_onnx[1][row]):
                np.testing.assert_allclose(found, ref.cam, rtol=0, atol=1e-5 * ref.scale)
    assert cam.max() > 0


class NoMap(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.AdaptiveAvgPool3d(2), nn.Flatten(), nn.Linear(24, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.inner(x)
        return answer


def test_a_network_that_names_no_feature_map_has_no_map() -> None:
    recipe = tiny_recipe()
    assert cam_method(NoMap(), recipe) == "none"
    with torch.no_grad():
        _, cam, _ = ServedGraph(NoMap(), recipe, DIGEST)(torch.from_numpy(probe_studies(recipe)))
    assert cam.shape == (8, 2, 1, 1, 1)
    assert not cam.any()


def test_weights_that_no_onnx_file_holds_are_refused_before_the_work() -> None:
    recipe = tiny_recipe(architecture=Architecture("vgg16", {"pool_cells": 7}))
    with torch.device("meta"):
        from glioserve_networks import build

        network = build(recipe.architecture, 3)
    with pytest.raises(GlioserveError, match="pool_cells"):
        export_onnx(network, recipe, DIGEST)
