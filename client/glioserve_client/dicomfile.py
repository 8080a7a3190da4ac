"""One DICOM file as the client sees it: whole, with the few facts that decide whether it is sent.

The one reader (:mod:`glioserve_dicom.files.part10`) parses it; this module adds what the client alone needs: text burnt
into pixels, clocks, and the reasons why a file is not sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from glioserve_contract import GlioserveError
from glioserve_dicom.clocks import DAY_US
from glioserve_dicom.files.attributes import items, text
from glioserve_dicom.files.part10 import MR_STORAGE, Instance, object_name, parse
from glioserve_dicom.files.quiet import quiet
from glioserve_dicom.files.stored import StoredBytes, StoredFile, offset_in
from glioserve_dicom.identity import KEPT_ATTRIBUTES, NUMBERED_ATTRIBUTES, values_to_number
from glioserve_dicom.pixels.parts import Part
from glioserve_dicom.slices.frames import FUNCTIONAL_GROUPS
from glioserve_dicom.slices.mosaic import has_tiles

CLOCKS = {"AcquisitionTime": "AcquisitionDate", "SeriesTime": "SeriesDate", "ContentTime": "ContentDate"}
"""Times that are sent, relative, and the date that each belongs to."""
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
"""UIDs that are sent as pseudonyms."""
_NUMBERED_IN = ("FrameContentSequence", "MRImageFrameTypeSequence")
"""Functional groups that hold attributes of :data:`glioserve_dicom.identity.NUMBERED_ATTRIBUTES`."""
_TIME = re.compile(r"(\d{2}):?(\d{2})?:?(\d{2})?(?:\.(\d{1,6}))?\d*")
_LONGEST_NEEDED = 1024
"""Length of the longest attribute that is needed beside those that are sent: a name, a date, an agent."""


@dataclass(frozen=True)
class DicomFile:
    """A whole, parseable DICOM file. ``name`` may carry a patient's name: it stays out of messages and ``repr``."""

    source: bytes | StoredFile = field(repr=False)
    """The file's bytes, or the file on the disk that has them."""
    name: str = field(repr=False)
    """Path relative to the folder that was read; empty for bytes."""
    sop_class_uid: str = field(repr=False)
    series_instance_uid: str = field(repr=False)
    burnt_in_text: bool
    """True where the file itself states it (BurnedInAnnotation); False proves nothing."""
    clocks_us: tuple[int, ...] = field(repr=False)
    """Starts of the file's acquisition and series in microseconds, of which the study's first is one."""
    uids: frozenset[str] = field(repr=False)
    """The file's own UIDs that are sent as pseudonyms."""
    to_number: frozenset[str] = field(repr=False)
    """Values that tell stacks apart and are sent as numbers of the request."""
    tiled: bool = field(repr=False)
    """True where private attributes show that the image is a mosaic."""
    instance: Instance = field(repr=False, compare=False)
    """The parsed file, without private and bulky attributes that are not sent; without its pixels where the file stays
    on the disk."""
    pixels_at: tuple[int, int] = field(default=(0, 0), repr=False, compare=False)
    """Offset and length of the pixels in a file that stays on the disk."""

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the content, which is parsed again."""
        return read_dicom_file, (self.content, self.name, self.instance.what)

    @property
    def content(self) -> bytes:
        """Whole file. Raises TruncatedFileError where it stays on the disk and is not the same any more."""
        return self.source if isinstance(self.source, bytes) else self.source.read()

    @property
    def whole(self) -> Part:
        """The file as a part of a request."""
        if isinstance(self.source, bytes):
            return self.source
        return StoredBytes(self.source, 0, self.source.size_bytes)

    def with_pixels(self, content: bytes) -> Instance:
        """Return the parsed file with a view of its pixels in ``content``, which is :attr:`content`."""
        if isinstance(self.source, bytes):
            return self.instance
        start, size = self.pixels_at
        return replace(self.instance, pixels=memoryview(content)[start : start + size])

    @property
    def reason_not_sent(self) -> str:
        """Reason why the file is not sent, from a closed list of sentences; empty when it is sent."""
        if self.sop_class_uid not in MR_STORAGE:
            return f"not an MR image but {object_name(self.sop_class_uid)}"
        return "marked as having text burnt into its pixels" if self.burnt_in_text else ""


def read_dicom_file(content: bytes, name: str, where: str) -> DicomFile:
    """Check one file and note what decides whether it is sent.

    Args:
        content: the whole file.
        name: its name within the study, kept out of messages.
        where: start of messages: ``File 3 of 9``.

    Raises:
        StudyError: as :func:`glioserve_dicom.files.part10.parse` does.
    """
    return dicom_file(parse(content, where), content, name)


def dicom_file(instance: Instance, content: bytes, name: str, path: Path | None = None) -> DicomFile:
    """Return a parsed file with the facts that decide whether it is sent.

    Args:
        instance: the parsed file.
        content: the whole file.
        name: its name within the study, kept out of messages.
        path: the file itself, where its pixels may stay on the disk; None to keep them in memory.
    """
    stored = StoredFile.of(path, content) if path is not None else None
    offset = offset_in(content, instance.pixels) if stored is not None else None
    source: bytes | StoredFile = content
    pixels_at = (0, 0)
    if stored is not None and offset is not None:
        source, pixels_at = stored, (offset, len(instance.pixels))
        instance = replace(instance, pixels=memoryview(b""))
    with quiet("pydicom"):
        tiled = instance.is_mr and has_tiles(instance.dataset)
        _drop_what_stays(instance.dataset)
        return DicomFile(
            source=source,
            name=name,
            sop_class_uid=instance.sop_class_uid,
            series_instance_uid=text_of(instance.dataset, "SeriesInstanceUID"),
            burnt_in_text=text_of(instance.dataset, "BurnedInAnnotation").upper() == "YES",
            clocks_us=_clocks_us(instance.dataset),
            uids=frozenset(filter(None, (text_of(instance.dataset, keyword) for keyword in UIDS))),
            to_number=frozenset(_to_number(instance.dataset)) if instance.is_mr else frozenset(),
            tiled=tiled,
            instance=instance,
            pixels_at=pixels_at,
        )


def _drop_what_stays(dataset: Dataset) -> None:
    """Drop attributes that are never sent and may be large: a scanner's private header is as large as its image."""
    for tag in list(dataset.keys()):
        value = getattr(dataset.get_item(tag), "value", None)
        large = isinstance(value, bytes) and len(value) > _LONGEST_NEEDED
        if tag.is_private or (large and keyword_for_tag(tag) not in KEPT_ATTRIBUTES):
            del dataset[tag]


