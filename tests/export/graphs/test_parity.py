"""Parity holds for what was exported, and for nothing that was changed since."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_export.graphs.onnx_export import export_onnx
from glioserve_export.graphs.parity import BATCHES, CAM_TOLERANCE, LOGITS_TOLERANCE, check_parity, compare
from glioserve_export.graphs.probes import INPUTS, probe_studies
from glioserve_networks import Artifact
from support.models.networks import tiny_artifact
from support.models.recipes import tiny_recipe

Mutation = Callable[[onnx.ModelProto], None]


def silent(_: str) -> None:
    """Progress that is not shown."""


def weights(model: onnx.ModelProto, operator: str, which: int = 0) -> onnx.TensorProto:
    """The second input of the ``which``-th node of that operator, as the initializer it is."""
    node = [node for node in model.graph.node if node.op_type == operator][which]
    return next(t for t in model.graph.initializer if t.name == node.input[1])


def rewrite(tensor: onnx.TensorProto, change: Callable[[np.ndarray], np.ndarray]) -> None:
    value = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(change(value.copy()).astype(value.dtype), tensor.name))


def one_weight(model: onnx.ModelProto) -> None:
    def change(value: np.ndarray) -> np.ndarray:
        value[np.unravel_index(np.abs(value).argmax(), value.shape)] *= -1
        return value

    rewrite(weights(model, "Conv", 3), change)


def class_order(model: onnx.ModelProto) -> None:
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    for name in gemm.input[1:]:
        rewrite(next(t for t in model.graph.initializer if t.name == name), lambda v: v[::-1])


def class_order_of_cam(model: onnx.ModelProto) -> None:
    rewrite(weights(model, "Conv", -1), lambda v: v[::-1])


def scaled_cam(model: onnx.ModelProto) -> None:
    rewrite(weights(model, "Conv", -1), lambda v: v * 1.001)


def cam_without_relu(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if "CAM" in node.output).op_type = "Identity"


def shifted_logits(model: onnx.ModelProto) -> None:
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    rewrite(next(t for t in model.graph.initializer if t.name == gemm.input[2]), lambda v: v + 1e-3)


def another_identity(model: onnx.ModelProto) -> None:
    expand = next(node for node in model.graph.node if node.op_type == "Expand")
    rewrite(next(t for t in model.graph.initializer if t.name == expand.input[0]), lambda v: v + 1)


def not_a_number(model: onnx.ModelProto) -> None:
    rewrite(weights(model, "Conv", -1), lambda v: v * np.nan)


def mixed_studies(model: onnx.ModelProto) -> None:
    """Every study's logits are taken from the mean over the batch: right for a batch of one."""
    node = next(node for node in model.graph.node if node.op_type == "ReduceMean")
    mean = node.output[0]
    node.output[0] = "own_mean"
    model.graph.initializer.extend(
        [numpy_helper.from_array(np.array([0]), "batch_axis"), numpy_helper.from_array(np.float32(0), "nought")]
    )
    mixed = [
        helper.make_node("ReduceMean", ["own_mean", "batch_axis"], ["batch_mean"], keepdims=1),
        helper.make_node("Mul", ["own_mean", "nought"], ["zeros"]),
        helper.make_node("Add", ["zeros", "batch_mean"], [mean]),
    ]
    position = list(model.graph.node).index(node) + 1
    for offset, extra in enumerate(mixed):
        model.graph.node.insert(position + offset, extra)


MUTATIONS: dict[Mutation, str] = {
    one_weight: "LOGITS",
    class_order: "LOGITS",
    class_order_of_cam: "CAM",
    scaled_cam: "CAM",
    cam_without_relu: "CAM",
    shifted_logits: "LOGITS",
    another_identity: "MODEL_ID different",
    not_a_number: "CAM inf",
    mixed_studies: "LOGITS",
}


def mutated(model: bytes, mutation: Mutation) -> bytes:
    proto = onnx.load_from_string(model)
    mutation(proto)
    return proto.SerializeToString()


@pytest.mark.parametrize(
    ("channels", "size_voxels", "classes"),
    [
        ((Modality.T1CE,), (16, 16, 16), ("necrosis", "recurrence")),
        ((Modality.T2, Modality.T1), (24, 16, 20), ("recurrence", "necrosis")),
        (tuple(Modality), (17, 22, 16), ("necrosis", "recurrence")),
    ],
)
def test_what_was_exported_answers_as_its_network(
    tmp_path: Path,
    channels: tuple[Modality, ...],
    size_voxels: tuple[int, int, int],
    classes: tuple[str, str],
) -> None:
    recipe = tiny_recipe(channels, size_voxels, classes=classes)
    artifact = tiny_artifact(tmp_path / "artifact", recipe, seed=5)
    parity = check_parity(export_onnx(artifact.network(), recipe, artifact.weights_digest), artifact)
    assert parity.held
    assert {f.output: f.tolerance for f in parity.figures} == {
        "LOGITS": LOGITS_TOLERANCE,
        "CAM": CAM_TOLERANCE,
        "CAM (MONAI)": CAM_TOLERANCE,
    }
    assert all(0 < f.difference < f.tolerance / 10 for f in parity.figures), "two programs, so not nothing; but little"


def test_the_untouched_graph_passes_where_the_changed_ones_fail(artifact: Artifact, model: bytes) -> None:
    assert compare(mutated(model, silent), artifact).held


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.__name__)
def test_a_changed_graph_is_refused_with_its_figures(artifact: Artifact, model: bytes, mutation: Mutation) -> None:
    with pytest.raises(GlioserveError, match=MUTATIONS[mutation]) as caught:
        check_parity(mutated(model, mutation), artifact)
    assert caught.value.code is ErrorCode.PARITY_FAILED
    assert "LOGITS" in str(caught.value)
    assert "CAM" in str(caught.value)


def test_a_graph_that_cannot_be_loaded_or_run_is_refused(artifact: Artifact, model: bytes) -> None:
    def one_batch_only(proto: onnx.ModelProto) -> None:
        proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2

    for broken, what in ((b"not ONNX", "load"), (mutated(model, one_batch_only), "run a batch of 8")):
        with pytest.raises(GlioserveError, match=what) as caught:
            check_parity(broken, artifact)
        assert caught.value.code is ErrorCode.PARITY_FAILED


def test_the_probe_covers_every_kind_and_batch_size() -> None:
    studies = probe_studies(tiny_recipe())
    assert studies.shape == (len(INPUTS), 3, 16, 16, 16)
    assert studies.dtype == np.float32
    assert len({study.tobytes() for study in studies}) == len(INPUTS), "no two alike"
    assert not studies[INPUTS.index("zeros")].any()
    assert studies[INPUTS.index("random x 10")].max() > 9
    assert sorted(len(batch) for batch in BATCHES) == [1, 2, 3, 8]
    np.testing.assert_array_equal(studies, probe_studies(tiny_recipe()))


def test_the_probe_studies_do_not_hang_on_a_processors_last_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny_recipe()
    studies = probe_studies(recipe)
    exact = np.exp
    monkeypatch.setattr(np, "exp", lambda x: np.nextafter(exact(x), 2.0))
    assert probe_studies(recipe).tobytes() == studies.tobytes()
    monkeypatch.setattr(np, "exp", lambda x: exact(x) + 0.01)
    assert probe_studies(recipe).tobytes() != studies.tobytes()
