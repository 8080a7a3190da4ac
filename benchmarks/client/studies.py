"""Studies of a given size for the client's benchmark: phantoms' headers around pixels of noise."""

from __future__ import annotations

import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import UID

from common import ROOT
from glioserve_client import Modality, Volume, VolumeStudy
from glioserve_phantom import make_phantom
from glioserve_phantom.dicom import dicom_files

BUILD = ROOT / "build" / "bench_client"
STUDY_BYTES = 120_000_000
MODALITIES = (Modality.T1, Modality.T1CE, Modality.T2)


def dicom_folder(rows: int) -> Path:
    """A study of 120 MB in files of ``rows`` x ``rows`` pixels of 16 bits; kept in ``build`` once made."""
    folder = BUILD / f"rows-{rows}"
    count = round(STUDY_BYTES / (2 * rows * rows))
    if folder.is_dir() and len(list(folder.iterdir())) == count:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    headers = dicom_files(make_phantom(5000), identified=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        dataset = pydicom.dcmread(BytesIO(headers[number % len(headers)]))
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.826.0.1.{number + 1}")
        dataset.Rows = dataset.Columns = rows
        dataset.PixelData = rng.integers(0, 1 << dataset.BitsStored, (rows, rows), np.uint16).tobytes()
        dataset.save_as(folder / f"{number:04d}.dcm")
    return folder


def bytes_of(folder: Path) -> int:
    """Sum of the files' sizes."""
    return sum(file.stat().st_size for file in folder.iterdir())


def volume_study(size_mb: float) -> VolumeStudy:
    """Three volumes of ``size_mb`` together."""
    slices = max(2, round(size_mb * 1e6 / len(MODALITIES) / (256 * 256 * 4)))
    rng = np.random.default_rng(0)
    return VolumeStudy({m: Volume(rng.random((slices, 256, 256), dtype=np.float32), np.eye(4)) for m in MODALITIES})
