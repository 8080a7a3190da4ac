"""The ONNX operators that TensorRT's parser documents; every node of a graph is held to them before a build.

The rows are those of https://github.com/onnx/onnx-tensorrt/blob/main/docs/operators.md for TensorRT 10.15. That of 8.5
has the same operators with fewer types, so what lies between has them too; TensorRT 11's opset guide points to the
same page. Only what our exporter may write is listed: a graph with anything else is better looked at than tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

OPSETS = (9, 20)
"""Inclusive: documented since TensorRT 10.1. 10.15 says 9 to 24, 11 says 9 to 25."""

_ONNX_DOMAINS = ("", "ai.onnx")
_FOREIGN = "an operator of another domain"

FLOATS = frozenset({"FLOAT", "FLOAT16", "BFLOAT16"})
NUMBERS = FLOATS | {"INT32", "INT64"}
ANY = NUMBERS | {"BOOL"}


@dataclass(frozen=True)
class Unsupported:
    """A node that TensorRT does not document, and why."""

    node: str
    operator: str
    reason: str

    def __str__(self) -> str:
        return f"{self.node} ({self.operator}): {self.reason}"


@dataclass(frozen=True)
class Graph:
    """Facts of a graph that the rules ask for."""

    constants: frozenset[str]
    """Initializers and outputs of Constant nodes."""
    ranks: Mapping[str, int]
    """Ranks of tensors, where they are known."""
    types: Mapping[str, str]
    """ONNX's names of element types, where they are known."""


@dataclass(frozen=True)
class OperatorRow:
    """One line of the table."""

    types: frozenset[str]
    """Types of its tensors that carry values; shapes and axes are INT64 by ONNX's own rules."""
    rules: tuple[OperatorRule, ...] = ()
    value_inputs: tuple[int, ...] = (0,)
    """Inputs that :attr:`types` applies to."""


