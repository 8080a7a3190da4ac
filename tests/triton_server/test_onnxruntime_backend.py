"""The Python-based onnxruntime backend against a scripted Triton: what a live server cannot be made to send."""

import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import glioserve_triton
from glioserve_contract import ErrorCode, find_code
from support.tiny_repository import TABLE, TABLE_ROWS, WEIGHTS, tiny_graph

MODEL = Path(glioserve_triton.__file__).parent / "backends" / "onnxruntime" / "model.py"
BAD_ROW = TABLE_ROWS + 5


class Request:
    """A request as a Python backend sees it."""

    def __init__(
        self, image: np.ndarray | None, outputs: tuple[str, ...] = ("LOGITS",), cancelled: bool = False
    ) -> None:
        self.image, self.outputs, self.cancelled = image, outputs, cancelled

    def is_cancelled(self) -> bool:
        return self.cancelled

    def requested_output_names(self) -> tuple[str, ...]:
        return self.outputs


class Tensor:
    def __init__(self, name: str, array: np.ndarray) -> None:
        self.name, self._array = name, array

    def as_numpy(self) -> np.ndarray:
        return self._array


class TritonError(Exception):
    INTERNAL, CANCELLED, INVALID_ARG, NOT_FOUND, UNAVAILABLE, UNSUPPORTED = range(6)

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Response:
    def __init__(self, tensors: list[Tensor] | None = None, error: TritonError | None = None) -> None:
        self.outputs = {tensor.name: tensor.as_numpy() for tensor in tensors or []}
        self.error = error


