"""Series of classic images as scanners store them in Enhanced MR objects: in functional groups, numbers as binary."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import MRImageStorage

from support.studies.encodings import enhanced

CLASSIC_ONLY = (
    "ScanningSequence SequenceVariant ScanOptions AcquisitionTime AcquisitionDate ContrastBolusAgent "
    "ContrastBolusVolume ContrastBolusStartTime EchoNumbers InversionTime"
).split()
"""Attributes that Enhanced MR has by another name, or in a sequence."""


_SERIES = "SOPClassUID SeriesInstanceUID SeriesDescription Rows Columns".split()


def as_enhanced(datasets: Iterable[Dataset], *, whole_series: bool) -> list[Dataset]:
    """Return the classic images as enhanced objects, where the first of each came in; other objects as they are.

    Args:
        datasets: The study.
        whole_series: One object has all images of a series; else it has those of one image type and echo.
    """
    keywords = _SERIES if whole_series else [*_SERIES, "PixelSpacing", "ImageType", "EchoTime"]
    groups: dict[Hashable, list[Dataset]] = defaultdict(list)
    for dataset in datasets:
        groups[tuple(str(dataset.get(keyword)) for keyword in keywords)].append(dataset)
    found = []
    for group in groups.values():
        is_classic = group[0].SOPClassUID == MRImageStorage and "NumberOfFrames" not in group[0]
        found += [_stored(group)] if is_classic else group
    return found


def _stored(datasets: Sequence[Dataset]) -> Dataset:
    first, made = datasets[0], enhanced(datasets)
    kinds = {*_values(first.get("ScanningSequence"))}
    for keyword in CLASSIC_ONLY:
        if keyword in made:
            delattr(made, keyword)
    echo = {frozenset({"GR"}): "GRADIENT", frozenset({"SE"}): "SPIN", frozenset({"GR", "SE"}): "BOTH"}
    made.EchoPulseSequence = echo.get(frozenset(kinds & {"GR", "SE"}), "")
    made.EchoPlanarPulseSequence = "YES" if "EP" in kinds else "NO"
    made.AcquisitionContrast = "UNKNOWN"
    made.ComplexImageComponent = "PHASE" if "P" in _values(first.get("ImageType")) else "MAGNITUDE"
    if first.get("ContrastBolusAgent"):
        made.ContrastBolusAgentSequence = [_agent(first)]
    for dataset, frame in zip(datasets, made.PerFrameFunctionalGroupsSequence, strict=True):
        if dataset.get("AcquisitionTime"):
            day = dataset.get("AcquisitionDate") or dataset.get("StudyDate") or "20260102"
            frame.FrameContentSequence[0].FrameAcquisitionDateTime = f"{day}{dataset.AcquisitionTime}"
        frame.MRModifierSequence = [_modifier(dataset, kinds)]
        frame.PlaneOrientationSequence = [_orientation(dataset)]
    del made.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    return made


def _modifier(dataset: Dataset, kinds: set[str]) -> Dataset:
    modifier = Dataset()
    modifier.InversionRecovery = "YES" if "IR" in kinds or dataset.get("InversionTime") else "NO"
    if dataset.get("InversionTime"):
        modifier.InversionTimes = [float(dataset.InversionTime)]
    if "FS" in _values(dataset.get("ScanOptions")):
        modifier.SpectrallySelectedSuppression = "FAT"
    return modifier


def _orientation(dataset: Dataset) -> Dataset:
    orientation = Dataset()
    orientation.ImageOrientationPatient = dataset.ImageOrientationPatient
    return orientation


def _agent(dataset: Dataset) -> Dataset:
    agent = Dataset()
    agent.CodeValue, agent.CodingSchemeDesignator, agent.CodeMeaning = "1", "99LOCAL", str(dataset.ContrastBolusAgent)
    if dataset.get("ContrastBolusVolume") not in (None, ""):
        agent.ContrastBolusVolume = dataset.ContrastBolusVolume
    return agent


def _values(value: object) -> list[str]:
    return [str(v) for v in value] if isinstance(value, MultiValue | list) else [str(value)] if value else []
