"""Content of a request: what is sent, what is not, and the limits that hold before a byte leaves."""

import json
from io import BytesIO

import numpy as np
import pydicom
import pytest
from pydicom.uid import CTImageStorage, SecondaryCaptureImageStorage
from tritonclient.utils import deserialize_bytes_tensor

from glioserve_client import DicomStudy, Modality, Volume, VolumeStudy, errors, request
from glioserve_client.request import encode
from glioserve_client.study import SkippedFile
from glioserve_dicom import read
from support.studies.dicom_files import file_bytes, mr_dataset


def tensors(encoded: request.Request) -> dict[str, object]:
    return {t.name: (t.dtype, t.shape, t.content) for t in encoded.inputs}


def test_dicom_is_sent_as_instances_under_pseudonyms() -> None:
    study = DicomStudy.from_bytes([file_bytes(mr_dataset(InstanceNumber=str(n))) for n in (1, 2)])
    encoded = encode(study)
    dtype, shape, content = tensors(encoded)["INSTANCES"]
    assert (dtype, shape) == ("BYTES", (2,))
    files = list(deserialize_bytes_tensor(content))
    assert [pydicom.dcmread(BytesIO(file)).InstanceNumber for file in files] == [1, 2]
    assert b"Zyxquist" not in content
    assert encoded.size_bytes == len(content)
    sent_uid = pydicom.dcmread(BytesIO(files[0])).SeriesInstanceUID
    assert encoded.original_series_uids == {sent_uid: "1.2.840.99999.1.7"}
    assert encoded.warnings == ()


def test_identified_dicom_is_sent_as_it_is_only_on_demand() -> None:
    file = file_bytes(mr_dataset())
    encoded = encode(DicomStudy.from_bytes([file]), identified=True)
    assert list(deserialize_bytes_tensor(tensors(encoded)["INSTANCES"][2])) == [file]
    assert encoded.original_series_uids == {"1.2.840.99999.1.7": "1.2.840.99999.1.7"}


@pytest.mark.parametrize("identified", [True, False])
def test_only_mr_images_leave_even_identified(identified: bool) -> None:
    contents = [
        file_bytes(mr_dataset()),
        file_bytes(mr_dataset(SOPClassUID=SecondaryCaptureImageStorage)),
        file_bytes(mr_dataset(SOPClassUID=CTImageStorage, Modality="CT")),
        file_bytes(mr_dataset(SOPClassUID=CTImageStorage, Modality="CT")),
        file_bytes(mr_dataset(BurnedInAnnotation="YES")),
        file_bytes(mr_dataset(SOPClassUID="1.2.840.99999.5.5")),
    ]
    study = DicomStudy(DicomStudy.from_bytes(contents).files, (SkippedFile("Zyxquist.txt", "not DICOM"),))
    encoded = encode(study, identified=identified)
    assert tensors(encoded)["INSTANCES"][1] == (1,)
    assert set(encoded.warnings) == {
        "1 file(s) not sent: not an MR image but Secondary Capture Image Storage.",
        "2 file(s) not sent: not an MR image but CT Image Storage.",
        "1 file(s) not sent: marked as having text burnt into its pixels.",
        "1 file(s) not sent: not an MR image but an object of a private class.",
        "1 file(s) not sent: not DICOM.",
    }


def test_a_study_of_another_modality_is_refused_here() -> None:
    study = DicomStudy.from_bytes([file_bytes(mr_dataset(SOPClassUID=CTImageStorage, Modality="CT"))] * 3)
    with pytest.raises(errors.NotMrError, match="3 not an MR image but CT Image Storage"):
        encode(study)


def test_volumes_are_sent_with_their_affines() -> None:
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    voxels = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    encoded = encode(VolumeStudy({Modality.T1CE: Volume(voxels, affine), Modality.T2: Volume(voxels + 1, affine)}))
    found = tensors(encoded)
    assert set(found) == {"T1CE", "T1CE_AFFINE", "T2", "T2_AFFINE"}
    assert found["T1CE"] == ("FP32", (2, 3, 4), voxels.tobytes())
    assert found["T2_AFFINE"] == ("FP64", (4, 4), affine.tobytes())
    assert encoded.size_bytes == 2 * (24 * 4 + 16 * 8)


def test_the_limits_hold_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    dicom = DicomStudy.from_bytes([file_bytes(mr_dataset()) for _ in range(3)])
    volumes = VolumeStudy({Modality.T1: Volume(np.zeros((4, 4, 4)), np.eye(4))})
    monkeypatch.setattr(read, "MAX_INSTANCES", 2)
    with pytest.raises(errors.StudyTooLargeError, match="3 files"):
        encode(dicom)
    monkeypatch.setattr(read, "MAX_INSTANCES", 3)
    monkeypatch.setattr(read, "MAX_REQUEST_BYTES", 200)
    for study in (dicom, volumes):
        with pytest.raises(errors.StudyTooLargeError, match="MiB"):
            encode(study)


@pytest.mark.parametrize("identified", [True, False])
def test_a_series_named_by_the_caller_is_sent_under_the_uid_that_the_files_carry(identified: bool) -> None:
    study = DicomStudy.from_bytes(
        [file_bytes(mr_dataset(SeriesInstanceUID=f"1.2.840.99999.1.{n}", SOPInstanceUID=f"1.2.3.{n}")) for n in (7, 8)]
    )
    series = {Modality.T1: "1.2.840.99999.1.7", Modality.T1CE: "1.2.840.99999.1.8#echo 2"}
    encoded = encode(study, identified=identified, series=series)
    named = json.loads(encoded.parameters["series"])
    back = {m: encoded.original_series_uids[name.partition("#")[0]] for m, name in named.items()}
    assert back == {"t1": "1.2.840.99999.1.7", "t1ce": "1.2.840.99999.1.8"}
    assert named["t1ce"].endswith("#echo 2")
    assert ("99999" in encoded.parameters["series"]) is identified
    assert encode(study).parameters == {}


def test_a_series_that_is_not_sent_cannot_be_named() -> None:
    study = DicomStudy.from_bytes([file_bytes(mr_dataset())])
    with pytest.raises(errors.UnknownSeriesError) as caught:
        encode(study, series={Modality.T1: "1.2.840.99999.1.31337"})
    assert "31337" not in str(caught.value)


def test_volumes_are_named_by_their_keys() -> None:
    study = VolumeStudy({Modality.T1: Volume(np.ones((2, 2, 2), np.float32), np.eye(4))})
    with pytest.raises(ValueError, match="DICOM"):
        encode(study, series={Modality.T1: "1.2.3"})
