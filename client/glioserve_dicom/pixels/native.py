"""Cut native pixels to what the headers state, and clear the bits that no pixel uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from glioserve_contract import GlioserveError
from glioserve_dicom.files.attributes import whole
from glioserve_dicom.pixels.parts import Masked, Part

BEHIND_THE_END = "bytes behind the last pixel"
UNUSED_BITS = "bits above BitsStored"
_WORD_BITS = (8, 16, 32, 64)


@dataclass(frozen=True)
class Layout:
    """Storage of the pixels as the headers of one file state it (PS3.5 8.1)."""

    rows: int
    columns: int
    samples: int
    frames: int
    allocated: int
    """Bits of one sample's place: 1, 8, 16, 32 or 64."""
    stored: int
    """Bits of it that the sample uses."""
    high: int
    """Place of the sample's highest bit, counted from 0."""
    signed: bool

    @property
    def frame_bits(self) -> int:
        """Bits of one frame."""
        return self.rows * self.columns * self.samples * self.allocated

    @property
    def size_bytes(self) -> int:
        """Bytes of all frames, without padding."""
        return (self.frames * self.frame_bits + 7) // 8


def layout_of(dataset: Dataset) -> Layout | None:
    """Return how the pixels are stored; None where the headers do not state it, or state what cannot be."""
    try:
        rows, columns, allocated, stored, high = (
            whole(dataset, k) for k in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit")
        )
        samples, frames = whole(dataset, "SamplesPerPixel"), whole(dataset, "NumberOfFrames")
        signed = whole(dataset, "PixelRepresentation") == 1
    except GlioserveError:
        return None
    if rows is None or columns is None or allocated not in (1, *_WORD_BITS):
        return None
    stored = allocated if stored is None else stored
    high = stored - 1 if high is None else high
    samples, frames = 1 if samples is None else samples, 1 if frames is None else frames
    if min(rows, columns, samples, frames, stored) < 1 or not stored - 1 <= high < allocated:
        return None
    return Layout(rows, columns, samples, frames, allocated, stored, high, signed)


def pixels_alone(pixels: bytes | memoryview, layout: Layout, *, big: bool, swapped: bool = False) -> tuple[Part, ...]:
    """Return the pixels without what lies behind the last one, unused bits cleared, padded to an even length.

    Args:
        pixels: value of the attribute, at least ``layout.size_bytes`` long.
        layout: how the headers say that they are stored.
        big: whether the words are big endian.
        swapped: whether bytes are written as big-endian words of two (OW).
    """
    size = layout.size_bytes
    alone: Part
    if layout.allocated == 8 and swapped and size % 2:  # the last pixel is the second byte of its word
        alone = bytes(pixels[: size - 1]) + b"\0" + bytes(pixels[size : size + 1])
    else:
        alone = pixels[:size]
    if layout.allocated == 1:
        alone = _last_bits_cleared(bytes(alone), layout)
    elif layout.stored < layout.allocated:
        alone = Masked(alone, _word(layout, big), _used_bits(layout))
    return (alone, b"\0") if len(alone) % 2 else (alone,)


def what_is_beside(pixels: bytes | memoryview, layout: Layout, *, big: bool, swapped: bool = False) -> frozenset[str]:
    """Return what is there beside the pixels: :data:`BEHIND_THE_END`, :data:`UNUSED_BITS`, both or neither.

    Zeros are padding. Unused bits above a negative sample may repeat its sign. Arguments as of :func:`pixels_alone`.
    """
    size, found = layout.size_bytes, set()
    end = size + size % 2 if swapped else size
    if bytes(pixels[end:]).strip(b"\0"):
        found.add(BEHIND_THE_END)
    if layout.allocated == 1:
        if _last_bits_cleared(bytes(pixels[size - 1 : size]), layout) != bytes(pixels[size - 1 : size]):
            found.add(BEHIND_THE_END)
    elif layout.stored < layout.allocated:
        words = np.frombuffer(pixels[:size], _word(layout, big))
        unused = words & words.dtype.type(~_used_bits(layout) & ((1 << layout.allocated) - 1))
        if layout.signed:
            above = ((1 << layout.allocated) - 1) >> (layout.high + 1) << (layout.high + 1)
            negative = (words >> words.dtype.type(layout.high)) & words.dtype.type(1) == 1
            unused = np.where(negative & (unused == above), words.dtype.type(0), unused)
        if unused.any():
            found.add(UNUSED_BITS)
    return frozenset(found)


def _word(layout: Layout, big: bool) -> np.dtype[np.unsignedinteger[Any]]:
    return np.dtype(f"{'>' if big else '<'}u{layout.allocated // 8}")


def _used_bits(layout: Layout) -> int:
    return ((1 << layout.stored) - 1) << (layout.high + 1 - layout.stored)


def _last_bits_cleared(pixels: bytes, layout: Layout) -> bytes:
    """Return single bits with the rest of the last byte cleared: the first pixel is the lowest bit (PS3.5 D)."""
    used = layout.frames * layout.frame_bits % 8
    return pixels[:-1] + bytes([pixels[-1] & ((1 << used) - 1)]) if used else pixels
