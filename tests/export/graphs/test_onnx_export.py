"""The ONNX file: its signature is the contract's, it says what it is, and the same weights make the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from glioserve_contract import CONTRACT_VERSION, ErrorCode, GlioserveError, Modality
from glioserve_contract.limits import MAX_CLASSIFIER_BATCH
from glioserve_contract.records.recipe import Recipe
from glioserve_contract.tensors import CLASSIFIER_MODEL
from glioserve_export.classifier_config import resolved_dims
from glioserve_export.graphs.onnx_export import cam_grid, check_signature, export_onnx, signature
from glioserve_networks import Artifact
from support.models.networks import random_network
from support.models.recipes import T1_T1CE_T2, tiny_recipe

DIGEST = "sha256:" + "ab" * 32
OTHERS = (tiny_recipe((Modality.T1CE,), (16, 24, 16)), tiny_recipe(tuple(Modality), (17, 16, 22)))


def dims_by_name(recipe: Recipe, grid: tuple[int, int, int]) -> dict[str, tuple[int | str, ...]]:
    ports = (*CLASSIFIER_MODEL.inputs, *CLASSIFIER_MODEL.outputs)
    return {tensor.name: ("batch", *resolved_dims(tensor, recipe, grid)) for tensor in ports}


def test_the_signature_is_the_contracts(artifact: Artifact, model: bytes) -> None:
    found = signature(onnx.load_from_string(model))
    assert {name: dims for name, (_, dims) in found.items()} == dims_by_name(artifact.recipe, (4, 4, 4))
    assert {name: kind for name, (kind, _) in found.items()} == {
        "IMAGE": TensorProto.FLOAT,
        "LOGITS": TensorProto.FLOAT,
        "CAM": TensorProto.FLOAT,
        "MODEL_ID": TensorProto.INT32,
    }


@pytest.mark.parametrize("recipe", OTHERS, ids=lambda r: f"{len(r.channels)}x{r.grid.shape}")
def test_the_runtime_sees_the_configurations_dims(recipe: Recipe) -> None:
    """Triton's onnxruntime backend compares them: the batch is open, all else are the same numbers."""
    content = export_onnx(random_network(recipe), recipe, DIGEST)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found = {port.name: tuple(port.shape) for port in (*session.get_inputs(), *session.get_outputs())}
    assert found == dims_by_name(recipe, cam_grid(onnx.load_from_string(content)))
    for batch in range(1, MAX_CLASSIFIER_BATCH + 1):
        image = np.zeros((batch, len(recipe.channels), *recipe.grid.shape), dtype=np.float32)
        assert [len(output) for output in session.run(None, {"IMAGE": image})] == [batch] * 3


def test_old_runtimes_and_tensorrt_can_read_it(model: bytes) -> None:
    proto = onnx.load_from_string(model)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 20)]
    assert proto.ir_version <= 10
    operators = {node.op_type for node in proto.graph.node}
    assert operators <= {"Conv", "Relu", "Add", "ReduceMean", "Gemm", "Shape", "Concat", "Expand"}, operators
    assert all(t.data_location == TensorProto.DEFAULT for t in proto.graph.initializer), "the weights are inside"


def test_the_file_says_what_it_is(artifact: Artifact, model: bytes) -> None:
    proto = onnx.load_from_string(model)
    assert {prop.key: prop.value for prop in proto.metadata_props} == {
        "glioserve.weights_digest": artifact.weights_digest,
        "glioserve.recipe": "tiny",
        "glioserve.classes": "necrosis,recurrence",
        "glioserve.channels": "t1,t1ce,t2",
        "glioserve.contract_version": CONTRACT_VERSION,
    }


def test_the_file_tells_nothing_of_the_machine_that_made_it(model: bytes) -> None:
    """The exporter notes a stack trace with paths at every node."""
    for trace in (b".py", b"site-packages", str(Path.cwd()).encode(), str(Path.home()).encode()):
        assert trace not in model


def test_the_same_weights_make_the_same_bytes(artifact: Artifact, model: bytes) -> None:
    assert export_onnx(artifact.network(), artifact.recipe, artifact.weights_digest) == model


def test_another_signature_is_named(artifact: Artifact, model: bytes) -> None:
    check_signature(onnx.load_from_string(model), artifact.recipe)
    proto = onnx.load_from_string(model)
    proto.graph.output[2].type.tensor_type.elem_type = TensorProto.INT64
    with pytest.raises(GlioserveError, match="MODEL_ID of the graph is") as caught:
        check_signature(proto, artifact.recipe)
    assert caught.value.code is ErrorCode.PARITY_FAILED
    with pytest.raises(GlioserveError, match="IMAGE of the graph is"):
        check_signature(onnx.load_from_string(model), tiny_recipe(T1_T1CE_T2, (16, 16, 24)))
