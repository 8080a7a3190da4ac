"""The compressed frames of one file, each as the one codestream that its decoding needs."""

from __future__ import annotations

import struct

from pydicom.uid import RLELossless

from glioserve_contract.limits import MAX_REQUEST_BYTES
from glioserve_dicom.files.part10 import NATIVE_SYNTAXES, Instance
from glioserve_dicom.pixels.codestream import Codestream
from glioserve_dicom.pixels.fragments import fragments_of, frames_of, places_of
from glioserve_dicom.pixels.jpeg import START as JPEG_START
from glioserve_dicom.pixels.jpeg import clean_jpeg
from glioserve_dicom.pixels.jpeg2000 import BOXES, clean_jpeg2000
from glioserve_dicom.pixels.jpeg2000 import START as JPEG_2000_START
from glioserve_dicom.pixels.native import Layout
from glioserve_dicom.pixels.rle import decode_rle

OFFSET_TABLE = "an offset table that is not one"
SPARE_FRAGMENTS = "fragments beyond the frames"
MAX_UNPACKED_BYTES = MAX_REQUEST_BYTES
"""Size of the most pixels that one compressed file may have; a header that states more is a trap."""
MAX_ENCODED_SHARE = 2.0
"""Largest size of a compressed frame as a multiple of its raw pixels; a larger one is a trap for decoders."""
_LEAST_ENCODED_BYTES = 4096
"""Size that a compressed frame may always have."""


class Frames:
    """The frames of a compressed file, found among its fragments; each is parsed when it is asked for.

    Raises:
        ValueError: the frames cannot be told apart, they would unpack to more than a file may, or the file's transfer
            syntax is a native one.
    """

    def __init__(self, instance: Instance, layout: Layout) -> None:
        if not instance.encapsulated or instance.transfer_syntax in NATIVE_SYNTAXES:
            raise ValueError("not compressed")
        if layout.size_bytes > MAX_UNPACKED_BYTES:
            raise ValueError("larger than a file may be")
        self.layout, self.is_rle = layout, instance.transfer_syntax == RLELossless
        self._table, self._fragments = fragments_of(instance.pixels)
        self._spans = frames_of(self._table, self._fragments, layout.frames, self._begins)
        if not self._spans:
            raise ValueError("the frames cannot be told apart")

    def __len__(self) -> int:
        return len(self._spans)

    def codestream(self, index: int) -> Codestream:
        """Return a frame's codestream, built anew. Raises ValueError where it is not one of the layout's image."""
        encoded = self._encoded(index)
        stream = clean_jpeg(encoded) if encoded.startswith(JPEG_START) else clean_jpeg2000(encoded)
        layout = self.layout
        if stream is None or (stream.rows, stream.columns, stream.components) != (
            layout.rows,
            layout.columns,
            layout.samples,
        ):
            raise ValueError("not an image of this size")
        if len(stream.content) > MAX_ENCODED_SHARE * layout.frame_bits / 8 + _LEAST_ENCODED_BYTES:
            raise ValueError("larger than the image")
        return stream

    def unpacked(self, index: int) -> tuple[bytes, frozenset[str]]:
        """Return an RLE frame's pixels in little endian, and what was beside them. Raises ValueError as above."""
        layout = self.layout
        found = decode_rle(self._encoded(index), layout.rows * layout.columns, layout.allocated // 8, layout.samples)
        if found is None:
            raise ValueError("not an image of this size")
        return found

    def beside(self) -> frozenset[str]:
        """Return what is among the fragments beside the frames."""
        found = set()
        if self._spans[0][0] or self._spans[-1][1] < len(self._fragments):
            found.add(SPARE_FRAGMENTS)
        count, rest = divmod(len(self._table), 4)
        places = places_of(self._fragments)
        starts = [places[start] for start, _ in self._spans]
        if count + rest and (rest or list(struct.unpack(f"<{count}I", self._table)) != starts):
            found.add(OFFSET_TABLE)
        return frozenset(found)

    def _encoded(self, index: int) -> bytes:
        return b"".join(self._fragments[slice(*self._spans[index])])

    def _begins(self, head: bytes) -> bool:
        return self.is_rle or head.startswith((JPEG_START, JPEG_2000_START, BOXES))
