"""Parse one DICOM file: its headers are read, its pixels found but not touched."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from io import BytesIO

from pydicom.config import IGNORE
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset, read_partial
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedMRImageStorage,
    MediaStorageDirectoryStorage,
    MRImageStorage,
)

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.limits import MAX_INFLATED_BYTES
from glioserve_dicom.files.attributes import element_of, text, whole
from glioserve_dicom.files.bounded import MOST_READS, BoundedReads
from glioserve_dicom.files.quiet import quiet

ENHANCED_STORAGE = frozenset({EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage})
"""SOP classes whose geometry and timings stand in functional groups (PS3.3 A.36, A.71)."""
MR_STORAGE = frozenset({MRImageStorage, *ENHANCED_STORAGE})
"""SOP classes that the pipeline reads; the client sends nothing else (a secondary capture may show a name)."""
NATIVE_SYNTAXES = frozenset(
    {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
)
_PREAMBLE_BYTES = 128
_PREFIX = b"DICM"
_PIXEL_TAGS = {0x7FE00010: "PixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00008: "FloatPixelData"}
_UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
REPEATED, BEHIND = "attributes that are there twice", "bytes behind the data set"
"""Findings of :attr:`Instance.beside`."""
_LEAST_ELEMENT_BYTES = 8
"""Length of an element without a value."""


@dataclass(frozen=True, eq=False)
class Instance:
    """One file of a study. ``pixels`` is a view into the file's own bytes: nothing is copied."""

    dataset: FileDataset
    """Every element but the pixels."""
    what: str
    """Name in messages: ``File 3 of 9``."""
    pixels: memoryview = field(default_factory=lambda: memoryview(b""), repr=False)
    """Value of PixelData as the file has it, encapsulated or native; empty where the file has none."""
    pixel_keyword: str = ""
    """PixelData, FloatPixelData, DoubleFloatPixelData, or empty."""
    pixel_vr: str | None = None
    """VR of the pixels' element; None in implicit VR."""
    encapsulated: bool = False
    """True where the pixels came with undefined length, in fragments."""
    beside: frozenset[str] = frozenset()
    """Findings about what is in no element of ``dataset``: :data:`REPEATED`, :data:`BEHIND`, both or neither."""

    @property
    def transfer_syntax(self) -> str:
        """Transfer syntax of the meta header; where it has none, the native one that the elements are coded in."""
        return text(self.dataset.file_meta, "TransferSyntaxUID") or self.native_syntax

    @property
    def native_syntax(self) -> str:
        """Native transfer syntax that the elements are coded in, whatever the meta header states."""
        implicit, little = self.dataset.original_encoding
        if not little:
            return str(ExplicitVRBigEndian)
        return str(ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian)

    @property
    def sop_class_uid(self) -> str:
        """SOP class of the data set, else of the meta header."""
        return sop_class_of(self.dataset)

    @property
    def is_mr(self) -> bool:
        """True for an MR image, classic or enhanced."""
        return self.sop_class_uid in MR_STORAGE


def parse(content: bytes, what: str) -> Instance:
    """Read the file's headers and find its pixels. A file without preamble or meta header is read if it is DICOM.

    Args:
        content: the whole file.
        what: start of messages: ``File 3 of 9``.

    Raises:
        StudyTooLargeError: GLIO-1104 for a deflated file that inflates beyond the limit.
        NotDicomError: GLIO-1201.
        TruncatedFileError: GLIO-1202 for a file that ends early or cannot be parsed, an interrupted copy's zeros,
            and an MR image whose pixels are missing or fewer than its headers need.
        UndecodablePixelsError: GLIO-1207 for an MR image that does not state how its pixels are compressed.
        UnsupportedPixelsError: GLIO-1212 for an MR image whose pixels are not integers.
    """
    if _has_only_begun(content):
        raise _truncated(f"{what} is empty or starts with nothing but zeros.")
    if not looks_like_dicom(content):
        raise GlioserveError(ErrorCode.NOT_DICOM, f"{what} is not DICOM.")
    try:
        with quiet("pydicom"):
            instance = _parse(content, what)
            sop_class_uid = instance.sop_class_uid
    except GlioserveError:
        raise
    except Exception:  # noqa: BLE001 - pydicom raises many kinds on damaged files
        raise _truncated(f"{what} cannot be parsed.") from None
    if not sop_class_uid and not _has_prefix(content):
        raise GlioserveError(ErrorCode.NOT_DICOM, f"{what} is not DICOM.")
    if not sop_class_uid or not (text(instance.dataset.file_meta, "TransferSyntaxUID") or len(instance.dataset)):
        raise _truncated(f"{what} ends within its header.")
    if instance.is_mr:
        _check_pixels(instance)
    return instance