@dataclass(frozen=True)
class Node:
    """A node with its attributes by name."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)


OperatorRule = Callable[[Node, Graph], str | None]
"""The reason why a node is not supported; None where it is."""


def _spatial_2d_or_3d(node: Node, graph: Graph) -> str | None:
    rank = graph.ranks.get(node.inputs[0])
    return None if rank in (None, 4, 5) else f"works on {rank - 2 if rank else 0} spatial axes, not 2 or 3"


def _no_dilation(node: Node, _graph: Graph) -> str | None:
    dilations = node.attributes.get("dilations", [])
    return None if all(d == 1 for d in dilations) else f"dilations {list(dilations)} are not all one"


def _one_output(node: Node, _graph: Graph) -> str | None:
    return None if len([o for o in node.outputs if o]) == 1 else "its second output is not supported"


def _fp32_output(node: Node, graph: Graph) -> str | None:
    kind = graph.types.get(node.outputs[0])
    return None if kind in (None, "FLOAT") else f"its output {node.outputs[0]} is {kind}; supported: FLOAT"


def _constant_input(index: int, what: str) -> OperatorRule:
    def rule(node: Node, graph: Graph) -> str | None:
        given = node.inputs[index] if len(node.inputs) > index else ""
        return None if not given or given in graph.constants else f"{what} must be a constant"

    return rule


_POOL = (_spatial_2d_or_3d, _no_dilation, _one_output)
_AXES = (_constant_input(1, "axes"),)
_PAIR = OperatorRow(NUMBERS, value_inputs=(0, 1))

TABLE: dict[str, OperatorRow] = {
    "Add": _PAIR,
    "AveragePool": OperatorRow(FLOATS, _POOL),
    "BatchNormalization": OperatorRow(FLOATS, (_one_output,)),
    "Cast": OperatorRow(ANY | {"UINT8"}),
    "Concat": OperatorRow(ANY),
    "Constant": OperatorRow(ANY, value_inputs=()),
    "ConstantOfShape": OperatorRow(ANY, (_fp32_output,), value_inputs=()),
    "Conv": OperatorRow(FLOATS, (_spatial_2d_or_3d,), value_inputs=(0, 1)),
    "Div": _PAIR,
    "Expand": OperatorRow(ANY),
    "Flatten": OperatorRow(ANY),
    "Gather": OperatorRow(ANY),
    "Gemm": OperatorRow(FLOATS, value_inputs=(0, 1)),
    "GlobalAveragePool": OperatorRow(FLOATS),
    "Greater": _PAIR,
    "Identity": OperatorRow(ANY),
    "MatMul": OperatorRow(FLOATS, value_inputs=(0, 1)),
    "MaxPool": OperatorRow(FLOATS, _POOL),
    "Mul": _PAIR,
    "ReduceMean": OperatorRow(NUMBERS, _AXES),
    "ReduceSum": OperatorRow(NUMBERS, _AXES),
    "Relu": OperatorRow(NUMBERS),
    "Reshape": OperatorRow(ANY),
    "Shape": OperatorRow(ANY),
    "Slice": OperatorRow(ANY),
    "Softmax": OperatorRow(FLOATS),
    "Split": OperatorRow(ANY),
    "Squeeze": OperatorRow(ANY, _AXES),
    "Sub": _PAIR,
    "Sum": OperatorRow(NUMBERS),
    "Transpose": OperatorRow(ANY),
    "Unsqueeze": OperatorRow(ANY, _AXES),
    "Where": OperatorRow(ANY, value_inputs=(1, 2)),
}


def unsupported(model: onnx.ModelProto) -> list[Unsupported]:
    """Return every node that the table does not allow, in the graph's order; an opset out of range comes first.

    ``model`` is valid, as our exporter checks (onnx's own errors otherwise).
    """
    import onnx

    found = []
    for opset in model.opset_import:
        if opset.domain not in _ONNX_DOMAINS:
            found.append(Unsupported("the model", opset.domain, _FOREIGN))
        elif not OPSETS[0] <= opset.version <= OPSETS[1]:
            found.append(Unsupported("the model", f"opset {opset.version}", f"{OPSETS[0]} to {OPSETS[1]} is supported"))
    foreign = [node for node in model.graph.node if node.domain not in _ONNX_DOMAINS]
    found += [Unsupported(_name(node), f"{node.domain}.{node.op_type}", _FOREIGN) for node in foreign]
    if foreign:  # nothing is known of what they give, so of the types behind them
        return found
    inferred = onnx.shape_inference.infer_shapes(model)
    graph = _facts(inferred.graph)
    for proto in inferred.graph.node:
        node = Node(
            _name(proto),
            proto.op_type,
            tuple(proto.input),
            tuple(proto.output),
            {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute},
        )
        found += [Unsupported(node.name, node.operator, reason) for reason in _reasons(node, graph)]
    return found


def _name(proto: onnx.NodeProto) -> str:
    return str(proto.name or proto.output[0])


def _reasons(node: Node, graph: Graph) -> Iterator[str]:
    row = TABLE.get(node.operator)
    if row is None:
        yield "not in TensorRT's table of operators that these graphs may use"
        return
    if any(hasattr(value, "node") for value in node.attributes.values()):
        yield "it has a graph of its own"
    for index in row.value_inputs:
        kind = graph.types.get(node.inputs[index]) if len(node.inputs) > index else None
        if kind is not None and kind not in row.types:
            yield f"its input {node.inputs[index]} is {kind}; supported: {', '.join(sorted(row.types))}"
    for rule in row.rules:
        reason = rule(node, graph)
        if reason:
            yield reason


def _facts(graph: onnx.GraphProto) -> Graph:
    from onnx import TensorProto

    constants = {t.name for t in graph.initializer}
    constants |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    ranks = {t.name: len(t.dims) for t in graph.initializer}
    types = {t.name: TensorProto.DataType.Name(t.data_type) for t in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        types[value.name] = TensorProto.DataType.Name(kind.elem_type)
        if kind.HasField("shape"):
            ranks[value.name] = len(kind.shape.dim)
    return Graph(frozenset(constants), ranks, types)
