"""Take from a file's pixels what the image is, and tell what else is there."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace

from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.install import install_advice
from glioserve_dicom.files.part10 import NATIVE_SYNTAXES, Instance, native_bytes
from glioserve_dicom.pixels.jpeg import END, START
from glioserve_dicom.pixels.native import Layout, layout_of, pixels_alone, what_is_beside
from glioserve_dicom.pixels.parts import Part, size_of
from glioserve_dicom.pixels.streams import Frames
from glioserve_dicom.slices.decode import has_decoder, stored_words

_UNDECODABLE = (START + END,)
"""A codestream without an image stands for what cannot be decoded: the receiver then finds it so too."""


@dataclass(frozen=True)
class Pixels:
    """Pixels as they may be written: native, or as one codestream a frame."""

    transfer_syntax: str
    native: tuple[Part, ...] = field(default=(), repr=False)
    codestreams: tuple[bytes, ...] = field(default=(), repr=False)
    vr: str = "OW"

    def element(self, implicit: bool, little: bool) -> list[Part]:
        """Return the parts of the PixelData element, the offset table empty (PS3.5 A.4)."""
        order = "<" if little else ">"
        tag = struct.pack(f"{order}HH", 0x7FE0, 0x0010) + (b"" if implicit else self.vr.encode() + b"\0\0")
        if not self.codestreams:
            return [tag + struct.pack(f"{order}I", size_of(self.native)), *self.native]
        items = (_item(stream + b"\0" * (len(stream) % 2)) for stream in (b"", *self.codestreams))
        return [tag + struct.pack(f"{order}I", 0xFFFFFFFF), *items, struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)]


def only_pixels(instance: Instance) -> Pixels:
    """Return the pixels without what only travels with them.

    Native pixels are cut to what the headers state, and unused bits are cleared. Of a compressed frame the codestream
    is built anew; RLE is decoded, and so is a codestream whose data may hold more than the image, if a decoder is
    there. Pixels that no receiver can read, since the headers do not describe them, are replaced by zeros or by a
    codestream without an image.

    Raises:
        UndecodablePixelsError: a codestream has more bits than BitsStored, and no decoder is installed to clear them.
    """
    layout = layout_of(instance.dataset)
    declared, native = instance.transfer_syntax, instance.native_syntax
    if not instance.encapsulated and declared in NATIVE_SYNTAXES:
        deflated = declared == DeflatedExplicitVRLittleEndian
        return _native(instance, layout, declared if deflated else native)
    undecodable = Pixels(_known_syntax(declared), codestreams=_UNDECODABLE, vr="OB")
    if layout is None or undecodable.transfer_syntax != declared or not instance.dataset.original_encoding[1]:
        return undecodable
    try:
        frames = Frames(instance, layout)
        if frames.is_rle:
            unpacked = b"".join(frames.unpacked(index)[0] for index in range(len(frames)))
            return Pixels(native, pixels_alone(unpacked, layout, big=False), vr=_vr(layout))
        streams = [frames.codestream(index) for index in range(len(frames))]
        wider = max(stream.precision for stream in streams) > layout.stored
        doubtful = any(stream.doubtful for stream in streams) and has_decoder(declared)
        if wider or (doubtful and layout.samples == 1):
            return Pixels(native, _decoded(instance, layout), vr=_vr(layout))
    except ValueError:
        return undecodable
    return Pixels(declared, codestreams=tuple(stream.content for stream in streams), vr="OB")


def beside_pixels(instance: Instance) -> frozenset[str]:
    """Return what a file has beside its pixels, in words; empty too where its headers do not describe them."""
    layout = layout_of(instance.dataset)
    if layout is None:
        return frozenset()
    if not instance.encapsulated and instance.transfer_syntax in NATIVE_SYNTAXES:
        if len(instance.pixels) < layout.size_bytes:
            return frozenset()
        return what_is_beside(instance.pixels, layout, big=_is_big(instance), swapped=_is_swapped(instance))
    try:
        frames = Frames(instance, layout)
        found = [_beside_frame(frames, index, layout) for index in range(len(frames))]
    except ValueError:  # refused where it is decoded
        return frozenset()
    return frames.beside().union(*found)


def _beside_frame(frames: Frames, index: int, layout: Layout) -> frozenset[str]:
    if not frames.is_rle:
        return frames.codestream(index).beside
    unpacked, beside = frames.unpacked(index)
    return beside | what_is_beside(unpacked, replace(layout, frames=1), big=False)


def _native(instance: Instance, layout: Layout | None, transfer_syntax: str) -> Pixels:
    vr = instance.pixel_vr if instance.pixel_vr in ("OB", "OW") else "OW"
    if layout is None or len(instance.pixels) < layout.size_bytes:
        size = max(native_bytes(instance.dataset) or 0, 2)
        return Pixels(transfer_syntax, (bytes(min(size + size % 2, len(instance.pixels))),), vr=vr)
    alone = pixels_alone(instance.pixels, layout, big=_is_big(instance), swapped=_is_swapped(instance))
    return Pixels(transfer_syntax, alone, vr=vr)


def _decoded(instance: Instance, layout: Layout) -> tuple[Part, ...]:
    """Return a compressed file's pixels in little endian. Raises ValueError where they cannot be decoded."""
    if not has_decoder(instance.transfer_syntax):
        raise GlioserveError(
            ErrorCode.UNDECODABLE_PIXELS,
            f"{instance.what}: its compressed pixels have more than {layout.stored} bits, and the others, which may be "
            f"an old overlay, cannot be cleared without a decoder.",
            f"Install one ({install_advice('dicom')}), or decompress the files first.",
        )
    try:
        words = b"".join(stored_words(instance, layout, index).tobytes() for index in range(layout.frames))
    except Exception as error:  # decoders raise many kinds on damaged streams
        raise ValueError("cannot be decoded") from error
    return pixels_alone(words, layout, big=False)


def _known_syntax(declared: str) -> str:
    """Return the transfer syntax if it is one of DICOM's for compressed pixels: any other text stays here."""
    uid = UID(declared)
    known = not uid.is_private and uid.type == "Transfer Syntax" and uid.is_encapsulated
    return str(uid) if known else str(JPEGBaseline8Bit)


def _vr(layout: Layout) -> str:
    return "OW" if layout.allocated > 8 else "OB"


def _is_big(instance: Instance) -> bool:
    return not instance.dataset.original_encoding[1]


def _is_swapped(instance: Instance) -> bool:
    return _is_big(instance) and instance.pixel_vr == "OW"


def _item(content: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content
