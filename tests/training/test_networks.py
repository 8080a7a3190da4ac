"""The shared networks: their shape, their split for Grad-CAM, and what a wrong recipe is told."""

import pytest
import torch
from monai.networks.nets.resnet import ResNet

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.recipe import Architecture
from glioserve_networks import ClassifierNet, architectures, build

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
