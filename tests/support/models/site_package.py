"""A site's own package, installed into a folder: a module and the metadata that names its entry points."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from glioserve_networks.architectures.registry import ENTRY_POINTS

NETWORKS = '''
import torch
from torch import nn

from glioserve_networks.gradcam import GlobalAverage


class _Trunk(nn.Module):
    def __init__(self, in_channels, width):
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, width, 3, stride=2, padding=1)
        self.conv2 = nn.Conv3d(width, width, 3, stride=2, padding=1)

    def forward(self, x):
        return torch.relu(self.conv2(torch.relu(self.conv1(x))))


class Pooled(nn.Module):
    """A ClassifierNet: pools and linear layers behind its features."""

    def __init__(self, in_channels, out_classes, width=4):
        super().__init__()
        self.trunk = _Trunk(in_channels, width)
        self.pool = GlobalAverage()
        self.head = nn.Sequential(nn.Linear(width, 6), nn.ReLU(), nn.Linear(6, out_classes))

    @property
    def cam_lattice(self):
        return 0.0, 4.0

    def features(self, x):
        return self.trunk(x)

    def forward(self, x):
        return self.head(self.pool(self.features(x)))


class Attending(nn.Module):
    """A TailedNet: where it looks is weighed by its input, so no pool describes it."""

    def __init__(self, in_channels, out_classes, width=4):
        super().__init__()
        self.trunk = _Trunk(in_channels, width)
        self.gate = nn.Linear(width, 1)
        self.fc = nn.Linear(width, out_classes)

    @property
    def cam_lattice(self):
        return 0.0, 4.0

    def features(self, x):
        return self.trunk(x)

    def tail(self, a):
        voxels = a.flatten(2).transpose(1, 2)
        where = torch.softmax(self.gate(voxels), dim=1)
        return self.fc((voxels * where).sum(dim=1))

    def forward(self, x):
        return self.tail(self.features(x))


class Convolving(Attending):
    """A tail whose gradient ONNX has no operation for."""

    def __init__(self, in_channels, out_classes, width=4):
        super().__init__(in_channels, out_classes, width)
        self.gate = nn.Conv3d(width, 1, 1)

    def tail(self, a):
        where = torch.softmax(self.gate(a).flatten(2), dim=2)
        return self.fc((a.flatten(2) * where).sum(dim=2))


def plain(in_channels, out_classes, width=4):
    """Says nothing about its features."""
    layers = [_Trunk(in_channels, width), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(width, out_classes)]
    return nn.Sequential(*layers)


def no_module(in_channels, out_classes):
    return "not a network"


def raising(in_channels, out_classes):
    raise KeyError("a table of its own")


NOT_CALLABLE = 3
'''
POINTS = {
    "site_pooled": "site_networks:Pooled",
    "site_attending": "site_networks:Attending",
    "site_convolving": "site_networks:Convolving",
    "site_plain": "site_networks:plain",
}


def install(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    points: Mapping[str, str] = POINTS,
    *,
    module: str = "site_networks",
    code: str = NETWORKS,
) -> None:
    """Put a distribution with ``code`` and ``points`` (architecture to object) on the path, for the test's time."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(code)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    lines = [f"[{ENTRY_POINTS}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, module, raising=False)
