"""The division of a served graph into trunk and head.

The trunk is the convolutions, nearly all of the work; the head is what lies behind its last feature map (pools, linear
layers, Grad-CAM).

Only the trunk is ever computed in fewer bits. The head costs nothing and holds what fewer bits would spoil: Grad-CAM's
scale of 1 over the number of voxels lies among fp16's subnormals, and Grad-CAM++ cubes gradients that are small.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.tensors import CAM, IMAGE, LOGITS

MAP_RANK = 5
"""Rank of a feature map: [N, K, d, h, w]."""


@dataclass(frozen=True, eq=False)
class Division:
    """``features`` is the tensor through which all of LOGITS and CAM comes; nodes keep the graph's order."""

    features: str
    trunk: tuple[onnx.NodeProto, ...]
    head: tuple[onnx.NodeProto, ...]


def divide(model: onnx.ModelProto) -> Division:
    """Divide at the last feature map that LOGITS and CAM both depend on; GLIO-5118 where there is none."""
    nodes = list(model.graph.node)
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in model.graph.value_info}
    maps = [name for node in nodes for name in node.output if ranks.get(name) == MAP_RANK]
    features = next((name for name in reversed(maps) if not _answers_without(nodes, name)), None)
    if features is None:
        raise GlioserveError(ErrorCode.VARIANT_REFUSED, "The graph has no feature map that all its answers come from.")
    makers = {name: node for node in nodes for name in node.output}
    wanted, trunk = [features], set()
    while wanted:
        node = makers.get(wanted.pop())
        if node is not None and id(node) not in trunk:
            trunk.add(id(node))
            wanted.extend(node.input)
    return Division(features, tuple(n for n in nodes if id(n) in trunk), tuple(n for n in nodes if id(n) not in trunk))


def _answers_without(nodes: Iterable[onnx.NodeProto], removed: str) -> bool:
    """Return whether IMAGE reaches LOGITS or CAM without one tensor. Shapes carry no values, so they do not count."""
    reached = {IMAGE.name}
    for node in nodes:
        if node.op_type != "Shape" and not reached.isdisjoint(node.input):
            reached.update(name for name in node.output if name != removed)
    return not reached.isdisjoint((LOGITS.name, CAM.name))
