"""Small messages that would cost much, through the real Envoy: bounded in memory and time; no other caller waits."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from glioserve_triton.process.server import TritonServer
from support.network.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    RESET,
    SETTINGS,
    frame,
    literal,
    request_headers,
)  # fmt: skip
from support.network.gateways import Caller, Running, running_gateway, study
from support.server.triton import wait_until

pytestmark = pytest.mark.triton
MIB = 1 << 20
ENDED_WITHIN_S = 20.0
SERVICE = "/inference.GRPCInferenceService"
RESET_1 = frame(RESET, bytes(4), stream=1)[:9]
MANY_STREAMS = 20_000
LITTLE = 24 * MIB
"""Memory that the server may take beyond what it had: its first studies make threads and pools."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, server: TritonServer) -> Iterator[Running]:
    options = {
        "anonymous": True,
        "rate": {"studies_per_minute": 10000, "burst": 1000},
        "limits": {"max_request_bytes": 16 * MIB},
        "timeouts": {"study_s": 5, "upload_s": 2, "headers_s": 2},
    }
    with running_gateway(tmp_path_factory.mktemp("bombs"), server.grpc_url, **options) as running:
        with Caller(running.url) as caller:
            caller.infer(padding=8 * MIB)
        yield running


def resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def connected(gateway: Running) -> socket.socket:
    host, _, port = gateway.url.partition(":")
    connection = socket.create_connection((host, int(port)), ENDED_WITHIN_S)
    connection.sendall(PREFACE + frame(SETTINGS))
    return connection


def sent(gateway: Running, blocks: Iterator[bytes], wait_s: float = ENDED_WITHIN_S) -> tuple[bool, bytes]:
    """Return whether the gateway ended the connection while it still answered, and its answer."""
    answer = bytearray()
    with connected(gateway) as connection:
        connection.settimeout(wait_s)
        try:
            for block in blocks:
                connection.sendall(block)
            while part := connection.recv(1 << 16):
                answer += part
        except TimeoutError:
            return False, bytes(answer)
        except ConnectionError:
            pass
    return True, bytes(answer)


def refused_streams(answer: bytes) -> set[int]:
    """Return the streams that the gateway has reset."""
    streams, at = set(), 0
    while at + 9 <= len(answer):
        if answer[at + 3] == RESET:
            streams.add(int.from_bytes(answer[at + 5 : at + 9], "big"))
        at += 9 + int.from_bytes(answer[at : at + 3], "big")
    return streams


def opened(number: int, more: bytes = b"", flags: int = END_HEADERS) -> bytes:
    return frame(HEADERS, request_headers() + more, number, flags)


def rapid_resets() -> Iterator[bytes]:
    """Whole studies that are reset as soon as they are sent."""
    content = study().SerializeToString()
    message = b"\0" + len(content).to_bytes(4, "big") + content
    for number in range(1, 40_000, 2):
        yield opened(number) + frame(DATA, message, number, END_STREAM) + frame(RESET, (8).to_bytes(4, "big"), number)


def resets_before_a_body() -> Iterator[bytes]:
    for number in range(1, 40_000, 2):
        yield opened(number) + frame(RESET, (8).to_bytes(4, "big"), number)


