"""The architectures that a recipe may name: ours, and those that a site's packages bring.

A package adds one by an entry point of the group :data:`ENTRY_POINTS`, whose name is the architecture's and whose
object is called as ``builder(in_channels=…, out_classes=2, **options)`` and returns a ``torch.nn.Module``. What it
gets for it hangs on what the module can do: a :class:`~glioserve_networks.gradcam.ClassifierNet` has Grad-CAM in
closed form, a :class:`~glioserve_networks.gradcam.TailedNet` by a traced gradient, any other module none.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

from torch import nn

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.recipe import CLASSES, Architecture
from glioserve_networks.densenet import DenseNet121
from glioserve_networks.mresnet import MresNet
from glioserve_networks.resnet import ResNet10, ResNet50
from glioserve_networks.vgg import VGG11, VGG16

ENTRY_POINTS = "glioserve.architectures"

_OURS: dict[str, Callable[..., nn.Module]] = {
    "resnet10": ResNet10,
    "resnet50": ResNet50,
    "vgg11": VGG11,
    "vgg16": VGG16,
    "densenet121": DenseNet121,
    "mresnet": MresNet,
}


def architectures() -> tuple[str, ...]:
    """Names that ``recipe.architecture.name`` may have: ours first."""
    return (*_OURS, *sorted(set(_site()) - set(_OURS)))


def build(architecture: Architecture, in_channels: int) -> nn.Module:
    """A freshly initialised network of two outputs (the recipe's classes, in its order).

    Raises GLIO-5106 for an unknown name or a site's architecture that cannot be loaded, and GLIO-5101 for an option
    that the network does not take.
    """
    builder = _OURS.get(architecture.name) or _load(architecture.name)
    try:
        return builder(in_channels=in_channels, out_classes=len(CLASSES), **architecture.options)
    except (TypeError, ValueError) as error:
        raise GlioserveError(ErrorCode.INVALID_RECIPE, f"recipe.architecture.options: {error}.") from error


def _site() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _load(name: str) -> Callable[..., nn.Module]:
    point = _site().get(name)
    if point is None:
        known = ", ".join(architectures())
        raise GlioserveError(
            ErrorCode.UNSUPPORTED_ARCHITECTURE, f"recipe.architecture.name is {name!r}, known: {known}."
        )
    try:
        builder: Callable[..., nn.Module] = point.load()
    except (ImportError, AttributeError) as error:
        raise GlioserveError(
            ErrorCode.UNSUPPORTED_ARCHITECTURE,
            f"The site's architecture {name!r} ({point.value}) fails to load: {error}.",
        ) from error
    return builder
