"""The studies that the preprocessing benchmark reads: FG-6692's DICOM, and phantoms of any number of slices."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom

from common import ROOT
from glioserve_contract import Modality
from glioserve_dicom.volumes.geometry import Geometry
from glioserve_phantom import Phantom, make_phantom
from glioserve_phantom.dicom import dicom_files
from glioserve_phantom.headers import VENDORS, sequence_header

REAL = ROOT.parent / "shared" / "data" / "tcga-fg-6692" / "dicom"
BUILD = ROOT / "build" / "bench_preprocess"
SEED = 5000
COVER_MM = 165.0
"""Extent of each phantom's stack: the whole head in however many slices."""
FIELD_MM, MATRIX = 240.0, 256
SEQUENCES = (Modality.T1CE, Modality.T1, Modality.T2, Modality.FLAIR)
"""Sequences in the order in which a study of fewer loses them, last first."""


@dataclass(frozen=True)
class Study:
    """DICOM files, and the reference's brain mask [z, y, x] as .npy where it is known beforehand."""

    name: str
    files: tuple[Path, ...]
    mask: Path | None

    def of(self, sequences: Sequence[Modality]) -> Study:
        """The same study with some of its sequences; only of phantoms, whose folders tell them apart."""
        names = {m.value for m in sequences}
        return replace(self, files=tuple(f for f in self.files if f.parent.name in names))


def fg_sized_study() -> Study:
    """FG-6692 where it is given, else a phantom of 26 slices."""
    if not REAL.is_dir():
        return phantom_study(26)
    return Study("FG-6692", tuple(sorted(p for p in REAL.rglob("*") if p.is_file())), None)


def phantom_study(slices: int, *, isotropic: bool = False) -> Study:
    """Four axial sequences of 256 x 256 x ``slices``; kept in ``build`` once made. ``isotropic``: 1 mm voxels."""
    folder = BUILD / f"phantom-{SEED}-{slices}{'-isotropic' if isotropic else ''}"
    if not (folder / "brain.npy").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _write(_planned(make_phantom(SEED), slices, isotropic), folder)
    return Study(f"phantom of {slices} slices", tuple(sorted(folder.glob("*/*.dcm"))), folder / "brain.npy")


def _planned(phantom: Phantom, slices: int, isotropic: bool) -> Phantom:
    """The phantom with every sequence scanned axially in ``slices`` slices about the middle that it was planned on."""
    spacing = np.array([1.0, 1.0, 1.0] if isotropic else [FIELD_MM / MATRIX, FIELD_MM / MATRIX, COVER_MM / slices])
    acquisitions = {}
    for modality, acquisition in phantom.acquisitions.items():
        planned = acquisition.geometry
        middle = planned.lps_from_voxel @ np.append((np.array(planned.size_voxels) - 1) / 2, 1)
        affine = np.diag([*spacing, 1.0])
        affine[:3, 3] = middle[:3] - spacing * (np.array([MATRIX, MATRIX, slices]) - 1) / 2
        acquisitions[modality] = replace(
            acquisition,
            plane="axial",
            geometry=Geometry((MATRIX, MATRIX, slices), affine),
            slice_thickness_mm=float(spacing[2]),
        )
    return replace(phantom, acquisitions=acquisitions)


def _write(phantom: Phantom, folder: Path) -> None:
    """A folder per sequence, and last the true brain mask: an unfinished study has none."""
    vendor = VENDORS[phantom.subject.seed % len(VENDORS)]
    of_number = {sequence_header(a, vendor).series_number: m for m, a in phantom.acquisitions.items()}
    for number, content in enumerate(dicom_files(phantom, distractors=False)):
        series = pydicom.dcmread(BytesIO(content), specific_tags=["SeriesNumber"]).SeriesNumber
        place = folder / of_number[int(series)].value
        place.mkdir(parents=True, exist_ok=True)
        (place / f"IM{number:05d}.dcm").write_bytes(content)
    mask = phantom.brain_mask(Modality.T1CE, phantom.acquisitions[Modality.T1CE].geometry)
    np.save(folder / "brain.npy", mask)
