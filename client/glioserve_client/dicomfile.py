"""One DICOM file as the client sees it: whole or refused, with the few facts that decide whether it is sent.

Values are read as the file's raw bytes: pydicom's own conversion warns with the value in the message, and a value
may name the patient.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO

from pydicom import FileDataset, dcmread
from pydicom.config import IGNORE
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.limits import MAX_INFLATED_BYTES
from glioserve_dicom.files.bounded import BoundedReads
from glioserve_dicom.files.quiet import quiet

_PREAMBLE_BYTES = 128
_PREFIX = b"DICM"
_DICOMDIR = "1.2.840.10008.1.3.10"
_UNDEFINED_LENGTH = 0xFFFFFFFF
_PIXEL_DATA = 0x7FE00010
_LONGEST_META_BYTES = 1 << 16
_FLOAT_PIXELS = (0x7FE00008, 0x7FE00009)
MR_IMAGE_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.4",  # MR Image Storage
        "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR Image Storage
        "1.2.840.10008.5.1.4.1.1.4.4",  # Legacy Converted Enhanced MR Image Storage
    }
)
"""SOP classes that the pipeline reads; nothing else is sent (a secondary capture may show a name)."""

CLOCKS = {"AcquisitionTime": "AcquisitionDate", "SeriesTime": "SeriesDate", "ContentTime": "ContentDate"}
"""The times that are sent, relative, and the date that each belongs to."""
_TIME = re.compile(r"(\d{2}):?(\d{2})?:?(\d{2})?(?:\.(\d{1,6}))?\d*")
MICROSECONDS_PER_DAY = 86_400_000_000


@dataclass(frozen=True)
class DicomFile:
    """A whole, parseable DICOM file. ``name`` may carry a patient's name: it stays out of messages and ``repr``."""

    content: bytes = field(repr=False)
    name: str = field(repr=False)
    """Relative to the folder that was read; empty for bytes."""
    sop_class_uid: str = field(repr=False)
    series_instance_uid: str = field(repr=False)
    burnt_in_text: bool
    """The file itself says so (BurnedInAnnotation). That it does not say so proves nothing."""
    first_us: int | None = field(repr=False)
    """Its earliest clock in microseconds, for times relative to the study's first; None without any."""

    @property
    def reason_not_sent(self) -> str:
        """Why it stays here, from a closed list of sentences; empty when it is sent."""
        if self.sop_class_uid == _DICOMDIR:
            return "a DICOMDIR"
        if self.sop_class_uid not in MR_IMAGE_CLASSES:
            name = UID(self.sop_class_uid, validation_mode=IGNORE).name  # its own check would warn with the value
            return f"not an MR image but {'of a private class' if name == self.sop_class_uid else name}"
        return "marked as having text burnt into its pixels" if self.burnt_in_text else ""


def looks_like_dicom(content: bytes) -> bool:
    """Whether the file is, or has begun to be, DICOM: nothing that does may be skipped without a word.

    True for the Part 10 prefix; for a bare data set (group 0002 or 0008 first); and for a file of which nothing
    but zeros arrived, as an interrupted copy leaves it.
    """
    return _has_prefix(content) or _is_bare(content) or _has_only_begun(content)


