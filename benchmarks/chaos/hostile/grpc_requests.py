"""Hostile gRPC requests, drawn by a seed: malformed tensors, huge shapes, closed methods, floods of metadata."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

PLANTED = "PLANTEDPATIENT^CHAOS"
"""A name that must be in no log."""
ADMIN_ANSWERED = "ADMIN ANSWERED"
CALL_TIMEOUT_S = 10.0
MODELS = ("glioma", "preprocess", "classifier", "report", "nowhere", "../glioma", "")
SIZES = (-2, -1, 0, 1, 2, 4, 1 << 20, 1 << 40, (1 << 63) - 1)
IMPOSSIBLE = (((0, -2, 5), 0), ((-2, -2, 8), 128), ((1 << 62, 4, 4), 0), ((1 << 32, 1 << 32, 1), 0))
"""Shapes that no array can have, and the bytes that Triton wants for them: the product modulo 2^64."""
TYPES = ("BYTES", "FP32", "FP64", "INT32", "NONSENSE", "")
NAMES = ("INSTANCES", "T1", "T1_AFFINE", "IMAGE", "LOGITS", PLANTED, "")


Credentials = Sequence[tuple[str, str]]


def malformed(draw: random.Random, stub: service_pb2_grpc.GRPCInferenceServiceStub, credentials: Credentials) -> str:
    """Send an inference whose models, tensors, contents and parameters are drawn among unfit ones."""
    request = service_pb2.ModelInferRequest(model_name=draw.choice(MODELS), id=draw.choice(("", PLANTED, "x" * 4000)))
    request.model_version = draw.choice(("", "1", "99", "-1", PLANTED))
    if draw.random() < 0.05:
        shape, size = draw.choice(IMPOSSIBLE)
        request.model_name, request.model_version = "glioma", ""
        request.inputs.add(name=draw.choice(("T1", "T1CE", "T2")), datatype="FP32", shape=shape)
        request.raw_input_contents.append(bytes(size))
        return _status(lambda: stub.ModelInfer(request, timeout=CALL_TIMEOUT_S, metadata=credentials))
    for _ in range(draw.randrange(4)):
        tensor = request.inputs.add(name=draw.choice(NAMES), datatype=draw.choice(TYPES))
        tensor.shape.extend(draw.choice(SIZES) for _ in range(draw.randrange(6)))
        if draw.random() < 0.7:
            request.raw_input_contents.append(_content(draw))
        elif draw.random() < 0.5:
            tensor.contents.bytes_contents.append(_content(draw))
        if draw.random() < 0.2:
            tensor.parameters["shared_memory_region"].string_param = "/etc/passwd"
    if draw.random() < 0.3:
        request.parameters[draw.choice(("heatmap", "series", "deadline", PLANTED))].string_param = _text(draw)
    return _status(lambda: stub.ModelInfer(request, timeout=CALL_TIMEOUT_S, metadata=credentials))


def admin(draw: random.Random, stub: service_pb2_grpc.GRPCInferenceServiceStub, credentials: Credentials) -> str:
    """Ask for what only the admin token opens."""
    name = draw.choice(("glioma", "preprocess", PLANTED))
    calls: list[Callable[[], object]] = [
        lambda: stub.RepositoryModelUnload(
            service_pb2.RepositoryModelUnloadRequest(model_name=name), timeout=5, metadata=credentials
        ),
        lambda: stub.RepositoryModelLoad(
            service_pb2.RepositoryModelLoadRequest(model_name=name), timeout=5, metadata=credentials
        ),
        lambda: stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(), timeout=5, metadata=credentials),
        lambda: stub.SystemSharedMemoryRegister(
            service_pb2.SystemSharedMemoryRegisterRequest(name="r", key="/x", byte_size=1 << 30),
            timeout=5,
            metadata=credentials,
        ),
        lambda: stub.LogSettings(service_pb2.LogSettingsRequest(), timeout=5, metadata=credentials),
        lambda: stub.TraceSetting(service_pb2.TraceSettingRequest(), timeout=5, metadata=credentials),
    ]
    fate = _status(draw.choice(calls))
    return ADMIN_ANSWERED if fate == "OK" else fate


def metadata(draw: random.Random, stub: service_pb2_grpc.GRPCInferenceServiceStub, credentials: Credentials) -> str:
    """Send up to 200 KB of metadata."""
    flood = [(f"x-flood-{n}", "y" * draw.randrange(1000)) for n in range(draw.randrange(200))]
    return _status(
        lambda: stub.ServerLive(
            service_pb2.ServerLiveRequest(), metadata=[*credentials, *flood], timeout=CALL_TIMEOUT_S
        )
    )


def _status(call: Callable[[], object]) -> str:
    try:
        call()
    except grpc.RpcError as error:
        return str(error.code().name)
    except ValueError:
        return "refused by the caller's own library"
    return "OK"


def _content(draw: random.Random) -> bytes:
    kind = draw.randrange(5)
    if kind == 0:
        return b""
    if kind == 1:
        return struct.pack("<I", draw.choice((0, 4, 1 << 31, (1 << 32) - 1))) + PLANTED.encode()
    if kind == 2:
        return _framed(b"\0" * 128 + b"DICM" + PLANTED.encode() + draw.randbytes(200))
    if kind == 3:
        return np.zeros(draw.randrange(1, 64), dtype=np.float32).tobytes()
    return draw.randbytes(draw.randrange(1, 5000))


def _framed(content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + content


def _text(draw: random.Random) -> str:
    return draw.choice(("false", "{", '{"t1": "1.2.3"}', PLANTED, "[" * 5000, ""))
