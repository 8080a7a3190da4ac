"""One phantom: a subject, a lesion, an acquisition of each sequence and the head's pose in it, all from one seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import SimpleITK as sitk

from glioserve_contract import Modality
from glioserve_contract.records.grid import Vector
from glioserve_dicom.volumes.geometry import Geometry, Matrix, SequenceVolume
from glioserve_phantom.acquisition import (
    PhantomAcquisition,
    draw_acquisition,
    head_axes,
    rigid,
    rotation,
    sample_slices,
    scan,
)
from glioserve_phantom.anatomy import BOX_HIGH_MM, BOX_LOW_MM, Subject, draw_subject, label_head
from glioserve_phantom.lesion import DIAGNOSES, Diagnosis, Lesion, draw_lesion, paint_lesion
from glioserve_phantom.sequences import tissue_intensities
from glioserve_phantom.shapes import Noise
from glioserve_preprocess.arrays import ByteArray, FloatArray
from glioserve_preprocess.itk import to_sitk

FINE_SPACING_MM = 1.2
"""Spacing of the rendered head that DICOM studies are scanned from."""
MAX_ROTATION_DEG, MAX_SHIFT_MM = 10.0, 10.0
"""Largest motion of the head between T1ce and another sequence, per axis."""
POINT_SPREAD_MM = 0.6
TEXTURE = 0.025


@dataclass(frozen=True, eq=False)
class PhantomHead:
    """A rendered head: labels [z, y, x] on an isotropic grid of the head's frame, with its masks."""

    labels: ByteArray
    texture: FloatArray
    brain: ByteArray
    lesion: ByteArray
    geometry: Geometry


@dataclass(frozen=True, eq=False)
class _HealthyHead:
    labels: ByteArray
    brain_mm: FloatArray
    texture: FloatArray


@lru_cache(maxsize=1)
def _healthy_head(subject: Subject, spacing_mm: float) -> _HealthyHead:
    """Render the head before its lesion; it is never written to.

    The last one is kept for the process: it is most of the work, and the same for both diagnoses of a seed.
    """
    x, y, z = head_axes(spacing_mm, BOX_LOW_MM, BOX_HIGH_MM)
    labels, brain_mm = label_head(subject, x, y, z)
    rng = np.random.default_rng([subject.seed, 2])
    texture = 1 + np.float32(TEXTURE) * Noise(rng, BOX_LOW_MM, BOX_HIGH_MM, 9.0).on_axes(x, y, z)
    return _HealthyHead(labels, brain_mm, texture)


