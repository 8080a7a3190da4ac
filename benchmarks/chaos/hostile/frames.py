"""Hostile connections: noise in place of HTTP/2, streams that are reset or half closed, headers without an end."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

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

Connect = Callable[[], socket.socket]
_ANSWER_TIMEOUT_S = 0.03
_REQUEST = request_headers(b"chaos", b"https")
_STREAMS = 60


def noise(draw: random.Random, connect: Connect) -> str:
    """Send bytes that are no HTTP/2, or only begin like it."""
    content = draw.randbytes(draw.randrange(1, 4000))
    header = struct.pack(">I", draw.randrange(1 << 24))[1:] + draw.randbytes(6)
    blocks = (content, PREFACE + content, PREFACE + header + content, b"GET / HTTP/1.1\r\n\r\n")
    return _send(connect, draw.choice(blocks))


def reset_streams(draw: random.Random, connect: Connect) -> str:
    """Open many streams and reset each at once, some with half a message on its way."""
    blocks = [PREFACE, frame(SETTINGS)]
    for number in range(1, 2 * _STREAMS, 2):
        blocks.append(frame(HEADERS, _REQUEST, number, END_HEADERS))
        if draw.random() < 0.5:
            blocks.append(frame(DATA, b"\0\0\0\1\0" + draw.randbytes(50), number))
        blocks.append(frame(RESET, (8).to_bytes(4, "big"), number))
    return _send(connect, b"".join(blocks))


def half_closed_stream(draw: random.Random, connect: Connect) -> str:
    """End a stream in the middle of the message that it announced, or go on after its end."""
    announced = b"\0" + draw.randrange(1 << 31).to_bytes(4, "big") + draw.randbytes(draw.randrange(100))
    blocks = [PREFACE, frame(SETTINGS), frame(HEADERS, _REQUEST, 1, END_HEADERS)]
    blocks.append(frame(DATA, announced, 1, END_STREAM))
    if draw.random() < 0.5:
        blocks.append(frame(DATA, announced, 1))
    return _send(connect, b"".join(blocks), half_close=True)


def flood_of_headers(draw: random.Random, connect: Connect) -> str:
    """Begin a block of headers and continue it for ever, within a bound of 300 frames."""
    more = literal(b"x-flood", draw.randbytes(100).hex().encode()[:120])
    blocks = [PREFACE, frame(SETTINGS), frame(HEADERS, _REQUEST, 1)]
    blocks += [frame(CONTINUATION, more * 8, 1)] * draw.randrange(300)
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
