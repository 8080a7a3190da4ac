"""The classifier as it is served: logits, a map of both classes and the weights' identity, in one forward pass.

The way to CAM depends on the network (:mod:`glioserve_networks.gradcam`):

* ``closed_form``: pools and linear layers follow the last feature map, so Grad-CAM's weights are products of theirs;
* ``traced``: something else follows; its gradient is traced into the graph as torch's autograd would compute it;
* ``none``: the recipe wants no map, or the network does not say which feature map is its last. CAM is then one zero
  per class, and the manifest says so: no map is better than a wrong one.

:mod:`parity` holds what comes of the first two to autograd before a version is published.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

import torch
from torch import nn
from torch._decomp import core_aten_decompositions
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.manifest import model_id
from glioserve_contract.records.recipe import Recipe
from glioserve_networks import ClassifierNet, TailedNet
from glioserve_networks.gradcam import (
    evidence,
    has_closed_form,
    logits_and_gradient,
    plus_plus,
    pools_to_one_cell,
    tail_of,
)

CamMethod = Literal["closed_form", "traced", "none"]

_EXAMPLE_BATCH = 2
"""Batch size of the traced tail's example: torch would take a 1 for a constant."""


def cam_method(network: nn.Module, recipe: Recipe) -> CamMethod:
    """Return how the graph of this network makes its map."""
    if recipe.heatmap == "none":
        return "none"
    if has_closed_form(network):
        return "closed_form"
    return "traced" if isinstance(network, (ClassifierNet, TailedNet)) else "none"


def cam_lattice(network: nn.Module, recipe: Recipe) -> tuple[float, float]:
    """Return (start, step) of CAM's voxels, in voxels of IMAGE; (0, 1) where there is no map."""
    return (0.0, 1.0) if cam_method(network, recipe) == "none" else cast(ClassifierNet, network).cam_lattice


class ServedGraph(nn.Module):
    """``IMAGE`` [N, C, D, H, W] to ``LOGITS`` [N, 2], ``CAM`` [N, 2, d, h, w] and ``MODEL_ID`` [N, 8]."""

    model_id: torch.Tensor

    def __init__(self, network: nn.Module, recipe: Recipe, weights_digest: str) -> None:
        """Wrap a network in evaluation mode; GLIO-5106 where the recipe's kind of map is not exact for it."""
        super().__init__()
        self.network = network.eval()
        self.method = cam_method(network, recipe)
        self._plus_plus = recipe.heatmap == "gradcam++"
        if self._plus_plus and not (
            self.method == "closed_form" and pools_to_one_cell(cast(ClassifierNet, network).pool)
        ):
            raise GlioserveError(
                ErrorCode.UNSUPPORTED_ARCHITECTURE,
                f"recipe.heatmap is gradcam++, which is exact only behind one pooled cell; {recipe.architecture.name} "
                "with these options has none: say gradcam.",
            )
        if self.method == "traced":
            self.tail = traced_tail(network, recipe)
        self.register_buffer("model_id", torch.tensor([model_id(weights_digest)], dtype=torch.int32))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return (LOGITS, CAM, MODEL_ID), batch first; CAM is that of the logits, not of the probabilities."""
        logits, unrectified = self._answer(image)
        return logits, functional.relu(unrectified), self.model_id.expand(image.shape[0], -1)

    def _answer(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.method == "none":
            logits: torch.Tensor = self.network(image)
            return logits, (logits * 0.0)[:, :, None, None, None]
        network = cast(ClassifierNet, self.network)
        a = network.features(image)
        if self.method == "traced":
            logits, gradient = self.tail(a)
            return logits, evidence(a, gradient)
        logits, gradient = logits_and_gradient(network, a)
        return logits, plus_plus(network, a, gradient) if self._plus_plus else evidence(a, gradient)


def traced_tail(network: nn.Module, recipe: Recipe) -> nn.Module:
    """Return what follows the feature map A as a module that gives the gradient too.

    It maps A to (logits [N, 2], gradient summed over voxels [N, 2, K]).
    torch's exporter refuses autograd inside a forward pass, so the vector-Jacobian products are traced into plain
    operations first: the tail without its in-place operations, whose gradients have no ONNX counterpart, then both.
    GLIO-5106 where an operation has no gradient that can be traced.
    """
    with torch.no_grad():
        size = (_EXAMPLE_BATCH, len(recipe.channels), *recipe.grid.shape)
        example = cast(TailedNet, network).features(torch.zeros(size))
    tail = tail_of(network)
    try:
        pure = _traced(lambda a: functionalize(tail, remove="mutations")(a), example)

        def both(a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            logits, pull = torch.func.vjp(pure, a)[:2]
            seeds = torch.eye(logits.shape[1], dtype=logits.dtype)
            rows = [pull(seed.expand_as(logits))[0].sum(dim=(2, 3, 4)) for seed in seeds]
            return logits, torch.stack(rows, dim=1)

        return _traced(both, example, core_aten_decompositions())
    except Exception as error:  # torch's tracing errors share no narrower base
        raise GlioserveError(
            ErrorCode.UNSUPPORTED_ARCHITECTURE,
            f"The gradient of what follows {type(network).__name__}'s features cannot be traced: {error}. "
            "With recipe.heatmap none it is served without a map.",
        ) from error


def _traced(function: Callable[..., Any], example: torch.Tensor, decompositions: Any = None) -> nn.Module:
    """Return the function's operations as a graph, for any batch."""
    trace: Any = make_fx(
        function, decomposition_table=decompositions, tracing_mode="symbolic", _allow_non_fake_inputs=True
    )
    graph: nn.Module = trace(example)
    return graph
