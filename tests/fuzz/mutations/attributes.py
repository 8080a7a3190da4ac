"""Headers that lie: any attribute that is read, or that names a person, with any value in any representation."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from io import BytesIO

import numpy as np
import pydicom
from pydicom.charset import default_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from fuzz.sources import MARKER
from glioserve_dicom.agents import AGENT_ATTRIBUTES
from glioserve_dicom.identity import IDENTIFYING_ATTRIBUTES, KEPT_ATTRIBUTES

Random = np.random.Generator
DECISIVE = (
    "Rows Columns NumberOfFrames SamplesPerPixel PhotometricInterpretation BitsAllocated BitsStored HighBit "
    "PixelRepresentation RescaleIntercept RescaleSlope ImagePositionPatient ImageOrientationPatient PixelSpacing "
    "SOPClassUID SOPInstanceUID SeriesInstanceUID StudyInstanceUID FrameOfReferenceUID PatientID ImageType EchoTime "
    "EchoNumbers RepetitionTime InversionTime FlipAngle AcquisitionNumber TemporalPositionIdentifier AcquisitionTime "
    "SeriesDescription SpecificCharacterSet SeriesNumber InstanceNumber"
).split()
EVERY = tuple(
    dict.fromkeys(
        (
            *KEPT_ATTRIBUTES,
            *IDENTIFYING_ATTRIBUTES,
            *AGENT_ATTRIBUTES,
            *"SpecificCharacterSet BurnedInAnnotation AcquisitionDate SeriesDate StudyDate ContentDate".split(),
            *"AcquisitionDateTime TimezoneOffsetFromUTC PixelPaddingValue FloatPixelData DoubleFloatPixelData".split(),
        )
    )
)
_TEXTS = (
    *("", " ", "\0", "\\", "\\\\\\\\", "0", "-0", "-1", "1", "2", "3", "1e308", "-1e308", "1e400", "1e-320", "nan"),
    *("inf", "-inf", "NaN", "1_0", "0x10", "1,5", "+5", "5.", ".5", "1 5", "1e", "--1", "99999999999999999999"),
    *("16384", "65535", "65536", "2147483647", "4294967296", "0.0000001", "1\\2", "1\\2\\3", "1\\0\\0\\0\\1\\0"),
    *(
        "1\\0\\0\\1\\0\\0",
        "0\\0\\0\\0\\0\\0",
        "nan\\nan\\nan",
        "1e9\\0\\0",
        "9" * 400,
        "1\\" * 3000,
        "٣",
        "²",
        "½",
        "１",
    ),
    *("MONOCHROME1", "RGB", "PALETTE COLOR", "YBR_FULL", "DERIVED\\PRIMARY\\MPR", "ORIGINAL\\PRIMARY\\MOSAIC", "MR"),
    *("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.1.3.10", "1.2..3", "a" * 65),
    *("240000", "2460", "10:15:00", "101500.1234567", "20240230", "00000000", "99991231", "YES", "NO", "Y"),
    *("ISO_IR 192", "ISO 2022 IR 87\\ISO 2022 IR 149", "GB18030", "\\ISO 2022 IR 13", "ISO_IR 999", MARKER),
    *(
        f"T1 {MARKER} FLAIR",
        f"{MARKER}^{MARKER}",
        "平扫 T1 " + MARKER,
        "\x1b$B;3ED\x1b(B",
        "PSN-0123456789abcdef",
        "%s%n{0}",
    ),
)
_VRS = "US SS UL SL FL FD DS IS LO UN OB OW SQ UI CS TM DA DT PN UT UV AT ZZ".split()


def junk(rng: Random, keyword: str, current: bytes) -> bytes:
    """A value that the attribute's definition may or may not allow."""
    kind = rng.integers(8)
    if kind == 0:
        return rng.bytes(int(rng.integers(0, 17)))
    if kind == 1:
        form, values = _BINARY_VALUES[rng.integers(len(_BINARY_VALUES))]
        return struct.pack(f"<{form}", values[rng.integers(len(values))]) * int(rng.choice([1, 1, 1, 2, 6]))
    if kind == 2 and current:
        cut = int(rng.integers(len(current)))
        return (current[:cut], current[cut:], current + b"\\" + current, current * 50)[rng.integers(4)]
    if kind == 3 and current:
        return _jittered(rng, current)
    return _TEXTS[rng.integers(len(_TEXTS))].encode()


