"""VGG11 and VGG16 in 3D, which MONAI does not have.

The layout is the published one (Simonyan 2014, arXiv:1409.1556, table 1, columns A and D) with each 3 x 3 convolution
as 3 x 3 x 3, and batch normalisation behind it.

Parameter names are those of the well-known 2D implementation (``features.0`` … ``classifier.6``), so a checkpoint of a
network that was made 3D layer by layer loads as is.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from glioserve_networks.architectures.lattice import lattice
from glioserve_networks.gradcam import AdaptiveAverage

POOL = "M"
"""A maximum pool of 2 x 2 x 2."""
LAYOUTS: dict[int, tuple[int | str, ...]] = {
    11: (64, POOL, 128, POOL, 256, 256, POOL, 512, 512, POOL, 512, 512, POOL),
    16: (64, 64, POOL, 128, 128, POOL, 256, 256, 256, POOL, 512, 512, 512, POOL, 512, 512, 512, POOL),
}
"""Channels of each convolution, before ``widen_factor``."""
HIDDEN = 4096


class VGG(nn.Module):
    """Convolutions and maximum pools, then ``pool_cells`` cells per axis and three linear layers.

    ``features`` ends with the last ReLU, *before* the last maximum pool: the map for Grad-CAM has twice the
    resolution there. ``pool_cells`` is 7 in the 2D original; 1 keeps the 3D network 17 times smaller.
    """

    def __init__(
        self,
        in_channels: int,
        out_classes: int,
        widen_factor: float = 1.0,
        pool_cells: int = 1,
        hidden: int = HIDDEN,
        batch_norm: bool = True,
        dropout: float = 0.5,
        *,
        depth: int,
    ) -> None:
        super().__init__()
        if not 1 / 16 <= widen_factor <= 4:
            raise ValueError(f"widen_factor must be 1/16 to 4, not {widen_factor}")
        if pool_cells not in range(1, 8):
            raise ValueError(f"pool_cells must be 1 to 7, not {pool_cells}")
        if hidden not in range(2, 4 * HIDDEN + 1):
            raise ValueError(f"hidden must be 2 to {4 * HIDDEN}, not {hidden}")
        self.features, width = _convolutions(LAYOUTS[depth], in_channels, widen_factor, batch_norm)
        self.pool = nn.Sequential(nn.MaxPool3d(2), AdaptiveAverage(pool_cells))
        self.classifier = nn.Sequential(
            nn.Linear(width * pool_cells**3, hidden), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(hidden, out_classes),
        )  # fmt: skip
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(cast(nn.Parameter, module.bias))
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    @property
    def head(self) -> nn.Sequential:
        """The layers from the flattened pooled features to the logits."""
        return self.classifier

    @property
    def cam_lattice(self) -> tuple[float, float]:
        """(start, step): voxel i of ``features`` is centred on voxel ``start + step * i`` of the input.

        A pool of even width looks half a voxel further, so start is not 0.
        """
        return lattice((2, 2, 0) if isinstance(m, nn.MaxPool3d) else (3, 1, 1) for m in self.features
                       if isinstance(m, (nn.Conv3d, nn.MaxPool3d)))  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits [N, classes] of ``x`` [N, C, D, H, W]."""
        logits: torch.Tensor = self.classifier(torch.flatten(self.pool(self.features(x)), 1))
        return logits


class VGG11(VGG):
    """Column A of the published table: eight convolutions."""

    def __init__(self, in_channels: int, out_classes: int, **options: object) -> None:
        super().__init__(in_channels, out_classes, **options, depth=11)  # type: ignore[arg-type]


class VGG16(VGG):
    """Column D of the published table: thirteen convolutions."""

    def __init__(self, in_channels: int, out_classes: int, **options: object) -> None:
        super().__init__(in_channels, out_classes, **options, depth=16)  # type: ignore[arg-type]


def _convolutions(
    layout: tuple[int | str, ...], in_channels: int, widen_factor: float, batch_norm: bool
) -> tuple[nn.Sequential, int]:
    """Return all layers but the last maximum pool, and the number of channels of the last one."""
    layers: list[nn.Module] = []
    channels = in_channels
    for entry in layout[:-1]:
        if entry == POOL:
            layers.append(nn.MaxPool3d(2))
            continue
        width = int(cast(int, entry) * widen_factor)
        layers.append(nn.Conv3d(channels, width, 3, padding=1))
        layers += [nn.BatchNorm3d(width)] if batch_norm else []
        layers.append(nn.ReLU())
        channels = width
    return nn.Sequential(*layers), channels
