"""Sources of mutations: small whole studies in every transfer syntax, one of real size, real scanners' files, volumes.

All are built by our own code but for the optional ``../shared/data``, and are the same bytes in every process, so
that a case is known by its seed and number alone.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLosslessSV1, LegacyConvertedEnhancedMRImageStorage, generate_uid

from glioserve_contract import Modality
from glioserve_contract.records.recipe import Recipe
from glioserve_dicom.volumes.geometry import Geometry, SequenceVolume
from glioserve_preprocess.tensor.grid import sample
from support.models.recipes import tiny_recipe
from support.studies.encodings import LOSSLESS, NATIVE, bare, encoded, enhanced, jpeg_baseline, jpeg_extended
from support.studies.heads import ORIENTATIONS
from support.studies.scans import FLAIR_HEADER, T1_HEADER, T1CE_HEADER, T2_HEADER, part10, series

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
MARKER = "Zyxquist"
"""Stands for the patient in every attribute that could name one: it must never come out."""
SPACING_MM = (5.0, 5.0, 6.0)
"""(x, y, z): the brain gate and the registration still take the phantom for a head."""
HEADERS = {
    Modality.T1: {**T1_HEADER, "AcquisitionTime": "101500"},
    Modality.T1CE: {**T1CE_HEADER, "AcquisitionTime": "103000"},
    Modality.T2: {**T2_HEADER, "AcquisitionTime": "102000"},
    Modality.FLAIR: {**FLAIR_HEADER, "AcquisitionTime": "102500"},
}
PATIENT = {
    "PatientName": f"{MARKER}^Wilhelmina",
    "PatientID": f"MRN-{MARKER}",
    "PatientBirthDate": "19410203",
    "InstitutionName": f"{MARKER} Hospital",
    "StudyDescription": f"MR {MARKER}",
    "ImageComments": MARKER,
    "AcquisitionDate": "20240229",
}


@dataclass(frozen=True)
class Source:
    """A study as files, and the recipe that it satisfies."""

    name: str
    files: tuple[bytes, ...]
    recipe: Recipe


def recipe_of(*channels: Modality, min_slices: int = 8) -> Recipe:
    """Return a recipe of a coarse grid: everything but the network's own resolution."""
    return tiny_recipe(channels, (20, 20, 20), min_slices=min_slices)


PAIR = recipe_of(Modality.T1, Modality.T1CE)


@cache
def head(modality: Modality) -> SequenceVolume:
    """A phantom's sequence with its own motion, on voxels so large that the whole pipeline takes a second."""
    from glioserve_training.phantom_dataset import coarse_phantom

    volume = coarse_phantom(11).volume(modality)
    old_mm, new_mm = np.array(volume.geometry.spacing_mm), np.array(SPACING_MM)
    size = np.floor(np.array(volume.geometry.size_voxels) * old_mm / new_mm).astype(int)
    affine = volume.geometry.lps_from_voxel.copy()
    affine[:3, :3] *= new_mm / old_mm
    affine[:3, 3] += (affine - volume.geometry.lps_from_voxel)[:3, :3].sum(axis=1) / 2
    coarse = Geometry((int(size[0]), int(size[1]), int(size[2])), affine)
    voxels = sample(volume.voxels, volume.geometry, coarse, np.eye(4))
    return SequenceVolume(modality, voxels * np.float32(4000 / voxels.max()), coarse)


@cache
def datasets(*modalities: Modality, identified: bool = True) -> tuple[tuple[Dataset, ...], ...]:
    """Each sequence's images, under fixed UIDs."""
    found = []
    for modality in modalities:
        volume = head(modality)
        header = {
            **HEADERS[modality],
            **(PATIENT if identified else {}),
            "SeriesDescription": f"{HEADERS[modality]['SeriesDescription']} {MARKER}",
            "ProtocolName": MARKER,
            "FrameOfReferenceUID": uid("frame"),
            "SeriesNumber": list(Modality).index(modality) + 1,
        }
        images = series(np.rint(volume.voxels), volume.geometry, **header)
        for number, image in enumerate(images):
            image.SeriesInstanceUID = uid(modality.value)
            image.SOPInstanceUID = uid(modality.value, number)
        found.append(tuple(images))
    return tuple(found)


def uid(*parts: object) -> str:
    """The same for the same parts."""
    return generate_uid(entropy_srcs=["glioserve fuzz", *map(str, parts)])


def _written(name: str, images: Sequence[Dataset]) -> tuple[bytes, ...]:
    if name in NATIVE:
        return tuple(encoded(image, NATIVE[name]) for image in images)
    if name == "JPEG lossless":
        return tuple(encoded(image, JPEGLosslessSV1) for image in images)
    if name == "JPEG extended":
        return tuple(jpeg_extended(image) for image in images)
    if name == "JPEG baseline":
        return tuple(jpeg_baseline(_in_8_bits(image)) for image in images)
    if name == "bare data set":
        return tuple(bare(image) for image in images)
    return tuple(encoded(image, LOSSLESS[name]) for image in images)


