"""The served graph as ONNX bytes, by torch's dynamo exporter.

Opset 20 and IR 10 are read by ONNX Runtime from 1.19 on (the oldest of the servers we name) and by TensorRT from
10.1 on. The weights stay inside the file; a network too large for protobuf's 2 GiB is refused (:func:`_check_size`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import torch
from onnx import TensorProto

from glioserve_contract import CONTRACT_VERSION, ErrorCode, GlioserveError
from glioserve_contract.limits import MAX_CLASSIFIER_BATCH
from glioserve_contract.records.recipe import Recipe
from glioserve_contract.tensors import CAM, CLASSIFIER_MODEL, IMAGE, Tensor
from glioserve_export.classifier_config import CamGrid, resolved_dims
from glioserve_export.graphs.graph import ServedGraph
from glioserve_networks.traced import quiet_exporter, strip_traces

OPSET = 20
BATCH = "batch"
"""Name of the one open dimension."""

MAX_WEIGHTS_BYTES = int(1.8 * 2**30)
"""Below protobuf's 2 GiB, with room for the rest of the graph."""
_EXAMPLE_BATCH = 2
"""Batch size of the traced input: torch would take a 1 for a constant."""
_ONNX_TYPES = {"FP32": TensorProto.FLOAT, "INT32": TensorProto.INT32}

Signature = dict[str, tuple[int, tuple[int | str, ...]]]
"""Tensor name to ONNX element type and dims; an open dim is its name."""


def export_onnx(network: torch.nn.Module, recipe: Recipe, weights_digest: str) -> bytes:
    """Return the network (evaluation mode) as a checked ONNX model whose signature is the contract's.

    The same weights, recipe and library versions give the same bytes.
    """
    _check_size(network)
    graph = ServedGraph(network, recipe, weights_digest).eval()
    example = torch.zeros(_EXAMPLE_BATCH, len(recipe.channels), *recipe.grid.shape)
    batch = torch.export.Dim(BATCH, min=1, max=MAX_CLASSIFIER_BATCH)
    with _exporter_errors(recipe), quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[t.name for t in CLASSIFIER_MODEL.inputs],
            output_names=[t.name for t in CLASSIFIER_MODEL.outputs],
            dynamic_shapes={"image": {0: batch}},
            external_data=False,
            verbose=False,
        )
    assert program is not None  # with dynamo there is always one
    model = program.model_proto
    strip_traces(model)
    _describe(model, recipe, weights_digest)
    onnx.checker.check_model(model, full_check=True)
    check_signature(model, recipe)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


@contextmanager
def _exporter_errors(recipe: Recipe) -> Iterator[None]:
    """Raise GLIO-5106 where ONNX has no counterpart for something that the network, or its map's gradient, does."""
    try:
        yield
    except torch.onnx.OnnxExporterError as error:
        reason: BaseException = error
        while reason.__cause__ is not None:
            reason = reason.__cause__
        raise GlioserveError(
            ErrorCode.UNSUPPORTED_ARCHITECTURE,
            f"{recipe.architecture.name} cannot be written as ONNX: {str(reason).strip().splitlines()[0]} "
            "Where it is a gradient (…_backward), recipe.heatmap none serves the network without a map, or its tail "
            "does without that operation: what docs/networks.md says a tail may hold.",
        ) from error


def _check_size(network: torch.nn.Module) -> None:
    """Raise GLIO-5106 for weights that do not fit into one file, before minutes of tracing."""
    size = sum(t.numel() * t.element_size() for t in network.state_dict().values())
    if size > MAX_WEIGHTS_BYTES:
        raise GlioserveError(
            ErrorCode.UNSUPPORTED_ARCHITECTURE,
            f"Its weights take {size / 2**30:.2f} GiB; one ONNX file holds {MAX_WEIGHTS_BYTES / 2**30:.1f}. "
            "VGG's pool_cells of 7 is the usual reason: 1 makes it 17 times smaller.",
        )


def signature(model: onnx.ModelProto) -> Signature:
    """Return the names, types and dims of what the graph takes and gives."""
    return {
        value.name: (
            value.type.tensor_type.elem_type,
            tuple(d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim),
        )
        for value in (*model.graph.input, *model.graph.output)
    }


def cam_grid(model: onnx.ModelProto) -> CamGrid:
    """Return (d, h, w) of the CAM output."""
    depth, height, width = signature(model)[CAM.name][1][-3:]
    return int(depth), int(height), int(width)


def check_signature(model: onnx.ModelProto, recipe: Recipe) -> None:
    """Hold names, types and shapes to the contract; what differs is named (GLIO-5105)."""
    found = signature(model)
    for tensor in (*CLASSIFIER_MODEL.inputs, *CLASSIFIER_MODEL.outputs):
        wanted = _wanted(tensor, recipe, cam_grid(model))
        if found.get(tensor.name) != wanted:
            raise GlioserveError(
                ErrorCode.PARITY_FAILED, f"{tensor.name} of the graph is {found.get(tensor.name)}, not {wanted}."
            )


def _wanted(tensor: Tensor, recipe: Recipe, grid: CamGrid) -> tuple[int, tuple[int | str, ...]]:
    return _ONNX_TYPES[tensor.dtype], (BATCH, *resolved_dims(tensor, recipe, grid))


def _describe(model: onnx.ModelProto, recipe: Recipe, weights_digest: str) -> None:
    """Write into the file what it is, for a reader who has the file alone."""
    model.graph.name = CLASSIFIER_MODEL.name
    model.doc_string = f"{recipe.architecture.name}: {IMAGE.name} to logits, Grad-CAM of both classes and MODEL_ID."
    onnx.helper.set_model_props(
        model,
        {
            "glioserve.weights_digest": weights_digest,
            "glioserve.recipe": recipe.name,
            "glioserve.classes": ",".join(recipe.classes),
            "glioserve.channels": ",".join(m.value for m in recipe.channels),
            "glioserve.contract_version": CONTRACT_VERSION,
        },
    )
