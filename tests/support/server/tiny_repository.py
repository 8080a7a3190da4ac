"""A whole repository that starts in a second: the four models of the contract by name, with toy tensors.

``RAW`` [rows, 4] -> preprocess (identity) -> ``IMAGE`` -> classifier (ONNX) -> ``LOGITS`` -> report (sum) -> ``SCORE``
[rows]. The classifier's second output ``PICK`` fails at run time for a row whose first value is not an index of its
table. A study waits in preprocess while :func:`hold` lasts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import tritonclient.grpc as triton
from onnx import TensorProto, helper, numpy_helper

from support.models.recipes import fake_export

Floats = npt.NDArray[np.floating[Any]]
WEIGHTS = np.arange(8, dtype=np.float32).reshape(4, 2)
TABLE = np.arange(30, dtype=np.float32).reshape(10, 3)
TABLE_ROWS = len(TABLE)

_PYTHON_MODEL = """
import contextlib
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from glioserve_triton.adapters.heartbeat import own_heartbeat

HOLD = Path(__file__).parents[1] / "hold"


class TritonPythonModel:
    def execute(self, requests):
        with own_heartbeat().busy():
            return [self.answer(request) for request in requests]

    def answer(self, request):
        value = pb_utils.get_input_tensor_by_name(request, "{input}").as_numpy()
        deadline = time.monotonic() + 60
        while HOLD.exists() and time.monotonic() < deadline:
            with contextlib.suppress(OSError):  # a pod's repository is read-only
                HOLD.with_name("held").touch()
            time.sleep(0.05)
        return pb_utils.InferenceResponse([pb_utils.Tensor("{output}", {expression})])
"""

_PREPROCESS = """
name: "preprocess" backend: "python" max_batch_size: 0
input [ { name: "RAW" data_type: TYPE_FP32 dims: [ -1, 4 ] } ]
output [ { name: "IMAGE" data_type: TYPE_FP32 dims: [ -1, 4 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
dynamic_batching { default_queue_policy { max_queue_size: 16 } }
"""

_CLASSIFIER = """
name: "classifier" backend: "onnxruntime" default_model_filename: "model.onnx" max_batch_size: 8
input [ { name: "IMAGE" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "LOGITS" data_type: TYPE_FP32 dims: [ 2 ] }, { name: "PICK" data_type: TYPE_FP32 dims: [ 3 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
"""

_BATCHING = """
dynamic_batching { preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 20000000 }
"""

_REPORT = """
name: "report" backend: "python" max_batch_size: 0
input [ { name: "LOGITS" data_type: TYPE_FP32 dims: [ -1, 2 ] } ]
output [ { name: "SCORE" data_type: TYPE_FP32 dims: [ -1 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
"""

_ENSEMBLE = """
name: "glioma" platform: "ensemble" max_batch_size: 0
input [ { name: "RAW" data_type: TYPE_FP32 dims: [ -1, 4 ] } ]
output [ { name: "SCORE" data_type: TYPE_FP32 dims: [ -1 ] } ]
ensemble_scheduling { step [
  { model_name: "preprocess" model_version: -1
    input_map { key: "RAW" value: "RAW" } output_map { key: "IMAGE" value: "IMAGE" } },
  { model_name: "classifier" model_version: -1
    input_map { key: "IMAGE" value: "IMAGE" } output_map { key: "LOGITS" value: "LOGITS" } },
  { model_name: "report" model_version: -1
    input_map { key: "LOGITS" value: "LOGITS" } output_map { key: "SCORE" value: "SCORE" } }
] }
"""


def write_tiny_repository(folder: Path) -> Path:
    """Write it. Profiles: ``onnxruntime-cpu`` as the default; ``batching`` waits 20 s for four requests."""
    _write(folder / "glioma" / "config.pbtxt", _ENSEMBLE)
    (folder / "glioma" / "1").mkdir()
    _write(folder / "preprocess" / "config.pbtxt", _PREPROCESS)
    code = _PYTHON_MODEL.format(input="RAW", output="IMAGE", expression="value")
    _write(folder / "preprocess" / "1" / "model.py", code)
    _write(folder / "report" / "config.pbtxt", _REPORT)
    code = _PYTHON_MODEL.format(input="LOGITS", output="SCORE", expression="value.sum(axis=1, dtype=np.float32)")
    _write(folder / "report" / "1" / "model.py", code)
    _write(folder / "classifier" / "config.pbtxt", _CLASSIFIER)
    _write(folder / "classifier" / "configs" / "onnxruntime-cpu.pbtxt", _CLASSIFIER)
    _write(folder / "classifier" / "configs" / "batching.pbtxt", _CLASSIFIER + _BATCHING)
    fake_export(folder / "classifier" / "1", model=tiny_graph().SerializeToString())
    return folder


def tiny_graph(batch: str = "N") -> onnx.ModelProto:
    """``LOGITS`` = IMAGE · WEIGHTS; ``PICK`` = the row of TABLE that each row's first value names."""

    def tensor(name: str, size: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, size])

    nodes = [
        helper.make_node("MatMul", ["IMAGE", "WEIGHTS"], ["LOGITS"]),
        helper.make_node("Gather", ["IMAGE", "ZERO"], ["FIRST"], axis=1),
        helper.make_node("Cast", ["FIRST"], ["INDEX"], to=TensorProto.INT64),
        helper.make_node("Gather", ["TABLE", "INDEX"], ["PICK"], axis=0),
    ]
    constants: dict[str, npt.NDArray[Any]] = {"WEIGHTS": WEIGHTS, "TABLE": TABLE, "ZERO": np.array(0, dtype=np.int64)}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [tensor("IMAGE", 4)],
        [tensor("LOGITS", 2), tensor("PICK", 3)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def tensor_in(name: str, value: Floats) -> triton.InferInput:
    """A FP32 input for tritonclient."""
    tensor = triton.InferInput(name, value.shape, "FP32")
    tensor.set_data_from_numpy(np.ascontiguousarray(value, dtype=np.float32))
    return tensor


def ask(client: triton.InferenceServerClient, raw: Floats) -> Floats:
    """One request to the ensemble: its SCORE."""
    answer: Floats | None = client.infer("glioma", [tensor_in("RAW", raw)], client_timeout=60).as_numpy("SCORE")
    assert answer is not None
    return answer


class hold:  # noqa: N801 - used as a function
    """Let studies wait in their first step while it lasts, 60 s at most; :meth:`reached` once one does."""

    def __init__(self, repository: Path) -> None:
        self._file = repository / "preprocess" / "hold"

    def __enter__(self) -> hold:
        self._file.touch()
        return self

    def __exit__(self, *_: object) -> None:
        self._file.unlink()
        self._file.with_name("held").unlink(missing_ok=True)

    def reached(self) -> bool:
        return self._file.with_name("held").exists()


def expected_score(raw: Floats) -> Floats:
    """Return the score that the ensemble answers."""
    return np.asarray((raw @ WEIGHTS).sum(axis=1))


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.lstrip())
