"""The pairs that the registration benchmark registers, each with its true transform.

Phantoms know theirs to the last bit. FG-6692 is a real patient, whose truth is what the tools agree on: first its
native pairs are registered, then the consensus per sequence is taken for true.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel
import numpy as np

from common import ROOT
from glioserve_contract import Modality
from glioserve_dicom.volumes.geometry import Geometry, Matrix, SequenceVolume, apply
from glioserve_phantom import make_phantom
from registration.truth import Level, Points, brain_points_lps_mm, draw_motion, placed

REAL = ROOT.parent / "shared" / "data" / "tcga-fg-6692" / "nifti"
REFERENCE = Modality.T1CE
MOVING = (Modality.T1, Modality.T2, Modality.FLAIR)
LEVELS: tuple[Level, ...] = ("small", "large")
FIRST_SEED = 5000
_FILES = {Modality.T1CE: "t1c", Modality.T1: "t1", Modality.T2: "t2", Modality.FLAIR: "fla"}
_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Case:
    """One pair. ``true`` is moving_lps_from_reference_lps, None where it is yet to be agreed on."""

    name: str
    group: str
    """``phantom small`` … ``FG-6692 large``, or ``FG-6692 native``."""
    reference: SequenceVolume
    moving: SequenceVolume
    points_lps_mm: Points
    """Points of the reference's brain, [n, 3]."""
    true: Matrix | None


@dataclass(frozen=True, eq=False)
class RealStudy:
    """FG-6692's native sequences, and the brain of its T1ce by HD-BET, which only measures."""

    volumes: Mapping[Modality, SequenceVolume]
    points_lps_mm: Points

    def native(self) -> list[Case]:
        """The three pairs as they were scanned."""
        reference = self.volumes[REFERENCE]
        return [
            Case(f"FG-6692 {m} native", "FG-6692 native", reference, self.volumes[m], self.points_lps_mm, None)
            for m in MOVING
        ]


def real_study() -> RealStudy | None:
    """Return the real patient's study; None where the data are absent."""
    if not REAL.is_dir():
        return None
    volumes = {m: read_nifti(REAL / f"{name}.nii.gz", m) for m, name in _FILES.items()}
    mask = read_nifti(REAL / "t1c_brain_mask_hdbet.nii.gz", REFERENCE)
    return RealStudy(volumes, brain_points_lps_mm(mask.voxels, mask.geometry))


def phantom_case(number: int, level: Level) -> Case:
    """Phantom ``FIRST_SEED + number``; its sequences take turns by number."""
    modality = MOVING[number % len(MOVING)]
    reference, moving, points, true = _phantom(FIRST_SEED + number, modality)
    name = f"phantom {FIRST_SEED + number} {modality} {level}"
    return _moved(name, f"phantom {level}", reference, moving, points, true, [number, LEVELS.index(level)])


def real_case(study: RealStudy, number: int, level: Level, true: Mapping[Modality, Matrix]) -> Case:
    """The ``number``-th known motion of FG-6692; its sequences take turns."""
    modality = MOVING[number % len(MOVING)]
    reference, moving = study.volumes[REFERENCE], study.volumes[modality]
    seed = [number, LEVELS.index(level), 1]
    name = f"FG-6692 {modality} {level} {number}"
    return _moved(name, f"FG-6692 {level}", reference, moving, study.points_lps_mm, true[modality], seed)


def _moved(
    name: str,
    group: str,
    reference: SequenceVolume,
    moving: SequenceVolume,
    points: Points,
    true: Matrix,
    seed: list[int],
) -> Case:
    """``moving`` carried so that the whole motion between the two is the one drawn, about the head's centre."""
    level: Level = "small" if group.endswith("small") else "large"
    rng = np.random.default_rng([FIRST_SEED, *seed])
    # Scanners' coordinates start at the same place for both: the motion is drawn between the heads' own positions.
    wanted = draw_motion(rng, level, points.mean(axis=0))
    return Case(name, group, reference, placed(moving, true, wanted), points, wanted)


@lru_cache(maxsize=1)
def _phantom(seed: int, modality: Modality) -> tuple[SequenceVolume, SequenceVolume, Points, Matrix]:
    """Reference, moving, brain points and truth: some seconds of rendering, used for both levels."""
    phantom = make_phantom(seed)
    reference, moving = phantom.volume(REFERENCE), phantom.volume(modality)
    points = brain_points_lps_mm(phantom.brain_mask(REFERENCE, reference.geometry), reference.geometry)
    return reference, moving, points, phantom.moving_lps_from_reference_lps(modality, REFERENCE)


def read_nifti(file: Path, modality: Modality) -> SequenceVolume:
    """[x, y, z] in RAS becomes [z, y, x] in LPS."""
    image = nibabel.loadsave.load(file)
    assert isinstance(image, nibabel.nifti1.Nifti1Image)
    assert image.affine is not None
    voxels = np.ascontiguousarray(np.asarray(image.dataobj, dtype=np.float32).transpose(2, 1, 0))
    z, y, x = voxels.shape
    return SequenceVolume(modality, voxels, Geometry((x, y, z), _LPS_FROM_RAS @ image.affine))


def displacement_mm(case: Case) -> float:
    """Mean distance that the true motion moves the brain."""
    assert case.true is not None
    moved = apply(case.true, case.points_lps_mm) - case.points_lps_mm
    return float(np.linalg.norm(moved, axis=1).mean())
