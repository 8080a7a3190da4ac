"""The record of what the network's input was computed from and how, and the same input again from that record.

A record does not hold voxels: it names them by digest. The study, the mask and ``preprocess.json`` together show at any
time what the network was shown; with the software that the record names, to the bit.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata

import numpy as np
import numpy.typing as npt

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.records.grid import GridRecord
from glioserve_contract.records.preprocess import PreprocessRecord, Provenance, SequenceProvenance
from glioserve_contract.records.recipe import Intensity
from glioserve_dicom.volumes.geometry import (
    Geometry,
    Matrix,
    SequenceVolume,
    affine_record,
    canonical,
    geometry_of_record,
)
from glioserve_preprocess.arrays import ByteArray, FloatArray
from glioserve_preprocess.tensor.grid import antialias_sigma_mm, sample, sample_mask
from glioserve_preprocess.tensor.normalise import scale

SOFTWARE = ("glioserve", "numpy", "scipy", "SimpleITK", "pydicom", "nibabel")
"""Distributions whose version may change a voxel, of the input or of what it was computed from."""
MAX_CORNER_DISTANCE_MM = 1e-3
"""Largest distance between a volume's grid and the recorded one; NIfTI files round affines to single precision."""


def provenance_of(image: FloatArray, native_mask: ByteArray, sequences: Sequence[SequenceProvenance]) -> Provenance:
    """Return the record; ``image`` [C, D, H, W], ``native_mask`` 0/1 [z, y, x] on the reference's canonical grid."""
    return Provenance(_digest(native_mask, "u1"), image_digest(image), tuple(sequences), software())


def image_digest(image: FloatArray) -> str:
    """Return the digest that :attr:`Provenance.image_sha256` holds; a replay of the same bits has the same one."""
    return _digest(image, "<f4")


def sequence_provenance(
    volume: SequenceVolume,
    series_instance_uid: str,
    native_lps_from_reference_lps: Matrix,
    network: Geometry,
    intensity: Intensity,
    intensity_range: tuple[float, float],
) -> SequenceProvenance:
    """Return the record of a canonical volume, sampled on ``network`` and scaled by ``intensity_range`` (low, high)."""
    return SequenceProvenance(
        modality=volume.modality,
        series_instance_uid=series_instance_uid,
        native_grid=volume.geometry.record(),
        voxels_sha256=_digest(volume.voxels, "<f4"),
        native_lps_from_reference_lps=affine_record(native_lps_from_reference_lps),
        smoothing_sigma_mm=antialias_sigma_mm(volume.geometry, network, native_lps_from_reference_lps),
        intensity_method=intensity.method,
        low=intensity_range[0],
        high=intensity_range[1],
    )


def replay(record: PreprocessRecord, volumes: Mapping[Modality, SequenceVolume], native_mask: ByteArray) -> FloatArray:
    """Compute the network's input [C, D, H, W] of ``record`` again: one sampling, one scaling a channel.

    Args:
        record: The record of the study.
        volumes: The native volumes, their axes stored in any way.
        native_mask: The brain, 0/1 [z, y, x], on the reference's canonical grid (``brain_mask.nii.gz`` of the offline
            command).

    Raises:
        GlioserveError: GLIO-1704 where a volume, its grid, the mask or the smoothing is not the recorded one.
    """
    if record.provenance is None:
        raise GlioserveError(ErrorCode.PROVENANCE_MISMATCH, "The record has no provenance.")
    sequences = record.provenance.sequences
    reference = next((s for s in sequences if s.modality is record.reference), None)
    if reference is None or _digest(native_mask, "u1") != record.provenance.mask_sha256:
        raise GlioserveError(ErrorCode.PROVENANCE_MISMATCH, "The brain mask is not the one that was recorded.")
    network = geometry_of_record(record.network_grid)
    brain_mask = sample_mask(native_mask, geometry_of_record(reference.native_grid), network)
    return np.stack([_replay_channel(s, volumes, network, brain_mask) for s in sequences])


def _replay_channel(
    step: SequenceProvenance,
    volumes: Mapping[Modality, SequenceVolume],
    network: Geometry,
    brain_mask: ByteArray,
) -> FloatArray:
    if step.modality not in volumes:
        raise GlioserveError(ErrorCode.PROVENANCE_MISMATCH, f"The {step.modality} volume is missing.")
    volume = canonical(volumes[step.modality])
    if not _same_grid(volume.geometry, step.native_grid):
        raise GlioserveError(ErrorCode.PROVENANCE_MISMATCH, f"The {step.modality} volume lies on another grid.")
    if _digest(volume.voxels, "<f4") != step.voxels_sha256:
        raise GlioserveError(ErrorCode.PROVENANCE_MISMATCH, f"The {step.modality} volume has other voxels.")
    native, matrix = geometry_of_record(step.native_grid), np.array(step.native_lps_from_reference_lps)
    sigmas_mm = antialias_sigma_mm(native, network, matrix)
    if not np.allclose(sigmas_mm, step.smoothing_sigma_mm, rtol=1e-9, atol=1e-9):
        raise GlioserveError(
            ErrorCode.PROVENANCE_MISMATCH, f"This version would smooth {step.modality} by {sigmas_mm} mm."
        )
    sampled = sample(volume.voxels, native, network, matrix, where=brain_mask, outside=np.nan)
    return scale(sampled, brain_mask, step.low, step.high)


@cache
def _software() -> tuple[tuple[str, str], ...]:
    """Return the versions, read once a process: they cannot change in it, and each study's record holds them."""
    versions = []
    for name in SOFTWARE:
        try:
            versions.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue  # run from a source tree
    return (*versions, ("python", platform.python_version()), ("machine", platform.machine()))


def software() -> dict[str, str]:
    """Return name and version of everything that has a part in the network's input."""
    return dict(_software())


def _same_grid(geometry: Geometry, record: GridRecord) -> bool:
    if geometry.size_voxels != record.size_voxels:
        return False
    apart_mm = np.abs(geometry.lps_from_voxel - np.array(record.lps_from_voxel))[:3]
    return float((apart_mm @ [*geometry.size_voxels, 1]).max()) <= MAX_CORNER_DISTANCE_MM


def _digest(array: npt.NDArray[np.generic], dtype: str) -> str:
    content = np.ascontiguousarray(array, dtype=dtype)
    return "sha256:" + hashlib.sha256(content.data).hexdigest()
