"""Compressed pixels that lie to their decoders, which are C: their headers, their fragments, their transfer syntax."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import pydicom
from pydicom.encaps import generate_frames
from pydicom.uid import (
    JPEG2000,
    MPEG2MPML,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from fuzz.mutations import byte_level
from fuzz.mutations.attributes import rewritten
from fuzz.sources import MARKER

Random = np.random.Generator
_OTHER = (
    *(JPEG2000, JPEG2000Lossless, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLosslessSV1, JPEGLSLossless),
    *(JPEGLSNearLossless, RLELossless, HTJ2KLossless, MPEG2MPML, ExplicitVRLittleEndian, ImplicitVRLittleEndian),
    *(DeflatedExplicitVRLittleEndian, UID("1.2.840.113619.5.2"), UID("1.2.3.4")),
)
_SIZES = (0, 1, 2, 45, 46, 47, 255, 4096, 16384, 65535)


def mutated(rng: Random, files: Sequence[bytes]) -> tuple[list[bytes], str]:
    """One, some or all of the study's codestreams."""
    way = WAYS[rng.integers(len(WAYS))]
    share = rng.choice([0.0, 0.0, 0.2, 1.0])
    chosen = {int(rng.integers(len(files)))} | {n for n in range(len(files)) if rng.random() < share}
    changed = list(files)
    for number in sorted(chosen):
        other = files[int(rng.integers(len(files)))]

        def edit(dataset: pydicom.Dataset, other: bytes = other) -> None:
            way(rng, dataset, other)

        try:
            changed[number] = rewritten(files[number], edit)
        except Exception:  # what pydicom cannot write down
            continue
    return changed, f"{way.__name__.strip('_').replace('_', ' ')} in {len(chosen)} files"


def _frames(dataset: pydicom.Dataset) -> list[bytes]:
    count = int(dataset.get("NumberOfFrames", 1) or 1)
    return list(generate_frames(dataset.PixelData, number_of_frames=count))


def _set(dataset: pydicom.Dataset, fragments: Sequence[bytes], offsets: bytes = b"", end: bool = True) -> None:
    """Encapsulated by hand: pydicom would put right what is wrong."""
    items = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(f)) + f for f in (offsets, *fragments))
    dataset.PixelData = items + (b"" if end else b"\0")
    dataset["PixelData"].is_undefined_length = True


def _edited_stream(rng: Random, dataset: pydicom.Dataset, edit: object) -> None:
    frames = _frames(dataset)
    at = int(rng.integers(len(frames)))
    frames[at] = edit(frames[at])  # type: ignore[operator]
    _set(dataset, [f + b"\0" * (len(f) % 2) for f in frames])


def _bytes_damaged(rng: Random, dataset: pydicom.Dataset, other: bytes) -> None:
    way = byte_level.SINGLE[rng.integers(len(byte_level.SINGLE))]
    _edited_stream(rng, dataset, lambda stream: way(rng, stream))


def _start_damaged(rng: Random, dataset: pydicom.Dataset, other: bytes) -> None:
    """Markers, sizes, tables: what a decoder allocates by."""
    way = byte_level.SINGLE[rng.integers(len(byte_level.SINGLE))]
    _edited_stream(rng, dataset, lambda stream: way(rng, stream[:160]) + stream[160:])


def _number_in_start(rng: Random, dataset: pydicom.Dataset, other: bytes) -> None:
    def edit(stream: bytes) -> bytes:
        changed = bytearray(stream)
        for _ in range(int(rng.integers(1, 4))):
            width = int(rng.choice([1, 2, 4]))
            at = int(rng.integers(2, max(3, min(len(changed), 120) - width)))
            value = int(rng.choice(_SIZES)) if rng.random() < 0.7 else int(rng.integers(2 ** (8 * width)))
            changed[at : at + width] = (value % (1 << (8 * width))).to_bytes(width, "big")
        return bytes(changed)

    _edited_stream(rng, dataset, edit)


def _size_and_header_agree_on_nonsense(rng: Random, dataset: pydicom.Dataset, other: bytes) -> None:
    """Rows and Columns say what the codestream says, so that no check before the decoder stops it."""
    rows, columns = (int(n) for n in rng.choice([1, 2, 3, 7, 46, 200, 1000], 2))

    def edit(stream: bytes) -> bytes:
        changed = bytearray(stream)
        if stream.startswith(b"\xff\x4f"):
            struct.pack_into(">2I", changed, 8, columns, rows)
        else:
            at = next((i for i in range(len(stream) - 9) if stream[i] == 0xFF and stream[i + 1] in _SOF), None)
            if at is not None:
                struct.pack_into(">2H", changed, at + 5, rows, columns)
        return bytes(changed)

    _edited_stream(rng, dataset, edit)
    dataset.Rows, dataset.Columns = rows, columns