def looks_like_dicom(content: bytes) -> bool:
    """Return whether a file is DICOM at first sight, or has begun to be: none that has may be skipped in silence.

    True for the Part 10 prefix; for a bare data set, which opens with its meta header (group 0002) or with group 0008
    in either byte order; and for a file of which nothing but zeros arrived, as an interrupted copy leaves it.
    """
    little = content[:2] in (b"\x02\x00", b"\x08\x00") and content[3:4] == b"\0"
    return _has_prefix(content) or little or content[:3] == b"\x00\x08\x00" or _has_only_begun(content)


def sop_class_of(dataset: Dataset) -> str:
    """Return the SOP class of a data set, else of its meta header; empty where neither states one."""
    meta = getattr(dataset, "file_meta", None)
    return text(dataset, "SOPClassUID") or (text(meta, "MediaStorageSOPClassUID") if meta is not None else "")


def object_name(sop_class_uid: str) -> str:
    """Return the name of a kind of object, such as ``CT Image Storage``, from a closed list."""
    uid = UID(sop_class_uid, validation_mode=IGNORE)  # its own check would warn with the value
    if uid == MediaStorageDirectoryStorage:
        return "DICOMDIR"
    return uid.name if uid.name != uid else "an object of a private class"


def native_bytes(dataset: Dataset) -> int | None:
    """Return how many bytes the uncompressed pixels must have; None where the headers do not state it."""
    try:
        rows, columns, bits = (whole(dataset, k) for k in ("Rows", "Columns", "BitsAllocated"))
        frames, samples = whole(dataset, "NumberOfFrames"), whole(dataset, "SamplesPerPixel")
    except GlioserveError:
        return None  # raised where the series is used
    if rows is None or columns is None or bits is None:
        return None
    return (frames or 1) * (samples or 1) * rows * columns * bits // 8


def _has_prefix(content: bytes) -> bool:
    return content[_PREAMBLE_BYTES : _PREAMBLE_BYTES + len(_PREFIX)] == _PREFIX


def _has_only_begun(content: bytes) -> bool:
    """Return whether zeros are all that arrived, or a usual preamble without its whole prefix."""
    prefix = content[_PREAMBLE_BYTES : _PREAMBLE_BYTES + len(_PREFIX)]
    return not any(content[:_PREAMBLE_BYTES]) and (
        not any(prefix) or (prefix != _PREFIX and _PREFIX.startswith(prefix))
    )


def _truncated(detail: str) -> GlioserveError:
    return GlioserveError(ErrorCode.TRUNCATED_FILE, detail)


def _check_pixels(instance: Instance) -> None:
    """Raise GLIO-1202, -1207 or -1212 for an MR image whose pixels cannot be all there, or cannot be read."""
    if instance.pixel_keyword not in ("PixelData", ""):
        raise GlioserveError(ErrorCode.UNSUPPORTED_PIXELS, f"{instance.what} has pixels that are not integers.")
    if instance.encapsulated and not text(instance.dataset.file_meta, "TransferSyntaxUID"):
        detail = f"{instance.what} does not state how its pixels are compressed."
        raise GlioserveError(ErrorCode.UNDECODABLE_PIXELS, detail)
    needed = (native_bytes(instance.dataset) if instance.transfer_syntax in NATIVE_SYNTAXES else None) or 1
    if len(instance.pixels) < needed:
        raise _truncated(f"{instance.what} ends before its pixels do.")


class _PixelsFound:
    """A stop condition that halts pydicom at the pixels and keeps what it saw there and before."""

    def __init__(self, file: BytesIO) -> None:
        self._file = file
        self.keyword, self.length, self.start = "", 0, 0
        self.vr: str | None = None
        self.tags: set[int] = set()
        self.repeated = False
        """True where an element came a second time: pydicom keeps the last one only."""

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        self.repeated |= int(tag) in self.tags
        self.tags.add(int(tag))
        if int(tag) not in _PIXEL_TAGS:
            return False
        self.keyword, self.length, self.start, self.vr = _PIXEL_TAGS[int(tag)], length, self._file.tell(), vr
        return True