def text_of(dataset: Dataset, keyword: str) -> str:
    """Return an attribute's text; empty where it is absent or cannot be read."""
    try:
        return text(dataset, keyword)
    except GlioserveError:  # the server judges what it needs
        return ""


def clock_us(dataset: Dataset, time_keyword: str) -> int | None:
    """Return one of :data:`CLOCKS` in microseconds since year 1, or None; without any date, since that midnight."""
    clock = _TIME.fullmatch(text_of(dataset, time_keyword))
    if clock is None:
        return None
    day = _ordinal(text_of(dataset, CLOCKS[time_keyword])) or _ordinal(text_of(dataset, "StudyDate")) or 0
    return day * DAY_US + _since_midnight_us(clock)


def datetime_us(dataset: Dataset) -> int | None:
    """Return AcquisitionDateTime in microseconds since year 1, or None; its time zone is left out.

    Enhanced images have it instead of the other clocks, or FrameAcquisitionDateTime of each frame, of which the
    earliest counts.
    """
    if stamp := text_of(dataset, "AcquisitionDateTime"):
        return _stamp_us(stamp)
    frames = _items(dataset, "PerFrameFunctionalGroupsSequence")
    contents = (item for frame in frames for item in _items(frame, "FrameContentSequence"))
    known = (_stamp_us(text_of(item, "FrameAcquisitionDateTime")) for item in contents)
    return min((us for us in known if us is not None), default=None)


def _stamp_us(stamp: str) -> int | None:
    clock = _TIME.fullmatch(stamp[8:].split("+")[0].split("-")[0])
    day = _ordinal(stamp[:8])
    if clock is None or day is None:
        return None
    return day * DAY_US + _since_midnight_us(clock)


def _to_number(dataset: Dataset) -> Iterator[str]:
    groups = [group for keyword in FUNCTIONAL_GROUPS for group in _items(dataset, keyword)]
    for holder in (dataset, *(item for group in groups for keyword in _NUMBERED_IN for item in _items(group, keyword))):
        for keyword in NUMBERED_ATTRIBUTES:
            if keyword in holder:
                yield from values_to_number(keyword, text_of(holder, keyword))


def _items(dataset: Dataset, keyword: str) -> Sequence[Dataset]:
    try:
        return items(dataset, keyword)
    except GlioserveError:  # raised where the frames are rebuilt or read
        return ()


def _clocks_us(dataset: Dataset) -> tuple[int, ...]:
    clocks = [clock_us(dataset, keyword) for keyword in ("AcquisitionTime", "SeriesTime")]
    if clocks[0] is None:  # AcquisitionTime
        clocks.append(datetime_us(dataset))
    return tuple(us for us in clocks if us is not None)


def _since_midnight_us(clock: re.Match[str]) -> int:
    hours, minutes, seconds, fraction = clock.groups()
    total_s = int(hours) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return total_s * 1_000_000 + int((fraction or "0").ljust(6, "0"))


def _ordinal(date: str) -> int | None:
    try:
        return datetime.strptime(date.replace(".", ""), "%Y%m%d").toordinal()  # noqa: DTZ007 - scanners have no zone
    except ValueError:
        return None
