"""Decode a frame in DICOM's RLE to the bytes that its pixels need (PS3.5 G)."""

from __future__ import annotations

import struct

import numpy as np

from glioserve_dicom.pixels.codestream import BEHIND_CODESTREAM, UNUSED_PARTS

_HEADER = struct.Struct("<16I")

_MOST_EXPANSION = 64
"""Bytes that a byte of RLE can stand for: two stand for at most 128."""


def decode_rle(data: bytes, pixels: int, sample_bytes: int, samples: int) -> tuple[bytes, frozenset[str]] | None:
    """Return the frame in little endian, colours by pixel, and what was found beside it.

    Args:
        data: the frame's fragments as one.
        pixels: number of pixels.
        sample_bytes: bytes of a sample.
        samples: samples of a pixel.

    Returns:
        None for what is not such a frame.
    """
    if len(data) < _HEADER.size:
        return None
    count, *offsets = _HEADER.unpack_from(data)
    if count != sample_bytes * samples or not _HEADER.size <= offsets[0] <= len(data):
        return None
    if pixels * sample_bytes * samples > _MOST_EXPANSION * len(data):  # before memory is taken for them
        return None
    beside = set()
    if any(offsets[count:]) or any(data[_HEADER.size : offsets[0]]):
        beside.add(UNUSED_PARTS)
    ends = [*offsets[1:count], len(data)]
    frame = np.empty((pixels, samples, sample_bytes), np.uint8)
    for number, (start, end) in enumerate(zip(offsets, ends, strict=False)):
        if not start <= end <= len(data):
            return None
        plane, behind = _unpacked(data, start, end, pixels)
        if len(plane) != pixels:
            return None
        if data[behind:end].strip(b"\0\x80"):
            beside.add(BEHIND_CODESTREAM)
        # The most significant byte of each sample comes first.
        frame[:, number // sample_bytes, sample_bytes - 1 - number % sample_bytes] = np.frombuffer(plane, np.uint8)
    return frame.tobytes(), frozenset(beside)


def _unpacked(data: bytes, at: int, end: int, size: int) -> tuple[bytes, int]:
    """Return up to ``size`` bytes of a segment, and where what they need ends."""
    runs: list[bytes] = []
    length = 0
    while length < size and at < end:
        head = data[at]
        if head < 128:
            run = data[at + 1 : at + 2 + head]
            at += 2 + head
        elif head > 128:
            run = data[at + 1 : at + 2] * (257 - head)
            at += 2
        else:
            at += 1
            continue
        runs.append(run)
        length += len(run)
    return b"".join(runs)[:size] if length >= size else b"", min(at, end)