def _parse(content: bytes, what: str) -> Instance:
    meta, behind = None, b""
    if DeflatedExplicitVRLittleEndian.encode() in content:
        content, meta, behind = _inflated(content, what)
    file = BoundedReads(content)
    found = _PixelsFound(file)
    if meta is None:
        dataset = read_partial(file, found, force=True)
    else:
        dataset = FileDataset(file, read_dataset(file, False, True, stop_when=found), None, meta, False, True)
        dataset.set_original_encoding(False, True, None)
    dataset.buffer = None  # pydicom's way back to the file's bytes, which would keep them in memory
    _refuse_cut(dataset, what)
    if not found.keyword:
        return Instance(dataset, what, beside=frozenset({REPEATED} if found.repeated else ()))
    little = bool(dataset.original_encoding[1])
    view = memoryview(content)
    encapsulated = found.length == _UNDEFINED_LENGTH
    end = _end_of_fragments(view, found.start) if encapsulated else found.start + found.length
    if end > len(content):
        raise _truncated(f"{what} ends before its pixels do.")
    repeated, spare = _add_what_follows(dataset, content[end:], found.vr is None, little, what)
    beside = {REPEATED} if found.repeated or repeated else set()
    beside |= {BEHIND} if behind.strip(b"\0") or spare.strip(b"\0") else set()
    pixels = view[found.start : end]
    return Instance(dataset, what, pixels, found.keyword, found.vr, encapsulated, frozenset(beside))


def _refuse_cut(dataset: Dataset, what: str) -> None:
    """Raise GLIO-1202 where an element has fewer bytes than it states."""
    for tag in dataset.keys():  # noqa: SIM118 - iterating a Dataset converts values
        try:
            element = element_of(dataset, tag)
        except GlioserveError:  # raised where the attribute is used
            continue
        value, length = getattr(element, "value", None), getattr(element, "length", _UNDEFINED_LENGTH)
        if isinstance(value, bytes) and length not in (_UNDEFINED_LENGTH, len(value)):
            raise _truncated(f"{what} ends before its last element does.")


def _inflated(content: bytes, what: str) -> tuple[bytes, FileMetaDataset | None, bytes]:
    """Return a deflated file's data set, its meta header and what follows; any other file as it is, without them."""
    start = _PREAMBLE_BYTES + len(_PREFIX)
    file = BytesIO(content)
    file.seek(start if content[_PREAMBLE_BYTES:start] == _PREFIX else 0)
    meta = FileMetaDataset(read_dataset(file, False, True, stop_when=lambda tag, _, __: tag.group != 2))
    if text(meta, "TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return content, None, b""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    data = inflater.decompress(content[file.tell() :], MAX_INFLATED_BYTES)
    if inflater.unconsumed_tail:
        raise GlioserveError(ErrorCode.STUDY_TOO_LARGE, f"{what} inflates to over {MAX_INFLATED_BYTES >> 20} MiB.")
    if not inflater.eof:
        raise _truncated(f"{what} ends before its deflated data set does.")
    return data, meta, inflater.unused_data


def _end_of_fragments(view: memoryview, position: int) -> int:
    """Return where the encapsulated pixels end, behind their delimiter; beyond a file that is cut (PS3.5 A.4)."""
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


def _add_what_follows(dataset: FileDataset, rest: bytes, implicit: bool, little: bool, what: str) -> tuple[bool, bytes]:
    """Add the elements behind the pixels: rare, but a name may stand there too.

    Returns:
        Whether one of them is in the data set already, and the bytes behind the last one.
    """
    repeated, end = False, 0
    trailer = read_dataset(BoundedReads(rest), implicit, little)
    _refuse_cut(trailer, what)
    for tag in trailer.keys():  # noqa: SIM118 - iterating a Dataset converts values
        element = element_of(trailer, tag)
        if isinstance(element, RawDataElement):
            end = max(end, element.value_tell + element.length)
        if element is not None and element.value:
            repeated |= tag in dataset
            dataset[tag] = element
    return repeated, rest[end:] if len(rest) - end < _LEAST_ELEMENT_BYTES else b""
