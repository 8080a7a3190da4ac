"""MONAI's 3D ResNets with a choice of stride per stage, split where the exporter's Grad-CAM needs it.

Parameter names are MONAI's own (``conv1``, ``layer1`` … ``fc``), so a checkpoint of MONAI's network loads as is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from monai.networks.nets.resnet import ResNet as MonaiResNet
from torch import nn

from glioserve_networks.architectures.lattice import lattice
from glioserve_networks.gradcam import GlobalAverage

STAGE_WIDTHS = (64, 128, 256, 512)
"""Channels of the four stages before ``widen_factor``; a bottleneck's output has four times as many."""
MONAI_STAGE_STRIDES = (1, 2, 2, 2)


class ResNet(MonaiResNet):
    """Four stages of residual blocks, then global average pooling and one linear layer (He 2015, arXiv:1512.03385).

    ``stage_strides`` sets how much each stage shrinks its input. Strides are not parameters: they cannot be read
    back from a state dict, so the recipe must name them.
    """

    def __init__(
        self,
        in_channels: int,
        out_classes: int,
        widen_factor: float = 1.0,
        conv1_t_size: int = 7,
        conv1_t_stride: int = 1,
        no_max_pool: bool = False,
        stage_strides: Sequence[int] = MONAI_STAGE_STRIDES,
        bias_downsample: bool = True,
        *,
        block: str,
        blocks: Sequence[int],
    ) -> None:
        _check(widen_factor, conv1_t_size, conv1_t_stride, stage_strides)
        super().__init__(
            block=block,
            layers=list(blocks),
            block_inplanes=list(STAGE_WIDTHS),
            spatial_dims=3,
            n_input_channels=in_channels,
            conv1_t_size=conv1_t_size,
            conv1_t_stride=conv1_t_stride,
            no_max_pool=no_max_pool,
            widen_factor=widen_factor,
            num_classes=out_classes,
            bias_downsample=bias_downsample,
        )
        self.pool = GlobalAverage()
        for stage, stride in zip(self.stages, stage_strides, strict=True):
            _set_stride(stage[0], stride)

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """``layer1`` to ``layer4``."""
        return self.layer1, self.layer2, self.layer3, self.layer4

    @property
    def head(self) -> nn.Linear:
        """The layer from the K pooled features to the logits."""
        return cast(nn.Linear, self.fc)

    @property
    def cam_lattice(self) -> tuple[float, float]:
        """(start, step): voxel i of :meth:`features` is centred on voxel ``start + step * i`` of the input."""
        convolutions = [cast(nn.Conv3d, self.conv1)]
        for stage in self.stages:
            for block in stage:
                convolutions += [layer for layer in block.children() if isinstance(layer, nn.Conv3d)]
        layers = [(c.kernel_size[0], c.stride[0], cast(int, c.padding[0])) for c in convolutions]
        if not self.no_max_pool:
            layers.insert(1, (3, 2, 1))
        return lattice(layers)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the last block's ReLU [N, K, d, h, w] of ``x`` [N, C, D, H, W]."""
        a: torch.Tensor = self.act(self.bn1(self.conv1(x)))
        if not self.no_max_pool:
            a = self.maxpool(a)
        for stage in self.stages:
            a = stage(a)
        return a

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits [N, classes] of ``x`` [N, C, D, H, W]."""
        logits: torch.Tensor = self.head(self.pool(self.features(x)))
        return logits


class ResNet10(ResNet):
    """A ResNet of one basic block per stage."""

    def __init__(self, in_channels: int, out_classes: int, **options: object) -> None:
        super().__init__(in_channels, out_classes, **options, block="basic", blocks=(1, 1, 1, 1))  # type: ignore[arg-type]


class ResNet50(ResNet):
    """A ResNet of 3, 4, 6 and 3 bottlenecks; like MONAI's ``resnet50``, it has no bias in its shortcuts by default."""

    def __init__(self, in_channels: int, out_classes: int, bias_downsample: bool = False, **options: object) -> None:
        options["bias_downsample"] = bias_downsample
        super().__init__(in_channels, out_classes, **options, block="bottleneck", blocks=(3, 4, 6, 3))  # type: ignore[arg-type]


def _check(widen_factor: float, conv1_t_size: int, conv1_t_stride: int, stage_strides: Sequence[int]) -> None:
    if not 1 / 16 <= widen_factor <= 4:
        raise ValueError(f"widen_factor must be 1/16 to 4, not {widen_factor}")
    if conv1_t_size not in (3, 5, 7):
        raise ValueError(f"conv1_t_size must be 3, 5 or 7, not {conv1_t_size}")
    if conv1_t_stride not in (1, 2, 4):
        raise ValueError(f"conv1_t_stride must be 1, 2 or 4, not {conv1_t_stride}")
    if len(stage_strides) != len(STAGE_WIDTHS) or stage_strides[0] != 1 or not set(stage_strides) <= {1, 2}:
        # The first stage keeps its width, so it has no projection on its shortcut that could shrink.
        raise ValueError(f"stage_strides must be four of 1 or 2 that begin with 1, not {list(stage_strides)}")


def _set_stride(block: nn.Module, stride: int) -> None:
    """Set the stride of a stage by its first block.

    MONAI fixes the strides 1, 2, 2, 2; one convolution of a stage's first block and its shortcut carry them.
    """
    strided = block.conv2 if hasattr(block, "conv3") else block.conv1
    cast(nn.Conv3d, strided).stride = (stride,) * 3
    if block.downsample is not None:
        cast(nn.Conv3d, cast(nn.Sequential, block.downsample)[0]).stride = (stride,) * 3
