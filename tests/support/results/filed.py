"""Answers to studies of a head whose results are filed: a hot spot on the left, and a patient's own headers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from glioserve_client import DicomStudy, Modality, Prediction
from glioserve_client.request import encode
from support.results.answers import blob, outputs_of, report_of
from support.studies.dicom_files import series_files
from support.studies.heads import ORIENTATIONS, head_grid, head_volume

SPACING_MM = (9.0, 8.0, 14.0)
REFERENCE = "1.2.840.99999.1.13"
LEFT_LPS_MM = (36.0, -16.0, 14.0)
"""A place left of the middle, in front and above: every mistake of an axis or a sign carries it elsewhere."""
IDENTITY = {
    "PatientName": "Doe^Jane",
    "PatientID": "MRN-42",
    "AccessionNumber": "ACC7",
    "StudyDate": "20240103",
    "StudyTime": "101112",
    "StudyID": "S1",
}


def asked(files: list[bytes], shape: tuple[int, int, int], affine: npt.NDArray[np.float64], **answer: Any):  # type: ignore[no-untyped-def]
    study = DicomStudy.from_bytes(files)
    uids = encode(study).original_series_uids
    pseudonym = next(sent for sent, original in uids.items() if original == REFERENCE)
    heat = blob(shape, affine, LEFT_LPS_MM, 20.0)
    report = report_of(heat, affine, series_uids={Modality.T1CE: pseudonym}, **answer)
    made = Prediction.from_outputs(outputs_of(report, heat), heatmap=True, request_id="r", original_series_uids=uids)
    return study, made


def head_files(
    orientation: str = "axial", **options: Any
) -> tuple[list[bytes], tuple[int, int, int], npt.NDArray[np.float64]]:
    shape, affine = head_grid(ORIENTATIONS[orientation], SPACING_MM)
    voxels = np.rint(head_volume(shape, affine) / 2) * 2
    return series_files(voxels, affine, SeriesInstanceUID=REFERENCE, **{**IDENTITY, **options}), shape, affine
