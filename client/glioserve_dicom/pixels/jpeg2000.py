"""Rebuild a JPEG 2000 codestream from the segments that its decoding needs (ITU-T T.800 A, T.814 for HTJ2K)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from glioserve_dicom.pixels.codestream import (
    BEHIND_CODESTREAM,
    COMMENTS,
    UNUSED_PARTS,
    Codestream,
    is_encoders_own,
    reads_as_text,
)

START = b"\xff\x4f\xff\x51"
BOXES = b"\0\0\0\x0cjP  "
"""Start of a JP2 file, which some archives put where DICOM has the codestream alone."""
_SOC, _SOT, _SOD, _EOC = b"\xff\x4f", b"\xff\x90", b"\xff\x93", b"\xff\xd9"
_SIZ, _CAP, _COD, _COC, _QCD, _QCC, _RGN, _POC, _PPM, _PPT = (
    0xFF51, 0xFF50, 0xFF52, 0xFF53, 0xFF5C, 0xFF5D, 0xFF5E, 0xFF5F, 0xFF60, 0xFF61
)  # fmt: skip
_NEEDED = frozenset({_SIZ, _CAP, _COD, _COC, _QCD, _QCC, _RGN, _POC, _PPM, _PPT})
"""Segments that decoding needs."""
_INDICES = frozenset({0xFF55, 0xFF57, 0xFF58, 0xFF63, 0xFF56, 0xFF59})
"""Lengths, registration and profiles, which encoders write for other readers: left out, but harmless."""
_OVERRIDING = frozenset({_COC, _QCC, _RGN, _POC})
"""Segments that replace, for a component or from a packet on, what others state for all."""
_MOST_LEVELS, _MOST_PROGRESSION, _MOST_BLOCK, _MOST_SHIFT = 32, 4, 8, 37
"""Largest values of a number of levels, a progression's order, a block's exponent and a region's shift (T.800 A.6)."""
_HTJ2K = b"\0\2\0\0"
"""The one part of the standard beyond the first that DICOM has (T.814), as a CAP segment names it."""
_CODING_BYTES = 10
"""Length of a COD segment before the sizes of its precincts."""
_TILE_PART_BYTES = 12
"""Length of the segment that opens a tile-part."""


class _MalformedError(Exception):
    """The codestream is not what the standard describes."""


@dataclass(frozen=True)
class _Size:
    rows: int
    columns: int
    components: int
    precision: int
    tiles: int


def clean_jpeg2000(data: bytes) -> Codestream | None:
    """Return the codestream without comments, indices, the boxes of a JP2 file and what follows its end.

    Returns None for what is not a whole codestream.
    """
    try:
        boxes = data.startswith(BOXES)
        reader = _Reader(_in_boxes(data) if boxes else data)
        return reader.codestream({COMMENTS} if boxes else set())
    except (_MalformedError, struct.error, IndexError, ZeroDivisionError):
        return None


