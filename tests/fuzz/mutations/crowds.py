"""Studies of thousands of tiny files, and objects of thousands of frames: what costs more than its share must show."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from io import BytesIO

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from fuzz.mutations.attributes import set_raw
from fuzz.sources import PATIENT, Source, recipe_of, uid
from glioserve_contract import Modality
from glioserve_dicom.volumes.geometry import Geometry
from support.studies.encodings import enhanced
from support.studies.scans import T1_HEADER, T1CE_HEADER, part10, series

Random = np.random.Generator
_VRS = {
    **dict.fromkeys(("EchoTime", "FlipAngle", "RescaleSlope", "InversionTime"), "DS"),
    **dict.fromkeys(("EchoNumbers", "AcquisitionNumber", "SeriesNumber", "TemporalPositionIdentifier"), "IS"),
    **dict.fromkeys(("SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"), "UI"),
    **dict.fromkeys(("AcquisitionTime",), "TM"),
    **dict.fromkeys(("SeriesDescription", "ContrastBolusAgent"), "LO"),
}
_STARTS = {"FrameOfReferenceUID": b"1.2.3.", "SeriesInstanceUID": b"1.2.4.", "SOPInstanceUID": b"1.2.5."}
_LISTS = {"ImagePositionPatient": b"0\\0\\", "PixelSpacing": b"2\\", "ImageOrientationPatient": b"1\\0\\0\\0\\1\\"}
VARIED = (*_VRS, *_LISTS)


def _hole(keyword: str) -> bytes:
    """Sixteen bytes that stand for a value: replaced in the file, a hundred times as fast as writing it anew."""
    return f"@{keyword}"[:16].ljust(16, "@").encode()


@cache
def _template(header: str) -> bytes:
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    chosen = T1CE_HEADER if header == "t1ce" else T1_HEADER
    (image,) = series(np.arange(16).reshape(1, 4, 4), Geometry((4, 4, 1), affine), **chosen, **PATIENT)
    image.RescaleIntercept = "0"
    image = pydicom.dcmread(BytesIO(part10(image)))
    for keyword, vr in _VRS.items():
        set_raw(image, keyword, vr, _hole(keyword))
    for keyword, start in _LISTS.items():
        set_raw(image, keyword, "DS", start + _hole(keyword))
    stream = BytesIO()
    pydicom.dcmwrite(stream, image)
    return stream.getvalue()


_CONSTANT = {
    "EchoTime": "10", "FlipAngle": "90", "RescaleSlope": "1", "InversionTime": "", "EchoNumbers": "1",
    "AcquisitionNumber": "1", "SeriesNumber": "7", "TemporalPositionIdentifier": "", "AcquisitionTime": "101500",
    "SeriesDescription": "T1 AX", "ContrastBolusAgent": "", "PixelSpacing": "2", "ImageOrientationPatient": "0",
    "SeriesInstanceUID": "4", "FrameOfReferenceUID": "6",
}  # fmt: skip


def crowd(rng: Random) -> tuple[Source, str]:
    """Up to the most files that a request may have, a few images a stack, told apart by one or two attributes."""
    count = int(rng.choice([400, 2000, 8000], p=[0.5, 0.35, 0.15]))
    size = int(rng.choice([1, 2, 3, 8, 40, count]))
    by = [VARIED[i] for i in rng.choice(len(VARIED), int(rng.choice([1, 1, 2])), replace=False)]
    if rng.random() < 0.4:
        by[0] = "SeriesInstanceUID"
    broken = bool(rng.random() < 0.2)
    files = files_of(count, size, by, header="t1ce" if rng.random() < 0.3 else "t1", broken=broken)
    recipe = recipe_of(Modality.T1, Modality.T1CE, min_slices=int(rng.choice([1, 8])))
    said = f"{count} files, {size} a stack, by {' and '.join(by)}{', unreadable' if broken else ''}"
    return Source("crowd", tuple(files), recipe), said


def files_of(count: int, size: int, by: Sequence[str], *, header: str = "t1", broken: bool = False) -> list[bytes]:
    """Files of 4 x 4 pixels: every ``size`` of them a stack, each stack with other values of the attributes ``by``."""
    template, files = _template(header), []
    for keyword, value in {**_CONSTANT, **({"PixelSpacing": "nan"} if broken else {})}.items():
        if keyword not in by:
            template = template.replace(_hole(keyword), _filled(_STARTS.get(keyword, b"") + value.encode()))
    for number in range(count):
        content = template.replace(_hole("SOPInstanceUID"), _filled(b"1.2.5.%d" % number))
        if "ImagePositionPatient" not in by:
            content = content.replace(_hole("ImagePositionPatient"), _filled(b"%d" % (3 * (number % size))))
        for keyword in by:
            start = _STARTS.get(keyword, b"0.01" if keyword == "ImageOrientationPatient" else b"")
            content = content.replace(_hole(keyword), _filled(start + b"%d" % (1 + number // size)))
        files.append(content)
    return files


def _filled(value: bytes) -> bytes:
    return value[:16].ljust(16)


def long_object(rng: Random) -> tuple[Source, str]:
    """One enhanced object of up to the most frames that are read."""
    count = int(rng.choice([300, 2000, 8000], p=[0.5, 0.35, 0.15]))
    every = int(rng.choice([1, 2, 30, count]))
    by = ("echo", "stack", "phase")[rng.integers(3)]
    source = Source("long object", (object_of(count, every, by),), recipe_of(Modality.T1, min_slices=8))
    return source, f"{count} frames, {every} a stack, by {by}"


def object_of(count: int, every: int, by: str) -> bytes:
    """Frames of 4 x 4 pixels, every few of them another echo, stack or phase."""
    geometry = Geometry((4, 4, 2), np.diag([2.0, 2.0, 3.0, 1.0]))
    images = series(np.zeros((2, 4, 4), dtype=np.uint16), geometry, **T1_HEADER, **PATIENT)
    whole = enhanced(images)
    whole.SOPInstanceUID, whole.SeriesInstanceUID = uid("long"), uid("long series")
    whole.NumberOfFrames = count
    whole.PixelData = np.random.default_rng(count).integers(0, 4000, 16 * count).astype("<u2").tobytes()
    frame = whole.PerFrameFunctionalGroupsSequence[0]
    whole.PerFrameFunctionalGroupsSequence = [_numbered(frame, n, every, by) for n in range(count)]
    return part10(whole)


def _numbered(frame: Dataset, number: int, every: int, by: str) -> Dataset:
    """A copy of ``frame`` in the place of another, and of another stack every so often."""
    own, place, content, echo = Dataset(), Dataset(), Dataset(), Dataset()
    own.update(frame)
    for keyword in ("PlanePositionSequence", "MREchoSequence", "FrameContentSequence"):
        del own[keyword]  # assigning would change the one that all copies share
    place.ImagePositionPatient = ["0", "0", str(3 * (number % every))]
    echo.EffectiveEchoTime = float(10 + (number // every if by == "echo" else 0))
    content.StackID = str(number // every if by == "stack" else 1)
    content.TemporalPositionIndex = number // every + 1 if by == "phase" else 1
    own.PlanePositionSequence, own.MREchoSequence, own.FrameContentSequence = [place], [echo], [content]
    return own
