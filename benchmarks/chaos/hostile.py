"""Hostile requests, drawn by a seed: malformed tensors, huge shapes, noise in place of HTTP/2, stalled connections."""

from __future__ import annotations

import random
import socket
import struct
from collections import Counter
from collections.abc import Callable

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

PLANTED = "PLANTEDPATIENT^CHAOS"
"""A name that must be in no log."""
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_CALL_TIMEOUT_S = 10.0
_SOCKET_TIMEOUT_S = 2.0
_MODELS = ("glioma", "preprocess", "classifier", "report", "nowhere", "../glioma", "")
_SIZES = (-1, 0, 1, 2, 4, 1 << 20, 1 << 40, (1 << 63) - 1)
_TYPES = ("BYTES", "FP32", "FP64", "INT32", "NONSENSE", "")
_NAMES = ("INSTANCES", "T1", "T1_AFFINE", "IMAGE", "LOGITS", PLANTED, "")


def attack(url: str, count: int, seed: int) -> Counter[str]:
    """Send ``count`` hostile requests one after another; return what came of them by gRPC status or socket's fate."""
    draw = random.Random(seed)
    fates: Counter[str] = Counter()
    kinds: list[Callable[[random.Random, str, service_pb2_grpc.GRPCInferenceServiceStub], str]] = [
        _malformed, _malformed, _malformed, _malformed, _admin, _raw_bytes, _stall, _metadata,
    ]  # fmt: skip
    with grpc.insecure_channel(url, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for _ in range(count):
            fates[draw.choice(kinds)(draw, url, stub)] += 1
    return fates


def _malformed(draw: random.Random, _url: str, stub: service_pb2_grpc.GRPCInferenceServiceStub) -> str:
    request = service_pb2.ModelInferRequest(model_name=draw.choice(_MODELS), id=draw.choice(("", PLANTED, "x" * 4000)))
    request.model_version = draw.choice(("", "1", "99", "-1", PLANTED))
    for _ in range(draw.randrange(4)):
        tensor = request.inputs.add(name=draw.choice(_NAMES), datatype=draw.choice(_TYPES))
        tensor.shape.extend(
            draw.choice((-1, 0, 1, 2, 4, 1 << 20, 1 << 40, (1 << 63) - 1)) for _ in range(draw.randrange(6))
        )
        if draw.random() < 0.7:
            request.raw_input_contents.append(_content(draw))
        elif draw.random() < 0.5:
            tensor.contents.bytes_contents.append(_content(draw))
        if draw.random() < 0.2:
            tensor.parameters["shared_memory_region"].string_param = "/etc/passwd"
    if draw.random() < 0.3:
        request.parameters[draw.choice(("heatmap", "series", "deadline", PLANTED))].string_param = _text(draw)
    return _status(lambda: stub.ModelInfer(request, timeout=_CALL_TIMEOUT_S))


def _admin(draw: random.Random, _url: str, stub: service_pb2_grpc.GRPCInferenceServiceStub) -> str:
    name = draw.choice(("glioma", "preprocess", PLANTED))
    calls: list[Callable[[], object]] = [
        lambda: stub.RepositoryModelUnload(service_pb2.RepositoryModelUnloadRequest(model_name=name), timeout=5),
        lambda: stub.RepositoryModelLoad(service_pb2.RepositoryModelLoadRequest(model_name=name), timeout=5),
        lambda: stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(), timeout=5),
        lambda: stub.SystemSharedMemoryRegister(
            service_pb2.SystemSharedMemoryRegisterRequest(name="r", key="/x", byte_size=1 << 30), timeout=5
        ),
        lambda: stub.LogSettings(service_pb2.LogSettingsRequest(), timeout=5),
        lambda: stub.TraceSetting(service_pb2.TraceSettingRequest(), timeout=5),
    ]
    fate = _status(draw.choice(calls))
    return "ADMIN ANSWERED" if fate == "OK" else fate


def _metadata(draw: random.Random, _url: str, stub: service_pb2_grpc.GRPCInferenceServiceStub) -> str:
    flood = [(f"x-flood-{n}", "y" * draw.randrange(1000)) for n in range(draw.randrange(200))]
    return _status(lambda: stub.ServerLive(service_pb2.ServerLiveRequest(), metadata=flood, timeout=_CALL_TIMEOUT_S))


def _raw_bytes(draw: random.Random, url: str, _stub: object) -> str:
    noise = draw.randbytes(draw.randrange(1, 4000))
    frame = struct.pack(">I", draw.randrange(1 << 24))[1:] + draw.randbytes(6)
    return _socket(url, [draw.choice((noise, _PREFACE + noise, _PREFACE + frame + noise, b"GET / HTTP/1.1\r\n\r\n"))])


def _stall(draw: random.Random, url: str, _stub: object) -> str:
    """Open a connection, send half a preface and leave: by a reset, a half close or without a word."""
    host, _, port = url.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=_SOCKET_TIMEOUT_S) as connection:
            connection.sendall(_PREFACE[: draw.randrange(1, len(_PREFACE))])
            how = draw.randrange(3)
            if how == 0:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif how == 1:
                connection.shutdown(socket.SHUT_WR)
    except OSError:
        return "socket: refused"
    return "socket: left"


def _socket(url: str, blocks: list[bytes]) -> str:
    host, _, port = url.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=0.2) as connection:
            for block in blocks:
                connection.sendall(block)
            connection.recv(64)
    except TimeoutError:
        return "socket: no answer"
    except OSError:
        return "socket: closed"
    return "socket: answered"


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
