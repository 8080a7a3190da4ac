"""The acquisition of a series as one value: timings, sequence, contrast agent, words and time of one frame's headers.

Classic MR images have it in the data set itself (PS3.3 C.8.3), enhanced ones in the functional groups of the frame or
of all frames (C.7.6.16, C.8.13.5). Reading is tolerant: a value of the wrong form counts as absent and is never an
error, since all of it is evidence and none of it geometry. Texts pass through the closed lists of
:mod:`glioserve_dicom.identity` and :mod:`glioserve_dicom.words`, so that a file gives the same before and after the
client has removed what identifies the patient.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset

from glioserve_contract import GlioserveError
from glioserve_dicom.agents import agent_in
from glioserve_dicom.files.attributes import comparable, items, numbers, text
from glioserve_dicom.identity import kept_codes
from glioserve_dicom.slices.frames import is_multiframe
from glioserve_dicom.words import LONGEST_TEXT, kept_text

_FRAME_GROUPS = (
    "MRTimingAndRelatedParametersSequence",
    "MREchoSequence",
    "MRModifierSequence",
    "MRImageFrameTypeSequence",
    "MRDiffusionSequence",
    "FrameContentSequence",
    "PixelMeasuresSequence",
    "UnassignedSharedConvertedAttributesSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
)
_MOST_INVERSIONS = 8
_TIME = re.compile(r"([01]\d|2[0-3]):?([0-5]\d)?:?([0-5]\d)?(\.\d{1,6})?\d*([+-]\d{4})?")


@dataclass(frozen=True)
class Acquisition:
    """Values of one frame's headers; None or empty where a header is absent or cannot be read."""

    repetition_time_ms: float | None = None
    echo_time_ms: float | None = None
    inversion_time_ms: float | None = None
    flip_angle_deg: float | None = None
    echo_train_length: int | None = None
    field_strength_tesla: float | None = None
    b_value_s_mm2: float | None = None
    """Strength of the diffusion weighting."""
    in_3d: bool | None = None
    """True for 3D, False for 2D (MRAcquisitionType)."""
    scanning_sequence: frozenset[str] = frozenset()
    """SE, GR, IR, EP or RM; of enhanced images from EchoPulseSequence, InversionRecovery, EchoPlanarPulseSequence."""
    sequence_variant: frozenset[str] = frozenset()
    scan_options: frozenset[str] = frozenset()
    steady_state: bool = False
    """True for a balanced sequence, whose transverse magnetisation is refocused (SteadyStatePulseSequence)."""
    image_type: tuple[str, ...] = ()
    """Values of ImageType, FrameType, AcquisitionContrast, ComplexImageComponent, VolumeBasedCalculationTechnique."""
    angiography: bool = False
    """True where AngioFlag, TimeOfFlightContrast or PhaseContrast is set."""
    fat_suppressed: bool = False
    manufacturer: str = ""
    body_part: str = ""
    agent: bool | None = None
    """True where a contrast agent was given, False where none was, None where the headers do not mention one."""
    description: tuple[str, ...] = ()
    """Known words of SeriesDescription."""
    protocol: tuple[str, ...] = ()
    """Known words of ProtocolName: of the series at Siemens and Philips, of the whole examination at GE."""
    sequence_name: tuple[str, ...] = ()
    """Known words of SequenceName and PulseSequenceName."""
    started_s: float | None = None
    """Start of the acquisition, else of the series, in seconds; only differences within a study have a meaning."""
    acquired_s: float | None = None
    """Start of the acquisition alone: all reconstructions of one acquisition share it. None where it is not stated."""
    acquisition_number: str = ""
    """AcquisitionNumber, or the frame's FrameAcquisitionNumber."""
    phase: str = ""
    """TemporalPositionIdentifier, or the frame's TemporalPositionIndex."""
    lossy: bool = False
    """True where LossyImageCompression states that pixels were compressed with loss."""