def one_field_again_and_again() -> Iterator[bytes]:
    """HPACK: a field of 4 kB goes into the table once and is then named by one byte each time."""
    field = b"\x40\x06x-bomb" + b"\x7f" + bytes([0x80 | (3900 - 127) % 128, (3900 - 127) // 128]) + b"x" * 3900
    yield opened(1, field, 0)
    for _ in range(1000):
        yield frame(CONTINUATION, b"\xbe" * 16_000, 1)


def many_fields() -> Iterator[bytes]:
    yield opened(1, b"", 0)
    for index in range(20_000):
        yield frame(CONTINUATION, literal(f"x-{index}".encode(), b"y"), 1)


def more_streams_than_may_be() -> Iterator[bytes]:
    for number in range(1, 2 * MANY_STREAMS, 2):
        yield opened(number)


BOMBS: dict[str, Callable[[], Iterator[bytes]]] = {
    "studies that are reset at once": rapid_resets,
    "streams that are reset at once": resets_before_a_body,
    "one header again and again": one_field_again_and_again,
    "many headers": many_fields,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_ends_its_own_connection_alone(gateway: Running, server: TritonServer, bomb: str) -> None:
    before = resident_bytes(server.process.pid)
    with Caller(gateway.url) as caller:
        ended, _ = sent(gateway, BOMBS[bomb]())
        assert ended
        assert caller.infer().status == "OK"
    assert resident_bytes(server.process.pid) - before < LITTLE
    assert resident_bytes(gateway.gateway.process.pid) < 192 * MIB


def test_streams_beyond_the_bound_are_refused_or_end_their_connection(gateway: Running, server: TritonServer) -> None:
    """Envoy ends a connection whose refusals pile up unread; where they are read in time it refuses each stream."""
    before = resident_bytes(server.process.pid)
    with Caller(gateway.url) as caller:
        ended, answer = sent(gateway, more_streams_than_may_be(), wait_s=5.0)
        # A few of them take the places of those that time out.
        assert ended or len(refused_streams(answer)) > 0.9 * MANY_STREAMS
        assert caller.infer().status == "OK"
    assert resident_bytes(server.process.pid) - before < LITTLE
    assert resident_bytes(gateway.gateway.process.pid) < 192 * MIB


def test_a_compressed_bomb_is_never_unpacked(gateway: Running, server: TritonServer) -> None:
    """200 kB that would be 200 MB: neither the gateway nor the server unpacks them."""
    before = resident_bytes(server.process.pid)
    with Caller(gateway.url) as caller:
        outcome = caller.infer(padding=200 * MIB, compression=grpc.Compression.Gzip)
    assert (outcome.status, outcome.code) == ("INVALID_ARGUMENT", "GLIO-4106")
    assert resident_bytes(server.process.pid) - before < LITTLE
    assert resident_bytes(gateway.gateway.process.pid) < 192 * MIB


def test_many_slow_bodies_are_ended_and_others_are_answered_meanwhile(gateway: Running) -> None:
    """Hundred callers send a byte every half second of a study that never ends."""
    stop = threading.Event()

    def slowly() -> bool:
        with connected(gateway) as connection:
            connection.settimeout(ENDED_WITHIN_S)
            connection.sendall(opened(1) + frame(DATA, b"\0" + (8 * MIB).to_bytes(4, "big"), 1))
            began, received = time.monotonic(), b""
            while time.monotonic() - began < ENDED_WITHIN_S and not stop.is_set():
                try:
                    connection.sendall(frame(DATA, b"\x0a", 1))
                    connection.settimeout(0.5)
                    received += (block := connection.recv(1 << 16))
                except TimeoutError:
                    continue
                except ConnectionError:
                    return True
                if not block or RESET_1 in received:
                    return True
        return False

    with ThreadPoolExecutor(100) as pool, Caller(gateway.url) as caller:
        slow = [pool.submit(slowly) for _ in range(100)]
        assert caller.infer().status == "OK"
        ended = [future.result(2 * ENDED_WITHIN_S) for future in slow]
        stop.set()
        assert all(ended)
        assert caller.infer().status == "OK"


def test_metadata_is_bounded(gateway: Running) -> None:
    with Caller(gateway.url) as caller:
        outcome = caller.raw(f"{SERVICE}/ModelInfer", study().SerializeToString(), [("x-much", "y" * 64_000)])
        assert outcome.status != "OK"
        outcome = caller.raw(
            f"{SERVICE}/ModelInfer", study().SerializeToString(), [(f"x-{index}", "y") for index in range(500)]
        )
        assert outcome.status != "OK"
        wait_until(lambda: caller.infer().status == "OK", "answered again")


@pytest.mark.parametrize(
    "path",
    [
        "//inference.GRPCInferenceService/RepositoryIndex",
        "/inference.GRPCInferenceService//RepositoryIndex",
        "/inference.GRPCInferenceService%2FRepositoryIndex",
        "/inference.GRPCInferenceService/%52epositoryIndex",
        "/inference.grpcinferenceservice/RepositoryIndex",
        "/INFERENCE.GRPCINFERENCESERVICE/REPOSITORYINDEX",
        "/inference.GRPCInferenceService/ServerLive/../RepositoryIndex",
        "/inference.GRPCInferenceService/ServerLive/%2e%2e/RepositoryIndex",
        "/inference.GRPCInferenceService/ServerLive;/RepositoryIndex",
        "/inference.GRPCInferenceService/ServerLive?/../RepositoryIndex",
        "/inference.GRPCInferenceService/ServerLive#/RepositoryIndex",
        "/grpc.health.v1.Health/Check/../../inference.GRPCInferenceService/RepositoryIndex",
        "/inference.GRPCInferenceService\\RepositoryIndex",
        "/v2/repository/index",
        "/inference.ModelRepositoryService/RepositoryIndex",
    ],
)
def test_no_spelling_of_a_path_reaches_model_control(gateway: Running, server: TritonServer, path: str) -> None:
    """Paths are refused with the server's own admin token too; an answer of the server is to another question."""
    token = ("triton-grpc-protocol-admin-key", server.options.admin_token)
    with Caller(gateway.url) as caller:
        outcome = caller.raw(path, b"", [token])
    assert outcome.status != "OK", outcome
    assert outcome.code == "GLIO-4110" or outcome.code == "GLIO-4106" or outcome.status == "UNIMPLEMENTED", outcome


def test_http_1_is_not_spoken(gateway: Running) -> None:
    """Chunks of an upload to the inference's path: the connection is closed, and nothing of it is read."""
    host, _, port = gateway.url.partition(":")
    head = f"POST {SERVICE}/ModelInfer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with socket.create_connection((host, int(port)), ENDED_WITHIN_S) as connection:
        try:
            connection.sendall(head)
            for _ in range(2000):
                connection.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
            answer = connection.recv(1 << 16)
        except ConnectionError:
            answer = b""
    assert b"HTTP/1.1 200" not in answer
