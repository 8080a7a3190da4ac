"""Nothing that stands around a file's pixels is on the wire: before it, behind it, between and in its elements."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
)

from glioserve_client import DicomStudy, errors
from glioserve_client.calls.message import infer_message
from glioserve_client.request import encode
from support.studies.dicom_files import file_bytes, mr_dataset
from support.studies.encodings import encoded

SECRET = b"ZYXQUIST^WILHELMINA "
PIECES = frozenset(
    piece
    for start in range(len(SECRET) - 5)
    for part in (SECRET[start : start + 6].decode(),)
    for piece in (part.encode(), part[::-1].encode(), part.encode("utf-16-le"), part.encode("utf-16-be"))
)
LONG_VRS = frozenset("OB OD OF OL OV OW SQ UC UN UR UT UV".split())
PIXELS = np.random.default_rng(0).integers(0, 4096, (40, 36)).astype(np.uint16)
LAYOUT = {"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "Rows": 40, "Columns": 36}
PIXEL_DATA = b"\xe0\x7f\x10\x00"


def element(group: int, number: int, vr: str, value: bytes = SECRET) -> bytes:
    """An element in explicit little endian, whatever its value."""
    long = vr in LONG_VRS
    length = struct.pack("<2xI" if long else "<H", len(value))
    return struct.pack("<HH2s", group, number, vr.encode()) + length + value


def before_pixels(*elements: bytes) -> bytes:
    whole = file_bytes(mr_dataset())
    at = whole.rindex(PIXEL_DATA)
    return whole[:at] + b"".join(elements) + whole[at:]


def in_file_meta(*elements: bytes) -> bytes:
    whole = file_bytes(mr_dataset())
    (length,) = struct.unpack_from("<I", whole, 140)
    added = b"".join(elements)
    return (
        whole[:140] + struct.pack("<I", length + len(added)) + whole[144 : 144 + length] + added + whole[144 + length :]
    )


def compressed(**attributes: object) -> bytes:
    dataset = pydicom.dcmread(BytesIO(encoded(mr_dataset(PIXELS, **LAYOUT), JPEG2000Lossless)))
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    buffer = BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def with_attributes(**attributes: object) -> bytes:
    dataset = mr_dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return file_bytes(dataset)


def overlay(group: int) -> bytes:
    parts = ((0x10, "US", b"\1\0"), (0x22, "LO", SECRET), (0x40, "CS", b"G "), (0x1500, "LO", SECRET))
    return before_pixels(*(element(group, *part) for part in (*parts, (0x3000, "OW", SECRET), (0x4000, "LT", SECRET))))


def curve(group: int) -> bytes:
    whole = file_bytes(mr_dataset())
    at = whole.rindex(PIXEL_DATA)
    return whole[:at] + element(group, 0x2500, "LO") + element(group, 0x3000, "OW") + whole[at:]


def item(**attributes: object) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def icon() -> Dataset:
    made = item(Rows=4, Columns=5, SamplesPerPixel=1, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=SECRET)
    made["PixelData"].VR = "OB"
    return made


def waveform() -> Dataset:
    made = item(WaveformData=SECRET, WaveformBitsAllocated=16, MultiplexGroupLabel=SECRET.decode()[:16])
    made["WaveformData"].VR = "OW"
    return made


def palette() -> bytes:
    colours = ("Red", "Green", "Blue")
    tables = {f"{colour}PaletteColorLookupTable{part}": SECRET for colour in (*colours, "Alpha") for part in ("Data",)}
    tables |= {f"Segmented{colour}PaletteColorLookupTableData": SECRET for colour in colours}
    return with_attributes(**tables)


def lookup_tables() -> bytes:
    table = item(LUTDescriptor=[10, 0, 16], LUTExplanation=SECRET.decode(), LUTData=SECRET)
    table["LUTData"].VR = "OW"
    names = ("ModalityLUTSequence", "VOILUTSequence", "PresentationLUTSequence", "HistogramSequence")
    return with_attributes(WindowCenterWidthExplanation=SECRET.decode(), **{name: [table] for name in names})


def raw_numbers(keyword: str) -> Callable[[], bytes]:
    """Text in the place of binary numbers, more of them than the attribute has."""

    def make() -> bytes:
        dataset = mr_dataset()
        dataset.add_new(pydicom.tag.Tag(keyword), "US", np.frombuffer(SECRET, "<u2").tolist())
        return file_bytes(dataset)

    return make


def group_lengths() -> bytes:
    """Four letters as the length of each group."""
    dataset = mr_dataset()
    for number, group in enumerate((0x0008, 0x0010, 0x0018, 0x0020, 0x0028)):
        dataset.add_new((group, 0), "UL", int.from_bytes(SECRET[4 * number : 4 * number + 4], "little"))
    return file_bytes(dataset)


def delimiter_lengths() -> bytes:
    """Four letters where an item's delimiter has the length zero."""
    dataset = mr_dataset(ReferencedImageSequence=[item(PatientName="A")])
    dataset["ReferencedImageSequence"].is_undefined_length = True
    dataset.ReferencedImageSequence[0].is_undefined_length_sequence_item = True
    whole = file_bytes(dataset)
    at = whole.index(b"\xfe\xff\x0d\xe0")
    return whole[: at + 4] + SECRET[:4] + whole[at + 8 :]


