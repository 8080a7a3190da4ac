"""Ways to spoil a scan so that its brain mask may fail: what the quality gate is measured on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from brain.cases import BrainCase, Mask
from glioserve_dicom.volumes.geometry import Geometry, SequenceVolume

Array = npt.NDArray[np.float32]


def noise(case: BrainCase, rng: np.random.Generator) -> BrainCase:
    """Noise of a quarter to a half of the bright voxels."""
    voxels = case.volume.voxels
    sigma = float(np.percentile(voxels, 99)) * rng.uniform(0.25, 0.5)
    real, imaginary = rng.normal(0, sigma, (2, *voxels.shape))
    return _with(case, "noise", np.hypot(voxels + real, imaginary))


def shading(case: BrainCase, rng: np.random.Generator) -> BrainCase:
    """A surface coil: one side is ten to fifty times as bright as the other."""
    along = np.linspace(0, 1, case.volume.voxels.shape[1], dtype=np.float32)[None, :, None]
    return _with(case, "shading", case.volume.voxels * np.exp(-along * np.log(rng.uniform(10, 50))))


def dropout(case: BrainCase, rng: np.random.Generator) -> BrainCase:
    """Metal: a ball of 45 to 70 mm radius on the brain's edge without signal, bright around."""
    surface = np.argwhere(case.mask & ~ndimage.binary_erosion(case.mask))
    centre = surface[int(rng.integers(len(surface)))]
    spacing = np.array(case.volume.geometry.spacing_mm)[::-1]
    grids = np.ogrid[tuple(slice(0, n) for n in case.mask.shape)]
    distance = np.sqrt(sum(((g - c) * s) ** 2 for g, c, s in zip(grids, centre, spacing, strict=True)))
    radius = rng.uniform(45, 70)
    bright = float(np.percentile(case.volume.voxels, 99)) * 2
    voxels = np.where(distance < radius, 0, np.where(distance < radius + 5, bright, case.volume.voxels))
    return _with(case, "dropout", voxels)


def ghosts(case: BrainCase, rng: np.random.Generator) -> BrainCase:
    """A head that nodded: two shifted copies nearly as strong as the head."""
    voxels = case.volume.voxels
    shift = int(rng.integers(voxels.shape[1] // 8, voxels.shape[1] // 3))
    strength = np.float32(rng.uniform(0.5, 0.9))
    return _with(case, "ghosts", voxels + strength * (np.roll(voxels, shift, 1) + np.roll(voxels, -shift, 1)))


def half(case: BrainCase, rng: np.random.Generator) -> BrainCase:
    """The field of view ends within the brain: 35 to 60 % of it are left. There is no right answer."""
    axis = int(rng.integers(3))
    share = np.cumsum(case.mask.sum(axis=tuple(a for a in range(3) if a != axis)))
    cut = int(np.searchsorted(share, share[-1] * rng.uniform(0.4, 0.65)))
    kept = [slice(None)] * 3
    kept[axis] = slice(cut, None)
    z, y, x = kept
    low = np.zeros(4)
    low[2 - axis] = cut
    low[3] = 1
    affine = case.volume.geometry.lps_from_voxel.copy()
    affine[:3, 3] = (affine @ low)[:3]
    voxels = np.ascontiguousarray(case.volume.voxels[z, y, x])
    size = (voxels.shape[2], voxels.shape[1], voxels.shape[0])
    volume = SequenceVolume(case.volume.modality, voxels, Geometry(size, affine))
    return BrainCase(f"{case.name} half", "half a brain", volume, np.zeros(voxels.shape, dtype=bool))


def no_head(case: BrainCase, rng: np.random.Generator) -> BrainCase:
    """A bottle, or an abdomen of soft blobs. There is no right answer."""
    shape = case.volume.voxels.shape
    spacing = np.array(case.volume.geometry.spacing_mm)[::-1]
    grids = [
        (g - n / 2) * s for g, n, s in zip(np.ogrid[tuple(slice(0, n) for n in shape)], shape, spacing, strict=True)
    ]
    body = sum((g / r) ** 2 for g, r in zip(grids, rng.uniform(60, 110, 3), strict=True)) < 1
    if rng.random() < 0.5:
        voxels = np.where(body, 900.0, 10.0)
    else:
        blobs = ndimage.zoom(
            rng.normal(0, 1, (6, 7, 7)), [n / m for n, m in zip(shape, (6, 7, 7), strict=True)], order=1
        )
        voxels = np.where(body, 400 + 300 * blobs, 10.0)
    voxels = np.abs(voxels + rng.normal(0, 25, shape))
    volume = SequenceVolume(case.volume.modality, voxels.astype(np.float32), case.volume.geometry)
    return BrainCase(f"{case.name} no head", "no head", volume, np.zeros(shape, dtype=bool))


def upside_down(case: BrainCase, rng: np.random.Generator) -> BrainCase:
    """The file says that feet are up: the head lies mirrored from top to bottom."""
    del rng
    return BrainCase(
        f"{case.name} upside down",
        "upside down",
        SequenceVolume(case.volume.modality, np.ascontiguousarray(case.volume.voxels[::-1]), case.volume.geometry),
        case.mask[::-1],
    )


KINDS: tuple[Callable[[BrainCase, np.random.Generator], BrainCase], ...] = (
    noise,
    shading,
    dropout,
    ghosts,
    half,
    no_head,
    upside_down,
)


def _with(case: BrainCase, kind: str, voxels: npt.NDArray[np.generic]) -> BrainCase:
    volume = SequenceVolume(case.volume.modality, voxels.astype(np.float32), case.volume.geometry)
    mask: Mask = case.mask
    return BrainCase(f"{case.name} {kind}", kind, volume, mask)