def acquisition_of(dataset: Dataset, frame_index: int = 0) -> Acquisition:
    """Read the headers of frame ``frame_index`` (0-based; 0 for a classic image); raise nothing."""
    headers = _Headers(dataset, frame_index)
    image_type = (
        *headers.types(),
        *headers.codes("AcquisitionContrast"),
        *headers.codes("ComplexImageComponent"),
        *headers.codes("VolumeBasedCalculationTechnique"),
    )
    return Acquisition(
        repetition_time_ms=headers.positive("RepetitionTime"),
        echo_time_ms=headers.positive("EchoTime") or headers.positive("EffectiveEchoTime"),
        inversion_time_ms=headers.positive("InversionTime") or headers.positive("InversionTimes"),
        flip_angle_deg=headers.positive("FlipAngle"),
        echo_train_length=_whole(headers.positive("EchoTrainLength") or headers.positive("RFEchoTrainLength")),
        field_strength_tesla=headers.positive("MagneticFieldStrength"),
        b_value_s_mm2=headers.positive("DiffusionBValue"),
        in_3d={"3D": True, "2D": False}.get("".join(headers.codes("MRAcquisitionType"))),
        scanning_sequence=_scanning_sequence(headers),
        sequence_variant=frozenset(headers.codes("SequenceVariant")),
        scan_options=frozenset(headers.codes("ScanOptions")),
        steady_state="FREE_PRECESSION" in headers.codes("SteadyStatePulseSequence"),
        image_type=tuple(dict.fromkeys(image_type)),
        angiography=(
            "Y" in headers.codes("AngioFlag") or headers.yes("TimeOfFlightContrast") or headers.yes("PhaseContrast")
        ),
        fat_suppressed=bool({"FAT", "FAT_AND_WATER"} & {*headers.codes("SpectrallySelectedSuppression")}),
        manufacturer=next(iter(headers.codes("Manufacturer")), ""),
        body_part=next(iter(headers.codes("BodyPartExamined")), ""),
        agent=_agent(headers),
        description=headers.words("SeriesDescription"),
        protocol=headers.words("ProtocolName"),
        sequence_name=(*headers.words("SequenceName"), *headers.words("PulseSequenceName")),
        started_s=_started_s(headers),
        acquired_s=_acquired_s(headers),
        acquisition_number=headers.numeral("FrameAcquisitionNumber") or headers.numeral("AcquisitionNumber"),
        phase=headers.numeral("TemporalPositionIndex") or headers.numeral("TemporalPositionIdentifier"),
        lossy=headers.text("LossyImageCompression") == "01",
    )


def acquired_at_s(dataset: Dataset, frame_index: int = 0) -> float | None:
    """Return the start of a frame's acquisition in seconds; None where it is not stated."""
    return _acquired_s(_Headers(dataset, frame_index))


