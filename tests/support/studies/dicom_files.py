"""DICOM files for tests: real MR images of any grid, as identified as a hospital's, in any transfer syntax."""

from __future__ import annotations

from copy import deepcopy
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from glioserve_client.deidentify import deidentify
from glioserve_client.dicomfile import DicomFile, read_dicom_file

PATIENT = {"PatientName": "Zyxquist^Wilhelmina", "PatientID": "MRN-7788991", "PatientBirthDate": "19410203"}


def mr_dataset(pixels: npt.NDArray[Any] | None = None, **attributes: Any) -> Dataset:
    """One MR image with a patient's data in it; ``attributes`` override or add (None removes)."""
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8) if pixels is None else pixels
    dataset = Dataset()
    values: dict[str, Any] = {
        "SOPClassUID": MRImageStorage,
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": "1.2.840.99999.1",
        "SeriesInstanceUID": "1.2.840.99999.1.7",
        "FrameOfReferenceUID": "1.2.840.99999.1.9",
        "Modality": "MR",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
        "Manufacturer": "SIEMENS",
        "SeriesDescription": "T1 AX POST GAD",
        "StudyDate": "20240229",
        "AcquisitionDate": "20240229",
        "AcquisitionTime": "235950.250000",
        "SeriesDate": "20240229",
        "SeriesTime": "235940",
        "RepetitionTime": "450.5",
        "EchoTime": "10",
        "SliceThickness": "4",
        "InstanceNumber": "1",
        "SeriesNumber": "13",
        "ImagePositionPatient": [-10.5, 20.25, 30.0],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [0.5, 0.75],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[-2],
        "Columns": pixels.shape[-1],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        **PATIENT,
        **attributes,
    }
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.PixelData = pixels.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def file_bytes(dataset: Dataset, transfer_syntax: str = ExplicitVRLittleEndian, preamble: bytes = bytes(128)) -> bytes:
    """A Part 10 file of a copy; compressed pixels must be of the transfer syntax already."""
    dataset = deepcopy(dataset)
    if transfer_syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(transfer_syntax)
    dataset.file_meta.SourceApplicationEntityTitle = "ZYXQUIST_MR1"
    dataset.preamble = preamble
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def series_files(
    voxels: npt.NDArray[np.float32],
    lps_from_voxel: npt.NDArray[np.float64],
    *,
    slope: float = 1.0,
    intercept: float = 0.0,
    transfer_syntax: str = ExplicitVRLittleEndian,
    **attributes: Any,
) -> list[bytes]:
    """A volume [z, y, x] as one series, a file per slice; values are ``stored * slope + intercept``."""
    spacing = np.linalg.norm(lps_from_voxel[:3, :3], axis=0)
    directions = lps_from_voxel[:3, :3] / spacing
    files = []
    for number, plane in enumerate(voxels):
        stored = np.rint((plane - intercept) / slope).astype(np.uint16)
        position = (lps_from_voxel @ (0, 0, number, 1.0))[:3]
        dataset = mr_dataset(
            stored,
            ImagePositionPatient=[f"{v:.6f}" for v in position],
            ImageOrientationPatient=[f"{v:.9f}" for v in (*directions[:, 0], *directions[:, 1])],
            PixelSpacing=[f"{spacing[1]:.6f}", f"{spacing[0]:.6f}"],
            InstanceNumber=str(number + 1),
            RescaleSlope=f"{slope:g}",
            RescaleIntercept=f"{intercept:g}",
            **attributes,
        )
        files.append(file_bytes(dataset, transfer_syntax))
    return files


def dicom_file(dataset: Dataset, **options: Any) -> DicomFile:
    """Return the file as a study holds it."""
    return read_dicom_file(file_bytes(dataset, **options), "", "File 1 of 1")


def sent(dataset: Dataset, **options: Any) -> Dataset:
    """Return what the receiver reads of one file."""
    return pydicom.dcmread(BytesIO(deidentify([dicom_file(dataset, **options)]).contents[0]))
