"""The architectures that a recipe may name, and what the exporter may ask of a built network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast, runtime_checkable

import torch
from torch import nn

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.recipe import CLASSES, Architecture
from glioserve_networks.resnet10 import ResNet10


@runtime_checkable
class ClassifierNet(Protocol):
    """A network whose Grad-CAM is a closed form: ``forward(x) == head(mean(features(x) over d, h, w))``."""

    @property
    def head(self) -> nn.Linear:
        """From the K pooled features to the recipe's two logits."""

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` [N, C, D, H, W] to A [N, K, d, h, w], after the last block's ReLU."""

    @property
    def cam_lattice(self) -> tuple[float, float]:
        """(start, step): voxel i of A is centred on voxel ``start + step * i`` of the input, along each axis."""


_BUILDERS: dict[str, Callable[..., nn.Module]] = {"resnet10": ResNet10}


def architectures() -> tuple[str, ...]:
    """Names that ``recipe.architecture.name`` may have."""
    return tuple(_BUILDERS)


def build(architecture: Architecture, in_channels: int) -> nn.Module:
    """A freshly initialised network of two outputs (the recipe's classes, in its order); a :class:`ClassifierNet`.

    Raises GLIO-5106 for an unknown name and GLIO-5101 for an option that the network does not take.
    """
    builder = _BUILDERS.get(architecture.name)
    if builder is None:
        known = ", ".join(architectures())
        raise GlioserveError(
            ErrorCode.UNSUPPORTED_ARCHITECTURE, f"recipe.architecture.name is {architecture.name!r}, known: {known}."
        )
    try:
        net = builder(in_channels=in_channels, out_classes=len(CLASSES), **architecture.options)
    except (TypeError, ValueError) as error:
        raise GlioserveError(ErrorCode.INVALID_RECIPE, f"recipe.architecture.options: {error}.") from error
    assert isinstance(net, ClassifierNet)
    return cast(nn.Module, net)
