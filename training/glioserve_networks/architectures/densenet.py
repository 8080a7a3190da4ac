"""MONAI's 3D DenseNet121, split behind its last ReLU, where the exporter's Grad-CAM needs it.

Parameter names are MONAI's own (``features.conv0`` … ``class_layers.out``), so its checkpoints load as they are.
"""

from __future__ import annotations

from typing import cast

import torch
from monai.networks.nets.densenet import DenseNet
from torch import nn

from glioserve_networks.architectures.lattice import lattice
from glioserve_networks.gradcam import GlobalAverage

BLOCKS = (6, 12, 24, 16)
"""Layers of each dense block (Huang 2016, arXiv:1608.06993, table 1, k = 32)."""


class DenseNet121(DenseNet):
    """Four dense blocks, then global average pooling and one linear layer. ``widen_factor`` scales all widths."""

    def __init__(
        self, in_channels: int, out_classes: int, widen_factor: float = 1.0, dropout_prob: float = 0.0
    ) -> None:
        if not 1 / 16 <= widen_factor <= 4:
            raise ValueError(f"widen_factor must be 1/16 to 4, not {widen_factor}")
        super().__init__(
            spatial_dims=3,
            in_channels=in_channels,
            out_channels=out_classes,
            init_features=int(64 * widen_factor),
            growth_rate=int(32 * widen_factor),
            block_config=BLOCKS,
            dropout_prob=dropout_prob,
        )
        # MONAI's features end before the last ReLU, with values of both signs; Grad-CAM is taken behind it.
        self.features.add_module("relu5", nn.ReLU())
        self.pool = GlobalAverage()

    @property
    def head(self) -> nn.Linear:
        """The layer from the K pooled features to the logits."""
        return cast(nn.Linear, self.class_layers.out)

    @property
    def cam_lattice(self) -> tuple[float, float]:
        """(start, step): voxel i of ``features`` is centred on voxel ``start + step * i`` of the input.

        The transitions' pools of even width look half a voxel further, so start is not 0.
        """
        return lattice([(7, 2, 3), (3, 2, 1), *[(2, 2, 0)] * (len(BLOCKS) - 1)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits [N, classes] of ``x`` [N, C, D, H, W]."""
        logits: torch.Tensor = self.head(self.pool(self.features(x)))
        return logits
