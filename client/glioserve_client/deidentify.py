"""DICOM files built anew from the contract's allow-list, so that what identifies the patient never leaves.

Nothing is blanked: an attribute that :data:`glioserve_dicom.identity.KEPT_ATTRIBUTES` does not name is not
written, at any depth, private ones and the preamble included. What is kept is held to its own form (numbers are
numbers, codes are of a closed list), and of the pixels' bytes only the image is taken (:mod:`glioserve_dicom.pixels`).
A malformed number that is needed to place or decode an image is sent as a fixed malformed value, so that the server
reports it as malformed.

Outside its reach: text burnt into the pixels, a face that the voxels show, and a name that happens to be a word of
the vocabulary ("T1 KOPF" stays, and so would a Mr Kopf).
Files that state themselves that text is burnt in are not sent at all.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import count
from types import MappingProxyType

from pydicom.charset import default_encoding
from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from glioserve_client.dicomfile import (
    DicomFile,
    clock_us,
    datetime_us,
    text_of,
)
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_dicom.agents import agent_in
from glioserve_dicom.clocks import first_of, since
from glioserve_dicom.files.attributes import items, numbers, texts
from glioserve_dicom.files.elements import data_set_bytes, meta_bytes, text_element
from glioserve_dicom.files.quiet import quiet
from glioserve_dicom.forms import UNKNOWN_PHOTOMETRIC, has_form, stand_in
from glioserve_dicom.identity import KEPT_ATTRIBUTES, Treatment, kept_codes, value_order, values_to_number
from glioserve_dicom.pixels.only import Pixels, only_pixels
from glioserve_dicom.pixels.parts import Part, joined, left_on_disk
from glioserve_dicom.slices.frames import FUNCTIONAL_GROUPS, is_multiframe
from glioserve_dicom.words import LONGEST_TEXT, kept_text

IMPLEMENTATION_CLASS_UID = "2.25.138425461034158632186734985473013712345"
"""Ours, in every file written (PS3.7 D.3.3.2): the scanner's own would name its maker and software."""
IMPLEMENTATION_VERSION_NAME = "GLIOSERVE"
DEIDENTIFICATION_METHOD = "glioserve allow-list of attributes"
"""Text that goes with PatientIdentityRemoved (PS3.3 C.12.1), in place of any that the file has."""
_PREAMBLE_BYTES = 128
_THREADS = 8

_WRITTEN_LAST = frozenset({"PatientID", "ContrastBolusAgent", "PixelData"})
"""Made of several attributes of the file, and the pixels."""
_NEEDED_NUMBERS = frozenset(
    "Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation SamplesPerPixel NumberOfFrames RescaleSlope "
    "RescaleIntercept PixelSpacing ImagePositionPatient ImageOrientationPatient EchoTime EffectiveEchoTime "
    "EchoNumbers".split()
)
"""Numbers without which an image is not placed in a stack or not decoded: the reader refuses a malformed one."""
_RULES = {
    int(Tag(keyword)): (keyword, treatment, dictionary_VR(keyword)) for keyword, treatment in KEPT_ATTRIBUTES.items()
}
"""Keyword, treatment and VR of the kept attributes, by tag as a plain number, which is compared without pydicom."""


@dataclass(frozen=True)
class Deidentified:
    """The files that are sent, and the way back: known here alone, and only as long as this value lives."""

    files: tuple[tuple[Part, ...], ...] = field(repr=False)
    """Parts of each file; the pixels are still those of the study, and are copied once, into the request."""
    original_series_uids: Mapping[str, str] = field(repr=False)
    """The file's SeriesInstanceUID by the pseudonym that was sent."""

    @property
    def contents(self) -> tuple[bytes, ...]:
        """Whole files, each a copy."""
        return tuple(joined(parts) for parts in self.files)


class Pseudonyms:
    """Stand-ins that are equal for equal originals within one request and cannot be reproduced after it.

    HMAC-SHA256 under a random key that is never stored nor sent: without it a hospital's numbers, being few,
    could be tried one by one.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key = secrets.token_bytes(32) if key is None else key
        self._uids: Mapping[str, str] = {}
        self._numbered: Mapping[str, str] = {}

    def of_study(self, files: Sequence[DicomFile]) -> Pseudonyms:
        """Return stand-ins under the same key that sort as the originals of these files do.

        So that stacks come in one order, and have one name, whether a study is read as it is or as it is sent.
        """
        names = Pseudonyms(self._key)
        uids = {uid for file in files for uid in file.uids}
        names._uids = dict(zip(sorted(uids), sorted(map(self.uid, uids)), strict=True))
        values = sorted({value for file in files for value in file.to_number}, key=value_order)
        names._numbered = {value: f"OTHER{number}" for number, value in enumerate(values, 1)}
        return names

    def uid(self, original: str) -> str:
        """Return a DICOM UID of the form ``2.25.<128-bit number>`` (PS3.5 B.2)."""
        if original in self._uids:
            return self._uids[original]
        return f"2.25.{int.from_bytes(self._digest('uid', original)[:16], 'big')}"

    def numbered(self, value: str) -> str:
        """Return ``OTHER<number>`` for a value that the study's files hold, else ``OTHER``."""
        return self._numbered.get(value, "OTHER")

    def patient_id(self, dataset: Dataset) -> str:
        """Return ``PSN-<16 hex digits>``; without a PatientID the name and birth date tell patients apart."""
        number = text_of(dataset, "PatientID")
        person = f"{text_of(dataset, 'PatientName')}\\{text_of(dataset, 'PatientBirthDate')}"
        return "PSN-" + self._digest("number" if number else "person", number or person).hex()[:16]

    def _digest(self, kind: str, original: str) -> bytes:
        return hmac.digest(self._key, f"{kind}:{original}".encode(), hashlib.sha256)


