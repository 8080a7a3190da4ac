"""A network with an opinion, and a made study whose score it is known by: for tests of the reference case."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from glioserve_contract.records.recipe import Recipe, ReferenceCase
from glioserve_contract.records.reference_case import REFERENCE_CASE_FILE, score_of
from glioserve_networks import save_artifact
from glioserve_networks.reference_case import CaseImage, StoredCase, load_case, write_case
from support.models.networks import random_network

LOGIT = 1.7
"""Recurrence's minus necrosis's for the case: a score of 0.8455."""


def made_image(recipe: Recipe) -> CaseImage:
    """FP32 [C, D, H, W]: bright voxels, in each channel as many and as bright as in no other."""
    rng = np.random.default_rng(0)
    kinds = ((0.5, 2.0), (0.1, 1.0), (0.9, 0.3), (0.3, 4.0))[: len(recipe.channels)]
    channels = [(rng.random(recipe.grid.shape) < share) * value for share, value in kinds]
    return np.asarray(np.stack(channels), dtype=np.float32)


def decided_network(recipe: Recipe, seed: int = 0) -> nn.Module:
    """A random network whose answer depends on its input, and which says :data:`LOGIT` to :func:`made_image`."""
    network = random_network(recipe, seed)
    image = torch.from_numpy(made_image(recipe))[None]
    last = network.get_submodule("fc")
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight *= 20
        last.bias.zero_()
        difference = network(image)[0, recipe.recurrence_index] - network(image)[0, 1 - recipe.recurrence_index]
        last.bias[recipe.recurrence_index] = LOGIT - difference
    return network


def with_made_case(recipe: Recipe, folder: Path, *, name_channels: bool = True) -> tuple[Recipe, StoredCase]:
    """The recipe with its case, and the case, written into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / REFERENCE_CASE_FILE
    if name_channels:
        write_case(file, made_image(recipe), recipe.channels)
    else:
        np.savez_compressed(file, image=made_image(recipe))
    case = load_case(file, recipe)
    logits = [0.0, 0.0]
    logits[recipe.recurrence_index] = LOGIT
    score = score_of(logits, recipe)
    return replace(recipe, reference_case=ReferenceCase(case.digest, round(score, 4))), case


def artifact_with_case(folder: Path, recipe: Recipe) -> Recipe:
    """An artifact of :func:`decided_network` with its case; the recipe that it has."""
    described, case = with_made_case(recipe, folder.parent / f"{folder.name}-case")
    save_artifact(folder, described, decided_network(recipe).state_dict(), case.content)
    return described
