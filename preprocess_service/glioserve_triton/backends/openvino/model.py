"""The ``openvino`` backend on the pip package: stands in for Triton's native one where that is absent. CPU only.

Reads the same ``config.pbtxt``: ``default_model_filename`` (``model.xml`` where none is named; ONNX files are read as
they are) and the parameters ``INFERENCE_NUM_THREADS``, ``COMPILATION_NUM_THREADS``, ``NUM_STREAMS``,
``PERFORMANCE_HINT`` and ``HINT_BF16``, which only knows ``YES``. Configurations must be complete.

It differs from the native backend in two ways. Without ``HINT_BF16`` it computes in f32; the native one leaves the
choice to OpenVINO, which takes bf16 wherever the processor has it. And a batch smaller than ``max_batch_size`` runs at
its own size; the native one refuses it, or pads it and pays for all rows (``ENABLE_BATCH_PADDING``).
"""

from __future__ import annotations

from collections.abc import Sequence

from glioserve_preprocess.no_telemetry import forbid_telemetry

forbid_telemetry()  # before the runtime is imported

import numpy as np  # noqa: E402
import openvino  # noqa: E402
import triton_python_backend_utils as pb_utils  # noqa: E402

from glioserve_triton.adapters.backend_api import Array, Request, Response  # noqa: E402
from glioserve_triton.adapters.python_backend import Arrays, Batcher, GraphTensors, ModelConfig  # noqa: E402

_TYPES = {
    "f16": "TYPE_FP16", "f32": "TYPE_FP32", "f64": "TYPE_FP64", "i8": "TYPE_INT8", "i16": "TYPE_INT16",
    "i32": "TYPE_INT32", "i64": "TYPE_INT64", "u8": "TYPE_UINT8", "boolean": "TYPE_BOOL",
}  # fmt: skip
_PASSED_ON = ("INFERENCE_NUM_THREADS", "COMPILATION_NUM_THREADS", "NUM_STREAMS", "PERFORMANCE_HINT")
_NOT_HERE = ("CPU_EXTENSION_PATH", "RESHAPE_IO_LAYERS", "TARGET_DEVICE")
"""Parameters of the native backend that would change what is computed, and that this one does not have."""


class TritonPythonModel:
    """One instance of one model: a compiled graph and its one request."""

    def initialize(self, args: dict[str, str]) -> None:
        """Compile the graph; one that does not fit the configuration fails the load and says where."""
        config = ModelConfig(args, default_file="model.xml")
        core = openvino.Core()
        model = core.read_model(config.file)
        config.check(_graph_tensors(model.inputs), _graph_tensors(model.outputs))
        if config.max_batch_size == 1:  # known in full, the graph is planned once and for all
            model.reshape({port.any_name: [1, *list(port.partial_shape)[1:]] for port in model.inputs})
        compiled = core.compile_model(model, "CPU", _properties(core, config.parameters))
        self._request = compiled.create_infer_request()
        self._batcher = Batcher(pb_utils, config, self._run)

    def execute(self, requests: Sequence[Request]) -> list[Response]:
        """One response for each request, in order."""
        return self._batcher.execute(requests)

    def _run(self, names: list[str], inputs: Arrays) -> Sequence[Array]:
        self._request.infer(inputs, share_inputs=True)
        # A copy: the request's own buffers are written again by the next batch.
        return [np.array(self._request.get_tensor(name).data) for name in names]


def _graph_tensors(ports: Sequence[openvino.Output]) -> GraphTensors:
    return {
        port.any_name: (
            _TYPES.get(port.element_type.get_type_name()),
            [None if dim.is_dynamic else dim.get_length() for dim in port.partial_shape],
        )
        for port in ports
    }


def _properties(core: openvino.Core, parameters: dict[str, str]) -> dict[str, str]:
    """OpenVINO's properties; ValueError for a parameter that this backend would have to ignore."""
    for name in _NOT_HERE:
        if name in parameters:
            raise ValueError(f"the parameter {name} is the native backend's alone")
    properties = {name: parameters[name].upper() for name in _PASSED_ON if name in parameters}
    properties["INFERENCE_PRECISION_HINT"] = "f32"
    if "HINT_BF16" in parameters:
        if parameters["HINT_BF16"].upper() != "YES":
            raise ValueError(f"the parameter HINT_BF16 must be YES, not {parameters['HINT_BF16']}")
        properties["INFERENCE_PRECISION_HINT"] = "bf16"
        if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            pb_utils.Logger.log_warn("HINT_BF16: this processor has no bf16, so f32 is computed, no faster than that")
    return properties
