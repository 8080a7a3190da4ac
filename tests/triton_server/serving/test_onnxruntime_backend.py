"""The onnxruntime backend's own matters: the file that it opens, and the native backend's parameters."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glioserve_contract import ErrorCode, find_code
from support.server.scripted_triton import Request, backend_module, load_model
from support.server.tiny_repository import TABLE_ROWS, tiny_graph


@pytest.fixture
def logged() -> list[str]:
    return []


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch, logged: list[str]) -> Any:
    return backend_module("onnxruntime", monkeypatch, logged)


def test_the_file_s_name_defaults_to_model_onnx(backend: Any, tmp_path: Path) -> None:
    model = load_model(backend, tmp_path, tiny_graph(), default_model_filename="")
    assert model.execute([Request(np.ones((1, 4), dtype=np.float32))])[0].error is None


def test_a_node_that_fails_at_run_time_is_told_to_the_log_alone(
    backend: Any, tmp_path: Path, logged: list[str]
) -> None:
    model = load_model(backend, tmp_path, tiny_graph())
    beyond = np.full((1, 4), TABLE_ROWS + 5, dtype=np.float32)
    (answer,) = model.execute([Request(beyond, ("PICK",))])
    assert find_code(str(answer.error)) is ErrorCode.INTERNAL
    assert "bounds" not in str(answer.error)
    assert any("out of data bounds" in line for line in logged)


def test_the_native_backend_s_parameters_are_honoured(backend: Any, tmp_path: Path) -> None:
    parameters = {"intra_op_thread_count": "2", "inter_op_thread_count": "3", "execution_mode": "1"}
    options = load_model(backend, tmp_path, tiny_graph(), parameters=parameters)._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 3)
    assert options.execution_mode.name == "ORT_PARALLEL"