def parse(content: bytes, where: str) -> FileDataset:
    """The data set of a whole file, its elements still raw; without preamble or meta header too, if it is DICOM.

    The meta header of what is returned always names the transfer syntax.

    Raises:
        NotDicomError: not DICOM. ``where`` opens the message ("File 3 of 9").
        TruncatedFileError: the file ends early, or an image has no pixels.
        StudyTooLargeError: a deflated file inflates beyond the contract's limit.
        UndecodablePixelsError: nothing says how the pixels are compressed.
        UnsupportedPixelsError: an image's pixels are no integers.
    """
    if _has_only_begun(content):
        raise GlioserveError(ErrorCode.TRUNCATED_FILE, f"{where} is empty or starts with nothing but zeros.")
    whole = _has_prefix(content)
    if not whole and not _is_bare(content):
        raise GlioserveError(ErrorCode.NOT_DICOM, f"{where} is not DICOM.")
    try:
        with quiet("pydicom"):
            dataset = _read(content, where)
            if not whole:
                _name_transfer_syntax(dataset, where)
            transfer_syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
            cut = any(_is_cut(dataset, tag) for tag in dataset.keys())  # noqa: SIM118 - iterating converts values
    except GlioserveError:
        raise
    except Exception as error:  # pydicom raises whatever its parser trips over
        raise GlioserveError(ErrorCode.TRUNCATED_FILE, f"{where} cannot be parsed as DICOM.") from error
    sop_class_uid = _sop_class_uid(dataset)
    if not whole and not sop_class_uid:
        raise GlioserveError(ErrorCode.NOT_DICOM, f"{where} is not DICOM.")
    if not transfer_syntax or not sop_class_uid:
        raise GlioserveError(ErrorCode.TRUNCATED_FILE, f"{where} ends within its header.")
    if cut:
        raise GlioserveError(ErrorCode.TRUNCATED_FILE, f"{where} ends before its last element does.")
    if sop_class_uid in MR_IMAGE_CLASSES and any(tag in dataset for tag in _FLOAT_PIXELS):
        raise GlioserveError(ErrorCode.UNSUPPORTED_PIXELS, f"{where} has pixels that are no integers.")
    if sop_class_uid in MR_IMAGE_CLASSES and _PIXEL_DATA not in dataset:
        raise GlioserveError(ErrorCode.TRUNCATED_FILE, f"{where} is an MR image without pixels.")
    return dataset


def read_dicom_file(content: bytes, name: str, where: str) -> DicomFile:
    """Check one file and note what decides whether it is sent. Raises as :func:`parse` does."""
    dataset = parse(content, where)
    return DicomFile(
        content=content,
        name=name,
        sop_class_uid=_sop_class_uid(dataset),
        series_instance_uid=text_of(dataset, "SeriesInstanceUID"),
        burnt_in_text=text_of(dataset, "BurnedInAnnotation").upper() == "YES",
        first_us=_first_us(dataset),
    )


def text_of(dataset: Dataset, keyword: str) -> str:
    """An element's text as the file has it, without padding; empty when absent, binary or not plain.

    UTF-8, else Latin-1: enough for numbers, codes, UIDs and the Western words of a description.
    """
    tag = tag_for_keyword(keyword)
    try:
        value = getattr(dataset.get_item(tag), "value", None) if tag is not None and tag in dataset else None
    except Exception:  # noqa: BLE001 - pydicom converts what has an unknown VR and no value
        return ""
    if not isinstance(value, bytes):
        return ""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    return text.strip(" \0")


def clock_us(dataset: Dataset, time_keyword: str) -> int | None:
    """One of :data:`CLOCKS` in microseconds since year 1, or None; without any date, since that midnight."""
    clock = _TIME.fullmatch(text_of(dataset, time_keyword))
    if clock is None:
        return None
    day = _ordinal(text_of(dataset, CLOCKS[time_keyword])) or _ordinal(text_of(dataset, "StudyDate")) or 0
    return day * MICROSECONDS_PER_DAY + _since_midnight_us(clock)


def _first_us(dataset: Dataset) -> int | None:
    clocks = [clock_us(dataset, keyword) for keyword in CLOCKS]
    if clocks[0] is None:  # AcquisitionTime
        clocks.append(datetime_us(dataset))
    return min((us for us in clocks if us is not None), default=None)


def _since_midnight_us(clock: re.Match[str]) -> int:
    hours, minutes, seconds, fraction = clock.groups()
    total_s = int(hours) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return total_s * 1_000_000 + int((fraction or "0").ljust(6, "0"))


