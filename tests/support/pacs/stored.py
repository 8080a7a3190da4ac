"""Results that a PACS has of a study, and what they must be."""

from __future__ import annotations

import io
from collections import Counter

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from support.pacs.orthanc import Orthanc
from support.pacs.pacs_studies import PacsStudy


def results_of(pacs: Orthanc, study: PacsStudy) -> list[Dataset]:
    """Return what the PACS has of the study beside the scanner's images."""
    found = pacs.find("Series", StudyInstanceUID=study.study_instance_uid, Manufacturer="glioserve")
    return [pydicom.dcmread(io.BytesIO(pacs.file(uid))) for series in found for uid in series["Instances"]]


def reports_of(results: list[Dataset]) -> list[Dataset]:
    """Reports, the first before those that supersede it."""
    found = [dataset for dataset in results if dataset.SOPClassUID == Comprehensive3DSRStorage]
    return sorted(found, key=lambda dataset: "PredecessorDocumentsSequence" in dataset)


def check_results(pacs: Orthanc, study: PacsStudy, answers: int) -> list[Dataset]:
    """Four results of each answer, of the study's own patient; return the reports."""
    results = results_of(pacs, study)
    classes = Counter(dataset.SOPClassUID.name for dataset in results)
    assert set(classes.values()) == {answers}
    assert len(classes) == 4
    assert {str(dataset.PatientID) for dataset in results} == {study.patient_id}
    assert {str(dataset.AccessionNumber) for dataset in results} == {study.accession_number}
    return reports_of(results)
