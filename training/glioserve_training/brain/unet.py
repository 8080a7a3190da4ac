"""A compact 3D U-Net: one channel in, the signed distance to the brain's surface out.

Encoder and decoder of 3 x 3 x 3 convolutions with group normalisation (Wu and He 2018): every scan is normalised by its
own figures, in training as in serving. Heads of random contrast have no common ones: with batch normalisation the
running averages that serving uses cost 0.05 to 0.2 Dice. At full resolution there is one convolution on each side only,
which is where the cost is.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

GROUP = 8
"""Channels that are normalised together; every width is a multiple of it."""


class BrainNet(nn.Module):
    """[N, 1, D, H, W], 0 to 1, each size a multiple of 2 ** (levels - 1), to millimetres [N, 1, D, H, W]."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 48, 64, 64)) -> None:
        super().__init__()
        self.down = nn.ModuleList()
        width = 1
        for level, wider in enumerate(widths):
            second = [] if level == 0 else [_unit(wider, wider)]
            self.down.append(nn.Sequential(_unit(width, wider), *second))
            width = wider
        self.narrow, self.up = nn.ModuleList(), nn.ModuleList()
        for level in range(len(widths) - 2, -1, -1):
            narrower = widths[level]
            self.narrow.append(nn.Conv3d(width, narrower, 1))
            second = [] if level == 0 else [_unit(narrower, narrower)]
            self.up.append(nn.Sequential(_unit(2 * narrower, narrower), *second))
            width = narrower
        self.head = nn.Conv3d(width, 1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the signed distance that the class describes."""
        passed, x = [], image
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool3d(x, 2))
            passed.append(x)
        for narrow, block, beside in zip(self.narrow, self.up, reversed(passed[:-1]), strict=True):
            x = block(torch.cat([F.interpolate(narrow(x), scale_factor=2.0, mode="nearest"), beside], dim=1))
        distance: torch.Tensor = self.head(x)
        return distance


def _unit(width: int, wider: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(width, wider, 3, padding=1, bias=False), nn.GroupNorm(wider // GROUP, wider), nn.ReLU(inplace=True)
    )