def behind_the_fragments() -> bytes:
    whole = compressed()
    at = whole.rindex(b"\xfe\xff\xdd\xe0")
    return whole[: at + 4] + SECRET[:4] + whole[at + 8 :] + element(0xFFFC, 0xFFFC, "OB")


def deflated() -> bytes:
    dataset = mr_dataset()
    dataset.PixelData += SECRET
    dataset.private_block(0x0029, SECRET.decode()[:16], create=True).add_new(1, "OB", SECRET)
    return file_bytes(dataset, DeflatedExplicitVRLittleEndian)


META = {
    "who made the private information": (0x0100, "UI", b"1.2.9.ZYXQUIST^WILHELMINA "),
    "private information": (0x0102, "OB", SECRET),
    "the source's title": (0x0016, "AE", SECRET[:16]),
    "the sender's title": (0x0017, "AE", SECRET[:16]),
    "the receiver's title": (0x0018, "AE", SECRET[:16]),
    "the address of a presentation": (0x0026, "UT", SECRET),
}
PLACES: dict[str, Callable[[], bytes]] = {
    "preamble": lambda: file_bytes(mr_dataset(), preamble=(SECRET * 7)[:128]),
    **{f"file meta: {name}": lambda given=given: in_file_meta(element(2, *given)) for name, given in META.items()},
    "group lengths": group_lengths,
    "lengths of delimiters": delimiter_lengths,
    "behind the fragments": behind_the_fragments,
    "an extended offset table": lambda: compressed(
        ExtendedOffsetTable=SECRET + b"    ", ExtendedOffsetTableLengths=SECRET + b"    "
    ),
    **{f"overlay {group:x}": lambda group=group: overlay(group) for group in range(0x6000, 0x6020)},
    **{f"curve {group:x}": lambda group=group: curve(group) for group in range(0x5000, 0x5020)},
    "palette": palette,
    "lookup tables": lookup_tables,
    "an icon": lambda: with_attributes(IconImageSequence=[icon()]),
    "an icon of a referenced image": lambda: with_attributes(
        ReferencedImageSequence=[item(IconImageSequence=[icon()])], SourceImageSequence=[icon()]
    ),
    "waveform": lambda: with_attributes(WaveformSequence=[waveform()], OriginalAttributesSequence=[waveform()]),
    "a document": lambda: before_pixels(element(0x0042, 0x0011, "OB"), element(0x5600, 0x0020, "OF")),
    "where pixels are": lambda: before_pixels(element(0x0028, 0x7FE0, "UR")),
    "private pixels": lambda: (
        before_pixels(element(0x7FDF, 0x0010, "LO"), element(0x7FDF, 0x1010, "OB"))
        + element(0x7FE1, 0x0010, "LO")
        + element(0x7FE1, 0x1010, "OB")
    ),
    **{
        f"{keyword}, more than it has": raw_numbers(keyword)
        for keyword in (
            "PixelPaddingValue",
            "PixelPaddingRangeLimit",
            "SmallestImagePixelValue",
            "LargestImagePixelValue",
        )
    },
    "padding behind the data set": lambda: file_bytes(mr_dataset()) + element(0xFFFC, 0xFFFC, "OB"),
    "deflated": deflated,
    "behind the deflated data": lambda: deflated() + SECRET,
    "a second deflated stream": lambda: deflated() + zlib.compress(SECRET * 9)[2:],
}


REFUSED = {
    "pixels of floats beside": lambda: before_pixels(element(0x7FE0, 0x0008, "OF")),
    "pixels of doubles beside": lambda: before_pixels(element(0x7FE0, 0x0009, "OD", SECRET + bytes(4))),
    "behind the file": lambda: file_bytes(mr_dataset()) + bytes(64) + SECRET,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_a_file_another_object_is_refused(name: str) -> None:
    with pytest.raises(errors.StudyError) as caught:
        DicomStudy.from_bytes([REFUSED[name]()])
    assert SECRET[:4].decode() not in str(caught.value)


@pytest.mark.parametrize("name", PLACES)
def test_nothing_around_the_pixels_is_sent(name: str) -> None:
    content = PLACES[name]()
    study = DicomStudy.from_bytes([content])
    request = infer_message(encode(study), model_name="glioma", request_id="r", outputs=(), parameters={})
    sent = request + b"".join(map(_plain, study.deidentified().contents))
    assert not [piece for piece in PIECES if piece in sent]
    for number in range(0, len(SECRET), 4):  # what has room for four bytes
        assert SECRET[number : number + 4] not in sent


def _plain(content: bytes) -> bytes:
    """Return what a deflated file has in its deflated part; nothing of another file."""
    dataset = pydicom.dcmread(BytesIO(content))
    if dataset.file_meta.TransferSyntaxUID != DeflatedExplicitVRLittleEndian:
        return b""
    dataset.file_meta.TransferSyntaxUID = UID(ExplicitVRLittleEndian)
    buffer = BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def test_what_was_planted_is_in_the_files() -> None:
    for name, make in PLACES.items():
        if name not in ("deflated", "a second deflated stream"):
            content = make()
            assert any(SECRET[start : start + 4] in content for start in range(0, len(SECRET), 4)), name