class _Headers:
    """Attributes, looked up in the frame's groups, then all frames' groups, then the data set."""

    def __init__(self, dataset: Dataset, frame_index: int) -> None:
        grouped = is_multiframe(dataset)
        frames = _items(dataset, "PerFrameFunctionalGroupsSequence") if grouped else []
        own = [frames[frame_index]] if 0 <= frame_index < len(frames) else []
        shared = _items(dataset, "SharedFunctionalGroupsSequence")[:1] if grouped else []
        self._frames = frames
        self.places: list[Dataset] = [*(place for group in (*own, *shared) for place in _within(group)), dataset]

    def text(self, keyword: str) -> str:
        """Return the first value that is present, its parts joined by backslashes; else empty."""
        return next((value for place in self.places if (value := text(place, keyword))), "")

    def numeral(self, keyword: str) -> str:
        """Return the first number that is present, in one spelling, whether the file has it as text or binary."""
        for place in self.places:
            with suppress(GlioserveError):
                if value := comparable(place, keyword):
                    return value
        return ""

    def codes(self, keyword: str) -> tuple[str, ...]:
        """Return the known terms of an attribute."""
        return kept_codes(keyword, self.text(keyword))

    def types(self) -> tuple[str, ...]:
        """Return the known terms of ImageType and FrameType; of FrameType alone where one object has several.

        ImageType is then the first frame's in some files, and not true of the others. A few frames are looked at.
        """
        own = self.codes("FrameType")
        places = (0, 1, len(self._frames) // 2, -1) if len(self._frames) > 1 else ()
        others = {_frame_type(self._frames[at]) for at in places}
        return own if own and len(others | {self.text("FrameType")}) > 1 else (*self.codes("ImageType"), *own)

    def words(self, keyword: str) -> tuple[str, ...]:
        """Return the known words of an attribute."""
        return tuple(kept_text(self.text(keyword), LONGEST_TEXT[keyword]).split())

    def yes(self, keyword: str) -> bool:
        """Return whether the attribute is YES."""
        return self.text(keyword).upper() == "YES"

    def positive(self, keyword: str) -> float | None:
        """Return the first number, if it is above zero: vendors write 0 where nothing applies."""
        for place in self.places:
            value = _first_number(place, keyword)
            if value is not None:
                return value if value > 0 and math.isfinite(value) else None
        return None


def _within(group: Dataset) -> Iterator[Dataset]:
    for keyword in _FRAME_GROUPS:
        yield from _items(group, keyword)[:1]
    yield from _items(group, "ContrastBolusUsageSequence")  # one item for each agent


def _frame_type(frame: Dataset) -> str:
    return next((text(group, "FrameType") for group in _items(frame, "MRImageFrameTypeSequence")), "")


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    try:
        return list(items(dataset, keyword))
    except GlioserveError:
        return []


def _first_number(dataset: Dataset, keyword: str) -> float | None:
    for count in range(1, _MOST_INVERSIONS + 1 if keyword == "InversionTimes" else 2):
        try:
            values = numbers(dataset, keyword, count)
        except GlioserveError:
            continue
        return values[0] if values else None
    return None


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _scanning_sequence(headers: _Headers) -> frozenset[str]:
    kinds = set(headers.codes("ScanningSequence"))
    echo = "".join(headers.codes("EchoPulseSequence"))
    kinds |= {"SPIN": {"SE"}, "GRADIENT": {"GR"}, "BOTH": {"SE", "GR"}}.get(echo, set())
    kinds |= {"IR"} if headers.yes("InversionRecovery") else set()
    kinds |= {"EP"} if headers.yes("EchoPlanarPulseSequence") else set()
    return frozenset(kinds)


def _agent(headers: _Headers) -> bool | None:
    """Return whether an agent was given; enhanced images hold it for each frame (PS3.3 C.7.6.16.2.12).

    A frame's NO holds whatever agent the object names; its YES does not hold against an object that names none given.
    """
    given = next((said for place in headers.places if (said := agent_in(place)) is not None), None)
    administered = {text(place, "ContrastBolusAgentAdministered").upper() for place in headers.places} & {"YES", "NO"}
    if not administered:
        return given
    if "YES" not in administered:
        return False
    return None if given is False else True


def _acquired_s(headers: _Headers) -> float | None:
    """Return the start by AcquisitionDateTime, else by AcquisitionTime with its date if present."""
    stamp = headers.text("AcquisitionDateTime") or headers.text("FrameAcquisitionDateTime")
    if (start_s := _seconds(stamp[:8], stamp[8:])) is not None and stamp[:8]:
        return start_s
    return _seconds(_date(headers, "AcquisitionDate"), headers.text("AcquisitionTime"))


def _started_s(headers: _Headers) -> float | None:
    """Return the start of the acquisition, else of the series."""
    acquired_s = _acquired_s(headers)
    return _seconds(_date(headers, "SeriesDate"), headers.text("SeriesTime")) if acquired_s is None else acquired_s


def _date(headers: _Headers, keyword: str) -> str:
    """Return a date if it is one, else the study's."""
    date = headers.text(keyword)
    return date if _day(date) else headers.text("StudyDate")


def _seconds(date: str, time: str) -> float | None:
    clock = _TIME.fullmatch(time)
    if clock is None:
        return None
    hours, minutes, seconds, fraction, _zone = clock.groups()
    return _day(date) * 86400 + int(hours) * 3600 + int(minutes or 0) * 60 + int(seconds or 0) + float(fraction or 0)


def _day(date: str) -> int:
    try:
        return datetime.strptime(date.replace(".", ""), "%Y%m%d").toordinal()  # noqa: DTZ007 - scanners have no zone
    except ValueError:
        return 0
