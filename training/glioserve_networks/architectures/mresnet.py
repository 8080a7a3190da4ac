"""MresNet, as we read it: one ResNet10 trunk per sequence, their features joined before the pooled linear head.

The study names an MresNet and does not define it. This is our reading of "M" as multi-branch: each sequence has
convolutions of its own, so that none has to share its first filters with sequences of another contrast, and the head
sees all features together. With one sequence it is a ResNet10.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from glioserve_networks.architectures.resnet import ResNet10
from glioserve_networks.gradcam import GlobalAverage


class MresNet(nn.Module):
    """``trunks[i]`` sees channel i alone. Options are ResNet10's, the same for every trunk."""

    def __init__(self, in_channels: int, out_classes: int, **options: object) -> None:
        super().__init__()
        self.trunks = nn.ModuleList(ResNet10(1, out_classes, **options) for _ in range(in_channels))
        width = sum(trunk.head.in_features for trunk in self._trunks)
        for trunk in self._trunks:
            trunk.fc = None  # its features are used, its own answer is not
        self.joined = nn.Identity()
        self.pool = GlobalAverage()
        self.fc = nn.Linear(width, out_classes)
        nn.init.zeros_(self.fc.bias)

    @property
    def _trunks(self) -> list[ResNet10]:
        return [cast(ResNet10, trunk) for trunk in self.trunks]

    @property
    def head(self) -> nn.Linear:
        """The layer from the K pooled features of all trunks to the logits."""
        return self.fc

    @property
    def cam_lattice(self) -> tuple[float, float]:
        """(start, step) of the trunks, which are alike."""
        return self._trunks[0].cam_lattice

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the trunks' last ReLUs of ``x`` [N, C, D, H, W], side by side: [N, C * K, d, h, w]."""
        maps = [trunk.features(x[:, i : i + 1]) for i, trunk in enumerate(self._trunks)]
        joined: torch.Tensor = self.joined(torch.cat(maps, dim=1))
        return joined

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits [N, classes] of ``x`` [N, C, D, H, W]."""
        logits: torch.Tensor = self.fc(self.pool(self.features(x)))
        return logits
