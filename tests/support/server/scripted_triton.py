"""A scripted ``triton_python_backend_utils``: what a live server cannot be made to send to a Python-based backend."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import numpy.typing as npt
import onnx
import pytest

import glioserve_triton

Array = npt.NDArray[Any]
BACKENDS = Path(glioserve_triton.__file__).parent / "backends"


class Request:
    """A request as a Python backend sees it."""

    def __init__(
        self, image: Array | None, outputs: tuple[str, ...] = ("LOGITS",), cancelled: bool = False, **parameters: Any
    ) -> None:
        self.image, self.outputs, self.cancelled, self._parameters = image, outputs, cancelled, parameters

    def is_cancelled(self) -> bool:
        return self.cancelled

    def request_id(self) -> str:
        return "request-1"

    def parameters(self) -> str:
        return json.dumps(self._parameters)

    def requested_output_names(self) -> tuple[str, ...]:
        return self.outputs


class Tensor:
    def __init__(self, name: str, array: Array) -> None:
        self.name, self._array = name, array

    def as_numpy(self) -> Array:
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


class MetricFamily:
    """Counts into ``counted``, by the labels' values."""

    COUNTER, HISTOGRAM = range(2)
    counted: ClassVar[Counter[tuple[str, ...]]] = Counter()

    def __init__(self, name: str, description: str, kind: int) -> None:
        self.name = name

    def Metric(self, labels: dict[str, str], buckets: object = None) -> MetricFamily:
        made = MetricFamily(self.name, "", 0)
        made.labels = tuple(labels.values())  # type: ignore[attr-defined]
        return made

    def increment(self, value: float) -> None:
        MetricFamily.counted[self.labels] += int(value)  # type: ignore[attr-defined]


def backend_module(name: str, monkeypatch: pytest.MonkeyPatch, logged: list[str]) -> types.ModuleType:
    """The module of our backend ``name``; what it logs is added to ``logged``."""
    utils = types.ModuleType("triton_python_backend_utils")
    utils.Tensor, utils.TritonError, utils.InferenceResponse = Tensor, TritonError, Response  # type: ignore[attr-defined]
    utils.MetricFamily = MetricFamily  # type: ignore[attr-defined]
    monkeypatch.setattr(MetricFamily, "counted", Counter())
    utils.Logger = types.SimpleNamespace(log_error=logged.append, log_warn=logged.append)  # type: ignore[attr-defined]
    utils.get_input_tensor_by_name = (  # type: ignore[attr-defined]
        lambda request, name: None if request.image is None else Tensor(name, request.image)
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utils)
    spec = importlib.util.spec_from_file_location(f"{name}_backend", BACKENDS / name / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_model(backend: types.ModuleType, folder: Path, graph: onnx.ModelProto, **changes: Any) -> Any:
    """A loaded model of a backend; ``runs`` lists (outputs, rows) of every run of its graph. ``changes`` are of the
    configuration, which is the tiny repository's."""
    (folder / "1").mkdir(parents=True)
    config = {
        "name": "classifier",
        "default_model_filename": "graph.onnx",
        "max_batch_size": 8,
        "parameters": {},
        "input": [{"name": "IMAGE", "data_type": "TYPE_FP32", "dims": [4]}],
        "output": [
            {"name": "LOGITS", "data_type": "TYPE_FP32", "dims": [2]},
            {"name": "PICK", "data_type": "TYPE_FP32", "dims": [3]},
        ],
        **changes,
    }
    config["parameters"] = {key: {"string_value": value} for key, value in config["parameters"].items()}
    onnx.save(graph, folder / "1" / (config["default_model_filename"] or "model.onnx"))
    model = backend.TritonPythonModel()
    model.initialize({"model_config": json.dumps(config), "model_repository": str(folder), "model_version": "1"})
    batcher, model.runs = model._batcher, []
    run_graph = batcher._run_graph

    def run(names: list[str], inputs: dict[str, Array]) -> Any:
        model.runs.append((names, len(inputs["IMAGE"])))
        return run_graph(names, inputs)

    batcher._run_graph = run
    return model
