"""Frames of HTTP/2 by hand, for what no client would send."""

from __future__ import annotations

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, payload: bytes = b"", stream: int = 0, flags: int = 0) -> bytes:
    """Return one frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def literal(name: bytes, value: bytes) -> bytes:
    """Return one header field of HPACK, without index and without Huffman's code; both shorter than 127 bytes."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def request_headers(authority: bytes = b"test", scheme: bytes = b"http") -> bytes:
    """Return the block of headers that an inference by gRPC begins with."""
    fields = {
        b":method": b"POST",
        b":scheme": scheme,
        b":path": b"/inference.GRPCInferenceService/ModelInfer",
        b":authority": authority,
        b"content-type": b"application/grpc",
        b"te": b"trailers",
    }
    return b"".join(literal(name, value) for name, value in fields.items())
