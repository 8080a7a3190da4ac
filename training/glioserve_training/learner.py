"""The network while it learns: its evidence amplified, and that folded away in what is handed over.

The logits are means of the evidence over all cells of the last map, and a lesion fills a handful of its 1728: what
it says is diluted a hundred times, and the head would learn slowly. So the pooled features are centred and the head
is multiplied by a constant while it trains. Both are linear, as the head is: in evaluation they are one linear layer,
the network of the recipe, whose Grad-CAM stays a closed form.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from glioserve_networks import ClassifierNet
from glioserve_networks.gradcam import evidence, has_closed_form, logits_and_gradient

USUAL_CELLS = 50
"""Cells of a lesion and its surroundings; the head is multiplied by the share of the map that they make up."""
_MOMENTUM = 0.1


class Learner(nn.Module):
    """A network to train. With ``amplify`` off, or a head that is not one linear layer, it is the network alone."""

    def __init__(self, net: nn.Module, *, amplify: bool, bf16: bool) -> None:
        super().__init__()
        self.net = net
        self._bf16 = bf16 and cpu_has_bf16()
        self._fits: dict[torch.Size, bool] = {}
        self._explains = has_closed_form(net)
        self._amplify = amplify and self._explains and isinstance(net.head, nn.Linear)
        self.register_buffer("mean", torch.zeros(self._head.in_features if self._amplify else 0))
        self.register_buffer("gain", torch.ones(()))
        self.mean: torch.Tensor
        self.gain: torch.Tensor

    @property
    def _head(self) -> nn.Linear:
        return cast(nn.Linear, self.net.head)

    @property
    def lattice(self) -> tuple[float, float]:
        """The network's ``cam_lattice``; (0, 1) of one that has none, and so no evidence."""
        return cast(ClassifierNet, self.net).cam_lattice if self._explains else (0.0, 1.0)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the logits [N, 2] of ``images`` [N, C, D, H, W], and the evidence for each class [N, 2, d, h, w].

        The evidence is the Grad-CAM before its ReLU, but for a positive factor; None where it has no closed form.
        """
        images = images.contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bf16 and self._kernels_fit(images)):
            if not self._explains:
                plain: torch.Tensor = self.net(images)
                return plain.float(), None
            net = cast(ClassifierNet, self.net)
            a = net.features(images)
        a = a.float()
        if not self._amplify:
            logits, gradient = logits_and_gradient(net, a)
            return logits, evidence(a, gradient) * a[0, 0].numel()
        pooled = a.mean(dim=(2, 3, 4))
        if self.training:
            self.gain.fill_(max(1.0, a[0, 0].numel() / USUAL_CELLS))
            self.mean.lerp_(pooled.detach().mean(dim=0), _MOMENTUM)
        weight, bias = self._folded()
        return nn.functional.linear(pooled, weight, bias), torch.einsum("nkdhw,ck->ncdhw", a, self._head.weight)

    def _kernels_fit(self, images: torch.Tensor) -> bool:
        """Return :func:`kernels_fit` for images of this size, looked up once."""
        size = images.shape[2:]
        if size not in self._fits:
            self._fits[size] = kernels_fit(self.net, images[:1])
        return self._fits[size]

    def network_state(self) -> dict[str, torch.Tensor]:
        """Return a copy of the network's own state dict, centre and gain folded into its head."""
        state = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        if self._amplify:
            names = {id(p): n for n, p in self.net.named_parameters()}
            for parameter, folded in zip((self._head.weight, self._head.bias), self._folded(), strict=True):
                state[names[id(parameter)]] = folded.detach().clone()
        return state

    def _folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (weight [2, K], bias [2]) of the linear layer that combines centre, gain and head."""
        weight = self._head.weight * self.gain
        return weight, self._head.bias - weight @ self.mean


def cpu_has_bf16() -> bool:
    """Return True if the CPU computes in bfloat16; without the instructions it is emulated and slower."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def kernels_fit(net: nn.Module, images: torch.Tensor) -> bool:
    """Return whether every map that a 3D convolution of ``net`` reads is at least as large as its kernel on each axis.

    Where one is smaller, oneDNN (torch 2.13, AVX512-BF16) computes the kernel's gradient in bfloat16 from memory that
    nothing has written: it is not a number, or any number, and the heap may be damaged. ``images`` are [N, C, D, H, W].
    """
    fits: list[bool] = []

    def look(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        convolution = cast(nn.Conv3d, module)
        reaches = [d * (k - 1) + 1 for d, k in zip(convolution.dilation, convolution.kernel_size, strict=True)]
        fits.append(all(size >= reach for size, reach in zip(inputs[0].shape[2:], reaches, strict=True)))

    hooks = [m.register_forward_pre_hook(look) for m in net.modules() if isinstance(m, nn.Conv3d)]
    was_training = net.training
    try:
        with torch.no_grad():
            net.eval()(images)
    finally:
        net.train(was_training)
        for hook in hooks:
            hook.remove()
    return all(fits)
