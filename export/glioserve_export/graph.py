"""The classifier as it is served: logits, Grad-CAM of both classes and the weights' identity, in one forward pass.

Grad-CAM weighs the last feature map A [K, d, h, w] by the mean over its N voxels of the logit's gradient
(Selvaraju et al. 2017, arXiv:1610.02391). Behind average pooling and one linear layer W that gradient is W/N at
every voxel, so the map of class c is ``ReLU(sum_k W[c, k] / N * A[k])``: one 1 x 1 x 1 convolution and no autograd
when serving. :mod:`parity` holds it to autograd before a version is published.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn import functional

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.manifest import model_id
from glioserve_networks import ClassifierNet


class ServedGraph(nn.Module):
    """``IMAGE`` [N, C, D, H, W] to ``LOGITS`` [N, 2], ``CAM`` [N, 2, d, h, w] and ``MODEL_ID`` [N, 8]."""

    model_id: torch.Tensor

    def __init__(self, network: nn.Module, weights_digest: str) -> None:
        """Wrap a network in evaluation mode; GLIO-5106 where its head is not average pooling and one linear layer."""
        super().__init__()
        if not isinstance(network, ClassifierNet) or not isinstance(network.head, nn.Linear):
            raise GlioserveError(
                ErrorCode.UNSUPPORTED_ARCHITECTURE,
                f"{type(network).__name__} does not end in average pooling and one linear layer, "
                "which the Grad-CAM of the graph needs.",
            )
        self.network = network.eval()
        self.register_buffer("model_id", torch.tensor([model_id(weights_digest)], dtype=torch.int32))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(LOGITS, CAM, MODEL_ID), batch first; CAM is that of the logits, not of the probabilities."""
        network = cast(ClassifierNet, self.network)
        features = network.features(image)
        voxels = features.shape[2] * features.shape[3] * features.shape[4]
        logits = network.head(features.mean(dim=(2, 3, 4)))
        weights = (network.head.weight / voxels)[:, :, None, None, None]
        cam = functional.relu(functional.conv3d(features, weights))
        return logits, cam, self.model_id.expand(image.shape[0], -1)