def _in_8_bits(image: Dataset) -> Dataset:
    darker = deepcopy(image)
    darker.PixelData = (np.frombuffer(image.PixelData, "<u2") // 16).astype("<u2").tobytes()
    return darker


COMPRESSED = (*LOSSLESS, "JPEG lossless", "JPEG baseline", "JPEG extended")
SYNTAXES = (*NATIVE, *COMPRESSED, "bare data set")
ENHANCED = (
    "enhanced",
    "enhanced, big endian",
    "enhanced, implicit VR",
    "enhanced, RLE",
    "enhanced, JPEG 2000",
    "legacy",
)


@cache
def classic(syntax: str) -> Source:
    """T1, T1ce and a localiser, one image a file."""
    t1, t1ce = datasets(Modality.T1, Modality.T1CE)
    return Source(syntax, _written(syntax, (*t1, *t1ce, *_localiser())), PAIR)


@cache
def multiframe(name: str) -> Source:
    """The same as two enhanced files."""
    sop_class = {"sop_class": LegacyConvertedEnhancedMRImageStorage} if name == "legacy" else {}
    objects = []
    for number, images in enumerate(datasets(Modality.T1, Modality.T1CE)):
        whole = enhanced(images, **sop_class)
        whole.SOPInstanceUID = uid("enhanced", number)
        objects.append(whole)
    syntax = {"enhanced": "explicit little endian", "legacy": "explicit little endian"}.get(name)
    return Source(
        name, _written(syntax or name.removeprefix("enhanced, ").replace("big", "explicit big"), objects), PAIR
    )


@cache
def three_sequences() -> Source:
    """T1, T1ce and T2, pseudonymous: what a client sends."""
    images = [image for found in datasets(Modality.T1, Modality.T1CE, Modality.T2, identified=False) for image in found]
    return Source("pseudonymous", tuple(map(part10, images)), recipe_of(Modality.T1, Modality.T1CE, Modality.T2))


def _localiser() -> list[Dataset]:
    images = []
    for number, pose in enumerate(("axial", "sagittal", "coronal")):
        affine = np.eye(4)
        affine[:3, :3] = ORIENTATIONS[pose] * np.array([5.0, 5.0, 8.0])
        stored = np.random.default_rng(number).integers(0, 4000, (1, 34, 32))
        header = {**T1_HEADER, **PATIENT, "SeriesDescription": f"LOC {MARKER}", "FrameOfReferenceUID": uid("frame")}
        (image,) = series(
            stored, Geometry((32, 34, 1), affine), **header, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
        )
        image.SeriesInstanceUID, image.SOPInstanceUID = uid("localiser"), uid("localiser", number)
        images.append(image)
    return images


@cache
def phantom() -> Source:
    """Return a study of real size: 192 files of four sequences, a localiser and a reformat."""
    from glioserve_phantom import make_phantom
    from glioserve_phantom.dicom import dicom_files

    files = dicom_files(make_phantom(11, "recurrence"), identified=True)
    return Source("phantom", tuple(files), recipe_of(Modality.T1, Modality.T1CE, Modality.T2, min_slices=20))


@cache
def real(name: str) -> Source:
    """A folder of the optional data."""
    folder = DATA / REAL[name]
    files = tuple(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and _is_dicom(path))
    recipe = recipe_of(Modality.T1, Modality.T1CE, Modality.T2, min_slices=20)
    return Source(name, files, recipe if "FG-6692" in name else recipe_of(Modality.T1, min_slices=4))


def _is_dicom(path: Path) -> bool:
    return path.stat().st_size < (1 << 23) and path.name != "LICENSE"


REAL = {
    "Siemens": "dicom/siemens_t1_2d_sag",
    "Philips, classic": "dicom/philips_t1/501_T1W_FFE_Sno_CS4",
    "Philips, enhanced": "dicom/philips_t1/201_T1W_TSE_Sno_CSno_CSAIno",
    "pydicom, enhanced": "dicom/pydicom_emri",
    "FG-6692": "tcga-fg-6692/dicom",
}


def real_names() -> list[str]:
    """Return the names of the optional data that are there."""
    return [name for name, folder in REAL.items() if (DATA / folder).is_dir()]


@cache
def nifti(version: int, packed: bool) -> tuple[bytes, ...]:
    """T1 and T1ce as NIfTI files."""
    found = []
    for modality in (Modality.T1, Modality.T1CE):
        volume = head(modality)
        image_class: type[nibabel.Nifti1Image | nibabel.Nifti2Image] = (
            nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
        )
        ras = np.diag([-1.0, -1, 1, 1]) @ volume.geometry.lps_from_voxel
        image = image_class(volume.voxels.transpose(2, 1, 0).astype(np.int16), ras)
        image.set_qform(ras, code=1)
        image.header.set_xyzt_units("mm")
        image.header["descrip"] = MARKER.encode()
        content = image.to_bytes()
        found.append(gzip.compress(content, mtime=0) if packed else content)
    return tuple(found)
