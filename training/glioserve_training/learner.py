"""The network while it learns: its evidence amplified, and that folded away in what is handed over.

The logits are means of the evidence over all cells of the last map, and a lesion fills a handful of its 1728: what
it says is diluted a hundred times, and the head would learn slowly. So the pooled features are centred and the head
is multiplied by a constant while it trains. Both are linear, as the head is: in evaluation they are one linear layer,
the network of the recipe, whose Grad-CAM stays a closed form.
"""

from __future__ import annotations

import torch
from torch import nn

from glioserve_networks import ClassifierNet

USUAL_CELLS = 50
"""The head is multiplied by the share of the map that this many cells make up: a lesion and its surroundings."""
_MOMENTUM = 0.1


class Learner(nn.Module):
    """A network to train. With ``amplify`` off, it is the network and nothing else."""

    def __init__(self, net: nn.Module, *, amplify: bool, bf16: bool) -> None:
        super().__init__()
        assert isinstance(net, ClassifierNet)
        self.net = net
        self._amplify = amplify
        self._bf16 = bf16 and has_bf16()
        self.register_buffer("mean", torch.zeros(net.head.in_features))
        self.register_buffer("gain", torch.ones(()))
        self.mean: torch.Tensor
        self.gain: torch.Tensor

    @property
    def lattice(self) -> tuple[float, float]:
        """The network's ``cam_lattice``."""
        assert isinstance(self.net, ClassifierNet)
        return self.net.cam_lattice

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [N, 2] of ``images`` [N, C, D, H, W], and the evidence for each class [N, 2, d, h, w].

        The evidence is the Grad-CAM before its ReLU, but for a positive factor.
        """
        assert isinstance(self.net, ClassifierNet)
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
            a = self.net.features(images.contiguous(memory_format=torch.channels_last_3d))
        a = a.float()
        pooled = a.mean(dim=(2, 3, 4))
        if self._amplify and self.training:
            self.gain.fill_(max(1.0, a[0, 0].numel() / USUAL_CELLS))
            self.mean.lerp_(pooled.detach().mean(dim=0), _MOMENTUM)
        weight, bias = self._folded()
        evidence = torch.einsum("nkdhw,ck->ncdhw", a, self.net.head.weight)
        return nn.functional.linear(pooled, weight, bias), evidence

    def network_state(self) -> dict[str, torch.Tensor]:
        """A copy of the network's own state dict, centre and gain folded into its head."""
        assert isinstance(self.net, ClassifierNet)
        state = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        names = {id(p): n for n, p in self.net.named_parameters()}
        for parameter, folded in zip((self.net.head.weight, self.net.head.bias), self._folded(), strict=True):
            state[names[id(parameter)]] = folded.detach().clone()
        return state

    def _folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(weight [2, K], bias [2]) of the linear layer that centre, gain and head are together."""
        assert isinstance(self.net, ClassifierNet)
        weight = self.net.head.weight * self.gain
        return weight, self.net.head.bias - weight @ self.mean


def has_bf16() -> bool:
    """Whether the CPU computes in bfloat16; without the instructions it is emulated and slower."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