def _in_boxes(data: bytes) -> bytes:
    """Return the contents of a JP2 file's codestream box (T.800 I)."""
    at = 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1:
            length, head = struct.unpack_from(">Q", data, at + 8)[0], 16
        end = len(data) if length == 0 else at + length
        if kind == b"jp2c":
            return data[at + head : end]
        if end < at + head:
            break
        at = end
    raise _MalformedError


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, len(_SOC)
        self._beside: set[str] = set()
        self._levels = -1
        """Most decomposition levels of a component; -1 before any is stated."""
        self._size: _Size | None = None
        self._doubtful = False
        self._parts_of_tile: dict[int, tuple[int, int]] = {}
        """Number of each tile's parts so far, and as it was stated; 0 where it was not."""
        self._seen_of_tile: dict[int, set[tuple[int, int]]] = {}
        """Segments of the headers of each tile's parts so far."""

    def codestream(self, beside: set[str]) -> Codestream:
        self._beside |= beside
        if not self._data.startswith(START):
            raise _MalformedError
        main = list(self._segments(_SOT, set()))
        size = self._size
        if size is None or main[0][0] != _SIZ:
            raise _MalformedError
        parts = list(self._tile_parts(size.tiles))
        if not parts:
            raise _MalformedError
        if self._data[self._at : self._at + 2] == _EOC:
            self._at += 2
        if self._data[self._at :].strip(b"\0"):
            self._beside.add(BEHIND_CODESTREAM)
        content = b"".join((_SOC, *(_written(*segment) for segment in main), *parts, _EOC))
        found = frozenset(self._beside)
        return Codestream(content, size.rows, size.columns, size.components, size.precision, found, self._doubtful)

    def _segments(self, until: bytes, seen: set[tuple[int, int]]) -> Iterator[tuple[int, bytes]]:
        """Yield marker and payload of each needed segment, up to the marker that ends the header."""
        while self._data[self._at : self._at + 2] != until:
            marker, length = struct.unpack_from(">2H", self._data, self._at)
            end = self._at + 2 + length
            if marker < 0xFF00 or length < 2 or end > len(self._data):
                raise _MalformedError
            payload = self._data[self._at + 4 : end]
            self._at = end
            if marker not in _NEEDED:
                if marker not in _INDICES and not is_encoders_own(payload):
                    self._beside.add(COMMENTS)
                continue
            if marker == _SIZ and self._size is None:
                self._size = _size_of(payload)
            exact = _meaning(marker, payload[: self._length_of(marker, payload)], self._index_bytes)
            if exact != payload:
                self._beside.add(UNUSED_PARTS)
            if (part := self._part_of(marker, payload)) in seen:
                self._beside.add(UNUSED_PARTS)
                continue
            seen.add(part)
            # What another segment may replace, or packets of which only a decoder knows, says nothing of itself.
            self._doubtful |= marker in _OVERRIDING or until == _SOD or reads_as_text(_any_bytes(marker, exact))
            yield marker, exact

    def _part_of(self, marker: int, payload: bytes) -> tuple[int, int]:
        """Return what a segment is about: a header has one of each. Raises for a component that is none."""
        if marker in (_PPM, _PPT):
            return marker, payload[0]
        if marker == _POC:  # each part of a tile may have one
            return marker, self._at
        if marker not in (_COC, _QCC, _RGN):
            return marker, 0
        component = int.from_bytes(payload[: self._index_bytes], "big")
        if self._size is None or component >= self._size.components:
            raise _MalformedError
        return marker, component

    def _tile_parts(self, tiles: int) -> Iterator[bytes]:
        """Yield each tile-part as it is written anew (T.800 A.4.2)."""
        while self._data[self._at : self._at + 2] == _SOT:
            start = self._at
            _, length, tile, size, part, parts = struct.unpack_from(">3HI2B", self._data, start)
            self._at += _TILE_PART_BYTES
            end = start + size if size else self._end_of_last(start)
            if length != 10 or tile >= tiles or not self._at <= end <= len(self._data):
                raise _MalformedError
            seen = self._seen_of_tile.setdefault(tile, set())
            header = b"".join(_written(*segment) for segment in self._segments(_SOD, seen))
            if self._at + 2 > end:
                raise _MalformedError
            body = self._data[self._at : end]
            self._at = end
            self._doubtful |= reads_as_text(body)
            if not self._is_next(tile, part, parts):
                self._beside.add(UNUSED_PARTS)
                continue
            size = _TILE_PART_BYTES + len(header) + len(body)
            yield struct.pack(">3HI2B", 0xFF90, 10, tile, size, part, parts) + header + body

    def _is_next(self, tile: int, part: int, parts: int) -> bool:
        """Return whether a tile has this part, by the number of parts that it states; raises where one is missing."""
        found, stated = self._parts_of_tile.get(tile, (0, 0))
        stated = stated or parts
        if stated and found >= stated:
            return False
        if part != found:
            raise _MalformedError
        self._doubtful |= part > 0 and not stated
        self._parts_of_tile[tile] = found + 1, stated
        return True

    def _end_of_last(self, start: int) -> int:
        """Return where a tile-part ends that does not state its length: at the end of the codestream.

        Packets hold no FF that is followed by more than 8F.
        """
        end = self._data.find(_EOC, self._data.index(_SOD, start))
        if end < 0:
            raise _MalformedError
        return end

    def _length_of(self, marker: int, payload: bytes) -> int | None:
        """Return how long a segment's payload is by its own content; None where only decoding tells."""
        if marker == _SIZ:
            return 36 + 3 * int.from_bytes(payload[34:36], "big")
        if marker == _CAP:
            return 4 + 2 * int.from_bytes(payload[:4], "big").bit_count()
        if marker == _COD:
            self._levels = max(self._levels, payload[5])
            return 10 + (payload[5] + 1 if payload[0] & 1 else 0)
        index = self._index_bytes
        if marker == _COC:
            self._levels = max(self._levels, payload[index + 1])
            return index + 6 + (payload[index + 1] + 1 if payload[index] & 1 else 0)
        if marker == _RGN:
            return index + 2
        if marker in (_QCD, _QCC) and self._levels >= 0:
            at, bands = index if marker == _QCC else 0, 3 * self._levels + 1
            return at + 1 + {0: bands, 1: 2}.get(payload[at] & 31, 2 * bands)
        self._doubtful = True
        return None

    @property
    def _index_bytes(self) -> int:
        """Length of a component's number."""
        return 1 if self._size is None or self._size.components < 257 else 2