def deidentify(
    files: Sequence[DicomFile],
    pseudonyms: Pseudonyms | None = None,
    check: Callable[[], None] = lambda: None,
) -> Deidentified:
    """Build each file anew, under pseudonyms and times that hold for these files together.

    Args:
        files: MR images, as :func:`glioserve_client.dicomfile.read_dicom_file` returns them.
        pseudonyms: stand-ins for UIDs and patients; by default new ones, under a key that lives for this call.
        check: called before each file, from any thread; what it raises ends the work.

    Returns:
        The files in the order given, and the way from a series' pseudonym back to its SeriesInstanceUID.

    Raises:
        TruncatedFileError: a file's elements cannot be read one by one.
    """
    names = (pseudonyms or Pseudonyms()).of_study(files)
    origin_us = first_of(us for file in files for us in file.clocks_us)

    def rebuilt(file: DicomFile, number: int) -> tuple[Part, ...]:
        check()
        return _rebuilt(file, names, origin_us, f"File {number}")

    if any(file.instance.encapsulated for file in files):
        with ThreadPoolExecutor(_THREADS) as pool:  # decoders run without the interpreter's lock
            parts = tuple(pool.map(rebuilt, files, count(1)))
    else:
        parts = tuple(map(rebuilt, files, count(1)))
    series = {names.uid(f.series_instance_uid): f.series_instance_uid for f in files if f.series_instance_uid}
    return Deidentified(parts, MappingProxyType(series))


def _rebuilt(file: DicomFile, names: Pseudonyms, origin_us: int, where: str) -> tuple[Part, ...]:
    content = file.content
    instance = replace(file.with_pixels(content), what=where)
    source = instance.dataset
    instance_uid = names.uid(text_of(source, "SOPInstanceUID") or secrets.token_hex())
    try:
        with quiet("pydicom"):
            pixels = only_pixels(instance)
            dataset = _kept(source, names, origin_us, tiled=file.tiled)
            parts = tuple(_written(file.sop_class_uid, instance_uid, dataset, pixels))
            return parts if isinstance(file.source, bytes) else left_on_disk(parts, content, file.source)
    except GlioserveError:
        raise
    except Exception as error:  # pydicom raises many kinds on a broken element
        raise GlioserveError(ErrorCode.TRUNCATED_FILE, f"{where} has elements that cannot be read.") from error


def _written(sop_class_uid: str, instance_uid: str, dataset: Dataset, pixels: Pixels) -> Iterator[Part]:
    """Yield the file in parts (PS3.10 7.1): the pixels, which come last and are most of it, are not copied."""
    uids = (sop_class_uid, instance_uid, pixels.transfer_syntax, IMPLEMENTATION_CLASS_UID)
    of_uids = [(number, "UI", uid.encode("ascii")) for number, uid in zip((0x02, 0x03, 0x10, 0x12), uids, strict=True)]
    version = (0x13, "SH", IMPLEMENTATION_VERSION_NAME.encode("ascii"))
    yield bytes(_PREAMBLE_BYTES) + b"DICM" + meta_bytes([(0x01, "OB", b"\0\1"), *of_uids, version])
    implicit, little = map(bool, dataset.original_encoding)
    parts: list[Part] = [data_set_bytes(dataset, implicit, little), *pixels.element(implicit, little)]
    if pixels.transfer_syntax != DeflatedExplicitVRLittleEndian:
        yield from parts
        return
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = deflater.compress(joined(parts)) + deflater.flush()
    yield deflated + b"\0" * (len(deflated) % 2)


