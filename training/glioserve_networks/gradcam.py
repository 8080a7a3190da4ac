"""Grad-CAM of what follows the last feature map, as a closed form of the forward pass.

Grad-CAM weighs the feature map A [N, K, d, h, w] by the mean over its n voxels of the logit's gradient (Selvaraju
et al. 2017, arXiv:1610.02391). Between A and the linear layers stand pools only. An average pool spreads the gradient
of each of its cells over a window whose weights sum to 1, a maximum pool gives it to one voxel: either way the *sum*
of the gradient over the voxels of a channel is the sum over the pooled cells. So the weight of channel k is
``sum over cells of dy/dpooled[k, cell] / n``, however windows lie, and no autograd is needed when serving.

Grad-CAM++ (Chattopadhay et al. 2018, arXiv:1710.11063) also needs the gradient's square and cube per voxel. Those are
known where every voxel that receives a gradient receives the same one: where all is pooled into one cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, cast, runtime_checkable

import torch
from torch import nn
from torch.nn import functional

EPSILON = 1e-6
"""Least denominator of Grad-CAM++. In 3D the squared gradients are often smaller: such a map depends on this number."""


class GlobalAverage(nn.Module):
    """A pool from [N, K, d, h, w] to [N, K]: the mean over the voxels (in ONNX, one ReduceMean)."""

    def forward(self, a: torch.Tensor) -> torch.Tensor:
        """Return the mean [N, K] over the voxels of ``a`` [N, K, d, h, w]."""
        return a.mean(dim=(2, 3, 4))


class AdaptiveAverage(nn.Module):
    """A pool from [N, K, d, h, w] to [N, K, cells, cells, cells]: torch's adaptive average pool in ONNX's operators.

    ONNX has no counterpart of torch's own.
    Cell i is the mean of voxels floor(i n / cells) to ceil((i + 1) n / cells): windows may overlap. One product with
    a constant matrix per axis.
    """

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, a: torch.Tensor) -> torch.Tensor:
        """Return the cells [N, K, cells, cells, cells] of ``a`` [N, K, d, h, w]."""
        if self.cells == 1:
            return a.mean(dim=(2, 3, 4), keepdim=True)
        for axis in (2, 3, 4):
            a = torch.matmul(a.transpose(axis, 4), self._windows(a.shape[axis]).to(a.dtype)).transpose(axis, 4)
        return a

    def _windows(self, size: int) -> torch.Tensor:
        """Return each voxel's weight in each cell: [size, cells]."""
        windows = torch.zeros(size, self.cells)
        for cell in range(self.cells):
            first, last = cell * size // self.cells, -(-(cell + 1) * size // self.cells)
            windows[first:last, cell] = 1 / (last - first)
        return windows


@runtime_checkable
class ClassifierNet(Protocol):
    """A network whose Grad-CAM is a closed form: ``forward(x) == head(flatten(pool(features(x)), 1))``."""

    @property
    def pool(self) -> nn.Module:
        """A :class:`GlobalAverage`, or a chain of pools that :func:`pools_are_lossless` knows."""

    @property
    def head(self) -> nn.Module:
        """A linear layer, or a chain of linear layers, ReLUs and dropouts, from the pooled features to two logits."""

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Return A [N, K, d, h, w], after the last convolution's ReLU, of ``x`` [N, C, D, H, W]."""

    @property
    def cam_lattice(self) -> tuple[float, float]:
        """(start, step): voxel i of A is centred on voxel ``start + step * i`` of the input, along each axis."""


@runtime_checkable
class TailedNet(Protocol):
    """A network that knows its last feature map but ends otherwise: ``forward(x) == tail(features(x))``."""

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Return A [N, K, d, h, w], after the last convolution's ReLU, of ``x`` [N, C, D, H, W]."""

    def tail(self, a: torch.Tensor) -> torch.Tensor:
        """Return the logits [N, 2] of A by differentiable operations."""

    @property
    def cam_lattice(self) -> tuple[float, float]:
        """(start, step) in the sense of :attr:`ClassifierNet.cam_lattice`."""


