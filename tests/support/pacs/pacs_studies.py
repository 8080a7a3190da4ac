"""Studies of one coarse phantom under other names: what a scanner would send of several patients."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from io import BytesIO

import pydicom
from pydicom.uid import generate_uid

from glioserve_phantom.dicom import dicom_files
from support.studies.phantoms import small_phantom

SEED = 3
_RENAMED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")


@dataclass(frozen=True)
class PacsStudy:
    """A study, whose series are in the order in which they were scanned."""

    study_instance_uid: str
    accession_number: str
    patient_id: str
    series: dict[str, list[bytes]]
    """Files by the series' description, in the order of their slices."""

    def files(self) -> list[bytes]:
        """Every file."""
        return [file for files in self.series.values() for file in files]


@lru_cache(maxsize=1)
def _scanned() -> list[bytes]:
    return dicom_files(small_phantom(SEED, "recurrence"), distractors=False)


def pacs_study(number: int, *, accession_number: str = "") -> PacsStudy:
    """The phantom's study as that of another patient, of today; by default of an order of its own."""
    today = datetime.now(timezone.utc).astimezone()
    series: dict[str, list[tuple[int, bytes]]] = {}
    for content in _scanned():
        dataset = pydicom.dcmread(BytesIO(content))
        if "FLAIR" in dataset.SeriesDescription:  # not of the demo model's recipe
            continue
        for keyword in _RENAMED:
            setattr(dataset, keyword, generate_uid(entropy_srcs=[str(number), str(dataset[keyword].value)]))
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.PatientName, dataset.PatientID = f"Fictitious^Number{number}", f"FICTITIOUS-{number:04d}"
        dataset.AccessionNumber = accession_number or f"ACC{number:04d}"
        dataset.StudyDate = f"{today:%Y%m%d}"
        buffer = BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        series.setdefault(str(dataset.SeriesDescription), []).append((int(dataset.InstanceNumber), buffer.getvalue()))
    return PacsStudy(
        str(dataset.StudyInstanceUID),
        str(dataset.AccessionNumber),
        str(dataset.PatientID),
        {name: [content for _, content in sorted(files)] for name, files in series.items()},
    )
