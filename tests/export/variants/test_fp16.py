"""The fp16 file: a half-precision trunk, nothing of the head in fewer bits, and a gate that sees what fp16 does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.manifest import model_id
from glioserve_contract.records.recipe import Recipe
from glioserve_export.graphs.onnx_export import check_signature, signature
from glioserve_export.variants.compare import compare
from glioserve_export.variants.fp16 import LARGEST, SMALLEST_NORMAL, half_precision, rounded, subnormal_share
from glioserve_export.variants.runtimes import by_onnxruntime
from glioserve_export.variants.trunk import divide

NETWORKS = (
    "tiny",
    "resnet10",
    *(pytest.param(name, marks=pytest.mark.long) for name in ("vgg11", "mresnet")),
    pytest.param("densenet121", marks=pytest.mark.slow),
)


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_trunk_is_in_fp16_and_the_head_and_the_signature_are_not(exported: Any, name: str) -> None:
    recipe, content = exported(name)
    model, half = onnx.load_from_string(content), onnx.load_from_string(half_precision(content))
    check_signature(half, recipe)
    assert signature(half) == signature(model)
    division = divide(model)
    trunk = {i for node in division.trunk for i in node.input}
    head = {i for node in division.head for i in node.input} - trunk
    fp32, found = constants(model), constants(half)
    weights = [name for name in found if found[name].dtype == np.float16]
    assert {n for n in trunk & set(fp32) if fp32[n].dtype == np.float32} == set(weights)
    for weight in weights:
        wanted = fp32[weight].astype(np.float16)
        np.testing.assert_allclose(found[weight], wanted, rtol=0, atol=6e-8)
    for constant in head & set(fp32):
        np.testing.assert_array_equal(found[constant], fp32[constant])
        assert found[constant].dtype == fp32[constant].dtype
    types = {v.name: v.type.tensor_type.elem_type for v in (*half.graph.value_info, *half.graph.output)}
    made = {name for node in division.head for name in node.output}
    assert made <= set(types)
    assert TensorProto.FLOAT16 not in {types[name] for name in made}
    convolutions = [node for node in division.trunk if node.op_type == "Conv"]
    assert all(types[node.output[0]] == TensorProto.FLOAT16 for node in convolutions)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_scale_of_ours_falls_among_the_subnormals(exported: Any, name: str) -> None:
    """Values that are subnormal in fp16 are trained weights that were as small in fp32."""
    _, content = exported(name)
    half = half_precision(content)
    fp32 = constants(onnx.load_from_string(content))
    weights = {n: a for n, a in constants(onnx.load_from_string(half)).items() if a.dtype == np.float16}
    small = {n: (a != 0) & (np.abs(a) < SMALLEST_NORMAL) for n, a in weights.items()}
    for weight, mask in small.items():
        assert (np.abs(fp32[weight][mask]) < SMALLEST_NORMAL).all()
    share = sum(m.sum() for m in small.values()) / sum(a.size for a in weights.values())
    assert subnormal_share(half) == pytest.approx(share)
    assert share < 0.02


def test_grad_cam_s_scale_would_have_fallen_among_them(loud: Callable[[str, float], bytes]) -> None:
    """A head as small as a trained one's over many voxels: kept to the bit, where fp16 would round its map."""
    content = loud("fc.weight", 1e-4)
    model = onnx.load_from_string(content)
    cam = next(node for node in divide(model).head if node.op_type == "Conv")
    scale = constants(model)[cam.input[1]]
    assert (np.abs(scale) < SMALLEST_NORMAL).mean() > 0.9
    np.testing.assert_array_equal(constants(onnx.load_from_string(half_precision(content)))[cam.input[1]], scale)
    assert np.abs(scale.astype(np.float16) / scale - 1).max() > 0.01


