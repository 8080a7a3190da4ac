"""The Python-based backends against a scripted Triton: one suite for all of them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from glioserve_contract import ErrorCode, find_code
from glioserve_contract.parameters import OWN_PARAMETER
from glioserve_triton.adapters import own_requests
from glioserve_triton.adapters.own_requests import make_token, own_parameters
from support.server.scripted_triton import BACKENDS, MetricFamily, Request, TritonError, backend_module, load_model
from support.server.tiny_repository import TABLE, WEIGHTS, tiny_graph

WRONG_SHAPE = np.ones((1, 5), dtype=np.float32)


@pytest.fixture
def logged() -> list[str]:
    return []


@pytest.fixture(params=["onnxruntime", "openvino"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, logged: list[str]) -> Any:
    """The module of each backend."""
    pytest.importorskip(request.param)
    return backend_module(request.param, monkeypatch, logged)


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
    model = load_model(backend, tmp_path, tiny_graph())
    requests = [Request(rows(1, 2)), Request(rows(3), ("PICK",)), Request(rows(4), ("PICK", "LOGITS"))]
    answers = model.execute(requests)
    assert model.runs == [(["LOGITS", "PICK"], 4)]
    assert [list(answer.outputs) for answer in answers] == [["LOGITS"], ["PICK"], ["PICK", "LOGITS"]]
    np.testing.assert_allclose(answers[0].outputs["LOGITS"], rows(1, 2) @ WEIGHTS)
    np.testing.assert_array_equal(answers[1].outputs["PICK"], TABLE[[3]])
    np.testing.assert_array_equal(answers[2].outputs["PICK"], TABLE[[4]])


def test_an_output_that_nobody_asked_for_is_not_fetched(backend: Any, tmp_path: Path) -> None:
    model = load_model(backend, tmp_path, tiny_graph())
    model.execute([Request(rows(1)), Request(rows(2))])
    assert model.runs == [(["LOGITS"], 2)]


def test_a_cancelled_request_is_dropped(backend: Any, tmp_path: Path, logged: list[str]) -> None:
    model = load_model(backend, tmp_path, tiny_graph())
    answers = model.execute([Request(rows(1)), Request(rows(2), cancelled=True), Request(rows(3))])
    assert model.runs == [(["LOGITS"], 2)]
    assert answers[1].error.status == TritonError.CANCELLED
    assert find_code(str(answers[1].error)) is ErrorCode.CANCELLED
    assert MetricFamily.counted == {("cancelled", "GLIO-3102"): 1, ("other", "cancelled"): 1}
    assert logged == []
    np.testing.assert_allclose(answers[2].outputs["LOGITS"], rows(3) @ WEIGHTS)


def test_a_request_past_its_deadline_is_dropped_and_counted(backend: Any, tmp_path: Path, logged: list[str]) -> None:
    model = load_model(backend, tmp_path, tiny_graph())
    long_ago = Request(rows(2), deadline_unix_ms=1_500_000_000_000)
    misspelt = Request(rows(2), deadline_unix_s=1_500_000_000)
    in_time = Request(rows(1), deadline_unix_ms=9_000_000_000_000)
    answers = model.execute([in_time, long_ago, misspelt])
    assert model.runs == [(["LOGITS"], 1)]
    assert [find_code(str(a.error)) for a in answers[1:]] == [ErrorCode.DEADLINE_PASSED, ErrorCode.INVALID_PARAMETER]
    assert MetricFamily.counted == {
        ("cancelled", "GLIO-3104"): 1, ("refused", "GLIO-1110"): 1, ("other", "cancelled"): 1, ("other", "refused"): 1,
    }  # fmt: skip
    assert logged == []


def test_a_question_of_the_supervisors_is_no_study_even_where_it_fails(
    backend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    make_token(tmp_path)
    monkeypatch.setattr(own_requests, "_token", lambda: own_parameters(tmp_path)[OWN_PARAMETER])
    model = load_model(backend, tmp_path, tiny_graph())
    own = own_parameters(tmp_path)
    good, bad = model.execute([Request(rows(1), **own), Request(WRONG_SHAPE, **own)])
    np.testing.assert_allclose(good.outputs["LOGITS"], rows(1) @ WEIGHTS)
    assert find_code(str(bad.error)) is ErrorCode.INTERNAL
    assert len(logged) == 1
    assert MetricFamily.counted == {}
    (stranger,) = model.execute([Request(rows(1), **{OWN_PARAMETER: "guessed"})])
    assert find_code(str(stranger.error)) is ErrorCode.INVALID_PARAMETER
    assert MetricFamily.counted == {("refused", "GLIO-1110"): 1, ("other", "refused"): 1}


def test_shapes_that_do_not_fit_together_run_apart(backend: Any, tmp_path: Path) -> None:
    config = {
        "input": [{"name": "IMAGE", "data_type": "TYPE_FP32", "dims": [-1]}],
        "output": [{"name": "LOGITS", "data_type": "TYPE_FP32", "dims": [1]}],
    }
    model = load_model(backend, tmp_path, sum_graph(), **config)
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
    model = load_model(backend, tmp_path, sum_graph(), **config)
    answers = model.execute([Request(rows(0)), Request(rows(1))])
    assert [count for _, count in model.runs] == [1, 1]
    assert [answer.outputs["LOGITS"].item() for answer in answers] == [6, 7]


def test_one_fault_is_one_error_with_an_incident_number(backend: Any, tmp_path: Path, logged: list[str]) -> None:
    model = load_model(backend, tmp_path, tiny_graph())
    answers = model.execute([Request(rows(1), ("PICK",)), Request(WRONG_SHAPE, ("PICK",)), Request(None, ("PICK",))])
    np.testing.assert_array_equal(answers[0].outputs["PICK"], TABLE[[1]])
    assert len(logged) == 2
    assert MetricFamily.counted == {("failed", "GLIO-3101"): 2, ("other", "failed"): 2}
    for answer in answers[1:]:
        message = str(answer.error)
        assert answer.error.status == TritonError.INTERNAL
        assert find_code(message) is ErrorCode.INTERNAL
        incident = message.split("Incident ")[1][:8]
        assert sum(f"incident {incident}" in line for line in logged) == 1
        assert str(BACKENDS) not in message
        assert "Error" not in message
    assert any("IMAGE" in line or "shape" in line for line in logged)


def test_an_output_without_the_batch_s_rows_is_an_error_and_never_split(backend: Any, tmp_path: Path) -> None:
    model = load_model(backend, tmp_path, tiny_graph())
    whole = model._batcher._run_graph
    model._batcher._run_graph = lambda names, inputs: [array[:1] for array in whole(names, inputs)]
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
        load_model(backend, tmp_path, tiny_graph(), **change)


def test_answers_outlive_the_next_batch(backend: Any, tmp_path: Path) -> None:
    """A runtime's own buffers are written again."""
    model = load_model(backend, tmp_path, tiny_graph())
    (first,) = model.execute([Request(rows(1))])
    model.execute([Request(rows(9))])
    np.testing.assert_allclose(first.outputs["LOGITS"], rows(1) @ WEIGHTS)