@pytest.fixture
def logged() -> list[str]:
    return []


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch, logged: list[str]) -> types.ModuleType:
    """The backend's module, with a scripted ``triton_python_backend_utils``."""
    utils = types.ModuleType("triton_python_backend_utils")
    utils.Tensor, utils.TritonError, utils.InferenceResponse = Tensor, TritonError, Response  # type: ignore[attr-defined]
    utils.Logger = types.SimpleNamespace(log_error=logged.append)  # type: ignore[attr-defined]
    utils.get_input_tensor_by_name = (  # type: ignore[attr-defined]
        lambda request, name: None if request.image is None else Tensor(name, request.image)
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utils)
    spec = importlib.util.spec_from_file_location("onnxruntime_backend", MODEL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load(backend: types.ModuleType, folder: Path, graph: onnx.ModelProto, **changes: Any) -> Any:
    """A loaded model that counts the runs of its session."""
    (folder / "1").mkdir(parents=True)
    config = {
        "default_model_filename": "graph.onnx",
        "max_batch_size": 8,
        "parameters": {"intra_op_thread_count": {"string_value": "1"}},
        "input": [{"name": "IMAGE", "data_type": "TYPE_FP32", "dims": [4]}],
        "output": [
            {"name": "LOGITS", "data_type": "TYPE_FP32", "dims": [2]},
            {"name": "PICK", "data_type": "TYPE_FP32", "dims": [3]},
        ],
        **changes,
    }
    onnx.save(graph, folder / "1" / (config["default_model_filename"] or "model.onnx"))
    model = backend.TritonPythonModel()
    model.initialize({"model_config": json.dumps(config), "model_repository": str(folder), "model_version": "1"})
    session, model.runs = model._session, []
    model.options = session.get_session_options()

    def run(names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        model.runs.append((names, len(feeds["IMAGE"])))
        return session.run(names, feeds)

    model._session = types.SimpleNamespace(run=run)
    return model


def rows(*firsts: float) -> np.ndarray:
    return np.array([[first, 1, 2, 3] for first in firsts], dtype=np.float32)


def sum_graph() -> onnx.ModelProto:
    """IMAGE [N, L] of any length -> LOGITS [N, 1]."""
    node = helper.make_node("ReduceSum", ["IMAGE", "AXES"], ["LOGITS"])
    graph = helper.make_graph(
        [node],
        "sum",
        [helper.make_tensor_value_info("IMAGE", TensorProto.FLOAT, ["N", "L"])],
        [helper.make_tensor_value_info("LOGITS", TensorProto.FLOAT, ["N", 1])],
        [helper.make_tensor("AXES", TensorProto.INT64, [1], [1])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_requests_share_one_run_and_each_gets_its_own_rows_and_outputs(backend: Any, tmp_path: Path) -> None:
    model = load(backend, tmp_path, tiny_graph())
    requests = [Request(rows(1, 2)), Request(rows(3), ("PICK",)), Request(rows(4), ("PICK", "LOGITS"))]
    answers = model.execute(requests)
    assert model.runs == [(["LOGITS", "PICK"], 4)]
    assert [list(answer.outputs) for answer in answers] == [["LOGITS"], ["PICK"], ["PICK", "LOGITS"]]
    np.testing.assert_allclose(answers[0].outputs["LOGITS"], rows(1, 2) @ WEIGHTS)
    np.testing.assert_array_equal(answers[1].outputs["PICK"], TABLE[[3]])
    np.testing.assert_array_equal(answers[2].outputs["PICK"], TABLE[[4]])


def test_an_output_that_nobody_asked_for_is_not_fetched(backend: Any, tmp_path: Path) -> None:
    model = load(backend, tmp_path, tiny_graph())
    model.execute([Request(rows(1)), Request(rows(2))])
    assert model.runs == [(["LOGITS"], 2)]


def test_a_cancelled_request_is_dropped(backend: Any, tmp_path: Path, logged: list[str]) -> None:
    model = load(backend, tmp_path, tiny_graph())
    answers = model.execute([Request(rows(1)), Request(rows(2), cancelled=True), Request(rows(3))])
    assert model.runs == [(["LOGITS"], 2)]
    assert answers[1].error.status == TritonError.CANCELLED
    assert find_code(str(answers[1].error)) is ErrorCode.CANCELLED
    assert logged == []
    np.testing.assert_allclose(answers[2].outputs["LOGITS"], rows(3) @ WEIGHTS)


def test_shapes_that_do_not_fit_together_run_apart(backend: Any, tmp_path: Path) -> None:
    config = {
        "input": [{"name": "IMAGE", "data_type": "TYPE_FP32", "dims": [-1]}],
        "output": [{"name": "LOGITS", "data_type": "TYPE_FP32", "dims": [1]}],
    }
    model = load(backend, tmp_path, sum_graph(), **config)
    images = [np.ones((1, length), dtype=np.float32) for length in (3, 5, 3, 7)]
    answers = model.execute([Request(image) for image in images])
    assert sorted(count for _, count in model.runs) == [1, 1, 2]
    assert [answer.outputs["LOGITS"].item() for answer in answers] == [3, 5, 3, 7]


def test_without_batching_each_request_runs_alone(backend: Any, tmp_path: Path) -> None:
    config = {
        "max_batch_size": 0,
        "input": [{"name": "IMAGE", "data_type": "TYPE_FP32", "dims": [-1, -1]}],
        "output": [{"name": "LOGITS", "data_type": "TYPE_FP32", "dims": [-1, 1]}],
    }
    model = load(backend, tmp_path, sum_graph(), **config)
    answers = model.execute([Request(rows(0)), Request(rows(1))])
    assert [count for _, count in model.runs] == [1, 1]
    assert [answer.outputs["LOGITS"].item() for answer in answers] == [6, 7]


def test_one_fault_is_one_error_with_an_incident_number(backend: Any, tmp_path: Path, logged: list[str]) -> None:
    model = load(backend, tmp_path, tiny_graph())
    answers = model.execute([Request(rows(1), ("PICK",)), Request(rows(BAD_ROW), ("PICK",)), Request(None, ("PICK",))])
    np.testing.assert_array_equal(answers[0].outputs["PICK"], TABLE[[1]])
    assert len(logged) == 2
    for answer in answers[1:]:
        message = str(answer.error)
        assert answer.error.status == TritonError.INTERNAL
        assert find_code(message) is ErrorCode.INTERNAL
        incident = message.split("Incident ")[1][:8]
        assert sum(f"incident {incident}" in line for line in logged) == 1
        assert str(MODEL) not in message
        assert "Error" not in message
    assert any("out of data bounds" in line for line in logged)


def test_an_output_without_the_batch_s_rows_is_an_error_and_never_split(backend: Any, tmp_path: Path) -> None:
    graph = tiny_graph()
    model = load(backend, tmp_path, graph)
    whole = model._session.run
    model._session.run = lambda names, feeds: [array[:1] for array in whole(names, feeds)]
    answers = model.execute([Request(rows(1)), Request(rows(2))])
    # Together they cannot be told apart; alone each is right.
    np.testing.assert_allclose(answers[1].outputs["LOGITS"], rows(2) @ WEIGHTS)
    np.testing.assert_allclose(answers[0].outputs["LOGITS"], rows(1) @ WEIGHTS)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"input": [{"name": "IMAGE", "data_type": "TYPE_FP32", "dims": [5]}]}, r"IMAGE: TYPE_FP32 \[5\] configured"),
        ({"input": [{"name": "IMAGE", "data_type": "TYPE_FP32", "dims": [-1]}]}, r"IMAGE: TYPE_FP32 \[-1\]"),
        ({"input": [{"name": "IMAGE", "data_type": "TYPE_INT32", "dims": [4]}]}, r"IMAGE: TYPE_INT32 \[4\]"),
        ({"output": [{"name": "SCORE", "data_type": "TYPE_FP32", "dims": [2]}]}, r"SCORE: TYPE_FP32 \[2\]"),
    ],
)
def test_a_configuration_that_is_not_the_graph_s_fails_the_load(
    backend: Any, tmp_path: Path, change: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        load(backend, tmp_path, tiny_graph(), **change)


def test_the_file_s_name_defaults_to_model_onnx(backend: Any, tmp_path: Path) -> None:
    model = load(backend, tmp_path, tiny_graph(), default_model_filename="")
    assert model.execute([Request(rows(1))])[0].error is None


def test_the_native_backend_s_parameters_are_honoured(backend: Any, tmp_path: Path) -> None:
    parameters = {"intra_op_thread_count": "2", "inter_op_thread_count": "3", "execution_mode": "1"}
    config = {name: {"string_value": value} for name, value in parameters.items()}
    options = load(backend, tmp_path, tiny_graph(), parameters=config).options
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 3)
    assert options.execution_mode.name == "ORT_PARALLEL"
