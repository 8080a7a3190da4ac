"""Every node of every network's graph against TensorRT's documented operators; and what the check refuses."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from glioserve_contract.records.recipe import Architecture, Recipe
from glioserve_export.graphs.onnx_export import export_onnx
from glioserve_export.variants.fp16 import half_precision
from glioserve_networks.architectures.registry import architectures
from glioserve_tensorrt.operators import TABLE, unsupported
from support.models.networks import random_network
from support.models.recipes import SMALL, tiny_recipe

DIGEST = "sha256:" + "ab" * 32


def recipe_of(architecture: Architecture) -> Recipe:
    return tiny_recipe(size_voxels=(32, 32, 32), architecture=architecture)


def test_every_architecture_is_looked_at() -> None:
    assert set(SMALL) == set(architectures())


MARKS = {"densenet121": pytest.mark.slow, "resnet50": pytest.mark.long, "mresnet": pytest.mark.long}
"""Marks of networks that are large or deep."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=MARKS.get(n, ())) for n in sorted(SMALL)])
def test_every_node_of_every_network_is_documented(name: str) -> None:
    recipe = recipe_of(SMALL[name])
    content = export_onnx(random_network(recipe), recipe, DIGEST)
    for precision, model in (("fp32", content), ("fp16", half_precision(content))):
        graph = onnx.load_from_string(model)
        assert {node.op_type for node in graph.graph.node} <= set(TABLE)
        assert unsupported(graph) == [], precision
    half = {i.data_type for i in onnx.load_from_string(half_precision(content)).graph.initializer}
    assert TensorProto.FLOAT16 in half  # the fp16 graph was one


ONE = helper.make_tensor("one", TensorProto.INT64, [1], [1])


def one_node(
    operator: str,
    *,
    rank: int = 5,
    kind: int = TensorProto.FLOAT,
    extra: tuple[str, ...] = (),
    constants: tuple[str, ...] = (),
    outputs: tuple[str, ...] = ("y",),
    opset: int = 20,
    **attributes: object,
) -> onnx.ModelProto:
    """A graph of one node: ``x`` [2, 3, 8, …] and further inputs to ``y``."""
    dims = [2, 3, 8, 8, 8, 8][:rank]
    node = helper.make_node(operator, ["x", *extra], list(outputs), name="node_x", **attributes)
    inputs = [helper.make_tensor_value_info("x", kind, dims)]
    inputs += [helper.make_tensor_value_info(e, TensorProto.INT64, [1]) for e in extra if e not in constants]
    initializers = [helper.make_tensor(c, TensorProto.INT64, [1], [2]) for c in constants]
    values = [helper.make_tensor_value_info(o, kind, None) for o in outputs if o]
    return helper.make_model(
        helper.make_graph([node], "one", inputs, values, initializers),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=10,
    )


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (one_node("Hardmax"), "node_x (Hardmax): not in TensorRT's table"),
        (one_node("GridSample", extra=("grid",)), "node_x (GridSample): not in TensorRT's table"),
        (
            one_node("MaxPool", kernel_shape=[2, 2, 2], dilations=[2, 2, 2]),
            "node_x (MaxPool): dilations [2, 2, 2] are not all one",
        ),
        (
            one_node("MaxPool", kernel_shape=[2, 2, 2], outputs=("y", "where")),
            "node_x (MaxPool): its second output is not supported",
        ),
        (one_node("MaxPool", rank=6, kernel_shape=[2] * 4), "node_x (MaxPool): works on 4 spatial axes, not 2 or 3"),
        (one_node("MaxPool", rank=3, kernel_shape=[2]), "node_x (MaxPool): works on 1 spatial axes, not 2 or 3"),
        (
            one_node("Relu", kind=TensorProto.DOUBLE),
            "node_x (Relu): its input x is DOUBLE; supported: BFLOAT16, FLOAT, FLOAT16, INT32, INT64",
        ),
        (one_node("ReduceMean", extra=("axes",)), "node_x (ReduceMean): axes must be a constant"),
        (one_node("Unsqueeze", extra=("axes",)), "node_x (Unsqueeze): axes must be a constant"),
        (
            one_node("ConstantOfShape", kind=TensorProto.INT64, value=ONE),
            "node_x (ConstantOfShape): its output y is INT64",
        ),
        (one_node("Relu", opset=8), "the model (opset 8): 9 to 20 is supported"),
        (one_node("Relu", opset=21), "the model (opset 21): 9 to 20 is supported"),
    ],
    ids=lambda value: value.split(":")[-1].strip() if isinstance(value, str) else "",
)
def test_what_is_not_documented_is_named_with_its_node(model: onnx.ModelProto, said: str) -> None:
    assert any(str(problem).startswith(said) for problem in unsupported(model)), unsupported(model)


@pytest.mark.parametrize(
    "model",
    [
        one_node("MaxPool", kernel_shape=[2, 2, 2], dilations=[1, 1, 1]),
        one_node("MaxPool", rank=4, kernel_shape=[2, 2]),
        one_node("ReduceMean", extra=("axes",), constants=("axes",)),
        one_node("ReduceMean"),
        one_node("Relu", kind=TensorProto.FLOAT16),
    ],
    ids=lambda model: model.graph.node[0].op_type,
)
def test_what_is_documented_passes(model: onnx.ModelProto) -> None:
    assert unsupported(model) == []


def test_a_domain_of_somebody_elses_is_named() -> None:
    model = one_node("Relu")
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert "the model (com.microsoft): an operator of another domain" in map(str, unsupported(model))
    model = one_node("Relu")
    model.graph.node[0].domain = "com.example"
    assert "node_x (com.example.Relu): an operator of another domain" in map(str, unsupported(model))


def test_a_node_without_a_name_is_named_by_its_output() -> None:
    model = one_node("Hardmax")
    model.graph.node[0].name = ""
    assert str(unsupported(model)[0]).startswith("y (Hardmax)")
