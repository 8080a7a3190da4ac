"""Answers of a graph to a calibration set, by ONNX Runtime or by OpenVINO, on CPU, study by study."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.tensors import CAM, IMAGE, LOGITS, MODEL_ID
from glioserve_export.graphs.probes import Array

RuntimePrecision = Literal["f32", "bf16"]
"""RuntimePrecision that OpenVINO computes in where the graph does not say; bf16 stays within layers that gain by it."""
Step = Callable[[str], None]

_OUTPUTS = (LOGITS.name, CAM.name, MODEL_ID.name)
_Outputs = list[npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class RuntimeAnswers:
    """Answers of a runtime to n studies."""

    logits: Array
    """[n, 2]."""
    cam: Array
    """[n, 2, d, h, w]."""
    model_id: npt.NDArray[np.int32]
    """[n, 8]."""
    runtime: str


@cache
def _core() -> Any:
    """Return the process's only core.

    Each core takes the thread's alternate signal stack and puts back, at its end, the one that it found, which may be
    gone by then where two of them overlapped: the next signal would end the process.
    """
    import openvino  # 60 MB of libraries: only where a variant asks for it

    return openvino.Core()


def has_bf16() -> bool:
    """Return whether this CPU computes in bf16 (AVX512-BF16 or AMX), as OpenVINO reports it."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def by_onnxruntime(model: bytes, images: Array, threads: int, step: Step) -> RuntimeAnswers:
    """Return the graph's answers to images [n, C, D, H, W]; GLIO-5118 where ONNX Runtime cannot run it."""
    name = f"ONNX Runtime {onnxruntime.__version__}"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    with _errors(name):
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return _answers(lambda image: session.run(list(_OUTPUTS), {IMAGE.name: image}), images, f"{name}, CPU", step)


def by_openvino(model: bytes, images: Array, precision: RuntimePrecision, threads: int, step: Step) -> RuntimeAnswers:
    """Return the answers by OpenVINO's CPU plugin, which emulates bf16, slowly, where :func:`has_bf16` is false."""
    core = _core()
    properties = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    with _errors("OpenVINO"):
        # By file name it would read from disk; by bytes the graph never leaves this process.
        compiled = core.compile_model(core.read_model(model, b""), "CPU", properties)

        def run(image: Array) -> _Outputs:
            found = compiled(image)
            return [found[name] for name in _OUTPUTS]

        return _answers(run, images, f"OpenVINO {version('openvino')}, CPU, {precision}", step)


def _answers(run: Callable[[Array], _Outputs], images: Array, runtime: str, step: Step) -> RuntimeAnswers:
    rows: list[_Outputs] = []
    for index in range(len(images)):
        step(f"{runtime}, study {index + 1} of {len(images)}")
        rows.append([np.array(output) for output in run(images[index : index + 1])])  # a copy: buffers are used again
    logits, cam, model_id = (np.concatenate(column) for column in zip(*rows, strict=True))
    return RuntimeAnswers(logits, cam, model_id, runtime)


@contextmanager
def _errors(runtime: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # neither runtime's errors share a narrower base
        raise GlioserveError(ErrorCode.VARIANT_REFUSED, f"{runtime} cannot run the graph: {error}.") from error
