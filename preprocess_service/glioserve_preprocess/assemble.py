"""One series to one volume behind a geometry gate: what is not a complete rectangular stack is refused.

SimpleITK's own series reader takes stacks with missing, duplicate and mixed slices in silence, so sorting and
checking are ours; pydicom decodes. A bad series is refused with its code, never repaired by guess.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydicom.dataset import FileDataset

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.limits import MAX_VOLUME_VOXELS
from glioserve_preprocess.geometry import Geometry, Volume, checked_affine

SAME_POSITION_MM = 0.01
"""Two slices nearer than this lie at one position."""
SPACING_TOLERANCE = 0.05
"""Share of the median slice distance by which one may differ; a missing slice differs by 1."""
ORIENTATION_TOLERANCE = 1e-3
"""Largest difference of a direction cosine within a stack."""
SHEAR_TOLERANCE_MM = 0.5
"""In-plane drift of the last slice against the first, allowed over the whole stack."""

_NEEDED = ("Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "BitsAllocated")


def assemble(datasets: Sequence[FileDataset], modality: Modality) -> Volume:
    """The volume of one series, slices sorted along the stack's normal.

    ``datasets`` are the series' instances in any order. Raises GLIO-1104, -1207 to -1209 and -14xx; messages name
    the sequence, never the patient.
    """
    what = f"The {modality} series"
    for dataset in datasets:
        _refuse_other_objects(dataset, what)
    first = datasets[0]
    voxels_needed = int(first.Rows) * int(first.Columns) * len(datasets)
    if voxels_needed > MAX_VOLUME_VOXELS:
        raise GlioserveError(ErrorCode.STUDY_TOO_LARGE, f"{what} has {voxels_needed} voxels.")
    _refuse_mixed(datasets, what)
    across, down = np.array(first.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    normal = np.cross(across, down)
    positions = np.array([d.ImagePositionPatient for d in datasets], dtype=np.float64)
    order = np.argsort(positions @ normal, kind="stable")
    kept = _drop_copies([datasets[i] for i in order], positions[order] @ normal, what)
    positions = np.array([d.ImagePositionPatient for d in kept], dtype=np.float64)
    step = _even_step(positions, normal, what)
    row_mm, column_mm = (float(s) for s in first.PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = across * column_mm, down * row_mm, step
    affine[:3, 3] = positions[0]
    voxels = np.stack([_decode(d, what) for d in kept])
    geometry = Geometry((int(first.Columns), int(first.Rows), len(kept)), checked_affine(affine, what))
    return Volume(modality, voxels, geometry)


def slice_count(datasets: Sequence[FileDataset]) -> int:
    """Slices of a series, exact copies counted once; without reading pixels."""
    return len({tuple(d.get("ImagePositionPatient") or (i,)) for i, d in enumerate(datasets)})


def _refuse_other_objects(dataset: FileDataset, what: str) -> None:
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1 or "SharedFunctionalGroupsSequence" in dataset:
        raise GlioserveError(ErrorCode.UNSUPPORTED_OBJECT, f"{what} is enhanced multi-frame.")
    if "MOSAIC" in (dataset.get("ImageType") or ()):
        raise GlioserveError(ErrorCode.UNSUPPORTED_OBJECT, f"{what} is a mosaic.")
    if int(dataset.get("SamplesPerPixel") or 1) != 1:
        raise GlioserveError(ErrorCode.UNSUPPORTED_OBJECT, f"{what} is in colour.")
    missing = [k for k in _NEEDED if dataset.get(k) in (None, "")]
    if missing:
        raise GlioserveError(ErrorCode.MISSING_ATTRIBUTE, f"{what} lacks {', '.join(missing)} in a file.")


def _refuse_mixed(datasets: Sequence[FileDataset], what: str) -> None:
    first = datasets[0]
    for keyword, tolerance in (
        ("Rows", 0.0),
        ("Columns", 0.0),
        ("PixelSpacing", 1e-3),
        ("ImageOrientationPatient", ORIENTATION_TOLERANCE),
    ):
        wanted = np.array(first.get(keyword), dtype=np.float64)
        for dataset in datasets[1:]:
            if np.abs(np.array(dataset.get(keyword), dtype=np.float64) - wanted).max() > tolerance:
                raise GlioserveError(ErrorCode.MIXED_GEOMETRY, f"{what} has images of different {keyword}.")


def _drop_copies(datasets: list[FileDataset], along_mm: npt.NDArray[np.float64], what: str) -> list[FileDataset]:
    kept = [datasets[0]]
    last_mm = along_mm[0]
    for dataset, position_mm in zip(datasets[1:], along_mm[1:], strict=True):
        if position_mm - last_mm < SAME_POSITION_MM:
            if dataset.PixelData != kept[-1].PixelData:
                raise GlioserveError(ErrorCode.DUPLICATE_SLICE, f"{what} has two images at one slice position.")
            continue
        kept.append(dataset)
        last_mm = position_mm
    if len(kept) < 2:
        raise GlioserveError(ErrorCode.TOO_FEW_SLICES, f"{what} has a single slice.")
    return kept


def _even_step(
    positions: npt.NDArray[np.float64], normal: npt.NDArray[np.float64], what: str
) -> npt.NDArray[np.float64]:
    """The vector from slice to slice, along the normal, in LPS mm."""
    distances = np.diff(positions @ normal)
    median = float(np.median(distances))
    if np.abs(distances - median).max() > SPACING_TOLERANCE * median:
        raise GlioserveError(
            ErrorCode.MISSING_SLICE,
            f"{what}: {len(positions)} slices, {distances.min():.2f} to {distances.max():.2f} mm apart.",
        )
    drift = positions[-1] - positions[0]
    drift = drift - normal * (drift @ normal)
    if np.linalg.norm(drift) > SHEAR_TOLERANCE_MM:
        raise GlioserveError(
            ErrorCode.SHEARED_GEOMETRY, f"{what}: slices drift {np.linalg.norm(drift):.1f} mm in-plane."
        )
    step: npt.NDArray[np.float64] = normal * float(distances.mean())
    return step


def _decode(dataset: FileDataset, what: str) -> npt.NDArray[np.float32]:
    """One slice [y, x] in the scanner's units; MONOCHROME1 is inverted so that more signal is brighter."""
    try:
        stored = dataset.pixel_array
    except Exception:  # noqa: BLE001 - decoders raise many kinds on damaged streams
        syntax = dataset.file_meta.get("TransferSyntaxUID", "")
        name = getattr(syntax, "name", "unknown")
        raise GlioserveError(ErrorCode.UNDECODABLE_PIXELS, f"{what}: pixels in {name} cannot be decoded.") from None
    slope = float(dataset.get("RescaleSlope") or 1)
    voxels = stored.astype(np.float32) * np.float32(slope) + np.float32(dataset.get("RescaleIntercept") or 0)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        top = (1 << int(dataset.BitsStored)) - 1
        voxels = np.float32(top * slope + 2 * float(dataset.get("RescaleIntercept") or 0)) - voxels
    return voxels
