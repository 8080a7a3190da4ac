"""A phantom as a DICOM study: classic MR images (PS3.3 A.4) of all sequences, a localiser and a reformat.

The patient's name marks it as fictitious; ``identified=False`` writes pseudonyms only, as a server accepts them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from glioserve_contract import Modality
from glioserve_dicom.volumes.geometry import Geometry, SequenceVolume
from glioserve_phantom.acquisition import sample_slices
from glioserve_phantom.headers import VENDORS, SeriesHeader, localiser_header, reformat_header, sequence_header
from glioserve_phantom.study import Phantom
from glioserve_preprocess.itk import to_sitk

SCANNED_AT = datetime(2001, 1, 1, 9, 30, tzinfo=timezone.utc)
"""Study date of every phantom: long ago, and the same."""
MAX_STORED = 4095
REFORMAT_SLICES, REFORMAT_SPACING_MM = 36, 5.0


def dicom_files(phantom: Phantom, *, identified: bool = True, distractors: bool = True) -> list[bytes]:
    """Return the study's DICOM Part 10 files, in an arbitrary order that is the same for the same phantom."""
    common = _study(phantom, identified)
    vendor = common.Manufacturer
    files: list[bytes] = []
    t1ce: SequenceVolume | None = None
    for modality in phantom.acquisitions:
        volume = phantom.volume(modality)
        thickness = phantom.acquisitions[modality].slice_thickness_mm
        header = sequence_header(phantom.acquisitions[modality], vendor)
        files += _series(common, header, [volume], thickness)
        t1ce = volume if modality is Modality.T1CE else t1ce
    if distractors:
        assert t1ce is not None
        files += _series(common, localiser_header(vendor), _localiser(t1ce), 8.0)
        header = reformat_header(sequence_header(phantom.acquisitions[Modality.T1CE], vendor))
        files += _series(common, header, [_reformat(t1ce)], REFORMAT_SPACING_MM)
    random.Random(phantom.seed).shuffle(files)  # noqa: S311 - not a secret
    return files


def write_study(phantom: Phantom, folder: Path, *, identified: bool = True) -> int:
    """Write :func:`dicom_files` into ``folder`` as ``IM0001.dcm`` …; return their number."""
    folder.mkdir(parents=True, exist_ok=True)
    files = dicom_files(phantom, identified=identified)
    for number, content in enumerate(files, start=1):
        (folder / f"IM{number:04d}.dcm").write_bytes(content)
    return len(files)


def _study(phantom: Phantom, identified: bool) -> Dataset:
    """Return the attributes that all images of the study share."""
    ds = Dataset()
    ds.SOPClassUID = MRImageStorage
    ds.Modality = "MR"
    ds.Manufacturer = VENDORS[phantom.subject.seed % len(VENDORS)]
    ds.MagneticFieldStrength = 3 if phantom.subject.seed % 2 else 1.5
    ds.PatientPosition = "HFS"
    ds.StudyInstanceUID = _uid(phantom, "study")
    ds.FrameOfReferenceUID = _uid(phantom, "frame")
    ds.PositionReferenceIndicator = ""
    # Type 2 of the patient and study modules: present, and empty where the patient is a pseudonym.
    for keyword in "PatientName PatientBirthDate PatientSex StudyDate StudyTime ReferringPhysicianName".split():
        setattr(ds, keyword, "")
    ds.StudyID = ds.AccessionNumber = ""
    ds.PatientID = f"PSN-{phantom.seed:08x}"
    ds.PatientIdentityRemoved = "NO" if identified else "YES"
    if identified:
        ds.PatientName = f"Phantom^Fictitious^{phantom.seed}"
        ds.PatientID = f"FICTITIOUS-{phantom.seed:06d}"
        ds.PatientBirthDate = "19000101"
        ds.PatientSex = "O"
        ds.StudyDate = SCANNED_AT.strftime("%Y%m%d")
        ds.StudyTime = SCANNED_AT.strftime("%H%M%S")
        ds.StudyDescription = "MRI head of a phantom"
        ds.StudyID = str(phantom.seed)
        ds.AccessionNumber = f"FICT{phantom.seed:06d}"
        ds.ReferringPhysicianName = "Referrer^Fictitious"
        ds.InstitutionName = "Fictitious General Hospital"
        ds.StationName = "PHANTOM1"
    else:
        ds.DeidentificationMethod = "Synthetic phantom: never identified"
    return ds