_BINARY_VALUES: tuple[tuple[str, tuple[float, ...]], ...] = (
    ("H", (0, 1, 2, 7, 8, 12, 15, 16, 17, 32, 255, 1024, 16384, 65535)),
    ("I", (0, 1, 16385, 2**31, 2**32 - 1)),
    ("d", (0.0, -1.0, 1e308, float("nan"), float("inf"), 1e-320)),
    ("f", (0.0, -1.0, 1e38, float("nan"), float("-inf"))),
    ("b", (0, 1, -1)),
)


def _jittered(rng: Random, current: bytes) -> bytes:
    """The value's own numbers, a little or much off."""
    parts = current.strip(b" \0").split(b"\\")
    at = int(rng.integers(len(parts)))
    try:
        value = float(parts[at])
    except ValueError:
        return bytes(reversed(current))
    factor = rng.choice([1.00001, 1.001, 1.01, 1.05, 1.5, -1.0, 0.0, 1e3, 1e6, 1e-6])
    parts[at] = f"{value * factor + rng.choice([0, 0, 0.004, 0.02, 1, 100]):.10g}".encode()
    return b"\\".join(parts)


Edit = Callable[[Dataset], None]


def rewritten(content: bytes, edit: Edit) -> bytes:
    """The file with its headers changed, all else as it was, written in its own transfer syntax."""
    dataset = pydicom.dcmread(BytesIO(content), force=True)
    implicit, little = dataset.original_encoding
    edit(dataset)
    if not getattr(dataset.file_meta, "TransferSyntaxUID", None):
        stream = BytesIO()
        dataset.save_as(stream, implicit_vr=implicit, little_endian=little, enforce_file_format=False)
        return stream.getvalue()
    stream = BytesIO()
    pydicom.dcmwrite(stream, dataset, implicit_vr=implicit, little_endian=little)
    return stream.getvalue()


def set_raw(dataset: Dataset, keyword: str, vr: str, value: bytes) -> None:
    """Any bytes under any representation."""
    tag = Tag(keyword)
    implicit, little = dataset.original_encoding if dataset.original_encoding[0] is not None else (False, True)
    value += b"\0" * (len(value) % 2)
    dataset.set_original_encoding(implicit, little, default_encoding)
    dataset[tag] = RawDataElement(tag, None if implicit else vr, len(value), value, 0, bool(implicit), bool(little))


def raw_of(dataset: Dataset, keyword: str) -> bytes:
    """The value's bytes, if they are still raw."""
    tag = Tag(keyword)
    value = getattr(dataset.get_item(tag), "value", b"") if tag in dataset else b""
    return value if isinstance(value, bytes) else b""


def any_edit(rng: Random) -> tuple[Edit, str]:
    """One attribute changed, removed or moved, or a sequence where none belongs; and what was done."""
    keyword = (DECISIVE if rng.random() < 0.6 else EVERY)[rng.integers(len(DECISIVE))] if rng.random() < 0.8 else ""
    keyword = keyword or EVERY[rng.integers(len(EVERY))]
    official = dictionary_VR(keyword).split(" ")[0]
    kind = rng.integers(10)
    if kind == 0:
        return (lambda d: d.pop(tag_for_keyword(keyword), None)), f"{keyword} removed"
    if kind == 1:
        items = [Dataset() for _ in range(int(rng.integers(0, 3)))]
        for item in items:
            item.PatientName = MARKER
        return (lambda d: d.add_new(tag_for_keyword(keyword), "SQ", items)), f"{keyword} a sequence"
    vr = official if rng.random() < 0.6 else _VRS[rng.integers(len(_VRS))]
    if vr == "SQ" and official != "SQ":
        vr = "UN"
    seed = int(rng.integers(2**32))

    def edit(dataset: Dataset) -> None:
        value = junk(np.random.default_rng(seed), keyword, raw_of(dataset, keyword))
        set_raw(dataset, keyword, vr, value)

    return edit, f"{keyword} as {vr}"


def mutated(rng: Random, files: Sequence[bytes]) -> tuple[list[bytes], str]:
    """One to three attributes, in one file, in some or in all."""
    edits, said = zip(*(any_edit(rng) for _ in range(int(rng.choice([1, 1, 2, 3])))), strict=True)

    def edit(dataset: Dataset) -> None:
        for one in edits:
            one(dataset)

    share = rng.choice([0.0, 0.1, 0.45, 1.0])
    chosen = {int(rng.integers(len(files)))} | {n for n in range(len(files)) if rng.random() < share}
    changed = list(files)
    written = 0
    for number in sorted(chosen):
        try:
            changed[number] = rewritten(files[number], edit)
            written += 1
        except Exception:  # not every junk can be written down by pydicom
            continue
    return changed, f"{'; '.join(said)} in {written} of {len(files)} files"
