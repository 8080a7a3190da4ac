"""Graphs of thin networks, exported once, and studies to calibrate on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from glioserve_contract.records.recipe import Recipe
from glioserve_export.graphs.onnx_export import export_onnx
from support.models.networks import random_network
from support.models.recipes import SMALL, tiny_recipe
from support.models.variant_limits import LAX

WEIGHTS_DIGEST = "sha256:" + "5a" * 32
Exporter = Callable[[str], tuple[Recipe, bytes]]


@pytest.fixture(scope="session")
def exported() -> Exporter:
    """(recipe, fp32 ONNX) of a network by name: one of SMALL's, or ``tiny``."""
    made: dict[str, tuple[Recipe, bytes]] = {}

    def get(name: str) -> tuple[Recipe, bytes]:
        if name not in made:
            recipe = tiny_recipe()
            if name in SMALL:
                recipe = tiny_recipe(size_voxels=(32, 32, 32), architecture=SMALL[name])
            made[name] = recipe, export_onnx(random_network(recipe), recipe, WEIGHTS_DIGEST)
        return made[name]

    return get


@pytest.fixture(scope="session")
def tiny(exported: Exporter) -> tuple[Recipe, bytes]:
    """The quickest of them, with limits that let everything pass."""
    recipe, model = exported("tiny")
    return replace(recipe, variant_limits=LAX), model


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """[8, 3, 16, 16, 16]: the tiny recipe's calibration set."""
    return np.random.default_rng(0).random((8, 3, 16, 16, 16), dtype=np.float32)


@pytest.fixture(scope="session")
def loud(tiny: tuple[Recipe, bytes]) -> Callable[[str, float], bytes]:
    """The tiny graph with one parameter of its network multiplied."""

    def make(parameter: str, factor: float) -> bytes:
        network = random_network(tiny[0])
        with torch.no_grad():
            network.get_parameter(parameter).mul_(factor)
        return export_onnx(network, tiny[0], WEIGHTS_DIGEST)

    return make