def _kept(source: Dataset, names: Pseudonyms, origin_us: int, depth: int = 0, tiled: bool = False) -> Dataset:
    """Return the allow-list's attributes of ``source``, treated; sequences by the same rule, item by item."""
    implicit, little = map(bool, source.original_encoding)
    elements: dict[BaseTag, DataElement | RawDataElement] = {}

    def add(keyword: str, text: str) -> None:
        """Add an attribute of text: words, codes and numbers of closed lists, which are ASCII."""
        tag, vr = _tag_and_vr(keyword)
        elements[tag] = text_element(tag, vr, text, implicit, little)

    left_out = () if depth or is_multiframe(source) else FUNCTIONAL_GROUPS
    for number, tag in sorted((int(tag), tag) for tag in source.keys()):  # noqa: SIM118 - a Dataset converts values
        if number not in _RULES:
            continue
        keyword, treatment, vr = _RULES[number]
        if keyword in left_out:
            continue
        if vr == "SQ":
            kept_items = [_kept(item, names, origin_us, depth + 1) for item in items(source, tag)]
            elements[tag] = DataElement(tag, "SQ", kept_items)
        elif treatment is Treatment.KEEP and keyword not in _WRITTEN_LAST:
            if (shaped := _in_place(source.get_item(tag), keyword, vr, implicit, little)) is not None:
                elements[tag] = shaped
            elif keyword in _NEEDED_NUMBERS and _is_malformed(source, keyword):
                elements[tag] = _malformed_stand_in(tag, keyword, implicit, little)
            elif keyword == "PhotometricInterpretation" and text_of(source, keyword):
                add(keyword, UNKNOWN_PHOTOMETRIC)
        elif keyword not in _WRITTEN_LAST and (text := _treated(source, keyword, treatment, names, origin_us)):
            add(keyword, text)
    if agent := _agent(source):
        add("ContrastBolusAgent", agent)
    if depth == 0:
        if tiled:  # its private attributes say so
            add("ImageType", "\\".join((*texts(Dataset(elements), "ImageType"), "MOSAIC")))
        if _tag_and_vr("AcquisitionTime")[0] not in elements and (
            started := _relative_time(datetime_us(source), origin_us)
        ):
            add("AcquisitionTime", started)
        add("PatientID", names.patient_id(source))
        add("PatientIdentityRemoved", "YES")
        add("DeidentificationMethod", DEIDENTIFICATION_METHOD)
    kept = Dataset(elements)
    # As read: then what is still raw is written as the same bytes.
    kept.set_original_encoding(implicit, little, default_encoding)
    return kept


def _in_place(element: object, keyword: str, official: str, implicit: bool, little: bool) -> RawDataElement | None:
    """Return an attribute as it was read, if its value has the form of its attribute, under the dictionary's VR.

    A number's place may hold a comment, and an archive may have turned a VR into ``UN``.
    """
    if isinstance(element, DataElement) and element.VR == "US" and isinstance(element.value, int):
        # pydicom converts PixelRepresentation where it parses a sequence.
        value = element.value.to_bytes(2, "little" if little else "big")
        element = RawDataElement(element.tag, element.VR, 2, value, 0, implicit, little)
    if not isinstance(element, RawDataElement) or not has_form(element.value or b"", keyword, official, little):
        return None
    allowed = official.split(" or ")
    vr = None if implicit else element.VR if element.VR in allowed else allowed[0]
    return element if vr == element.VR else element._replace(VR=vr)


def _is_malformed(source: Dataset, keyword: str) -> bool:
    """Return whether the reader refuses the value of one of :data:`_NEEDED_NUMBERS` (GLIO-1213)."""
    multiplicity = dictionary_VM(keyword)
    try:
        numbers(source, keyword, int(multiplicity) if multiplicity.isdigit() else None)
    except GlioserveError:
        return True
    return False


def _malformed_stand_in(tag: BaseTag, keyword: str, implicit: bool, little: bool) -> RawDataElement:
    """Return an element that the reader refuses as it refuses the file's own, with nothing of the file's value in it.

    An attribute that is left out would be reported as missing (GLIO-1208) instead of malformed (GLIO-1213).
    """
    vr = dictionary_VR(tag).split(" or ")[0]
    value = stand_in(keyword)
    return RawDataElement(tag, None if implicit else vr, len(value), value, 0, implicit, little)


@lru_cache(maxsize=256)
def _tag_and_vr(keyword: str) -> tuple[BaseTag, str]:
    return Tag(keyword), dictionary_VR(keyword)


def _treated(source: Dataset, keyword: str, treatment: Treatment, names: Pseudonyms, origin_us: int) -> str:
    """Return the text that stands in for an attribute; empty when it is left out."""
    text = text_of(source, keyword)
    if treatment is Treatment.PSEUDONYM:
        return names.uid(text) if text else ""
    if treatment is Treatment.RELATIVE_TIME:
        return _relative_time(clock_us(source, keyword), origin_us)
    if treatment is Treatment.WORDS:
        return kept_text(text, LONGEST_TEXT[keyword])
    if treatment is Treatment.NUMBERED:
        return names.numbered(text) if values_to_number(keyword, text) else text
    return ("\\" if dictionary_VR(keyword) == "CS" else " ").join(kept_codes(keyword, text, names.numbered))


def _agent(source: Dataset) -> str:
    """Return ``YES``, ``NO`` or an empty text: whether an agent was given, and nothing else about it."""
    given = agent_in(source)
    return "" if given is None else "YES" if given else "NO"


def _relative_time(clock: int | None, origin_us: int) -> str:
    """Return ``HHMMSS.ffffff`` since the origin; empty without a clock, or from half a day after it on."""
    passed_us = None if clock is None else since(origin_us, clock)
    if passed_us is None:
        return ""
    seconds, fraction = divmod(passed_us, 1_000_000)
    return f"{seconds // 3600:02d}{seconds // 60 % 60:02d}{seconds % 60:02d}.{fraction:06d}"
