"""The Grad-CAM in the graph against two others: autograd, and MONAI's implementation."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
from monai.visualize import GradCAM
from torch import nn

from glioserve_contract import Modality
from glioserve_contract.records.manifest import digest_of_model_id
from glioserve_contract.records.recipe import Architecture, Recipe
from glioserve_export.graphs.graph import ServedGraph
from glioserve_export.graphs.parity import reference
from glioserve_export.graphs.probes import INPUTS, probe_studies
from glioserve_networks import ClassifierNet, build
from glioserve_networks.architectures import densenet
from support.models.networks import random_network
from support.models.recipes import SMALL, T1_T1CE_T2, TINY, tiny_recipe

DIGEST = "sha256:" + "f0" * 16 + "0f" * 16
RECIPES = (
    tiny_recipe((Modality.T1CE,), (16, 16, 16)),
    tiny_recipe((Modality.T1, Modality.T2), (20, 16, 24)),
    tiny_recipe(T1_T1CE_T2, (17, 22, 19)),
    tiny_recipe(tuple(Modality), (24, 24, 24)),
)
CLOSED_FORM_TOLERANCE = 1e-5
"""Largest difference, relative to the largest value in the study's maps: two orders of sums in 32-bit floats."""


def served(recipe: Recipe, studies: np.ndarray) -> tuple[nn.Module, np.ndarray, np.ndarray, np.ndarray]:
    network = random_network(recipe, seed=len(recipe.channels))
    with torch.no_grad():
        logits, cam, identity = ServedGraph(network, recipe, DIGEST)(torch.from_numpy(studies))
    return network, logits.numpy(), cam.numpy(), identity.numpy()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: f"{len(r.channels)}x{r.grid.shape}")
def test_the_closed_form_is_autograds_grad_cam_of_both_classes(recipe: Recipe) -> None:
    studies = probe_studies(recipe)
    network, logits, cam, _ = served(recipe, studies)
    assert cam.shape[:2] == (len(INPUTS), 2)
    assert (cam.max(axis=(0, 2, 3, 4)) > 0).all(), "both classes have maps to compare"
    for index, study in enumerate(studies):
        ref = reference(network, study, recipe)
        np.testing.assert_allclose(logits[index], ref.logits, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            cam[index], ref.cam, rtol=0, atol=CLOSED_FORM_TOLERANCE * np.abs(ref.unrectified).max()
        )


def test_monais_grad_cam_of_the_last_stage_is_the_same() -> None:
    recipe = RECIPES[2]
    studies = probe_studies(recipe)
    network, _, cam, _ = served(recipe, studies)
    scales = [reference(network, study, recipe).scale for study in studies]
    monai = GradCAM(network, target_layers="layer4")
    for class_index in (0, 1):
        assert cam[:, class_index].max() > 0
        for index, study in enumerate(studies):
            wanted = monai.compute_map(torch.from_numpy(study)[None], class_idx=class_index)[0, 0].detach().numpy()
            np.testing.assert_allclose(
                cam[index, class_index], wanted, rtol=0, atol=CLOSED_FORM_TOLERANCE * scales[index]
            )


def test_the_reference_is_taken_of_the_logit_and_not_of_the_probability() -> None:
    """The two gradients of a softmax sum to zero: the unrectified maps would be each other's negative."""
    recipe = RECIPES[2]
    ref = reference(random_network(recipe), probe_studies(recipe)[0], recipe)
    assert np.abs(ref.unrectified.sum(axis=0)).max() > 0.1 * np.abs(ref.unrectified).max()


def test_every_row_carries_the_weights_digest() -> None:
    recipe = RECIPES[0]
    *_, identity = served(recipe, probe_studies(recipe)[:3])
    assert identity.shape == (3, 8)
    assert identity.dtype == np.int32
    assert {digest_of_model_id(tuple(row.tolist())) for row in identity} == {DIGEST}


RESNET10: dict[str, dict[str, object]] = {
    "tiny": dict(TINY.options),
    "the demo's": {"widen_factor": 0.1, "conv1_t_stride": 2, "no_max_pool": True, "stage_strides": [1, 2, 1, 1]},
    "MONAI's": {"widen_factor": 0.1},
    "narrow first kernel, all strides": {"widen_factor": 0.1, "conv1_t_size": 3, "conv1_t_stride": 2},
}
LATTICES = {name: Architecture("resnet10", options) for name, options in RESNET10.items()} | {
    name: SMALL[name] for name in ("resnet50", "vgg11", "vgg16", "densenet121", "mresnet")
}


@pytest.mark.parametrize("architecture", LATTICES.values(), ids=LATTICES)
def test_the_lattice_in_the_manifest_is_where_the_map_looks(
    architecture: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradient of one CAM voxel, all weights equal, is its receptive field: symmetric about the lattice's point."""
    monkeypatch.setattr(densenet, "BLOCKS", (1, 1, 1, 1))  # the whole network sees more than a thousand voxels
    network = build(architecture, 1).eval()
    start, step = cast(ClassifierNet, network).cam_lattice
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Conv3d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.MaxPool3d):  # among equals a maximum takes the first
            average = nn.AvgPool3d(module.kernel_size, module.stride, module.padding)
            network.set_submodule(name, average)
    # All windows stay inside: the field of the deepest cell is the widest.
    size = 64 * round(step)
    image = torch.ones(1, 1, size, 32, 32, requires_grad=True)
    features = cast(ClassifierNet, network).features(image)
    cell = features.shape[2] // 2
    (field,) = torch.autograd.grad(features[0, :, cell].sum(), image)
    profile = field[0, 0].sum(dim=(1, 2)).double().numpy()
    assert profile[0] == profile[-1] == 0, "the field was cut off"
    centre = (profile * np.arange(size)).sum() / profile.sum()
    assert centre == pytest.approx(start + step * cell, abs=1e-3 * step)
