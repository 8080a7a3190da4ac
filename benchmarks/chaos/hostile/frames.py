"""Hostile connections: noise in place of HTTP/2, streams that are reset or half closed, headers without an end."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

Connect = Callable[[], socket.socket]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_ANSWER_TIMEOUT_S = 0.03
_METHOD = b"/inference.GRPCInferenceService/ModelInfer"
_DATA, _HEADERS, _RESET, _SETTINGS, _CONTINUATION = 0, 1, 3, 4, 9
_END_STREAM, _END_HEADERS = 1, 4
_STREAMS = 60


def frame(kind: int, payload: bytes = b"", stream: int = 0, flags: int = 0) -> bytes:
    """Return one HTTP/2 frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def literal(name: bytes, value: bytes) -> bytes:
    """Return one header field of HPACK, without index and without Huffman's code; both shorter than 127 bytes."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def request_headers(authority: bytes = b"chaos") -> bytes:
    """Return the block of headers that a gRPC call begins with."""
    fields = {
        b":method": b"POST",
        b":scheme": b"https",
        b":path": _METHOD,
        b":authority": authority,
        b"content-type": b"application/grpc",
        b"te": b"trailers",
    }
    return b"".join(literal(name, value) for name, value in fields.items())


def noise(draw: random.Random, connect: Connect) -> str:
    """Send bytes that are no HTTP/2, or only begin like it."""
    content = draw.randbytes(draw.randrange(1, 4000))
    header = struct.pack(">I", draw.randrange(1 << 24))[1:] + draw.randbytes(6)
    blocks = (content, PREFACE + content, PREFACE + header + content, b"GET / HTTP/1.1\r\n\r\n")
    return _send(connect, draw.choice(blocks))


def reset_streams(draw: random.Random, connect: Connect) -> str:
    """Open many streams and reset each at once, some with half a message on its way."""
    blocks = [PREFACE, frame(_SETTINGS)]
    for number in range(1, 2 * _STREAMS, 2):
        blocks.append(frame(_HEADERS, request_headers(), number, _END_HEADERS))
        if draw.random() < 0.5:
            blocks.append(frame(_DATA, b"\0\0\0\1\0" + draw.randbytes(50), number))
        blocks.append(frame(_RESET, (8).to_bytes(4, "big"), number))
    return _send(connect, b"".join(blocks))


def half_closed_stream(draw: random.Random, connect: Connect) -> str:
    """End a stream in the middle of the message that it announced, or go on after its end."""
    announced = b"\0" + draw.randrange(1 << 31).to_bytes(4, "big") + draw.randbytes(draw.randrange(100))
    blocks = [PREFACE, frame(_SETTINGS), frame(_HEADERS, request_headers(), 1, _END_HEADERS)]
    blocks.append(frame(_DATA, announced, 1, _END_STREAM))
    if draw.random() < 0.5:
        blocks.append(frame(_DATA, announced, 1))
    return _send(connect, b"".join(blocks), half_close=True)


def flood_of_headers(draw: random.Random, connect: Connect) -> str:
    """Begin a block of headers and continue it for ever, within a bound of 300 frames."""
    more = literal(b"x-flood", draw.randbytes(100).hex().encode()[:120])
    blocks = [PREFACE, frame(_SETTINGS), frame(_HEADERS, request_headers(), 1)]
    blocks += [frame(_CONTINUATION, more * 8, 1)] * draw.randrange(300)
    return _send(connect, b"".join(blocks))


def stall(draw: random.Random, connect: Connect) -> str:
    """Send half a preface and leave: by a reset, a half close or without a word."""
    try:
        with connect() as connection:
            connection.sendall(PREFACE[: draw.randrange(1, len(PREFACE))])
            how = draw.randrange(3)
            if how == 0:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif how == 1:
                connection.shutdown(socket.SHUT_WR)
    except OSError:
        return "socket: refused"
    return "socket: left"


def _send(connect: Connect, content: bytes, half_close: bool = False) -> str:
    try:
        with connect() as connection:
            connection.sendall(content)
            if half_close:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)
            connection.settimeout(_ANSWER_TIMEOUT_S)
            answer = connection.recv(64)
    except TimeoutError:
        return "socket: no answer"
    except OSError:
        return "socket: closed"
    return "socket: answered" if answer else "socket: closed"


KINDS = (noise, reset_streams, half_closed_stream, flood_of_headers, stall)
