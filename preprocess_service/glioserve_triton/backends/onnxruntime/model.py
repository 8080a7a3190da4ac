"""The ``onnxruntime`` backend on the pip package: stands in for Triton's native one where that is absent.

Reads the same ``config.pbtxt``: ``default_model_filename`` and the parameters ``intra_op_thread_count``,
``inter_op_thread_count`` and ``execution_mode`` (0 sequential, 1 parallel). CPU only; configurations must be
complete (no auto-complete). Outputs that no request asks for are not fetched; their nodes run all the same, as
always in ONNX Runtime (https://github.com/microsoft/onnxruntime/issues/16013).
"""

from __future__ import annotations

from collections.abc import Sequence

from glioserve_preprocess.no_telemetry import forbid_telemetry

forbid_telemetry()  # before the runtime is imported

import onnxruntime  # noqa: E402
import triton_python_backend_utils as pb_utils  # noqa: E402

from glioserve_triton.adapters.backend_api import Array, Request, Response  # noqa: E402
from glioserve_triton.adapters.python_backend import Arrays, Batcher, GraphTensors, ModelConfig  # noqa: E402

_TYPES = {
    "tensor(float16)": "TYPE_FP16", "tensor(float)": "TYPE_FP32", "tensor(double)": "TYPE_FP64",
    "tensor(int8)": "TYPE_INT8", "tensor(int16)": "TYPE_INT16", "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64", "tensor(uint8)": "TYPE_UINT8", "tensor(bool)": "TYPE_BOOL",
}  # fmt: skip


class TritonPythonModel:
    """One instance of one model: an ONNX Runtime session."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the session; a graph that does not fit the configuration fails the load and says where."""
        config = ModelConfig(args, default_file="model.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(config.parameters.get("intra_op_thread_count", "0"))
        options.inter_op_num_threads = int(config.parameters.get("inter_op_thread_count", "0"))
        if config.parameters.get("execution_mode", "0") == "1":
            options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
        self._session = onnxruntime.InferenceSession(config.file, options, providers=["CPUExecutionProvider"])
        config.check(_graph_tensors(self._session.get_inputs()), _graph_tensors(self._session.get_outputs()))
        self._batcher = Batcher(pb_utils, config, self._run)

    def execute(self, requests: Sequence[Request]) -> list[Response]:
        """One response for each request, in order."""
        return self._batcher.execute(requests)

    def _run(self, names: list[str], inputs: Arrays) -> Sequence[Array]:
        outputs: Sequence[Array] = self._session.run(names, inputs)
        return outputs


def _graph_tensors(tensors: Sequence[onnxruntime.NodeArg]) -> GraphTensors:
    return {t.name: (_TYPES.get(t.type), [d if isinstance(d, int) else None for d in t.shape]) for t in tensors}