def _uid(phantom: Phantom, *parts: object) -> str:
    return generate_uid(entropy_srcs=["glioserve phantom", str(phantom.seed), phantom.diagnosis, *map(str, parts)])


def _series(
    common: Dataset, header: SeriesHeader, volumes: list[SequenceVolume], thickness_mm: float
) -> Iterator[bytes]:
    """Yield the images of one series; it has several volumes where it has several planes (the localiser)."""
    uid = generate_uid(entropy_srcs=[common.StudyInstanceUID, str(header.series_number)])
    started = SCANNED_AT + timedelta(seconds=header.start_s)
    number = 0
    for volume in volumes:
        for index, pixels in enumerate(volume.voxels):
            number += 1
            ds = Dataset()
            ds.update(common)
            for keyword, value in header.attributes.items():
                setattr(ds, keyword, value)
            ds.SeriesInstanceUID = uid
            ds.SeriesNumber = header.series_number
            ds.InstanceNumber = number
            ds.AcquisitionNumber = 1
            ds.SOPInstanceUID = generate_uid(entropy_srcs=[uid, str(number)])
            if common.StudyDate:
                ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = common.StudyDate
            ds.SeriesTime = ds.AcquisitionTime = started.strftime("%H%M%S")
            ds.ContentTime = (started + timedelta(seconds=number)).strftime("%H%M%S")
            image_attributes(ds, pixels, volume.geometry, index, thickness_mm)
            yield part10(ds)


def image_attributes(
    ds: Dataset,
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    geometry: Geometry,
    index: int,
    thickness_mm: float,
) -> None:
    """Write the Image Plane, Image Pixel and MR Image modules of one slice into ``ds``."""
    directions = geometry.lps_from_voxel[:3, :3] / np.array(geometry.spacing_mm)
    position = (geometry.lps_from_voxel @ np.array([0, 0, index, 1.0]))[:3]
    x_mm, y_mm, z_mm = geometry.spacing_mm
    ds.ImagePositionPatient = [f"{v:.6f}" for v in position]
    ds.ImageOrientationPatient = [f"{v:.10f}" for v in (*directions[:, 0], *directions[:, 1])]
    ds.PixelSpacing = [f"{y_mm:.8f}", f"{x_mm:.8f}"]  # rows first: PS3.3 10.7.1.3
    ds.SliceThickness = f"{thickness_mm:.4f}"
    ds.SpacingBetweenSlices = f"{z_mm:.6f}"
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = np.rint(pixels).clip(0, MAX_STORED).astype("<u2").tobytes()


def part10(ds: Dataset) -> bytes:
    """Return the data set as a DICOM Part 10 file, explicit little endian."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta = meta
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _localiser(t1ce: SequenceVolume) -> list[SequenceVolume]:
    """Return one thick slice in each of three planes through the middle of the contrast scan."""
    return [_replan(t1ce, axes, 192, 1.3, 1, 8.0) for axes in (np.eye(3), _SAGITTAL, _CORONAL)]


def _reformat(t1ce: SequenceVolume) -> SequenceVolume:
    return _replan(t1ce, _CORONAL, 224, 1.0, REFORMAT_SLICES, REFORMAT_SPACING_MM)


_SAGITTAL = np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]])
_CORONAL = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""Directions of voxel x, y, z in LPS, as columns; the same holds for ``_SAGITTAL``."""


def _replan(
    volume: SequenceVolume,
    axes: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    size: int,
    in_plane_mm: float,
    slices: int,
    spacing_mm: float,
) -> SequenceVolume:
    """Sample ``volume`` on another plane's grid around its own middle."""
    source = volume.geometry
    middle = source.lps_from_voxel @ np.append((np.array(source.size_voxels) - 1) / 2, 1)
    affine = np.eye(4)
    affine[:3, :3] = axes * np.array((in_plane_mm, in_plane_mm, spacing_mm))
    affine[:3, 3] = middle[:3] - affine[:3, :3] @ ((np.array((size, size, slices)) - 1) / 2)
    geometry = Geometry((size, size, slices), affine)
    voxels = sample_slices(to_sitk(volume.voxels, source), geometry, spacing_mm, np.eye(4))
    return SequenceVolume(volume.modality, voxels, geometry)
