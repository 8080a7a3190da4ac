"""The architectures that a recipe may name: ours, and those that a site's packages bring.

A package adds one by an entry point of the group :data:`ENTRY_POINTS`, whose name is the architecture's and whose
object is called as ``builder(in_channels=…, out_classes=2, **options)`` and returns a ``torch.nn.Module``. Which
heat map it has depends on the module: a :class:`~glioserve_networks.gradcam.ClassifierNet` has Grad-CAM in
closed form, a :class:`~glioserve_networks.gradcam.TailedNet` by a traced gradient, any other module none. Our own
names cannot be taken over. Whatever a site's code raises becomes an error that names its entry point.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

from torch import nn

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.recipe import CLASSES, Architecture
from glioserve_networks.architectures.densenet import DenseNet121
from glioserve_networks.architectures.mresnet import MresNet
from glioserve_networks.architectures.resnet import ResNet10, ResNet50
from glioserve_networks.architectures.vgg import VGG11, VGG16

ENTRY_POINTS = "glioserve.architectures"

OURS: dict[str, type[nn.Module]] = {
    "resnet10": ResNet10,
    "resnet50": ResNet50,
    "vgg11": VGG11,
    "vgg16": VGG16,
    "densenet121": DenseNet121,
    "mresnet": MresNet,
}


def architectures() -> tuple[str, ...]:
    """Return the names that ``recipe.architecture.name`` may have: ours first."""
    return (*OURS, *sorted(set(_site()) - set(OURS)))


def build(architecture: Architecture, in_channels: int) -> nn.Module:
    """Build a freshly initialised network of two outputs (the recipe's classes, in its order).

    Raises GLIO-5106 for an unknown name or a site's architecture that cannot be loaded or built, and GLIO-5101 for an
    option that the network does not take.
    """
    name = architecture.name
    builder = OURS.get(name) or _load(name)
    try:
        network = builder(in_channels=in_channels, out_classes=len(CLASSES), **architecture.options)
    except (TypeError, ValueError) as error:
        raise GlioserveError(ErrorCode.INVALID_RECIPE, f"recipe.architecture.options: {error}.") from error
    except Exception as error:
        if name in OURS:
            raise
        raise _broken(name, f"cannot be built: {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise _broken(name, f"returns a {type(network).__name__}, not a torch.nn.Module")
    return network


def _site() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _load(name: str) -> Callable[..., nn.Module]:
    points = {point.value: point for point in entry_points(group=ENTRY_POINTS) if point.name == name}
    if not points:
        known = ", ".join(architectures())
        raise GlioserveError(
            ErrorCode.UNSUPPORTED_ARCHITECTURE, f"recipe.architecture.name is {name!r}, known: {known}."
        )
    if len(points) > 1:
        raise _broken(name, f"is brought by several packages ({', '.join(sorted(points))}): uninstall all but one")
    (point,) = points.values()
    try:
        builder: Callable[..., nn.Module] = point.load()
    except Exception as error:  # importing a site's module may raise anything
        raise _broken(name, f"({point.value}) fails to load: {type(error).__name__}: {error}") from error
    if not callable(builder):
        raise _broken(name, f"({point.value}) is a {type(builder).__name__}, which cannot be called")
    return builder


def _broken(name: str, problem: str) -> GlioserveError:
    return GlioserveError(ErrorCode.UNSUPPORTED_ARCHITECTURE, f"The site's architecture {name!r} {problem}.")
