"""Hostile HTTP requests to Triton's HTTP port, the probes and the gateway's status port."""

from __future__ import annotations

import json
import random
import socket
from contextlib import suppress

from chaos.hostile.grpc_requests import ADMIN_ANSWERED, MODELS, NAMES, PLANTED, SIZES, TYPES

_HOST = "127.0.0.1"
_ANSWER_TIMEOUT_S = 0.5
_ADMIN_PATHS = (
    "/v2/repository/index", "/v2/repository/models/glioma/unload", "/v2/repository/models/preprocess/load",
    "/v2/systemsharedmemory/region/r/register", "/v2/logging", "/v2/trace/setting", "/quitquitquit", "/config_dump",
)  # fmt: skip
_PATHS = (
    "/", "/metrics", "/readyz", "/v2", "/v2/health/ready", "/v2/models/../../etc/passwd/infer", "/%00",
    "/" + "a" * 9000, f"/v2/models/{PLANTED}/infer", f"/readyz?patient={PLANTED}",
)  # fmt: skip


def hostile_http(draw: random.Random, ports: tuple[int, ...]) -> str:
    """Send one drawn request to one of the ports."""
    kind = draw.choice((_inference, _inference, _admin, _path, _broken))
    return kind(draw, draw.choice(ports))


def _inference(draw: random.Random, port: int) -> str:
    """Send JSON whose shapes, types and contents do not fit, or binary data whose length is a lie."""
    tensors = [
        {
            "name": draw.choice(NAMES),
            "shape": [draw.choice(SIZES) for _ in range(draw.randrange(5))],
            "datatype": draw.choice(TYPES),
            **draw.choice(
                ({"data": [PLANTED]}, {"data": [[1, 2], 3]}, {"parameters": {"binary_data_size": 1 << 40}}, {})
            ),
        }
        for _ in range(draw.randrange(3))
    ]
    body = json.dumps({"id": PLANTED, "inputs": tensors, "outputs": [{"name": PLANTED}]}).encode()
    body = draw.choice((body, body[: len(body) // 2], b"[" * 3000, draw.randbytes(500), b"{}"))
    said = draw.choice((len(body), len(body) // 2, 0))
    binary = f"Inference-Header-Content-Length: {draw.choice((0, said, 1 << 31, -1))}\r\n" * draw.randrange(2)
    path = f"/v2/models/{draw.choice(MODELS)}/infer"
    return _send(port, f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {said}\r\n{binary}\r\n".encode() + body)


def _admin(draw: random.Random, port: int) -> str:
    request = f"POST {draw.choice(_ADMIN_PATHS)} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}"
    fate = _send(port, request.encode())
    return ADMIN_ANSWERED if fate == "http 200" else fate


def _path(draw: random.Random, port: int) -> str:
    flood = "".join(f"x-{n}: {PLANTED}\r\n" for n in range(draw.choice((0, 5, 90, 500))))
    method = draw.choice(("GET", "HEAD", "DELETE", "TRACE", "CONNECT"))
    return _send(port, f"{method} {draw.choice(_PATHS)} HTTP/1.1\r\nHost: x\r\n{flood}\r\n".encode())


def _broken(draw: random.Random, port: int) -> str:
    requests = (
        draw.randbytes(2000),
        b"POST /v2/models/glioma/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 50,
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"GET / HTTP/1.1\r\nHost: x\r\nx: " + b"y" * draw.randrange(100_000),
        b"GET /readyz HTTP/9.9\r\n\r\n",
    )
    return _send(port, draw.choice(requests))


def _send(port: int, content: bytes) -> str:
    answer = b""
    try:
        with socket.create_connection((_HOST, port), timeout=_ANSWER_TIMEOUT_S) as connection:
            connection.sendall(content)
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(64)
    except TimeoutError:
        return "http: no answer"
    except OSError:
        return "http: closed"
    parts = answer.split(None, 2)
    return f"http {parts[1].decode()}" if len(parts) > 1 and parts[1].isdigit() else "http: closed"
