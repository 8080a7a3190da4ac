"""Checkpoints and MONAI bundles as other people write them, and how an import refuses them."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.recipe import Architecture, Recipe
from glioserve_networks.checkpoints.bundle import compare, is_bundle, open_bundle
from glioserve_networks.checkpoints.checkpoint import read_weights
from glioserve_networks.checkpoints.fit import Fitted, fit
from support.models.networks import random_network
from support.models.recipes import SMALL, tiny_recipe

ROOM = 64 << 20
"""Bytes that a bundle may unpack to."""
RECIPE = tiny_recipe()


def tiny_weights() -> dict[str, torch.Tensor]:
    """Return weights of :data:`RECIPE`'s network."""
    return dict(random_network(RECIPE).state_dict())


def recipe_of(name: str, **options: object) -> Recipe:
    """A recipe of one of our architectures, thin."""
    architecture = Architecture(name, {**SMALL[name].options, **options})
    return tiny_recipe(size_voxels=(32, 32, 32), architecture=architecture)


def saved(value: Any, folder: Path) -> Path:
    """``value`` as torch saves it, in ``folder``."""
    torch.save(value, folder / "weights.pt")
    return folder / "weights.pt"


def in_memory(value: Any, **options: Any) -> bytes:
    """The same as bytes."""
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


def bundle_folder(folder: Path, model: bytes, **configs: Any) -> Path:
    """A bundle with these configurations; its metadata is empty where none is given."""
    (folder / "models").mkdir(parents=True)
    (folder / "configs").mkdir()
    (folder / "models" / "model.pt").write_bytes(model)
    for name, value in {"metadata": {}, **configs}.items():
        (folder / "configs" / f"{name}.json").write_text(json.dumps(value))
    return folder


def zipped(folder: Path, target: Path, top: str = "") -> Path:
    """The folder as a zip archive, below ``top`` in it."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.write(file, f"{top}{file.relative_to(folder)}")
    return target


def read(path: Path, recipe: Recipe = RECIPE) -> Fitted:
    """Read a checkpoint as the import does."""
    if not is_bundle(path):
        return fit(read_weights(path), recipe)
    with open_bundle(path, ROOM) as bundle:
        compare(bundle, recipe)
        return fit(read_weights(bundle.model), recipe)


def refused(path: Path, recipe: Recipe = RECIPE) -> str:
    """Return what the import says of a file that it refuses: GLIO-5116, in one line."""
    with pytest.raises(GlioserveError) as caught:
        read(path, recipe)
    assert caught.value.code is ErrorCode.INVALID_CHECKPOINT
    assert "\n" not in str(caught.value)
    return caught.value.detail