@dataclass(frozen=True, eq=False)
class Phantom:
    """Ground truth of one study. Poses map the head's frame to the scanner's LPS mm."""

    seed: int
    subject: Subject
    lesion: Lesion
    acquisitions: Mapping[Modality, PhantomAcquisition]
    scanner_lps_from_head: Mapping[Modality, Matrix]
    spacing_mm: float = FINE_SPACING_MM
    """Spacing of the rendered head: 1.2 mm for DICOM; training renders coarser and faster."""

    @property
    def diagnosis(self) -> Diagnosis:
        """Necrosis or recurrence."""
        return self.lesion.diagnosis

    @cached_property
    def head(self) -> PhantomHead:
        """The rendered head (some seconds at 1.2 mm; kept)."""
        healthy = _healthy_head(self.subject, self.spacing_mm)
        labels = healthy.labels.copy()
        x, y, z = head_axes(self.spacing_mm, BOX_LOW_MM, BOX_HIGH_MM)
        lesion = paint_lesion(labels, self.lesion, healthy.brain_mm, x, y, z)
        affine = np.diag([self.spacing_mm] * 3 + [1.0])
        affine[:3, 3] = BOX_LOW_MM
        geometry = Geometry((x.size, y.size, z.size), affine)
        brain = healthy.brain_mm < np.float32(min(1.0, self.subject.csf_mm))
        return PhantomHead(labels, healthy.texture, brain.astype(np.uint8), lesion.astype(np.uint8), geometry)

    def volume(self, modality: Modality) -> SequenceVolume:
        """Return the sequence as the scanner measures it, FP32 [z, y, x] in the scanner's units."""
        acquisition = self.acquisitions[modality]
        table = tissue_intensities(np.random.default_rng([acquisition.seed, 3]), modality)
        image = to_sitk(table[self.head.labels] * self.head.texture, self.head.geometry)
        image = sitk.DiscreteGaussian(image, [POINT_SPREAD_MM**2] * 3)
        voxels = scan(image, acquisition, self.scanner_lps_from_head[modality])
        return SequenceVolume(modality, voxels, acquisition.geometry)

    def moving_lps_from_reference_lps(self, moving: Modality, reference: Modality) -> Matrix:
        """Return the true registration: points of the reference's scan to the moving sequence's."""
        matrix: Matrix = self.scanner_lps_from_head[moving] @ np.linalg.inv(self.scanner_lps_from_head[reference])
        return matrix

    def brain_mask(self, modality: Modality, geometry: Geometry) -> ByteArray:
        """Return the brain (with sulcal CSF and ventricles) 0/1 [z, y, x] on any grid of the sequence's space."""
        return self._mask(self.head.brain, modality, geometry)

    def lesion_mask(self, modality: Modality, geometry: Geometry) -> ByteArray:
        """Return the lesion (ring and core, or solid; no oedema) 0/1 [z, y, x] on any grid of the sequence's space."""
        return self._mask(self.head.lesion, modality, geometry)

    def lesion_centre_lps_mm(self, modality: Modality) -> Vector:
        """Return the centre of the lesion in the sequence's scanner space."""
        x, y, z, _ = self.scanner_lps_from_head[modality] @ np.array([*self.lesion.centre_mm, 1.0])
        return float(x), float(y), float(z)

    def with_diagnosis(self, diagnosis: Diagnosis) -> Phantom:
        """Return the same patient, scans and outline with the inside of the lesion of ``diagnosis``."""
        return replace(self, lesion=replace(self.lesion, diagnosis=diagnosis))

    def _mask(self, mask: ByteArray, modality: Modality, geometry: Geometry) -> ByteArray:
        image = to_sitk(mask.astype(np.float32), self.head.geometry)
        sampled = sample_slices(image, geometry, geometry.spacing_mm[2], self.scanner_lps_from_head[modality])
        return (sampled >= 0.5).astype(np.uint8)


def make_phantom(seed: int, diagnosis: Diagnosis | None = None, *, spacing_mm: float = FINE_SPACING_MM) -> Phantom:
    """Make the phantom of ``seed``; its diagnosis is drawn where none is given. Equal arguments give equal phantoms."""
    rng = np.random.default_rng([seed, 20250])
    subject = draw_subject(rng)
    drawn = DIAGNOSES[int(rng.integers(2))]
    lesion = draw_lesion(rng, subject, diagnosis or drawn)
    poses = _draw_poses(rng)
    acquisitions = {m: draw_acquisition(rng, m, poses[Modality.T1CE]) for m in Modality}
    return Phantom(seed, subject, lesion, acquisitions, poses, spacing_mm)


def _draw_poses(rng: np.random.Generator) -> dict[Modality, Matrix]:
    """Draw T1ce's pose on the table, and from it the head's motion before each other sequence."""
    table = rng.uniform((-15, -25, -60), (15, 25, 60))
    base = rigid(rng.uniform(-8, 8, 3), table)
    restlessness = rng.uniform(0.1, 1.0)
    poses = {Modality.T1CE: base}
    for modality in (m for m in Modality if m is not Modality.T1CE):
        turn = rotation(restlessness * rng.uniform(-MAX_ROTATION_DEG, MAX_ROTATION_DEG, 3))
        moved = base.copy()
        moved[:3, :3] = turn @ base[:3, :3]  # about the head's own centre, as necks do, roughly
        moved[:3, 3] += restlessness * rng.uniform(-MAX_SHIFT_MM, MAX_SHIFT_MM, 3)
        poses[modality] = moved
    return poses
