"""Requests as a server would read them, and its responses as bytes."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from glioserve_client.calls.message import ModelInferRequest, ModelInferResponse, tensor_values
from glioserve_contract.tensors import ENSEMBLE

Tensor = npt.NDArray[Any]
"""Array of the type that its tensor has on the wire; BYTES are objects."""
_LENGTH = struct.Struct("<I")
_DTYPES = {tensor.name: tensor.dtype for tensor in ENSEMBLE.outputs}


@dataclass(frozen=True)
class ReceivedRequest:
    """One attempt of a call, as the server would have read it."""

    model: str
    request_id: str
    inputs: Mapping[str, Tensor] = field(repr=False)
    """Tensors by name; ``INSTANCES`` holds the DICOM files as they were sent, de-identified."""
    outputs: tuple[str, ...]
    """Names of the tensors that were asked for."""
    parameters: Mapping[str, bool | int | str]
    """Request parameters, those of Triton (``timeout``, in microseconds) among them."""
    metadata: Mapping[str, str] = field(repr=False)
    """Metadata of the call: headers and token."""
    timeout_s: float
    """Seconds that the attempt may take."""


def received(content: bytes, metadata: Mapping[str, str], timeout_s: float) -> ReceivedRequest:
    """Return a request that was sent as ``content``. Raises ValueError where it is not one."""
    request = ModelInferRequest.FromString(content)
    tensors = zip(request.inputs, request.raw_input_contents, strict=True)
    return ReceivedRequest(
        request.model_name,
        request.id,
        {tensor.name: tensor_values(tensor, raw) for tensor, raw in tensors},
        tuple(output.name for output in request.outputs),
        {k: getattr(v, v.WhichOneof("parameter_choice")) for k, v in request.parameters.items()},
        dict(metadata),
        timeout_s,
    )


def response(request: ReceivedRequest, outputs: Mapping[str, Tensor]) -> bytes:
    """Return the bytes of the response that has those of ``outputs`` that the request asks for."""
    made = ModelInferResponse(model_name=request.model, model_version="1", id=request.request_id)
    for name in request.outputs:
        if name in outputs:
            array = np.asarray(outputs[name])
            made.outputs.add(name=name, datatype=_DTYPES.get(name, "FP32"), shape=array.shape)
            made.raw_output_contents.append(_raw(array))
    content: bytes = made.SerializeToString()
    return content


def _raw(array: Tensor) -> bytes:
    if array.dtype != np.object_:
        return array.tobytes()
    return b"".join(_LENGTH.pack(len(element)) + element for element in array.ravel())
