"""Heads whose brain mask is known: synthetic ones by construction, FG-6692's sequences by HD-BET's mask of its T1ce.

That mask is read here and in the registration benchmark and nowhere else: no network was trained on it, no threshold
set by it. It reaches T1, T2 and FLAIR by the consensus of registration tools.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from glioserve_contract import Modality
from glioserve_dicom.volumes.geometry import Geometry, Matrix, SequenceVolume, canonical
from glioserve_phantom.acquisition import rigid
from glioserve_preprocess.tensor.grid import sample
from glioserve_training.brain.bank import load_head, make_bank
from glioserve_training.brain.contrast import SEQUENCES, random_contrast, sequence_contrast
from glioserve_training.brain.scan import scan_volume
from registration.cases import REAL, REFERENCE, RealStudy, read_nifti

Mask = npt.NDArray[np.bool_]

SYNTHETIC_FIRST_SEED = 1_000_000
"""First seed of the heads; training draws from 0."""
PERTURBED_FIRST_SEED = 77_000
TURN_DEG, SHIFT_MM = 15.0, 12.0


@dataclass(frozen=True, eq=False)
class BrainCase:
    """One scan and its true mask on the same voxels [z, y, x]."""

    name: str
    group: str
    volume: SequenceVolume
    mask: Mask


def synthetic_cases(count: int, folder: Path, workers: int) -> Iterator[partial[BrainCase]]:
    """Makers of one random scan of each of ``count`` fresh heads."""
    for file in make_bank(folder, SYNTHETIC_FIRST_SEED, count, workers):
        yield partial(_synthetic, file)


def _synthetic(file: Path) -> BrainCase:
    """Sequences and random contrasts take turns: training draws one as often as the other."""
    seed = int(file.stem.rsplit("-", 1)[-1])
    sequence = SEQUENCES[seed // 2 % len(SEQUENCES)] if seed % 2 else None
    contrast = random_contrast if sequence is None else partial(sequence_contrast, sequence=sequence)
    volume, mask = scan_volume(load_head(file), np.random.default_rng(seed), contrast=contrast)
    return BrainCase(
        f"synthetic {seed}", f"synthetic, {'any contrast' if sequence is None else 'a sequence'}", volume, mask
    )


def mask_of_real_study() -> SequenceVolume:
    """HD-BET's mask of FG-6692's T1ce, 0 and 1."""
    return read_nifti(REAL / "t1c_brain_mask_hdbet.nii.gz", REFERENCE)


def real_cases(
    study: RealStudy, mask: SequenceVolume, truth: Mapping[Modality, Matrix], copies: int
) -> list[BrainCase]:
    """Each sequence of FG-6692 as it is, and ``copies`` perturbed ones of each."""
    cases = []
    for number, (modality, volume) in enumerate(study.volumes.items()):
        native = canonical(volume)
        if modality is REFERENCE:
            own = canonical(mask).voxels > 0.5
        else:
            if modality not in truth:
                continue
            back = np.linalg.inv(truth[modality])
            own = sample(mask.voxels, mask.geometry, native.geometry, back) >= 0.5
        cases.append(BrainCase(f"FG-6692 {modality}", f"FG-6692 {modality}", native, own))
        for copy in range(copies):
            rng = np.random.default_rng([PERTURBED_FIRST_SEED, number, copy])
            cases.append(perturbed(cases[-1 - copy], rng, copy))
    return cases


def perturbed(case: BrainCase, rng: np.random.Generator, number: int) -> BrainCase:
    """Turned by up to 15 degrees and shifted by up to 12 mm an axis, resampled on its own grid; then a coil's field,
    gamma, noise, and a field of view cropped by up to an eighth at one end of each axis."""
    geometry, mask = case.volume.geometry, case.mask.astype(np.float32)
    centre = geometry.lps_from_voxel @ np.append(np.array(ndimage.center_of_mass(case.mask))[::-1], 1)
    motion = rigid(rng.uniform(-TURN_DEG, TURN_DEG, 3), np.zeros(3))
    motion[:3, 3] = centre[:3] - motion[:3, :3] @ centre[:3] + rng.uniform(-SHIFT_MM, SHIFT_MM, 3)
    voxels = sample(case.volume.voxels, geometry, geometry, motion)
    moved = sample(mask, geometry, geometry, motion) >= 0.5
    voxels = _degraded(voxels, rng)
    voxels, moved, geometry = _cropped(voxels, moved, geometry, rng)
    return BrainCase(
        f"{case.name} copy {number}",
        f"{case.group} perturbed",
        SequenceVolume(case.volume.modality, voxels, geometry),
        moved,
    )


def _degraded(voxels: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A smooth field of up to +-40 %, gamma 0.7 to 1.4, Rician noise of up to 6 % of the bright voxels."""
    field = ndimage.zoom(rng.normal(0, 1, (4, 4, 4)), [n / 4 for n in voxels.shape], order=3)
    field = field / np.abs(field).max() * rng.uniform(0.1, 0.4)
    top = float(np.percentile(voxels, 99.5))
    shaped = top * np.clip(voxels * (1 + field) / top, 0, None) ** rng.uniform(0.7, 1.4)
    sigma = top * rng.uniform(0.0, 0.06)
    noise = rng.normal(0, sigma, (2, *voxels.shape))
    return np.asarray(np.hypot(shaped + noise[0], noise[1]), dtype=np.float32)


def _cropped(
    voxels: npt.NDArray[np.float32], mask: Mask, geometry: Geometry, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], Mask, Geometry]:
    """Up to an eighth of the field of view less at one end of each axis."""
    low, high = np.zeros(3, dtype=int), np.array(geometry.size_voxels)
    for axis in range(3):
        cut = int(rng.uniform(0, geometry.size_voxels[axis] / 8))
        if rng.random() < 0.5:
            low[axis] += cut
        else:
            high[axis] -= cut
    x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    affine = geometry.lps_from_voxel.copy()
    affine[:3, 3] = (affine @ np.append(low, 1))[:3]
    nx, ny, nz = (int(n) for n in high - low)
    return np.ascontiguousarray(voxels[z, y, x]), mask[z, y, x], Geometry((nx, ny, nz), affine)
