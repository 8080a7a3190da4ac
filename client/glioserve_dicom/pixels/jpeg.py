"""Rebuild a JPEG or JPEG-LS codestream from the segments that its decoding needs (ITU-T T.81 B, T.87 C)."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from glioserve_dicom.pixels.codestream import (
    BEHIND_CODESTREAM,
    COMMENTS,
    UNUSED_PARTS,
    Codestream,
    is_encoders_own,
    reads_as_text,
)

START, END = b"\xff\xd8", b"\xff\xd9"
_EOI, _SOS, _DQT, _DHT, _DAC, _DRI, _DNL, _LSE = 0xD9, 0xDA, 0xDB, 0xC4, 0xCC, 0xDD, 0xDC, 0xF8
_LS_FRAME, _LOSSLESS_FRAMES, _HUFFMAN_FRAMES = 0xF7, frozenset({0xC3, 0xCB}), frozenset({0xC0, 0xC1, 0xC2, 0xC3})
_PROGRESSIVE_FRAMES, _ARITHMETIC_FRAMES = frozenset({0xC2, 0xCA}), frozenset({0xC9, 0xCA, 0xCB})
_FRAMES = frozenset({_LS_FRAME}) | _ARITHMETIC_FRAMES | _LOSSLESS_FRAMES | _HUFFMAN_FRAMES
"""Frames of one image; the others are parts of a hierarchy, which DICOM does not have."""
_SCAN_ENDS = re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]")
_LS_SCAN_ENDS = re.compile(rb"\xff+[\x80-\xcf\xd8-\xfe]")
"""Marker behind entropy-coded data; in JPEG-LS a byte below 80 after FF is data."""
_PRESET_BYTES = 11
"""Length of the preset coding parameters of JPEG-LS."""
_REPLACING = frozenset({_DRI, _LSE})
"""Segments that each replace the one before."""
_MOST_CATEGORY = 16
"""Largest value of a DC or lossless code (T.81 F.1.2.1, H.1.2.2)."""


class _MalformedError(Exception):
    """The codestream is not what the standard describes."""


@dataclass(frozen=True)
class _Segment:
    marker: int
    payload: bytes
    tables: tuple[tuple[int, bytes], ...] = ()
    """Tables of a DQT or DHT segment by their identifier."""
    scan: bytes = b""


def clean_jpeg(data: bytes) -> Codestream | None:
    """Return the codestream without comments, application segments, unused tables and what follows its end.

    Returns None for what is not a whole codestream of one image.
    """
    try:
        return _Reader(data).codestream()
    except (_MalformedError, IndexError, struct.error):
        return None


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, len(START)
        self._beside: set[str] = set()
        self._frame: _Segment | None = None
        self._latest: dict[tuple[int, int], int] = {}
        """Place among the segments of the table that holds now, by marker and identifier."""
        self._used: set[tuple[int, int]] = set()
        """Place and identifier of the tables that a scan uses."""
        self._coded: dict[tuple[int, int], int] = {}
        """Lowest bit that the scans so far have coded, by component and coefficient; a scan of a sequential frame codes
        all at once, which stands here as coefficient 0."""
        self._has_lines = False

    def codestream(self) -> Codestream:
        if not self._data.startswith(START):
            raise _MalformedError
        segments = list(self._segments())
        if self._data[self._at :].strip(b"\0"):
            self._beside.add(BEHIND_CODESTREAM)
        if self._frame is None or not any(s.marker == _SOS for s in segments):
            raise _MalformedError
        process = self._frame.marker
        others = {_LSE: process != _LS_FRAME, _DAC: process not in _ARITHMETIC_FRAMES}
        unused = _replaced(segments) | {n for n, s in enumerate(segments) if others.get(s.marker)}
        if unused:
            self._beside.add(UNUSED_PARTS)
        kept = [(n, s) for n, s in enumerate(segments) if n not in unused]
        if not all(_is_plausible_preset(s.payload, self._frame.payload[0]) for _, s in kept if s.marker == _LSE):
            raise _MalformedError
        written = (self._written(number, segment) for number, segment in kept)
        content = b"".join((START, *written, END))
        head = self._frame.payload
        rows, columns = int.from_bytes(head[1:3], "big"), int.from_bytes(head[3:5], "big")
        for segment in segments:
            rows = int.from_bytes(segment.payload, "big") if segment.marker == _DNL else rows
        doubtful = any(reads_as_text(segment.scan) for segment in segments)
        return Codestream(content, rows, columns, head[5], head[0], frozenset(self._beside), doubtful)

    def _segments(self) -> Iterator[_Segment]:
        number = 0
        while (marker := self._marker()) != _EOI:
            payload = self._payload()
            segment = self._segment(marker, payload)
            if segment is None:
                if not is_encoders_own(payload):
                    self._beside.add(COMMENTS)
                continue
            if not self._is_of_the_image(segment):
                self._beside.add(UNUSED_PARTS)
                continue
            self._latest.update(((marker, name), number) for name, _ in segment.tables)
            if marker == _SOS:
                self._note_used(payload)
            yield segment
            number += 1

    def _is_of_the_image(self, segment: _Segment) -> bool:
        """Return whether a segment is one of the frame's process, at its place."""
        marker, frame = segment.marker, self._frame
        if marker == _SOS:
            return self._is_new_scan(segment.payload)
        if marker == _DNL:  # behind the first scan, where the frame leaves the number of lines open (T.81 B.2.5)
            first = frame is not None and frame.payload[1:3] == b"\0\0" and bool(self._coded) and not self._has_lines
            self._has_lines |= first
            return first
        return True

    def _is_new_scan(self, scan: bytes) -> bool:
        """Return whether a scan codes what none before it has coded. Raises where it codes nothing of the frame."""
        assert self._frame is not None
        names = [scan[1 + 2 * number] for number in range(scan[0])]
        components = [self._frame.payload[6 + 3 * number] for number in range(self._frame.payload[5])]
        progressive = self._frame.marker in _PROGRESSIVE_FRAMES
        first, last, bits = scan[-3:] if progressive else (0, 0, 0)
        places = [(name, coefficient) for name in names for coefficient in range(first, last + 1)]
        if not places or last > 63 or len(set(names)) < len(names) or not set(names) <= set(components):
            raise _MalformedError
        high, low = bits >> 4, bits & 15
        if any(high != self._coded.get(place, 0) or (place in self._coded and high != low + 1) for place in places):
            return False
        self._coded.update(dict.fromkeys(places, low))
        return True

    def _marker(self) -> int:
        """Return the next marker and step behind it; any number of FF may come before one."""
        if self._data[self._at] != 0xFF:
            raise _MalformedError
        while self._data[self._at] == 0xFF:
            self._at += 1
        self._at += 1
        return self._data[self._at - 1]

    def _payload(self) -> bytes:
        length = int.from_bytes(self._data[self._at : self._at + 2], "big")
        if length < 2 or self._at + length > len(self._data):
            raise _MalformedError
        payload = self._data[self._at + 2 : self._at + length]
        self._at += length
        return payload

    def _segment(self, marker: int, payload: bytes) -> _Segment | None:
        """Return what a decoder needs of a segment; None where it needs nothing of it."""
        if marker in _FRAMES:
            if self._frame is not None:
                raise _MalformedError
            self._frame = _Segment(marker, self._cut(payload, 6 + 3 * payload[5]))
            return self._frame
        if marker == _SOS:
            return _Segment(marker, self._cut(payload, 4 + 2 * payload[0]), scan=self._scan_data())
        if marker in (_DQT, _DHT):
            return _Segment(marker, b"", tuple(self._tables(marker, payload)))
        if marker == _LSE:
            if payload[0] != 1:  # a palette's tables, or sizes beyond what DICOM can state
                raise _MalformedError
            return _Segment(marker, self._cut(payload, _PRESET_BYTES))
        if marker == _DAC:
            return _Segment(marker, self._cut(payload, min(len(payload) // 2, 8) * 2))
        return _Segment(marker, self._cut(payload, 2)) if marker in (_DRI, _DNL) else None

    def _cut(self, payload: bytes, length: int) -> bytes:
        if len(payload) < length:
            raise _MalformedError
        if len(payload) > length:
            self._beside.add(UNUSED_PARTS)
        return payload[:length]

    def _tables(self, marker: int, payload: bytes) -> Iterator[tuple[int, bytes]]:
        at = 0
        while at < len(payload):
            head = payload[at]
            if marker == _DQT:
                name, length = head & 15, 129 if head >> 4 else 65
            else:
                name, length = head, 17 + sum(payload[at + 1 : at + 17])
            if at + length > len(payload):
                raise _MalformedError
            table = payload[at : at + length]
            if marker == _DHT and head >> 4 == 0 and any(value > _MOST_CATEGORY for value in table[17:]):
                self._beside.add(UNUSED_PARTS)  # codes that no stream can use
                table = table[:17] + bytes(value if value <= _MOST_CATEGORY else 0 for value in table[17:])
            yield name, table
            at += length

    def _scan_data(self) -> bytes:
        if self._frame is None:
            raise _MalformedError
        ends = (_LS_SCAN_ENDS if self._frame.marker == _LS_FRAME else _SCAN_ENDS).search(self._data, self._at)
        if ends is None:
            raise _MalformedError
        data = self._data[self._at : ends.start()]
        self._at = ends.start()
        return data

    def _note_used(self, scan: bytes) -> None:
        """Note the tables that a scan decodes with (T.81 B.2.3)."""
        assert self._frame is not None
        frame, names = self._frame.marker, set()
        if frame in _HUFFMAN_FRAMES:
            for component in range(scan[0]):
                selectors = scan[2 + 2 * component]
                names.add((_DHT, selectors >> 4))
                if frame not in _LOSSLESS_FRAMES:
                    names.add((_DHT, 16 | selectors & 15))
        if frame not in _LOSSLESS_FRAMES | {_LS_FRAME}:
            names.update((_DQT, self._frame.payload[8 + 3 * c]) for c in range(self._frame.payload[5]))
        self._used.update((self._latest[name], name[1]) for name in names if name in self._latest)

    def _written(self, number: int, segment: _Segment) -> bytes:
        payload = segment.payload
        if segment.marker in (_DQT, _DHT):
            kept = [table for name, table in segment.tables if (number, name) in self._used]
            if len(kept) < len(segment.tables):
                self._beside.add(UNUSED_PARTS)
            payload = b"".join(kept)
            if not payload:
                return b""
        return bytes((0xFF, segment.marker)) + (len(payload) + 2).to_bytes(2, "big") + payload + segment.scan


def _replaced(segments: Sequence[_Segment]) -> set[int]:
    """Return the places of the segments whose values no scan uses, since others replace them or no scan follows."""
    found: set[int] = set()
    latest: dict[int, int] = {}
    for number, segment in enumerate(segments):
        if segment.marker == _SOS:
            latest.clear()
        elif segment.marker in _REPLACING:
            found.update({latest[segment.marker]} if segment.marker in latest else ())
            latest[segment.marker] = number
    return found.union(latest.values())


def _is_plausible_preset(payload: bytes, precision: int) -> bool:
    """Return whether the preset parameters of JPEG-LS are ones that a decoder takes (T.87 C.2.4.1.1); 0 is default."""
    most, *thresholds, reset = struct.unpack(">5H", payload[1:])
    most = most or (1 << precision) - 1
    given = [threshold for threshold in thresholds if threshold]
    return (
        most < 1 << precision and given == sorted(given) and max(given, default=0) <= most and reset <= max(255, most)
    )
