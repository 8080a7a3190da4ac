"""Bytes to DICOM instances: parsed, complete, of one patient and one study, free of identity if so asked.

Headers only: the pixels of a series are decoded when it was chosen (:mod:`assemble`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MediaStorageDirectoryStorage,
    MRImageStorage,
)

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.limits import MAX_INSTANCES, MAX_REQUEST_BYTES
from glioserve_dicom.files.archive import is_archive, unpack
from glioserve_dicom.files.attributes import element_of, items, text
from glioserve_dicom.files.part10 import NATIVE_SYNTAXES, Instance, looks_like_dicom, native_bytes, parse
from glioserve_dicom.files.quiet import quiet_pydicom
from glioserve_dicom.identity import IDENTIFYING_ATTRIBUTES, PATIENT_PSEUDONYM

MR_STORAGE = frozenset({MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage})
_IDENTIFYING_TAGS = {tag_for_keyword(k): k for k in IDENTIFYING_ATTRIBUTES}


@dataclass(frozen=True, eq=False)
class Instances:
    """The MR images of one study, in the order they came, and what was left aside."""

    instances: tuple[Instance, ...]
    warnings: tuple[str, ...] = ()

    @property
    def datasets(self) -> tuple[FileDataset, ...]:
        """Their headers."""
        return tuple(i.dataset for i in self.instances)


def read(files: Sequence[bytes], *, accept_identified: bool) -> Instances:
    """Parse a study's DICOM files, or zip archives of them.

    ``accept_identified``: take files in which a person can be recognised (an offline run inside the hospital).
    Raises GLIO-1103, -1104, -1201 to -1206 and -1214. Messages count files from 1, in the order of the request; they
    never carry a value of an attribute.
    """
    if not files:
        raise GlioserveError(ErrorCode.EMPTY_STUDY)
    _check_limits(len(files), sum(map(len, files)))
    found, not_dicom = _unpacked(files)
    if not found:
        raise GlioserveError(ErrorCode.EMPTY_STUDY, f"{not_dicom} files in archives, none of them DICOM.")
    with quiet_pydicom():
        parsed = [_whole_image(parse(content, what)) for what, content in found]
        datasets = [i.dataset for i in parsed]
        if not accept_identified:
            _refuse_identified(datasets)
        _refuse_several(datasets, "PatientID", ErrorCode.MULTIPLE_PATIENTS)
        _refuse_several(datasets, "StudyInstanceUID", ErrorCode.MULTIPLE_STUDIES)
        images = tuple(i for i in parsed if i.sop_class_uid in MR_STORAGE)
        others = Counter(_name_of(i) for i in parsed if i.sop_class_uid not in MR_STORAGE)
    others.update({"not DICOM": not_dicom} if not_dicom else {})
    listed = ", ".join(f"{count} {name}" for name, count in sorted(others.items()))
    if not images:
        raise GlioserveError(ErrorCode.NOT_MR, f"No MR images among {len(parsed)} files; found {listed}.")
    return Instances(images, (f"Left aside: {listed}.",) if others else ())


def _check_limits(count: int, size_bytes: int) -> None:
    if count > MAX_INSTANCES or size_bytes > MAX_REQUEST_BYTES:
        raise GlioserveError(
            ErrorCode.STUDY_TOO_LARGE,
            f"{count} files of {size_bytes >> 20} MiB; at most {MAX_INSTANCES} of {MAX_REQUEST_BYTES >> 20} MiB.",
        )


def _unpacked(files: Sequence[bytes]) -> tuple[list[tuple[str, bytes]], int]:
    """(what messages call it, content) of each file, archives opened; and how many in archives are no DICOM.

    A study's archive holds viewers and read-me files beside the images; a file that was sent by itself must be DICOM.
    """
    found: list[tuple[str, bytes]] = []
    not_dicom = size_bytes = 0
    for number, content in enumerate(files, 1):
        what = f"File {number} of {len(files)}"
        if not is_archive(content):
            found.append((what, content))
            size_bytes += len(content)
            continue
        for inner, (_, unpacked) in enumerate(unpack(content, what), 1):
            if looks_like_dicom(unpacked):
                found.append((f"{what}, file {inner} in it", unpacked))
                size_bytes += len(unpacked)
                _check_limits(len(found), size_bytes)
            else:
                not_dicom += 1
    return found, not_dicom


def _whole_image(instance: Instance) -> Instance:
    if instance.sop_class_uid in MR_STORAGE:
        needed = 1
        if instance.transfer_syntax in NATIVE_SYNTAXES and instance.pixel_keyword == "PixelData":
            needed = native_bytes(instance.dataset) or 1
        if len(instance.pixels) < needed:
            raise GlioserveError(ErrorCode.TRUNCATED_FILE, f"{instance.what} ends before its pixels do.")
    return instance


def _name_of(instance: Instance) -> str:
    uid = UID(instance.sop_class_uid)
    if uid == MediaStorageDirectoryStorage:
        return "DICOMDIR"
    return uid.name if uid.name != uid else "unknown object"


def _refuse_identified(datasets: Iterable[FileDataset]) -> None:
    found: set[str] = set()
    for dataset in datasets:
        _find_identifying(dataset, found)
        if not PATIENT_PSEUDONYM.fullmatch(text(dataset, "PatientID")):
            found.add("PatientID (not a pseudonym)")
    if found:
        raise GlioserveError(ErrorCode.IDENTIFIED_DICOM, f"Files carry {', '.join(sorted(found))}.")


def _find_identifying(dataset: Dataset, found: set[str]) -> None:
    for tag in dataset.keys():  # noqa: SIM118 - iterating a Dataset converts values
        element = element_of(dataset, tag)
        value = getattr(element, "value", None)
        if tag in _IDENTIFYING_TAGS and (value.strip(b" \0") if isinstance(value, bytes) else value):
            found.add(_IDENTIFYING_TAGS[tag])
        if _is_sequence(tag, element):
            for item in items(dataset, tag):
                _find_identifying(item, found)


def _is_sequence(tag: BaseTag, element: object) -> bool:
    """In implicit VR only the dictionary tells."""
    vr = getattr(element, "VR", None)
    if vr is None and not tag.is_private:
        vr = dictionary_VR(tag) if dictionary_has_tag(tag) else None
    return vr == "SQ"


def _refuse_several(datasets: Iterable[FileDataset], keyword: str, code: ErrorCode) -> None:
    values = {value for d in datasets if (value := text(d, keyword))}
    if len(values) > 1:
        raise GlioserveError(code, f"The files carry {len(values)} different values of {keyword}.")
