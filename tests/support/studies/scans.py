"""Small DICOM series for tests: any voxels on any grid, any header, as Part 10 bytes."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from glioserve_dicom.read import Instances, read
from glioserve_dicom.slices.stacks import Stack, stacks_of
from glioserve_dicom.volumes.geometry import Geometry

T1_HEADER = {"SeriesDescription": "T1 AX", "ScanningSequence": "SE", "RepetitionTime": 500, "EchoTime": 10}
T1CE_HEADER = {**T1_HEADER, "SeriesDescription": "T1 AX POST GAD", "ContrastBolusAgent": "YES"}
T2_HEADER = {"SeriesDescription": "T2 AX", "ScanningSequence": "SE", "RepetitionTime": 4500, "EchoTime": 100}
FLAIR_HEADER = {
    "SeriesDescription": "FLAIR AX", "ScanningSequence": ["SE", "IR"], "RepetitionTime": 9000, "EchoTime": 110,
    "InversionTime": 2500,
}  # fmt: skip

STUDY_UID = generate_uid(entropy_srcs=["glioserve", "test study"])
PSEUDONYM = "PSN-0123456789abcdef"


def series(stored: npt.NDArray[np.integer[Any]], geometry: Geometry, **header: Any) -> list[Dataset]:
    """Datasets of one classic MR series: ``stored`` uint16 [z, y, x] on ``geometry``, with ``header`` over defaults."""
    x_axis, y_axis, z_axis = (geometry.lps_from_voxel[:3, i] for i in range(3))
    column_mm, row_mm, _ = geometry.spacing_mm
    series_uid = generate_uid()
    datasets = []
    for index, plane in enumerate(np.asarray(stored, dtype=np.uint16)):
        ds = Dataset()
        ds.SOPClassUID = MRImageStorage
        ds.SOPInstanceUID = generate_uid()
        ds.Modality = "MR"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
        ds.PatientID, ds.PatientIdentityRemoved = PSEUDONYM, "YES"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY_UID, series_uid
        ds.InstanceNumber = index + 1
        ds.ImageOrientationPatient = [*(x_axis / column_mm), *(y_axis / row_mm)]
        ds.ImagePositionPatient = list(geometry.lps_from_voxel[:3, 3] + z_axis * index)
        ds.PixelSpacing = [row_mm, column_mm]
        ds.Rows, ds.Columns = plane.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.PixelData = plane.astype("<u2").tobytes()
        for keyword, value in header.items():
            setattr(ds, keyword, value)
        datasets.append(ds)
    return datasets


def part10(dataset: Dataset) -> bytes:
    """The dataset as a DICOM file, in the transfer syntax that it has already or else explicit little endian."""
    syntax = dataset.file_meta.TransferSyntaxUID if hasattr(dataset, "file_meta") else ExplicitVRLittleEndian
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = syntax
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def instances_of(datasets: Iterable[Dataset]) -> Instances:
    """The datasets as a study that was read."""
    return read([part10(d) for d in datasets], accept_identified=True)


def stacks(datasets: Iterable[Dataset]) -> tuple[Stack, ...]:
    """Return the instances, told apart into stacks."""
    return stacks_of(instances_of(datasets))


def oblique(size: tuple[int, int, int], spacing_mm: tuple[float, float, float], seed: int = 0) -> Geometry:
    """A grid turned and shifted at random, right-handed, so that it can be a DICOM stack."""
    rng = np.random.default_rng(seed)
    directions, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    if np.linalg.det(directions) < 0:
        directions[:, 2] *= -1
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing_mm
    affine[:3, 3] = rng.uniform(-80, 80, 3)
    return Geometry(size, affine)
