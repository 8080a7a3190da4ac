"""One DICOM file: its headers parsed, its pixels found but not touched."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from io import BytesIO

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset, read_partial
from pydicom.tag import BaseTag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.limits import MAX_INFLATED_BYTES
from glioserve_dicom.files.attributes import element_of, text, whole
from glioserve_dicom.files.bounded import MOST_READS, BoundedReads

NATIVE_SYNTAXES = frozenset(
    {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
)
_PREAMBLE_BYTES = 128
_PREFIX = b"DICM"
_PIXEL_TAGS = {0x7FE00010: "PixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00008: "FloatPixelData"}
_UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)


@dataclass(frozen=True, eq=False)
class Instance:
    """One file of the request. ``pixels`` is a view into the request's own bytes: nothing is copied."""

    dataset: FileDataset
    """Every element but the pixels."""
    what: str
    """``File 3 of 9``: how messages name it."""
    pixels: memoryview = field(default_factory=lambda: memoryview(b""), repr=False)
    """The value of PixelData as the file has it, encapsulated or native; empty without."""
    pixel_keyword: str = ""
    """PixelData, FloatPixelData, DoubleFloatPixelData, or empty."""
    encapsulated: bool = False
    """Whether the pixels came with undefined length, in fragments."""

    @property
    def transfer_syntax(self) -> str:
        """Of the file's meta header; without one, the native syntax that its elements are coded in."""
        declared = text(self.dataset.file_meta, "TransferSyntaxUID")
        if declared:
            return declared
        implicit, little = self.dataset.original_encoding
        if not little:
            return str(ExplicitVRBigEndian)
        return str(ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian)

    @property
    def sop_class_uid(self) -> str:
        """Of the data set, else of the meta header."""
        return text(self.dataset, "SOPClassUID") or text(self.dataset.file_meta, "MediaStorageSOPClassUID")


def parse(content: bytes, what: str) -> Instance:
    """The file's headers and where its pixels lie. A file without preamble or meta header is read if it is DICOM.

    Raises GLIO-1104 (a deflated file beyond all bounds), GLIO-1201 and GLIO-1202.
    """
    if not looks_like_dicom(content):
        raise GlioserveError(ErrorCode.NOT_DICOM, f"{what} is not DICOM.")
    try:
        instance = _parse(content, what)
        known = bool(instance.sop_class_uid)
    except GlioserveError:
        raise
    except Exception:  # noqa: BLE001 - pydicom raises many kinds on damaged files
        raise GlioserveError(ErrorCode.TRUNCATED_FILE, f"{what} cannot be parsed.") from None
    if not known and not _has_prefix(content):
        raise GlioserveError(ErrorCode.NOT_DICOM, f"{what} is not DICOM.")
    return instance


def looks_like_dicom(content: bytes) -> bool:
    """Whether a file is DICOM at first sight: the Part 10 prefix, or a bare data set.

    Without preamble a file opens with its meta header (group 0002) or with group 0008, in either byte order.
    """
    little = content[:2] in (b"\x02\x00", b"\x08\x00") and content[3:4] == b"\0"
    return _has_prefix(content) or little or content[:3] == b"\x00\x08\x00"


def _has_prefix(content: bytes) -> bool:
    return content[_PREAMBLE_BYTES : _PREAMBLE_BYTES + len(_PREFIX)] == _PREFIX


def native_bytes(dataset: Dataset) -> int | None:
    """Bytes that the uncompressed pixels must have; None where the headers do not tell."""
    try:
        rows, columns, bits = (whole(dataset, k) for k in ("Rows", "Columns", "BitsAllocated"))
        frames, samples = whole(dataset, "NumberOfFrames"), whole(dataset, "SamplesPerPixel")
    except GlioserveError:
        return None  # said where the series is used
    if rows is None or columns is None or bits is None:
        return None
    return (frames or 1) * (samples or 1) * rows * columns * bits // 8


class _PixelsFound:
    """Stops pydicom at the pixels and keeps what it saw there."""

    def __init__(self, file: BytesIO) -> None:
        self._file = file
        self.keyword, self.length, self.start, self.implicit = "", 0, 0, False

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        if int(tag) not in _PIXEL_TAGS:
            return False
        self.keyword, self.length, self.start = _PIXEL_TAGS[int(tag)], length, self._file.tell()
        self.implicit = vr is None
        return True


def _parse(content: bytes, what: str) -> Instance:
    if DeflatedExplicitVRLittleEndian.encode() in content:
        content, meta = _inflated(content, what)
    else:
        meta = None
    file = BoundedReads(content)
    found = _PixelsFound(file)
    if meta is None:
        dataset = read_partial(file, found, force=True)
    else:
        dataset = FileDataset(file, read_dataset(file, False, True, stop_when=found), None, meta, False, True)
        dataset.set_original_encoding(False, True, None)
    if not found.keyword:
        return Instance(dataset, what)
    little = bool(dataset.original_encoding[1])
    view = memoryview(content)
    encapsulated = found.length == _UNDEFINED_LENGTH
    end = _end_of_fragments(view, found.start) if encapsulated else found.start + found.length
    if end > len(content):
        raise GlioserveError(ErrorCode.TRUNCATED_FILE, f"{what} ends before its pixels do.")
    _add_what_follows(dataset, content[end:], found.implicit, little)
    return Instance(dataset, what, view[found.start : end], found.keyword, encapsulated)


def _inflated(content: bytes, what: str) -> tuple[bytes, FileMetaDataset | None]:
    """A deflated file's data set and its meta header; any other file as it is, without one."""
    start = _PREAMBLE_BYTES + len(_PREFIX)
    file = BytesIO(content)
    file.seek(start if content[_PREAMBLE_BYTES:start] == _PREFIX else 0)
    meta = FileMetaDataset(read_dataset(file, False, True, stop_when=lambda tag, _, __: tag.group != 2))
    if text(meta, "TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return content, None
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    data = inflater.decompress(content[file.tell() :], MAX_INFLATED_BYTES)
    if inflater.unconsumed_tail:
        raise GlioserveError(ErrorCode.STUDY_TOO_LARGE, f"{what} inflates to over {MAX_INFLATED_BYTES >> 20} MiB.")
    if not inflater.eof:
        raise GlioserveError(ErrorCode.TRUNCATED_FILE, f"{what} ends before its deflated data set does.")
    return data, meta


def _end_of_fragments(view: memoryview, position: int) -> int:
    """Where the encapsulated pixels end, behind their delimiter; beyond the file when it is cut (PS3.5 A.4)."""
    for _ in range(MOST_READS):
        if position + 8 > len(view):
            break
        group, element, length = struct.unpack_from("<HHI", view, position)
        position += 8
        if (group, element) == _SEQUENCE_END:
            return position
        if (group, element) != _ITEM or length == _UNDEFINED_LENGTH:
            break
        position += length
    return len(view) + 1


def _add_what_follows(dataset: FileDataset, rest: bytes, implicit: bool, little: bool) -> None:
    """Elements behind the pixels: rare, but a name may stand there too."""
    if len(rest) < 8:
        return
    trailer = read_dataset(BoundedReads(rest), implicit, little)
    for tag in trailer.keys():  # noqa: SIM118 - iterating a Dataset converts values
        element = element_of(trailer, tag)
        if element is not None and element.value:
            dataset[tag] = element
