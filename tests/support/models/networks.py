"""Small networks with weights that exercise every term: for export and serving tests."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from glioserve_contract.records.recipe import Recipe
from glioserve_networks import Artifact, build, load_artifact, save_artifact
from support.models.recipes import tiny_recipe


def random_network(recipe: Recipe, seed: int = 0) -> nn.Module:
    """Untrained, with random normalisation statistics and biases: at their initial 0 and 1 an exporter that
    drops or misplaces one would go unseen."""
    torch.manual_seed(seed)
    network = build(recipe.architecture, len(recipe.channels))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.get_buffer("running_mean").normal_(0, 0.2)
                module.get_buffer("running_var").uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
            elif isinstance(module, (nn.Conv3d, nn.Linear)) and module.bias is not None:
                module.bias.normal_(0, 0.2)
            if isinstance(module, nn.Linear):  # so that the input decides which ReLUs of a deep head are on
                nn.init.kaiming_normal_(module.weight)
    return network.eval()


def tiny_artifact(folder: Path, recipe: Recipe | None = None, seed: int = 0) -> Artifact:
    """A saved and loaded artifact of :func:`random_network`."""
    recipe = recipe or tiny_recipe()
    save_artifact(folder, recipe, random_network(recipe, seed).state_dict())
    return load_artifact(folder)
