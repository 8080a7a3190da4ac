"""Bytes to DICOM instances: parsed, complete, of one patient and one study, free of identity if so asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO

import pydicom
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MediaStorageDirectoryStorage,
    MRImageStorage,
)

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.identity import IDENTIFYING_ATTRIBUTES, PATIENT_PSEUDONYM
from glioserve_contract.limits import MAX_INSTANCES, MAX_REQUEST_BYTES

MR_STORAGE = frozenset({MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage})
_IDENTIFYING_TAGS = {pydicom.datadict.tag_for_keyword(k): k for k in IDENTIFYING_ATTRIBUTES}


@dataclass(frozen=True, eq=False)
class Instances:
    """The MR images of one study, in the order they came, and what was left aside."""

    datasets: tuple[FileDataset, ...]
    warnings: tuple[str, ...]


def read(files: Sequence[bytes], *, accept_identified: bool) -> Instances:
    """Parse a study's DICOM Part 10 files.

    ``accept_identified``: take files in which a person can be recognised (an offline run inside the hospital).
    Raises GLIO-1103, -1104, -1201 to -1206. Messages count files from 1, in the order of the request; they never
    carry a value of an attribute.
    """
    if not files:
        raise GlioserveError(ErrorCode.EMPTY_STUDY)
    if len(files) > MAX_INSTANCES or sum(map(len, files)) > MAX_REQUEST_BYTES:
        raise GlioserveError(
            ErrorCode.STUDY_TOO_LARGE,
            f"{len(files)} files of {sum(map(len, files)) >> 20} MiB; at most {MAX_INSTANCES} of "
            f"{MAX_REQUEST_BYTES >> 20} MiB.",
        )
    datasets = [_parse(content, f"File {i} of {len(files)}") for i, content in enumerate(files, 1)]
    if not accept_identified:
        _refuse_identified(datasets)
    _refuse_several(datasets, "PatientID", ErrorCode.MULTIPLE_PATIENTS)
    _refuse_several(datasets, "StudyInstanceUID", ErrorCode.MULTIPLE_STUDIES)
    images = tuple(d for d in datasets if d.get("SOPClassUID") in MR_STORAGE)
    others = Counter(_name_of(d) for d in datasets if d.get("SOPClassUID") not in MR_STORAGE)
    listed = ", ".join(f"{count} {name}" for name, count in sorted(others.items()))
    if not images:
        raise GlioserveError(ErrorCode.NOT_MR, f"No MR images among {len(files)} files; found {listed}.")
    return Instances(images, (f"Left aside: {listed}.",) if others else ())


def _name_of(dataset: FileDataset) -> str:
    uid = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID", "")
    if uid == MediaStorageDirectoryStorage:
        return "DICOMDIR"
    return pydicom.uid.UID(uid).name if pydicom.uid.UID(uid).is_valid else "unknown object"


def _parse(content: bytes, what: str) -> FileDataset:
    try:
        dataset = pydicom.dcmread(BytesIO(content))
        pixels = len(dataset.PixelData) if "PixelData" in dataset else None
        str(dataset.get("SOPClassUID", ""))
    except InvalidDicomError:
        raise GlioserveError(ErrorCode.NOT_DICOM, f"{what} is not DICOM.") from None
    except Exception:  # noqa: BLE001 - pydicom raises many kinds on damaged files
        raise GlioserveError(ErrorCode.TRUNCATED_FILE, f"{what} cannot be parsed.") from None
    if dataset.get("SOPClassUID") in MR_STORAGE and (pixels is None or pixels < _native_bytes(dataset)):
        raise GlioserveError(ErrorCode.TRUNCATED_FILE, f"{what} ends before its pixels do.")
    return dataset


def _native_bytes(dataset: FileDataset) -> int:
    """Bytes that uncompressed pixels must have; 1 where compressed, whose decoder tells."""
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None or syntax.is_compressed:
        return 1
    try:
        frames = int(dataset.get("NumberOfFrames") or 1)
        samples = int(dataset.get("SamplesPerPixel") or 1)
        return frames * samples * int(dataset.Rows) * int(dataset.Columns) * int(dataset.BitsAllocated) // 8
    except (AttributeError, TypeError, ValueError):
        return 1  # the geometry gate names the attribute that is missing


def _refuse_identified(datasets: Iterable[FileDataset]) -> None:
    found: set[str] = set()
    for dataset in datasets:
        for element in dataset.iterall():
            if element.tag in _IDENTIFYING_TAGS and not element.is_empty:
                found.add(_IDENTIFYING_TAGS[element.tag])
        if not PATIENT_PSEUDONYM.fullmatch(str(dataset.get("PatientID") or "")):
            found.add("PatientID (not a pseudonym)")
    if found:
        raise GlioserveError(ErrorCode.IDENTIFIED_DICOM, f"Files carry {', '.join(sorted(found))}.")


def _refuse_several(datasets: Iterable[FileDataset], keyword: str, code: ErrorCode) -> None:
    values = {str(d.get(keyword)) for d in datasets if d.get(keyword)}
    if len(values) > 1:
        raise GlioserveError(code, f"The files carry {len(values)} different values of {keyword}.")
