"""Default options of the architectures, and the search for the network that a file's shapes belong to."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping

import torch

from glioserve_contract import GlioserveError
from glioserve_contract.records.recipe import Architecture
from glioserve_networks.architectures.registry import OURS, architectures, build
from glioserve_networks.architectures.resnet import STAGE_WIDTHS

Shapes = Mapping[str, tuple[int, ...]]
"""Name of a parameter or buffer to its shape."""

COUNTER = ".num_batches_tracked"
"""End of the names of counters that normalisation layers keep in training; an answer does not use them."""

_VGG_WIDTH = 64
_DENSENET_WIDTH = 64


def defaults_of(name: str) -> dict[str, object]:
    """Return the options that one of our architectures has where a recipe names none; empty for a site's."""
    if name == "mresnet":
        return defaults_of("resnet10")
    defaults: dict[str, object] = {}
    for kind in reversed(OURS[name].__mro__) if name in OURS else ():
        if kind.__module__.startswith(__package__ or ""):
            parameters = inspect.signature(kind.__init__).parameters.values()  # type: ignore[misc]
            defaults |= {p.name: p.default for p in parameters if p.default is not p.empty}
    return defaults


def shapes_of(architecture: Architecture, in_channels: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the network's state dict, without making its numbers. Raises what :func:`build` raises."""
    with torch.device("meta"):
        network = build(architecture, in_channels)
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def likely(shapes: Shapes) -> tuple[Architecture, int] | None:
    """Return the registry's network that has exactly these names and shapes, and its number of channels; else None.

    Its options are those that shapes show: strides and pooling are not among them.
    """
    without = {name: shape for name, shape in shapes.items() if not name.endswith(COUNTER)}
    for architecture, channels in _guesses(without):
        try:
            found = shapes_of(architecture, channels)
        except GlioserveError:
            continue
        if {name: shape for name, shape in found.items() if not name.endswith(COUNTER)} == without:
            return architecture, channels
    return None


def _guesses(shapes: Shapes) -> Iterator[tuple[Architecture, int]]:
    """Yield the networks that are worth building: the first and the last layers' shapes leave few of them open."""
    for first, name in (("conv1.weight", ""), ("trunks.0.conv1.weight", "trunks.0.")):
        if len(shape := shapes.get(first, ())) == 5:
            options: dict[str, object] = {
                "widen_factor": shape[0] / STAGE_WIDTHS[0],
                "conv1_t_size": shape[2],
                "bias_downsample": f"{name}layer2.0.downsample.0.bias" in shapes,
            }
            trunks = {key.split(".")[1] for key in shapes if key.startswith("trunks.")}
            names = ("mresnet",) if name else ("resnet10", "resnet50")
            yield from ((Architecture(n, options), len(trunks) if name else shape[1]) for n in names)
    if len(shape := shapes.get("features.0.weight", ())) == 5:
        hidden, given = (*shapes.get("classifier.0.weight", ()), 0, 0)[:2]
        options = {
            "widen_factor": shape[0] / _VGG_WIDTH,
            "pool_cells": pool_cells(given, shape[0] * 8),
            "hidden": hidden,
            "batch_norm": "features.1.running_mean" in shapes,
        }
        yield from ((Architecture(n, options), shape[1]) for n in ("vgg11", "vgg16"))
    if len(shape := shapes.get("features.conv0.weight", ())) == 5:
        yield Architecture("densenet121", {"widen_factor": shape[0] / _DENSENET_WIDTH}), shape[1]
    channels = next((shape[1] for shape in shapes.values() if len(shape) == 5), 0)
    yield from ((Architecture(name), channels) for name in architectures() if name not in OURS)


def pool_cells(given: int, width: int) -> int:
    """Return VGG's cells per axis if its first linear layer takes ``given`` numbers from ``width`` channels; else 0."""
    return next((cells for cells in range(1, 8) if width * cells**3 == given), 0)
