"""The classifier benchmark measures what it says: each runtime answers alike, and the bars are the figures' own."""

import importlib
import math
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("openvino", reason="the openvino extra is not installed")


@pytest.fixture
def runtimes() -> ModuleType:
    return importlib.import_module("classifier.runtimes")


@pytest.fixture
def bench() -> ModuleType:
    return importlib.import_module("classifier.bench_classifier")


@pytest.fixture
def measured(runtimes: ModuleType) -> dict[str, Any]:
    settings = runtimes.Settings(
        "resnet10", size=32, width=0.0625, rounds=2, slow_rounds=1, pair_rounds=3, compile_limit_s=0
    )
    result: dict[str, Any] = runtimes.measure(settings)
    return result


def test_every_runtime_answers_alike_and_is_timed_with_and_without_a_map(
    runtimes: ModuleType, bench: ModuleType, measured: dict[str, Any]
) -> None:
    assert measured["skipped"][runtimes.COMPILED] == "not asked for"
    for runtime in (runtimes.EAGER, runtimes.ORT, runtimes.OPENVINO):
        for cam in (True, False):
            rounds = {runtimes.EAGER: 1, runtimes.ORT: 3}.get(runtime, 2)
            taken = measured["seconds"][runtimes.label(runtime, cam)]
            assert len(taken) == rounds
            assert min(taken) > 0
            found = measured["drift"][runtimes.label(runtime, cam)]
            assert found["probability"] < 1e-5
            assert (found["cam"] is None) == (not cam)
            assert not cam or found["cam"] < 1e-4
    assert measured["seconds"][runtimes.label(runtimes.AUTOGRAD, True)]
    assert measured["gflop"] > 0
    bench.print_networks({"resnet10": measured})


def test_the_classifier_alone_is_the_same_graph_without_its_map(runtimes: ModuleType) -> None:
    from glioserve_export.graphs.onnx_export import export_onnx
    from support.models.networks import random_network

    recipe = runtimes.Settings("resnet10", size=32, width=0.0625).recipe()
    model = export_onnx(random_network(recipe), recipe, "sha256:" + "00" * 32)
    alone = onnx.load_from_string(runtimes.without_cam(model))
    assert [o.name for o in alone.graph.output] == ["LOGITS"]
    convolutions = [sum(n.op_type == "Conv" for n in onnx.load_from_string(m).graph.node) for m in (model,)]
    assert sum(n.op_type == "Conv" for n in alone.graph.node) == convolutions[0] - 1


def test_a_compiler_that_is_too_slow_is_left_out_with_the_reason(
    runtimes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs(module: Any) -> Any:
        def run(_: Any) -> Any:
            while True:
                np.zeros(1000).sum()

        return run

    monkeypatch.setattr(runtimes.torch, "compile", hangs)
    settings = runtimes.Settings("resnet10", size=32, width=0.0625, compile_limit_s=0.2)
    found, recipe = runtimes.Runtimes(), settings.recipe()
    image = np.zeros((1, 3, 32, 32, 32), dtype=np.float32)
    runtimes._add_torch(found, runtimes.random_network(recipe), recipe, image, settings)
    assert found.skipped == {runtimes.COMPILED: "over 0.2 s"}
    assert (runtimes.COMPILED, True) not in found.runs


def figures(runtimes: ModuleType, **seconds: tuple[list[float], list[float]]) -> dict[str, Any]:
    names = {"ort": runtimes.ORT, "bf16": runtimes.BF16, "autograd": runtimes.AUTOGRAD}
    taken = {}
    for name, (with_map, alone) in seconds.items():
        taken |= {runtimes.label(names[name], True): with_map, runtimes.label(names[name], False): alone}
    return {"seconds": taken, "skipped": {}, "drift": {}}


def test_a_bar_is_of_the_network_that_does_worst(runtimes: ModuleType, bench: ModuleType) -> None:
    networks = {
        "good": figures(runtimes, ort=([1.0, 2.02], [1.0, 2.0]), bf16=([0.5], [0.5]), autograd=([6.0], [])),
        "bad": figures(runtimes, ort=([1.05, 1.05], [1.0, 1.0]), bf16=([0.7], [0.6]), autograd=([2.1], [])),
    }
    cost, autograd, ratio, flips = bench.bars_of(networks, {"studies": 9, runtimes.BF16: {"label_flips": 1}})
    assert (cost.value, cost.note, cost.passed) == (pytest.approx(0.05), "bad", False)
    assert (autograd.value, autograd.note, autograd.passed) == (pytest.approx(2.0), "bad", False)
    assert (ratio.value, ratio.note, ratio.passed) == (pytest.approx(1.5), "bad", False)
    assert (flips.value, flips.passed) == (1, False)
    good = bench.bars_of({"good": networks["good"]}, {"studies": 9, runtimes.BF16: {"label_flips": 0}})
    assert [bar.passed for bar in good] == [True, True, True, True]
    assert good[0].value == pytest.approx(0.005)


def test_without_bf16_its_speed_is_not_asked_and_unmeasured_flips_never_pass(
    runtimes: ModuleType, bench: ModuleType
) -> None:
    network = figures(runtimes, ort=([1.0], [1.0]), bf16=([0.5], [0.5]), autograd=([6.0], []))
    flips = bench.bars_of({"one": network}, {})[-1]
    assert math.isnan(flips.value)
    assert not flips.passed
    network["skipped"] = {runtimes.BF16: "no bf16"}
    emulated = {"studies": 9, "bf16": "emulated", runtimes.BF16: {"label_flips": 0}}
    *_, speed, flips = bench.bars_of({"one": network}, emulated)
    assert (speed.name, flips.name) == ("autograd Grad-CAM over ours", "label flips in bf16")
    assert (flips.passed, flips.note) == (True, "demo model, bf16 emulated")


@pytest.mark.parametrize(
    ("device", "dtype", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989.4),
        ("NVIDIA H100 PCIe", "fp16", 756.4),
        ("NVIDIA L40S", "fp32", 91.6),
        ("NVIDIA L4", "fp32", 30.3),
        ("NVIDIA A100-SXM4-80GB", "fp32", 19.5),
        ("GeForce 256", "fp32", None),
    ],
)
def test_the_peak_of_a_device_is_looked_up_by_its_name(device: str, dtype: str, peak: float | None) -> None:
    assert importlib.import_module("classifier.gpu").peak_tflops(device, dtype) == peak
