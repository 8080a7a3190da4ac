"""The shared networks: their shape, their split for Grad-CAM, and what a wrong recipe is told."""

from itertools import pairwise

import pytest
import torch
from monai.networks.nets.resnet import ResNet

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.recipe import Architecture
from glioserve_networks import ClassifierNet, architectures, build
from glioserve_networks.gradcam import AdaptiveAverage, SplitNetwork, has_closed_form, logits_and_gradient
from support.models.recipes import SMALL

DEMO = {"widen_factor": 0.25, "conv1_t_stride": 2, "no_max_pool": True, "stage_strides": [1, 2, 1, 1]}


def demo_net(**changes: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(Architecture("resnet10", {**DEMO, **changes}), in_channels=3).eval()


@pytest.mark.parametrize(
    ("strides", "size"), [([1, 2, 2, 2], 3), ([1, 2, 2, 1], 6), ([1, 2, 1, 1], 12), ([1, 1, 1, 1], 24)]
)
def test_stage_strides_set_the_last_map(strides: list[int], size: int) -> None:
    net = demo_net(stage_strides=strides)
    with torch.no_grad():
        assert net.features(torch.zeros(1, 3, 48, 48, 48)).shape == (1, 128, size, size, size)


def test_forward_is_the_head_of_the_mean_feature() -> None:
    net = demo_net()
    assert isinstance(net, ClassifierNet)
    x = torch.rand(2, 3, 48, 48, 48)
    with torch.no_grad():
        expected = net.head(net.features(x).mean(dim=(2, 3, 4)))
        torch.testing.assert_close(net(x), expected)
    assert expected.shape == (2, 2)
    assert expected.std() > 0


def test_demo_network_fits_the_size_limit() -> None:
    assert sum(p.numel() for p in demo_net().parameters()) < 1_200_000


def test_a_checkpoint_of_monai_answers_the_same() -> None:
    torch.manual_seed(1)
    monai_net = ResNet("basic", [1, 1, 1, 1], [64, 128, 256, 512], widen_factor=0.25, num_classes=2).eval()
    net = build(Architecture("resnet10", {"widen_factor": 0.25}), in_channels=3).eval()
    net.load_state_dict(monai_net.state_dict())
    x = torch.rand(1, 3, 32, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(net(x), monai_net(x))


def test_an_unknown_architecture_lists_the_known() -> None:
    with pytest.raises(GlioserveError) as caught:
        build(Architecture("vgg9000"), in_channels=3)
    assert caught.value.code is ErrorCode.UNSUPPORTED_ARCHITECTURE
    assert all(name in str(caught.value) for name in architectures())


@pytest.mark.parametrize(
    "options",
    [
        {"depth": 3},
        {"widen_factor": 0},
        {"conv1_t_size": 4},
        {"conv1_t_stride": 3},
        {"stage_strides": [2, 2, 2, 2]},
        {"stage_strides": [1, 2]},
    ],
)
def test_a_wrong_option_names_itself(options: dict[str, object]) -> None:
    with pytest.raises(GlioserveError) as caught:
        build(Architecture("resnet10", options), in_channels=3)
    assert caught.value.code is ErrorCode.INVALID_RECIPE
    assert next(iter(options)) in str(caught.value)


@pytest.mark.parametrize(("size", "cells"), [((3, 4, 5), 2), ((2, 2, 2), 3), ((7, 7, 7), 7), ((4, 1, 6), 1)])
def test_the_exportable_adaptive_average_is_torchs(size: tuple[int, int, int], cells: int) -> None:
    a = torch.rand(2, 3, *size)
    torch.testing.assert_close(AdaptiveAverage(cells)(a), torch.nn.functional.adaptive_avg_pool3d(a, cells))


@pytest.mark.parametrize("name", SMALL)
def test_the_split_behind_the_feature_map_is_the_network(name: str) -> None:
    torch.manual_seed(0)
    net = build(SMALL[name], in_channels=2).eval()
    x = torch.rand(2, 2, 64, 64, 64)
    with torch.no_grad():
        a = net.features(x)
        assert (a >= 0).all(), "after a ReLU"
        torch.testing.assert_close(SplitNetwork(net)(x), net(x))
        logits, gradient = logits_and_gradient(net, a)
        torch.testing.assert_close(logits, net(x))
    assert has_closed_form(net)
    assert gradient.shape[-1] == a.shape[1]


# Parameters of the published 2D networks, of their convolutions' biases and of their 3D kernels: counted by hand from
# table 1 of arXiv:1409.1556, with batch normalisation's two per channel.
VGG_LAYOUT = {"vgg11": (64, 128, 256, 256, 512, 512, 512, 512),
              "vgg16": (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)}  # fmt: skip


@pytest.mark.parametrize("name", VGG_LAYOUT)
def test_vgg_has_the_published_layout_in_3d(name: str) -> None:
    with torch.device("meta"):
        net = build(Architecture(name), in_channels=3)
    convolutions = [m for m in net.features if isinstance(m, torch.nn.Conv3d)]
    assert tuple(c.out_channels for c in convolutions) == VGG_LAYOUT[name]
    assert {(c.kernel_size, c.stride, c.padding) for c in convolutions} == {((3, 3, 3), (1, 1, 1), (1, 1, 1))}
    assert sum(isinstance(m, torch.nn.MaxPool3d) for m in net.features) == 4, "the fifth stands behind the map"
    widths = (3, *VGG_LAYOUT[name])
    features = sum(27 * i * o + o + 2 * o for i, o in pairwise(widths))
    head = 512 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 2 + 2
    assert sum(p.numel() for p in net.parameters()) == features + head
    assert [k for k in net.state_dict() if k.endswith("weight")][-3:] == [f"classifier.{i}.weight" for i in (0, 3, 6)]


@pytest.mark.parametrize(("name", "millions"), [("resnet10", 14.40), ("resnet50", 46.21), ("densenet121", 11.29)])
def test_full_width_is_monais(name: str, millions: float) -> None:
    with torch.device("meta"):
        net = build(Architecture(name), in_channels=3)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)


def test_mresnet_has_a_trunk_for_each_sequence() -> None:
    torch.manual_seed(0)
    net = build(SMALL["mresnet"], in_channels=3).eval()
    x = torch.rand(1, 3, 32, 32, 32)
    changed = x.clone()
    changed[:, 1] = 0
    with torch.no_grad():
        before, after = net.features(x), net.features(changed)
    width = before.shape[1] // 3
    assert torch.equal(before[:, :width], after[:, :width])
    assert not torch.equal(before[:, width : 2 * width], after[:, width : 2 * width])
    assert torch.equal(before[:, 2 * width :], after[:, 2 * width :])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vgg11", {"pool_cells": 8}),
        ("vgg16", {"hidden": 1}),
        ("vgg11", {"depth": 13}),
        ("densenet121", {"widen_factor": 9}),
        ("mresnet", {"conv1_t_size": 4}),
        ("resnet50", {"blocks": [1]}),
    ],
)
def test_a_wrong_option_of_the_others_names_itself(name: str, options: dict[str, object]) -> None:
    with pytest.raises(GlioserveError) as caught:
        build(Architecture(name, options), in_channels=3)
    assert caught.value.code is ErrorCode.INVALID_RECIPE
    assert next(iter(options)) in str(caught.value)
