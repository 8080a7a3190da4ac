"""The network: 3D convolutions over blocks of four cells, read by place and by their means and maxima.

Heads lie alike on the grid, so the coarsest features are read cell by cell: that is where ventricles, sinuses and face
are. Means and maxima of the finer features keep what is small and bright anywhere (vessels, mucosa, plexus).
"""

from __future__ import annotations

import torch
from torch import nn

from glioserve_contract.sequences import PixelKind

GROUP = 8
"""Channels that are normalised together; every width is a multiple of it."""
COARSE_CELLS = 4 * 5 * 4
"""Cells of the coarsest features: the grid of 64 x 80 x 64 halved four times."""


class KindNet(nn.Module):
    """[N, 2, 64, 80, 64] as serving makes it to logits [N, number of kinds], in the order of ``PixelKind``."""

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 64), by_place: int = 16) -> None:
        super().__init__()
        a, b, c = widths
        self.fine = nn.Sequential(_unit(2, a, 4, 4), _unit(a, a, 1, 1))
        self.middle = nn.Sequential(_unit(a, b, 3, 2), _unit(b, b, 3, 1))
        self.coarse = nn.Sequential(_unit(b, c, 3, 2), nn.Conv3d(c, by_place, 1))
        self.pooled, self.placed = nn.LayerNorm(2 * (a + b)), nn.LayerNorm(COARSE_CELLS * by_place)
        features = 2 * (a + b) + COARSE_CELLS * by_place
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(features, 64), nn.SiLU(), nn.Linear(64, len(PixelKind)))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits that the class describes."""
        fine = self.fine(image)
        middle = self.middle(fine)
        placed = self.placed(self.coarse(middle).flatten(1))
        pooled = self.pooled(torch.cat([f(x) for x in (fine, middle) for f in (_mean, _largest)], dim=1))
        logits: torch.Tensor = self.head(torch.cat([pooled, placed], dim=1))
        return logits


def _mean(x: torch.Tensor) -> torch.Tensor:
    return x.mean(dim=(2, 3, 4))


def _largest(x: torch.Tensor) -> torch.Tensor:
    return x.amax(dim=(2, 3, 4))


def _unit(width: int, wider: int, size: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(width, wider, size, stride=stride, padding=size // 2 if size % 2 else 0, bias=False),
        nn.GroupNorm(wider // GROUP, wider),
        nn.SiLU(inplace=True),
    )