def tail_of(network: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the function from the feature map A to the logits."""
    if isinstance(network, TailedNet):
        return network.tail
    net = cast(ClassifierNet, network)
    return lambda a: net.head(torch.flatten(net.pool(a), 1))


class SplitNetwork(nn.Module):
    """The same network with its feature map as a module of its own, ``last``, which a hook can be put on."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.last = _Features(network)
        self.tail = tail_of(network)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits [N, 2] of ``x`` [N, C, D, H, W]."""
        return self.tail(self.last(x))


class _Features(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast(TailedNet, self.network).features(x)


def has_closed_form(network: nn.Module) -> bool:
    """Return True if :func:`logits_and_gradient` is exact for this network."""
    return (
        isinstance(network, ClassifierNet)
        and pools_are_lossless(network.pool)
        and all(isinstance(layer, (nn.Linear, nn.ReLU, nn.Dropout)) for layer in _layers(network.head))
    )


def pools_are_lossless(pool: nn.Module) -> bool:
    """Return True if every pooled cell hands on exactly the gradient that it gets: a padded border loses nothing."""
    return all(
        isinstance(layer, (GlobalAverage, AdaptiveAverage, nn.AdaptiveAvgPool3d, nn.MaxPool3d, nn.Identity))
        for layer in _layers(pool)
    )


def pools_to_one_cell(pool: nn.Module) -> bool:
    """Return True if all voxels of a channel come down to one number, as Grad-CAM++'s closed form needs."""
    last = list(_layers(pool))[-1]
    if isinstance(last, AdaptiveAverage):
        return last.cells == 1
    return isinstance(last, GlobalAverage) or (
        isinstance(last, nn.AdaptiveAvgPool3d) and last.output_size in (1, (1, 1, 1))
    )


def logits_and_gradient(network: ClassifierNet, a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits [N, 2] of A, and each logit's gradient summed over A's voxels: [2, K] or [N, 2, K].

    A is the feature map. The result is differentiable itself, so that a map can be trained. The network must have a
    closed form.
    """
    pooled = torch.flatten(network.pool(a), 1)
    layers = list(_layers(network.head))
    if len(layers) == 1:
        only = cast(nn.Linear, layers[0])
        logits = only(pooled)
        return logits, _summed_over_cells(only.weight, a.shape[1])
    value, passed = pooled, []
    for layer in layers:
        value = layer(value)
        passed.append(value)
    # Backwards: the gradient of each logit with respect to what each layer was given.
    last = cast(nn.Linear, layers[-1])
    gradient = last.weight.unsqueeze(0)
    for layer, given in zip(reversed(layers[:-1]), reversed(passed[:-1]), strict=True):
        if isinstance(layer, nn.Linear):
            gradient = torch.matmul(gradient, layer.weight)
        elif isinstance(layer, nn.ReLU):
            gradient = gradient * (given > 0).to(gradient.dtype).unsqueeze(1)
    return value, _summed_over_cells(gradient, a.shape[1])


def evidence(a: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Return Grad-CAM before its ReLU, [N, 2, d, h, w], of A and the gradient by :func:`logits_and_gradient`."""
    voxels = a.shape[2] * a.shape[3] * a.shape[4]
    if gradient.dim() == 2:
        return functional.conv3d(a, (gradient / voxels)[:, :, None, None, None])
    flat = torch.matmul(gradient / voxels, a.flatten(2))
    return flat.reshape(-1, gradient.shape[1], *a.shape[2:])


def plus_plus(network: ClassifierNet, a: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Return Grad-CAM++ before its ReLU, [N, 2, d, h, w], of a network that :func:`pools_to_one_cell`.

    Of the n voxels that receive gradient (all, behind averages; the windows' winners, behind a maximum pool) each
    receives g = sum / n; alpha = g^2 / (2 g^2 + g^3 sum(A) + eps), and the channel weighs n ReLU(g) alpha.
    """
    receivers = a.shape[2] * a.shape[3] * a.shape[4]
    pools = list(_layers(network.pool))
    if len(pools) > 1:
        winners = nn.Sequential(*pools[:-1])(a)
        receivers = winners.shape[2] * winners.shape[3] * winners.shape[4]
    g = (gradient if gradient.dim() == 3 else gradient.unsqueeze(0)) / receivers
    total = a.sum(dim=(2, 3, 4)).unsqueeze(1)
    square = g * g
    weight = receivers * functional.relu(g) * square / (2 * square + total * square * g + EPSILON)
    return torch.matmul(weight, a.flatten(2)).reshape(-1, weight.shape[1], *a.shape[2:])


def _summed_over_cells(gradient: torch.Tensor, channels: int) -> torch.Tensor:
    """Sum [..., K * cells] over the cells to [..., K]."""
    if gradient.shape[-1] == channels:
        return gradient
    return gradient.reshape(*gradient.shape[:-1], channels, -1).sum(dim=-1)


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    if isinstance(module, nn.Sequential):
        for child in module:
            yield from _layers(child)
    else:
        yield module