@pytest.mark.parametrize("name", NETWORKS)
def test_it_answers_as_fp32_within_fp16_s_rounding(exported: Any, name: str) -> None:
    recipe, content = exported(name)
    shape = (2, len(recipe.channels), *recipe.grid.shape)
    images = np.random.default_rng(1).random(shape, dtype=np.float32)
    half = half_precision(content)
    fp32 = by_onnxruntime(content, images, 1, str)
    for graph in (half, rounded(half)):
        found = by_onnxruntime(graph, images, 1, str)
        figures = compare(recipe, fp32.logits, fp32.cam, found.logits, found.cam)
        assert figures.max_probability_drift < 5e-3
        assert figures.min_heatmap_correlation > 0.999
        assert figures.max_probability_drift > 0
        wanted = np.array(model_id("sha256:" + "5a" * 32), dtype=np.int32)
        np.testing.assert_array_equal(found.model_id, np.tile(wanted, (2, 1)))


def two_layers(first: np.ndarray, second: np.ndarray) -> bytes:
    """IMAGE [N, 1, 1, 1, 1] -> fp16 -> Conv -> Relu -> Conv -> fp32 Y, all 1 x 1 x 1."""
    nodes = [
        helper.make_node("Cast", ["IMAGE"], ["x"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["x", "first"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second"], ["c"]),
        helper.make_node("Cast", ["c"], ["Y"], to=TensorProto.FLOAT),
    ]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 1, 1, 1, 1]) for n in ("IMAGE", "Y")]
    weights = [numpy_helper.from_array(w.astype(np.float16), n) for w, n in ((first, "first"), (second, "second"))]
    graph = helper.make_graph(nodes, "two", ports[:1], ports[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    content: bytes = onnx.shape_inference.infer_shapes(model).SerializeToString()
    return content


def run(content: bytes, image: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(["Y"], {"IMAGE": image})[0]
    return result


def test_every_value_is_rounded_as_fp16_hardware_stores_it() -> None:
    half = np.float16
    image = np.random.default_rng(0).normal(0, 3, (200, 1, 1, 1, 1)).astype(np.float32)
    first, second = half(1.2345), half(0.7654)
    weights = (np.full((1, 1, 1, 1, 1), w) for w in (first, second))
    a = (image.astype(half).astype(np.float32) * np.float32(first)).astype(half)
    wanted = (np.maximum(a, 0).astype(np.float32) * np.float32(second)).astype(half)
    np.testing.assert_array_equal(run(rounded(two_layers(*weights)), image), wanted.astype(np.float32))


def test_a_value_beyond_fp16_becomes_infinite_where_it_arises() -> None:
    weights = (np.full((1, 1, 1, 1, 1), w) for w in (1000.0, 0.001))
    found = run(rounded(two_layers(*weights)), np.array([10, 100], dtype=np.float32).reshape(2, 1, 1, 1, 1))
    assert np.isfinite(found[0]).all()
    assert np.isinf(found[1]).all()


def test_weights_beyond_fp16_are_refused(loud: Callable[[str, float], bytes]) -> None:
    with pytest.raises(GlioserveError, match=rf"fp16: the weights .* reach .*; fp16 ends at {LARGEST:.0f}") as raised:
        half_precision(loud("conv1.weight", 1e7))
    assert raised.value.code is ErrorCode.VARIANT_REFUSED


def test_a_graph_without_a_common_feature_map_is_refused(tiny: tuple[Recipe, bytes]) -> None:
    model = onnx.load_from_string(tiny[1])
    model.graph.node.append(helper.make_node("ReduceMean", ["IMAGE"], ["other"]))
    logits = next(node for node in model.graph.node if "LOGITS" in node.output)
    logits.output[:] = ["before"]
    model.graph.node.append(helper.make_node("Add", ["before", "other"], ["LOGITS"]))
    with pytest.raises(GlioserveError, match="no feature map") as raised:
        half_precision(model.SerializeToString())
    assert raised.value.code is ErrorCode.VARIANT_REFUSED
