"""Small recipes, and exported versions whose model is a few bytes: for tests that run no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from glioserve_contract import Modality, sha256_digest
from glioserve_contract.records.facts.parity import ParityFigure, ParityRecord
from glioserve_contract.records.manifest import MANIFEST_SCHEMA, Manifest
from glioserve_contract.records.recipe import (
    CLASSES,
    RECIPE_SCHEMA,
    Architecture,
    Grid,
    Recipe,
    preprocessing_digest,
)
from glioserve_preprocess.files import file_digest, save_recipe
from glioserve_triton.served.versions import save_manifest

SMALL: dict[str, Architecture] = {
    "resnet10": Architecture("resnet10", {"widen_factor": 0.0625}),
    "resnet50": Architecture("resnet50", {"widen_factor": 0.0625}),
    "vgg11": Architecture("vgg11", {"widen_factor": 0.0625, "hidden": 32}),
    "vgg16": Architecture("vgg16", {"widen_factor": 0.0625, "hidden": 32}),
    "densenet121": Architecture("densenet121", {"widen_factor": 0.125}),
    "mresnet": Architecture("mresnet", {"widen_factor": 0.0625}),
}
"""Every architecture of the registry, thin: seconds to export, on a grid of 32 and more."""
TINY = Architecture(
    "resnet10",
    {
        "widen_factor": 0.1,
        "conv1_t_size": 3,
        "conv1_t_stride": 2,
        "no_max_pool": True,
        "stage_strides": [1, 2, 1, 1],
    },
)
"""A last feature map of a quarter of the grid's size; runs in milliseconds."""
HELD_PARITY = ParityRecord(
    figures=(
        ParityFigure("LOGITS", 1e-6, 1e-4, "the largest logit, at least 1"),
        ParityFigure("CAM", 5e-6, 1e-4, "the largest value before the ReLU"),
    ),
    model_id_equal=True,
    runtime="onnxruntime, CPU",
)
"""Figures as an export records them."""
T1_T1CE_T2 = (Modality.T1, Modality.T1CE, Modality.T2)


def tiny_recipe(
    channels: Sequence[Modality] = T1_T1CE_T2,
    size_voxels: tuple[int, int, int] = (16, 16, 16),
    *,
    name: str = "tiny",
    classes: tuple[str, str] = CLASSES,
    min_slices: int = 32,
    architecture: Architecture = TINY,
) -> Recipe:
    """A recipe of 8 mm voxels."""
    return Recipe(
        schema=RECIPE_SCHEMA,
        name=name,
        architecture=architecture,
        channels=tuple(channels),
        classes=classes,
        grid=Grid(size_voxels=size_voxels, spacing_mm=(8.0, 8.0, 8.0)),
        min_slices=min_slices,
    )


def fake_export(folder: Path, recipe: Recipe | None = None, *, model: bytes = b"onnx", **changes: Any) -> Path:
    """An exported version in every respect but that its model is ``model``; ``changes`` are manifest fields."""
    recipe = recipe or tiny_recipe()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    save_recipe(recipe, folder / "recipe.json")
    manifest = Manifest(
        schema=MANIFEST_SCHEMA,
        recipe=recipe,
        weights_digest=sha256_digest(model),
        preprocessing_digest=preprocessing_digest(recipe),
        cam_grid=(4, 4, 4),
        cam_start_voxels=0.0,
        cam_step_voxels=4.0,
        files={name: file_digest(folder / name) for name in ("model.onnx", "recipe.json")},
        parity=HELD_PARITY,
    )
    save_manifest(replace(manifest, **changes), folder)
    return folder
