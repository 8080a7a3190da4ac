"""One series of a study as values, and the files of several: headers, voxels, place, and what it truly shows."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage, generate_uid

from glioserve_contract import Modality
from glioserve_dicom.volumes.geometry import Geometry
from glioserve_phantom.dicom import SCANNED_AT, image_attributes, part10
from glioserve_preprocess.arrays import FloatArray

ImageKey = tuple[int, int]
"""SeriesNumber and InstanceNumber, which the client's de-identification keeps."""


@dataclass(frozen=True, eq=False)
class ClinicalSeries:
    """One reconstruction of one acquisition, with the truth on it.

    Voxels are FP32 [z, y, x] on ``geometry``. Several of them may share a SeriesInstanceUID (``within``): the images of
    a Dixon acquisition in one series.
    """

    name: str
    """Name within the study, by which the truth speaks of it."""
    number: int
    """SeriesNumber."""
    voxels: FloatArray
    geometry: Geometry
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Values by DICOM keyword; None leaves an attribute out."""
    shows: Modality | None = None
    """Sequence that it may stand for; None where it must never be taken."""
    preferred: bool = True
    """False where another reconstruction of the same acquisition, or a better scan, is to be preferred."""
    started_s: float | None = 0.0
    """Start of the acquisition after the study's first; None for an anonymised study without times."""
    slice_thickness_mm: float = 4.0
    within: str = ""
    """Name of the series whose SeriesInstanceUID and number it shares; empty for one of its own."""
    uid_per_file: bool = False
    """True where an anonymiser gave every file a SeriesInstanceUID of its own."""
    position_decimals: int = 6
    """Decimals of ImagePositionPatient, in mm."""
    offsets_mm: tuple[float, ...] = ()
    """Distance of each slice from its even place along the normal, as positions are written; empty for none."""

    def again(self, name: str, number: int, **changes: Any) -> ClinicalSeries:
        """Return another series of the acquisition, of its own UID; ``attributes`` are laid over the present ones."""
        over = dict(changes.pop("attributes", {}))
        changes = {"within": "", **changes}
        return replace(self, name=name, number=number, attributes={**self.attributes, **over}, **changes)

    def described(self, text: str, protocol: str | None = None) -> ClinicalSeries:
        """Return it under another SeriesDescription, and ProtocolName where it is not GE's."""
        kept = self.attributes.get("ProtocolName", "")
        general = str(self.attributes.get("Manufacturer", "")).startswith("GE")
        protocol = kept if general and protocol is None else text if protocol is None else protocol
        return self.with_attributes(SeriesDescription=text, ProtocolName=protocol)

    def with_attributes(self, **attributes: Any) -> ClinicalSeries:
        """Return it with other values of these DICOM attributes; None leaves one out."""
        return replace(self, attributes={**self.attributes, **attributes})


def datasets_of(study_name: str, series: Iterable[ClinicalSeries]) -> list[tuple[str, Dataset]]:
    """Return each image as (name of its series, data set), classic MR images of one fictitious patient."""
    images: list[tuple[str, Dataset]] = []
    counts: dict[str, int] = {}
    for one in series:
        owner = one.within or one.name
        uid = generate_uid(entropy_srcs=["glioserve clinical", study_name, owner])
        for index, pixels in enumerate(one.voxels):
            counts[owner] = number = counts.get(owner, 0) + 1
            own_uid = generate_uid(entropy_srcs=[uid, "of its own", str(number)]) if one.uid_per_file else uid
            images.append((one.name, _dataset(study_name, one, index, pixels, own_uid, number)))
    return images


def files_of(study_name: str, series: Iterable[ClinicalSeries]) -> tuple[list[bytes], dict[ImageKey, str]]:
    """Return the study's DICOM Part 10 files, and each image's series name by SeriesNumber and InstanceNumber."""
    images = datasets_of(study_name, series)
    truth = {(int(ds.SeriesNumber), int(ds.InstanceNumber)): name for name, ds in images}
    if len(truth) < len(images):
        raise ValueError(f"{study_name}: two series share a number, and the truth could not tell their images apart")
    return [part10(ds) for _, ds in images], truth


def _dataset(
    study_name: str, series: ClinicalSeries, index: int, pixels: FloatArray, series_uid: str, number: int
) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = MRImageStorage
    ds.SOPInstanceUID = generate_uid(entropy_srcs=[series_uid, series.name, str(number)])
    ds.Modality, ds.PatientPosition = "MR", "HFS"
    ds.PatientName, ds.PatientID = "Phantom^Fictitious", f"FICTITIOUS-{zlib.crc32(study_name.encode()):08x}"
    ds.StudyInstanceUID = generate_uid(entropy_srcs=["glioserve clinical", study_name])
    ds.FrameOfReferenceUID = generate_uid(entropy_srcs=["glioserve clinical", study_name, "frame"])
    ds.SeriesInstanceUID, ds.SeriesNumber, ds.InstanceNumber = series_uid, series.number, number
    ds.AcquisitionNumber = 1
    if series.started_s is not None:
        at = SCANNED_AT + timedelta(seconds=series.started_s)
        ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = at.strftime("%Y%m%d")
        ds.SeriesTime = ds.AcquisitionTime = at.strftime("%H%M%S.%f")
    image_attributes(ds, pixels, series.geometry, index, series.slice_thickness_mm)
    normal = series.geometry.lps_from_voxel[:3, 2] / series.geometry.spacing_mm[2]
    place = np.array([float(v) for v in ds.ImagePositionPatient])
    place += normal * (series.offsets_mm[index] if series.offsets_mm else 0.0)
    ds.ImagePositionPatient = [f"{v:.{series.position_decimals}f}" for v in place]
    for keyword, value in series.attributes.items():
        if value is not None:
            setattr(ds, keyword, value)
        elif keyword in ds:
            delattr(ds, keyword)
    return ds
