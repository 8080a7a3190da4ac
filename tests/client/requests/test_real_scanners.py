"""Scanners' own files: read, de-identified and placed, with the same picture."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest

from glioserve_client import DicomStudy, Modality, Prediction, VolumeStudy
from glioserve_client.deidentify import deidentify
from glioserve_client.outputs import overlay_of
from glioserve_client.request import encode
from glioserve_dicom.identity import IDENTIFYING_ATTRIBUTES, PATIENT_PSEUDONYM
from support.results.answers import blob, outputs_of, report_of

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
FOLDERS = (
    "tcga-fg-6692/dicom",
    "dicom/siemens_t1_2d_sag",
    "dicom/philips_t1",
    "dicom/pydicom_emri",
)

NEEDED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RepetitionTime", "EchoTime")
TELLING = ("PatientName", "PatientID", "StudyInstanceUID", "StudyDate", "StationName", "DeviceSerialNumber")

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs the optional data in ../shared/data")


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_scanners_files_lose_the_patient_and_keep_the_picture(folder: str) -> None:
    study = DicomStudy.from_directory(DATA / folder)
    files = [file for file in study.files if not file.reason_not_sent]
    contents = deidentify(files).contents
    assert len(contents) == len(files) > 4
    for file, content in zip(files, contents, strict=True):
        before, after = pydicom.dcmread(BytesIO(file.content)), pydicom.dcmread(BytesIO(content))
        assert np.array_equal(after.pixel_array, before.pixel_array)
        native = not before.file_meta.TransferSyntaxUID.is_encapsulated
        assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID or not native
        assert after.PixelData == before.PixelData or not native
        assert PATIENT_PSEUDONYM.fullmatch(after.PatientID)
        for keyword in (
            "ImagePositionPatient",
            "ImageOrientationPatient",
            "PixelSpacing",
            "RepetitionTime",
            "EchoTime",
        ):
            assert after.get(keyword) == before.get(keyword)
        for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
            assert len(after.get(keyword) or ()) == len(before.get(keyword) or ())
        assert not any(str(element.keyword) in IDENTIFYING_ATTRIBUTES for element in after.iterall())
        for keyword in (
            "PatientName",
            "PatientID",
            "StudyInstanceUID",
            "StudyDate",
            "StationName",
            "DeviceSerialNumber",
        ):
            secret = str(before.get(keyword) or "")
            short = len(secret) < (8 if secret.isdigit() else 4)  # UIDs that are sent are of random digits
            assert short or secret.encode() not in content


def test_the_anatomy_under_a_real_heat_map_is_the_same_from_dicom_and_from_nifti() -> None:
    """The patient's rows run anterior, so that an image shown as stored would be upside down."""
    nifti = VolumeStudy.from_nifti({Modality.T1CE: DATA / "tcga-fg-6692" / "nifti" / "t1c.nii.gz"})
    volume = nifti.volumes[Modality.T1CE]
    study = DicomStudy.from_directory(DATA / "tcga-fg-6692" / "dicom")
    uids = encode(study).original_series_uids
    post_contrast = next(f.series_instance_uid for f in study.files if b"POST GAD" in f.content)
    pseudonym = next(sent for sent, original in uids.items() if original == post_contrast)
    heat = blob(volume.voxels.shape, volume.lps_from_voxel, (25.0, -20.0, 20.0), 12.0)
    report = report_of(heat, volume.lps_from_voxel, series_uids={Modality.T1CE: pseudonym})
    answer = Prediction.from_outputs(outputs_of(report, heat), heatmap=True, request_id="r", original_series_uids=uids)
    from_dicom, problem = overlay_of(answer, study)
    from_nifti, none = overlay_of(answer, nifti)
    assert (problem, none) == ((), ())
    np.testing.assert_array_equal(np.asarray(from_dicom.image), np.asarray(from_nifti.image))
    panel, (x, _) = from_dicom.pixels_of(report.heatmap.peak_lps_mm)[0]
    assert panel.plane == "axial"
    assert x > (panel.box[0] + panel.box[2]) / 2  # left, and so on the viewer's right
