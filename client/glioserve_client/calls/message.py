"""Requests and answers as bytes of KServe's protocol. A request's tensors are copied once, into the message."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from glioserve_client.options import MAX_MESSAGE_BYTES
from glioserve_client.protocol import message
from glioserve_client.request import Request
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_dicom.pixels.parts import Part, joined, size_of

ModelInferRequest = message("ModelInferRequest")
ModelInferResponse = message("ModelInferResponse")
_RAW_CONTENT = b"\x3a"
"""Key of a raw_input_contents field: number 7, length-delimited."""
_DTYPES = {
    "BOOL": "?", "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "UINT8": "u1", "UINT16": "<u2",
    "UINT32": "<u4", "UINT64": "<u8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
"""Fields of a tensor's values where a server, or a gateway before it, does not answer in raw bytes."""
_CHOICES = {bool: "bool_param", int: "int64_param", str: "string_param"}
_LENGTH = struct.Struct("<I")


def infer_message(
    request: Request,
    *,
    model_name: str,
    request_id: str,
    outputs: Sequence[str],
    parameters: Mapping[str, bool | int | str],
) -> bytes:
    """Return the bytes of a ModelInferRequest.

    Raises:
        StudyTooLargeError: the message is larger than gRPC can carry.
    """
    head = ModelInferRequest(model_name=model_name, id=request_id)
    for name, value in parameters.items():
        choice = (
            "bool_param" if isinstance(value, bool) else "int64_param" if isinstance(value, int) else "string_param"
        )
        setattr(head.parameters[name], choice, value)
    for tensor in request.inputs:
        described = head.inputs.add(name=tensor.name, datatype=tensor.dtype, shape=tensor.shape)
        if tensor.place is not None:
            described.parameters["shared_memory_region"].string_param = tensor.place.region
            described.parameters["shared_memory_offset"].int64_param = tensor.place.offset
            described.parameters["shared_memory_byte_size"].int64_param = tensor.place.size_bytes
    for name in outputs:
        head.outputs.add(name=name)
    parts: list[Part] = []
    for tensor in (t for t in request.inputs if t.place is None):
        parts += [_RAW_CONTENT + _varint(tensor.size_bytes), *tensor.parts]
    parts.append(head.SerializeToString())  # fields may come in any order
    if size_of(parts) > MAX_MESSAGE_BYTES:
        detail = f"The request has {size_of(parts) >> 20} MiB; gRPC carries {MAX_MESSAGE_BYTES >> 20}."
        raise GlioserveError(ErrorCode.STUDY_TOO_LARGE, detail)
    return joined(parts)


def arrays_of(answer: bytes, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Return the outputs of a ModelInferResponse by name; one that is missing is judged with the rest of the answer.

    Raises:
        UnexpectedAnswerError: the bytes are not such a message, or a tensor has no values of its type and shape.
    """
    try:
        response = ModelInferResponse.FromString(answer)
    except Exception as error:  # DecodeError, and what an implementation of protobuf raises beside it
        raise _malformed("it is not a message of the inference protocol") from error
    raw = dict(zip((output.name for output in response.outputs), response.raw_output_contents, strict=False))
    arrays = {}
    for output in response.outputs:
        if output.name in names:
            try:
                arrays[output.name] = tensor_values(output, raw.get(output.name))
            except (KeyError, ValueError, struct.error) as error:
                raise _malformed(f"{output.name} has no values") from error
    return arrays


def tensor_values(output: Any, raw: bytes | None) -> npt.NDArray[Any]:
    """Return a tensor's values: from its raw bytes, or from its typed fields where there are none."""
    shape = tuple(output.shape)
    if raw is None:
        values = getattr(output.contents, _CONTENTS[output.datatype])
        dtype = "O" if output.datatype == "BYTES" else _DTYPES[output.datatype]
        return np.array(list(values), dtype).reshape(shape)
    if output.datatype == "BYTES":
        found = list(_elements(raw))
        elements = np.empty(len(found), object)
        elements[:] = found
        return elements.reshape(shape)
    return np.frombuffer(raw, _DTYPES[output.datatype]).reshape(shape)


def _elements(raw: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(raw):
        (length,) = _LENGTH.unpack_from(raw, at)
        at += _LENGTH.size + length
        if at > len(raw):
            raise ValueError("an element ends behind its tensor")
        yield raw[at - length : at]


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _malformed(problem: str) -> GlioserveError:
    return GlioserveError(ErrorCode.UNEXPECTED_ANSWER, f"The answer is malformed: {problem}.")