def datetime_us(dataset: Dataset) -> int | None:
    """AcquisitionDateTime (enhanced images have it alone) in microseconds since year 1, or None; its zone is left."""
    text = text_of(dataset, "AcquisitionDateTime")
    clock = _TIME.fullmatch(text[8:].split("+")[0].split("-")[0])
    day = _ordinal(text[:8])
    if clock is None or day is None:
        return None
    return day * MICROSECONDS_PER_DAY + _since_midnight_us(clock)


def _has_prefix(content: bytes) -> bool:
    return content[_PREAMBLE_BYTES : _PREAMBLE_BYTES + len(_PREFIX)] == _PREFIX


def _is_bare(content: bytes) -> bool:
    """Whether the file opens as a data set does: with its meta header, or with group 0008 in either byte order."""
    little = content[:2] in (b"\x02\x00", b"\x08\x00") and content[3:4] == b"\0"
    return little or content[:3] == b"\x00\x08\x00"


def _name_transfer_syntax(dataset: FileDataset, where: str) -> None:
    """Says in the meta header how a file without one is coded."""
    if dataset.file_meta.get("TransferSyntaxUID"):
        return
    pixels = dataset.get_item(_PIXEL_DATA) if _PIXEL_DATA in dataset else None
    if getattr(pixels, "length", 0) == _UNDEFINED_LENGTH:
        raise GlioserveError(ErrorCode.UNDECODABLE_PIXELS, f"{where} does not say how its pixels are compressed.")
    implicit, little = dataset.original_encoding
    native = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    dataset.file_meta.TransferSyntaxUID = native


def _read(content: bytes, where: str) -> FileDataset:
    """Every element, as pydicom finds them; of a deflated file within bounds, which pydicom has none of."""
    if DeflatedExplicitVRLittleEndian.encode() in content[:_LONGEST_META_BYTES]:
        file = BytesIO(content)
        file.seek(_PREAMBLE_BYTES + len(_PREFIX) if _has_prefix(content) else 0)
        meta = FileMetaDataset(read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2))
        if text_of(meta, "TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            inflated = BoundedReads(_inflated(content[file.tell() :], where))
            dataset = FileDataset(inflated, read_dataset(inflated, False, True), None, meta, False, True)
            dataset.set_original_encoding(False, True, None)
            return dataset
    return dcmread(BoundedReads(content), force=True)


def _inflated(deflated: bytes, where: str) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    data = inflater.decompress(deflated, MAX_INFLATED_BYTES)
    if inflater.unconsumed_tail:
        raise GlioserveError(ErrorCode.STUDY_TOO_LARGE, f"{where} inflates to over {MAX_INFLATED_BYTES >> 20} MiB.")
    if not inflater.eof:
        raise GlioserveError(ErrorCode.TRUNCATED_FILE, f"{where} ends before its deflated data set does.")
    return data


def _has_only_begun(content: bytes) -> bool:
    """Whether zeros are all that arrived, or a usual preamble without its whole prefix."""
    prefix = content[_PREAMBLE_BYTES : _PREAMBLE_BYTES + len(_PREFIX)]
    return not any(content[:_PREAMBLE_BYTES]) and (
        not any(prefix) or (prefix != _PREFIX and _PREFIX.startswith(prefix))
    )


def _ordinal(text: str) -> int | None:
    try:
        return datetime.strptime(text.replace(".", ""), "%Y%m%d").toordinal()  # noqa: DTZ007 - scanners have no zone
    except ValueError:
        return None


def _sop_class_uid(dataset: FileDataset) -> str:
    with quiet("pydicom"):
        return text_of(dataset, "SOPClassUID") or text_of(dataset.file_meta, "MediaStorageSOPClassUID")


def _is_cut(dataset: Dataset, tag: int) -> bool:
    element = dataset.get_item(tag)
    value = getattr(element, "value", None)
    length = getattr(element, "length", _UNDEFINED_LENGTH)
    return isinstance(value, bytes) and length not in (_UNDEFINED_LENGTH, len(value))
