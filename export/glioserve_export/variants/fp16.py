"""``model_fp16.onnx``: the trunk in 16-bit floats, head and signature in 32; for strongly typed TensorRT builds.

The conversion itself is ONNX Runtime's (``onnxruntime.transformers.float16``). It is given the trunk alone: in a whole
graph it would lead each fp32 node's result through fp16 on its way to the next.

ONNX Runtime's CPU kernels take an fp16 graph's nodes to fp32 and drop the roundings in between, so its answers to the
file show neither an overflow nor most of the drift. :func:`rounded` spells the roundings out: after every node of the
trunk, as hardware that computes in fp16 would store it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_export.variants.trunk import divide

LARGEST = float(np.finfo(np.float16).max)
"""65504."""
SMALLEST_NORMAL = float(np.finfo(np.float16).smallest_normal)
"""6.1e-5: below it fp16 loses bits of its mantissa."""


def half_precision(content: bytes) -> bytes:
    """Return the fp16 file of an fp32 graph; GLIO-5118 where a weight of the trunk is beyond fp16's range."""
    model = onnx.load_from_string(content)
    division = divide(model)
    trunk = onnx.utils.Extractor(model).extract_model([model.graph.input[0].name], [division.features])
    _check_range(trunk)
    half = convert_float_to_float16(trunk, keep_io_types=True)
    graph = helper.make_graph(
        [*half.graph.node, *division.head],
        model.graph.name,
        model.graph.input,
        model.graph.output,
        [*half.graph.initializer, *_initializers_of_head(model, division.head, half)],
        model.graph.doc_string,
    )
    result = helper.make_model(graph, ir_version=model.ir_version, opset_imports=model.opset_import)
    result.doc_string = f"{model.doc_string} Trunk in fp16."
    helper.set_model_props(result, {p.key: p.value for p in model.metadata_props})
    OnnxModel(result).topological_sort()  # the converter puts its casts last
    result = onnx.shape_inference.infer_shapes(result, check_type=True, strict_mode=True)
    onnx.checker.check_model(result, full_check=True)
    serialised: bytes = result.SerializeToString(deterministic=True)
    return serialised


def subnormal_share(content: bytes) -> float:
    """Return the share of weights that are not zero but below :data:`SMALLEST_NORMAL`; they were so in fp32."""
    found = [_array(t) for t in onnx.load_from_string(content).graph.initializer if t.data_type == TensorProto.FLOAT16]
    small = sum(int(((array != 0) & (np.abs(array) < SMALLEST_NORMAL)).sum()) for array in found)
    return small / max(1, sum(array.size for array in found))


def rounded(content: bytes) -> bytes:
    """Return an fp32 graph that answers as the fp16 file does on hardware that computes in fp16.

    Every fp16 tensor is rounded.
    Sums inside a node stay in fp32, as tensor cores keep them.
    """
    model = onnx.load_from_string(content)
    graph = model.graph
    half = {v.name for v in graph.value_info if v.type.tensor_type.elem_type == TensorProto.FLOAT16}
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(_array(tensor).astype(np.float32), tensor.name))
    nodes = []
    for node in graph.node:
        _widen(node)
        made = [name for name in node.output if name in half]
        node.output[:] = [f"{name}|exact" if name in half else name for name in node.output]
        nodes.append(node)
        for name in made:
            nodes.append(helper.make_node("Cast", [f"{name}|exact"], [f"{name}|half"], to=TensorProto.FLOAT16))
            nodes.append(helper.make_node("Cast", [f"{name}|half"], [name], to=TensorProto.FLOAT))
    new = helper.make_graph(nodes, graph.name, graph.input, graph.output, graph.initializer)
    wide = helper.make_model(new, ir_version=model.ir_version, opset_imports=model.opset_import)
    onnx.checker.check_model(wide, full_check=True)
    serialised: bytes = wide.SerializeToString()
    return serialised


def _check_range(trunk: onnx.ModelProto) -> None:
    for tensor in trunk.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        largest = float(np.abs(_array(tensor)).max(initial=0))
        if not largest <= LARGEST:
            raise GlioserveError(
                ErrorCode.VARIANT_REFUSED,
                f"fp16: the weights {tensor.name} reach {largest:.3g}; fp16 ends at {LARGEST:.0f}.",
            )


def _initializers_of_head(
    model: onnx.ModelProto, head: tuple[onnx.NodeProto, ...], half: onnx.ModelProto
) -> list[onnx.TensorProto]:
    """Return those that the trunk lacks; one that it has in fp16 is given to the head under another name."""
    taken = {t.name: t.data_type for t in half.graph.initializer}
    used = {name for node in head for name in node.input}
    found = []
    for tensor in model.graph.initializer:
        if tensor.name not in used or taken.get(tensor.name) == tensor.data_type:
            continue
        own = onnx.TensorProto()
        own.CopyFrom(tensor)
        if tensor.name in taken:
            own.name = f"{tensor.name}|head"
            for node in head:
                node.input[:] = [own.name if name == tensor.name else name for name in node.input]
        found.append(own)
    return found


def _widen(node: onnx.NodeProto) -> None:
    """Change a node's fp16 attributes to fp32: a cast's target, a constant's value."""
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
            attribute.i = TensorProto.FLOAT
        if attribute.HasField("t") and attribute.t.data_type == TensorProto.FLOAT16:
            attribute.t.CopyFrom(numpy_helper.from_array(_array(attribute.t).astype(np.float32), attribute.t.name))


def _array(tensor: onnx.TensorProto) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = numpy_helper.to_array(tensor)
    return array
