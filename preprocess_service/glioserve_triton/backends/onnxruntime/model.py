"""The ``onnxruntime`` backend on the pip package: stands in for Triton's native one where that is absent.

Reads the same ``config.pbtxt``: ``default_model_filename`` and the parameters ``intra_op_thread_count``,
``inter_op_thread_count`` and ``execution_mode`` (0 sequential, 1 parallel). CPU only; configurations must be
complete (no auto-complete). Outputs that nobody asked for are not fetched; their nodes run all the same, as always in
ONNX Runtime (https://github.com/microsoft/onnxruntime/issues/16013).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_triton.adapter import incident, triton_error

_TYPES = {
    "tensor(float16)": "TYPE_FP16", "tensor(float)": "TYPE_FP32", "tensor(double)": "TYPE_FP64",
    "tensor(int8)": "TYPE_INT8", "tensor(int16)": "TYPE_INT16", "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64", "tensor(uint8)": "TYPE_UINT8", "tensor(bool)": "TYPE_BOOL",
}  # fmt: skip
Arrays = dict[str, Any]


class TritonPythonModel:
    """One instance of one model: an ONNX Runtime session."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the session; a graph that does not fit the configuration fails the load and says where."""
        config = json.loads(args["model_config"])
        name = config["default_model_filename"] or "model.onnx"
        file = Path(args["model_repository"]) / args["model_version"] / name
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(parameters.get("intra_op_thread_count", "0"))
        options.inter_op_num_threads = int(parameters.get("inter_op_thread_count", "0"))
        if parameters.get("execution_mode", "0") == "1":
            options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
        self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._batched = config["max_batch_size"] > 0
        self._inputs = [tensor["name"] for tensor in config["input"]]
        _check(config["input"], self._session.get_inputs(), self._batched)
        _check(config["output"], self._session.get_outputs(), self._batched)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response for each request, in order; requests of one shape run as one batch."""
        responses: list[Any] = [None] * len(requests)
        inputs: list[Arrays] = [{} for _ in requests]
        groups: dict[Any, list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            try:
                if request.is_cancelled():
                    raise GlioserveError(ErrorCode.CANCELLED)
                inputs[index] = {n: pb_utils.get_input_tensor_by_name(request, n).as_numpy() for n in self._inputs}
                shapes = tuple(array.shape[1:] for array in inputs[index].values())
                groups[shapes if self._batched else index].append(index)
            except Exception as error:  # noqa: BLE001 - nothing uncaught leaves execute: it would carry a traceback
                responses[index] = _failed(error)
        for indices in groups.values():
            for index, response in zip(indices, self._run_group(indices, requests, inputs), strict=True):
                responses[index] = response
        return responses

    def _run_group(self, indices: list[int], requests: Sequence[Any], inputs: list[Arrays]) -> list[Any]:
        """Responses of requests that fit into one batch; if the batch fails each is tried alone."""
        try:
            return self._run(indices, requests, inputs)
        except Exception as error:  # noqa: BLE001 - see execute
            if len(indices) == 1:
                return [_failed(error)]
            return [self._run_group([index], requests, inputs)[0] for index in indices]

    def _run(self, indices: list[int], requests: Sequence[Any], inputs: list[Arrays]) -> list[Any]:
        first = inputs[indices[0]]
        joined = {n: np.concatenate([inputs[i][n] for i in indices]) if len(indices) > 1 else first[n] for n in first}
        wanted = [list(requests[index].requested_output_names()) for index in indices]
        names = list(dict.fromkeys(name for names in wanted for name in names))
        outputs = dict(zip(names, self._session.run(names, joined), strict=True))
        rows = len(next(iter(joined.values())))
        if self._batched and any(len(array) != rows for array in outputs.values()):
            raise ValueError(f"an output has not the {rows} rows of its batch")
        responses, start = [], 0
        for index, own in zip(indices, wanted, strict=True):
            stop = start + len(next(iter(inputs[index].values())))
            parts = {n: outputs[n][start:stop] if self._batched else outputs[n] for n in own}
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor(n, parts[n]) for n in own]))
            start = stop
        return responses


def _check(configured: list[dict[str, Any]], actual: Sequence[Any], batched: bool) -> None:
    """As strict as the native backend: same type, and dims that are the graph's wherever it has a number."""
    graph = {tensor.name: (_TYPES.get(tensor.type), tensor.shape[int(batched) :]) for tensor in actual}
    for tensor in configured:
        data_type, dims = graph.get(tensor["name"], (None, []))
        fits = len(dims) == len(tensor["dims"]) and all(
            size == own or isinstance(own, str) for size, own in zip(tensor["dims"], dims, strict=True)
        )
        if data_type != tensor["data_type"] or not fits:
            raise ValueError(f"{tensor['name']}: {tensor['data_type']} {tensor['dims']} configured, graph has {graph}")


def _failed(error: Exception) -> Any:
    # ONNX Runtime's texts name nodes and shapes, never values: safe to log, and what one needs at 3 a.m.
    known = error if isinstance(error, GlioserveError) else incident(pb_utils, error, str(error))
    return pb_utils.InferenceResponse(error=triton_error(pb_utils, known))