def _segments_added(rng: Random, dataset: pydicom.Dataset, other: bytes) -> None:
    """Segments of any kind at any marker's place: again, of another process, of a false length, with a name in them."""
    kinds = _JPEG_2000_KINDS if dataset.file_meta.TransferSyntaxUID in _JPEG_2000 else _JPEG_KINDS

    def edit(stream: bytes) -> bytes:
        places = [i for i in range(2, min(len(stream), 4000) - 1) if stream[i] == 0xFF and stream[i + 1] >= 0x4F]
        for _ in range(int(rng.integers(1, 4))):
            payload = (MARKER.encode() * 9)[: int(rng.integers(0, 40))] if rng.random() < 0.6 else rng.bytes(20)
            payload = bytes([int(rng.integers(4))]) * int(rng.integers(0, 4)) + payload
            piece = struct.pack(">BBH", 0xFF, int(rng.choice(kinds)), len(payload) + 2) + payload
            at = int(rng.choice([*places, len(stream) - 2])) if rng.random() < 0.9 else int(rng.integers(len(stream)))
            stream = stream[:at] + piece + stream[at:]
        return stream

    _edited_stream(rng, dataset, edit)


def _parts_repeated(rng: Random, dataset: pydicom.Dataset, other: bytes) -> None:
    """The scan or the tile-part a second time, or a text at the end of its data."""

    def edit(stream: bytes) -> bytes:
        start = max(stream.rfind(b"\xff\xda"), stream.find(b"\xff\x90"))
        end = stream.rfind(b"\xff\xd9")
        again = stream[start:end] if rng.random() < 0.5 else MARKER.encode() * int(rng.integers(1, 9))
        return stream[:end] + again + stream[end:]

    _edited_stream(rng, dataset, edit)


_JPEG_2000 = (JPEG2000, JPEG2000Lossless, HTJ2KLossless)
_JPEG_KINDS = (0xC0, 0xC3, 0xC4, 0xC9, 0xCC, 0xD0, 0xDA, 0xDB, 0xDC, 0xDD, 0xE1, 0xF7, 0xF8, 0xFE)
_JPEG_2000_KINDS = (0x50, 0x51, 0x52, 0x53, 0x55, 0x5C, 0x5D, 0x5E, 0x5F, 0x60, 0x61, 0x64, 0x90, 0x93)
_SOF = (0xC0, 0xC1, 0xC3, 0xF7)


def _of_another_file(rng: Random, dataset: pydicom.Dataset, other: bytes) -> None:
    stream = _frames(pydicom.dcmread(BytesIO(other)))[0]
    _edited_stream(rng, dataset, lambda _: stream)


def _other_syntax(rng: Random, dataset: pydicom.Dataset, other: bytes) -> None:
    dataset.file_meta.TransferSyntaxUID = _OTHER[rng.integers(len(_OTHER))]


def _fragments(rng: Random, dataset: pydicom.Dataset, other: bytes) -> None:
    """Split, empty, too many, with an offset table that points nowhere, or without an end."""
    frames = _frames(dataset)
    pieces: list[bytes] = []
    for frame in frames:
        size = int(rng.choice([2, 16, 100, 10**6]))
        pieces += [frame[i : i + size] for i in range(0, len(frame), size)]
    pieces = [p + b"\0" * (len(p) % 2) for p in pieces]
    for _ in range(int(rng.integers(0, 4))):
        pieces.insert(int(rng.integers(len(pieces) + 1)), b"" if rng.random() < 0.5 else b"\xff\xd8\xff\xd9")
    if rng.random() < 0.3:
        pieces = pieces[: int(rng.integers(len(pieces) + 1))]
    offsets = (
        struct.pack(f"<{n}I", *rng.integers(0, 2**32, n)) if (n := int(rng.choice([0, 1, len(frames), 9]))) else b""
    )
    _set(dataset, pieces, offsets, bool(rng.random() < 0.8))


def _bits(rng: Random, dataset: pydicom.Dataset, other: bytes) -> None:
    """Headers that describe other pixels than the stream has."""
    allocated = int(rng.choice([8, 16]))
    stored = int(rng.integers(1, allocated + 1))
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, stored, stored - 1
    dataset.PixelRepresentation = int(rng.integers(2))


WAYS = (
    _bytes_damaged,
    _start_damaged,
    _start_damaged,
    _number_in_start,
    _number_in_start,
    _size_and_header_agree_on_nonsense,
    _segments_added,
    _segments_added,
    _parts_repeated,
    _of_another_file,
    _other_syntax,
    _fragments,
    _bits,
)