def _meaning(marker: int, payload: bytes, index_bytes: int) -> bytes:
    """Return a segment with the bits cleared that the standard reserves. Raises for values that it does not have."""
    if marker == _CAP:
        return _checked(payload, payload[:4] == _HTJ2K)
    if marker == _COD:
        layers, colours = int.from_bytes(payload[2:4], "big"), payload[4]
        fits = payload[1] <= _MOST_PROGRESSION and layers > 0 and colours <= 1
        return bytes((payload[0] & 7,)) + _checked(payload, fits)[1:5] + _coding(payload[5:])
    if marker == _COC:
        return payload[:index_bytes] + bytes((payload[index_bytes] & 1,)) + _coding(payload[index_bytes + 1 :])
    if marker == _RGN:
        return _checked(payload, payload[index_bytes] == 0 and payload[index_bytes + 1] <= _MOST_SHIFT)
    if marker in (_QCD, _QCC):
        at = index_bytes if marker == _QCC else 0
        style = payload[at] & 31
        steps = bytes(step & 0xF8 for step in payload[at + 1 :]) if style == 0 else payload[at + 1 :]
        return _checked(payload, style <= 2)[: at + 1] + steps
    return payload


def _any_bytes(marker: int, payload: bytes) -> bytes:
    """Return the part of a segment in which every byte has a meaning: precincts, and steps in two bytes each."""
    if marker == _QCD and payload[0] & 31 == 2:
        return payload[1:]
    return payload[_CODING_BYTES:] if marker == _COD else b""


def _coding(payload: bytes) -> bytes:
    """Return the coding style of components (T.800 A.6.1): levels, blocks, style, transform and precincts."""
    levels, width, height, style, transform = payload[:5]
    fits = levels <= _MOST_LEVELS and width <= _MOST_BLOCK and height <= _MOST_BLOCK - width and transform <= 1
    return _checked(payload, fits)[:3] + bytes((style & 0x7F, transform)) + payload[5:]


def _checked(payload: bytes, fits: bool) -> bytes:
    if not fits:
        raise _MalformedError
    return payload


def _written(marker: int, payload: bytes) -> bytes:
    return struct.pack(">2H", marker, len(payload) + 2) + payload


def _size_of(payload: bytes) -> _Size:
    x1, y1, x0, y0, width, height, left, top, components = struct.unpack_from(">8IH", payload, 2)
    precisions = [(payload[36 + 3 * c] & 0x7F) + 1 for c in range(components)]
    tiles = -(-(x1 - left) // width) * -(-(y1 - top) // height)
    return _Size(y1 - y0, x1 - x0, components, max(precisions, default=0), tiles)
