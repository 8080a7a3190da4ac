"""A head as a scanner measured it, on the network's grid: pose, warp, slices, coil, noise, motion, field of view.

Whatever a sequence may go through before the network sees it is done here with random strength, so that the network
learns to ignore it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F  # noqa: N812

from glioserve_contract import Modality
from glioserve_dicom.volumes.geometry import Geometry, SequenceVolume
from glioserve_phantom.acquisition import rotation
from glioserve_preprocess.arrays import FloatArray
from glioserve_training.brain.contrast import draw_contrast
from glioserve_training.brain.head import BOX_HIGH_MM, BOX_LOW_MM, MAX_DISTANCE_MM, SPACING_MM, SyntheticHead
from glioserve_training.brain.surgery import operate

GRID_MM = 3.0
"""Spacing of the network's grid, in mm."""
SIZE_MULTIPLE = 16
SIZES = ((64, 80), (64, 80), (48, 64, 80))
"""Sizes (x, y, z) in voxels that the network's grid is drawn from: 144 to 240 mm."""
BRAIN_CENTRE_MM = np.array([0.0, 16.0, 2.0])
"""Brain centre of the average head, where fields of view are planned."""
SCALED_PERCENTILES = (0.0, 99.0)
"""Percentiles of the field of view that become 0 and 1; values beyond are clipped. The sidecar states the same."""


@dataclass(frozen=True, eq=False)
class Sample:
    """The network's input and the answer that it should give; all [z, y, x] on the same grid."""

    image: FloatArray
    """Intensities from 0 to 1; 0 outside the field of view."""
    distance_mm: FloatArray
    """Signed distance, negative inside the brain mask, clipped to what heads carry."""
    seen: npt.NDArray[np.bool_]
    """The field of view."""


def draw_size(rng: np.random.Generator) -> tuple[int, int, int]:
    """Draw the size of a network grid, in voxels (x, y, z)."""
    x, y, z = (int(rng.choice(sizes)) for sizes in SIZES)
    return x, y, z


def scan_head(head: SyntheticHead, rng: np.random.Generator, size_voxels: tuple[int, int, int]) -> Sample:
    """Draw one scan of ``head`` on a grid of ``size_voxels`` (x, y, z) of GRID_MM."""
    volume = _rendered(head, rng, draw_contrast)
    axis, step_mm = draw_slices(rng)
    volume = _slice_profile(volume, axis, step_mm * float(rng.uniform(0.75, 1.0)))
    pose = draw_pose(rng)
    warp = draw_warp(rng)
    field_mm, start_mm = draw_field_of_view(rng, size_voxels)
    fine = _centres(size_voxels, start_mm)
    distance = torch.from_numpy(head.distance.astype(np.float32) / 10)
    target = sampled(distance, fine, pose, warp, padding=MAX_DISTANCE_MM)
    taken, places = list(fine), fine[axis]
    if step_mm > GRID_MM * 0.67:
        first = start_mm[axis] + float(rng.uniform(0, step_mm))
        taken[axis] = np.arange(first, start_mm[axis] + field_mm[axis], step_mm, dtype=np.float32)
    image = sampled(volume, taken, pose, warp, padding=0.0)
    image = degraded(image, rng, axis)
    if len(taken[axis]) != len(places) or taken[axis] is not fine[axis]:
        image = _interpolated(image, 2 - axis, taken[axis], places)
    seen = np.ones(image.shape, dtype=bool)
    for a in range(3):
        outside = (fine[a] < start_mm[a]) | (fine[a] > start_mm[a] + field_mm[a])
        seen[(slice(None),) * (2 - a) + (outside,)] = False
    return Sample(scaled(image, seen), target, seen)


def scan_volume(
    head: SyntheticHead,
    rng: np.random.Generator,
    placing: np.random.Generator | None = None,
    contrast: Callable[[np.random.Generator], FloatArray] = draw_contrast,
) -> tuple[SequenceVolume, npt.NDArray[np.bool_]]:
    """Draw one scan of ``head`` as a scanner stores it, and its true brain mask on the same voxels [z, y, x].

    In-plane voxels of about 1 mm; else as :func:`scan_head`, so what serving makes of it can be compared with truth.
    ``placing`` draws pose, warp and field of view: with equal ones, two scans are two sequences of one patient who
    did not move. ``contrast`` draws what tissues look like.
    """
    where = rng if placing is None else placing
    pose, warp = draw_pose(where), draw_warp(where)
    extent, start = draw_field_of_view(where, (SIZES[0][-1], SIZES[1][-1], SIZES[2][-1]))
    axis, step_mm = draw_slices(rng)
    volume = _slice_profile(_rendered(head, rng, contrast), axis, step_mm * float(rng.uniform(0.75, 1.0)))
    spacing = np.full(3, rng.uniform(0.9, 1.3))
    spacing[axis] = step_mm
    places = [
        (first + step * (np.arange(max(8, int(length / step))) + 0.5)).astype(np.float32)
        for first, step, length in zip(start, spacing, extent, strict=True)
    ]
    image = degraded(sampled(volume, places, pose, warp, padding=0.0), rng, axis)
    distance = sampled(
        torch.from_numpy(head.distance.astype(np.float32) / 10), places, pose, warp, padding=MAX_DISTANCE_MM
    )
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [p[0] for p in places]
    x, y, z = (len(p) for p in places)
    return SequenceVolume(Modality.T1, image, Geometry((x, y, z), affine)), distance < 0


def scaled(image: FloatArray, seen: npt.NDArray[np.bool_]) -> FloatArray:
    """Return the intensities as the network takes them."""
    low, high = np.percentile(image[seen], SCALED_PERCENTILES)
    result = np.clip((image - low) / max(float(high - low), 1e-6), 0, 1)
    return np.where(seen, result, 0).astype(np.float32)


def _rendered(
    head: SyntheticHead, rng: np.random.Generator, contrast: Callable[[np.random.Generator], FloatArray]
) -> torch.Tensor:
    """Return intensities FP32 [z, y, x] on the head's own grid: contrast, texture, a little blur."""
    labels = operate(head, rng)
    means = contrast(rng)
    volume = torch.from_numpy(means[labels])
    texture = smooth_noise(rng, volume.shape, int(rng.choice((2, 3, 5))))
    volume = volume * (1 + float(rng.uniform(0, 0.14)) * texture)
    return _blurred(volume, float(rng.uniform(0.35, 1.0)))


def draw_slices(rng: np.random.Generator) -> tuple[int, float]:
    """Draw (axis x, y or z, slice step in mm): mostly axial, half of them thick."""
    axis = int(rng.choice(3, p=(0.15, 0.15, 0.7)))
    return axis, float(rng.uniform(3.0, 7.0)) if rng.random() < 0.65 else float(rng.uniform(0.9, 3.0))


def _slice_profile(volume: torch.Tensor, axis: int, thickness_mm: float) -> torch.Tensor:
    """Return the box mean along an axis of the head's frame, which is near the slices' normal."""
    width = thickness_mm / SPACING_MM
    if width <= 1:
        return volume
    reach = int(np.ceil((width - 1) / 2))
    taps = torch.ones(2 * reach + 1)
    taps[0] = taps[-1] = (width - (2 * reach - 1)) / 2
    return _convolved(volume, taps / taps.sum(), 2 - axis)


def draw_pose(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw the 4 x 4 from the scanner's LPS to the head's: tilt, shift, and one half of the heads mirrored."""
    matrix = np.eye(4)
    spread = 9.0 if rng.random() < 0.7 else 18.0
    turned = rotation(rng.normal(0, spread, 3).clip(-30, 30)) @ np.diag([rng.choice((-1.0, 1.0)), 1.0, 1.0])
    matrix[:3, :3] = turned * rng.uniform(0.93, 1.07)
    matrix[:3, 3] = BRAIN_CENTRE_MM
    return matrix


def draw_warp(rng: np.random.Generator) -> torch.Tensor:
    """Draw displacements in mm [1, 3 (x, y, z), d, h, w] on control points over the scanner's cube of 300 mm."""
    amplitude = float(rng.uniform(0, 5.0))
    points = rng.normal(0, amplitude, (1, 3, 7, 7, 7)).astype(np.float32)
    return torch.from_numpy(points)


def draw_field_of_view(
    rng: np.random.Generator, size_voxels: tuple[int, int, int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Draw (extent, lower corner) in mm about the brain's centre, (x, y, z); the corner starts the network's grid."""
    most = np.array(size_voxels) * GRID_MM
    extent = np.minimum(most, np.array([rng.uniform(170, 260), rng.uniform(190, 260), rng.uniform(115, 250)]))
    usual = np.array([-extent[0] / 2, -extent[1] / 2, max(-extent[2] * 0.62, 95 - extent[2] - 10)])
    start = usual + rng.normal(0, (8, 8, 9))
    return extent.astype(np.float32), start.astype(np.float32)


def _centres(size_voxels: tuple[int, int, int], start_mm: npt.NDArray[np.float32]) -> list[FloatArray]:
    return [
        (start + GRID_MM * (np.arange(n, dtype=np.float32) + 0.5)).astype(np.float32)
        for start, n in zip(start_mm, size_voxels, strict=True)
    ]


def sampled(
    volume: torch.Tensor,
    places: list[FloatArray],
    pose: npt.NDArray[np.float64],
    warp: torch.Tensor,
    *,
    padding: float,
    mode: Literal["bilinear", "nearest"] = "bilinear",
) -> FloatArray:
    """Sample ``volume`` of the head's frame at the scanner points of three lists of coordinates, FP32 [z, y, x].

    Args:
        volume: FP32 [z, y, x] on the head's own grid.
        places: Coordinates in mm along x, y and z, in the scanner's LPS.
        pose: 4 x 4 from the scanner's LPS to the head's, as :func:`draw_pose` gives it.
        warp: Displacements as :func:`draw_warp` gives them.
        padding: Value outside the head's grid.
        mode: Linear interpolation, or the value of the nearest voxel (labels).
    """
    x, y, z = (torch.from_numpy(p) for p in places)
    zz, yy, xx = torch.meshgrid(z, y, x, indexing="ij")
    points = torch.stack([xx, yy, zz], dim=-1)
    bend = F.grid_sample(warp, (points / 150)[None], mode="bilinear", padding_mode="border", align_corners=True)[0]
    points = points + bend.permute(1, 2, 3, 0)
    matrix = torch.from_numpy(pose.astype(np.float32))
    points = points @ matrix[:3, :3].T + matrix[:3, 3]
    low, high = (torch.tensor(v) for v in (BOX_LOW_MM, BOX_HIGH_MM))
    unit = (points - low) / (high - low) * 2 - 1
    found = F.grid_sample(volume[None, None] - padding, unit[None], mode=mode, align_corners=False)
    return np.asarray(found[0, 0].numpy() + np.float32(padding))


def degraded(image: FloatArray, rng: np.random.Generator, axis: int) -> FloatArray:
    """Add a coil field, gamma, ghosts of a moving head, slices of uneven gain, Rician noise."""
    tensor = torch.from_numpy(image)
    tensor = tensor * torch.exp(float(rng.uniform(0, 0.45)) * smooth_noise(rng, tensor.shape, 0))
    top = float(tensor.max()) or 1.0
    tensor = top * (tensor.clamp(min=0) / top) ** float(np.exp(rng.normal(0, 0.2)))
    if rng.random() < 0.2:  # ghosts along one in-plane axis
        along = int(rng.choice([a for a in range(3) if a != 2 - axis]))
        shift = int(rng.integers(3, max(4, tensor.shape[along] // 2)))
        strength = float(rng.uniform(0.02, 0.15))
        tensor = tensor + strength * (tensor.roll(shift, along) + tensor.roll(-shift, along))
    if rng.random() < 0.3:
        shape = [1, 1, 1]
        shape[2 - axis] = tensor.shape[2 - axis]
        tensor = tensor * torch.from_numpy(np.exp(rng.normal(0, 0.08, shape)).astype(np.float32))
    sigma = float(rng.uniform(0.0, 0.09)) * float(rng.uniform(0.2, 1.0))
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    real, imaginary = (sigma * torch.randn(tensor.shape, generator=generator) for _ in range(2))
    return np.asarray(torch.hypot(tensor + real, imaginary).numpy())


def _interpolated(image: FloatArray, array_axis: int, taken: FloatArray, places: FloatArray) -> FloatArray:
    """Interpolate along one axis from slices at ``taken`` to ``places`` (mm), and extrapolate beyond the last slice."""
    at = np.clip((places - taken[0]) / (taken[1] - taken[0]), 0, len(taken) - 1)
    lower = np.minimum(at.astype(int), len(taken) - 2)
    weight = (at - lower).astype(np.float32)
    shape = [1, 1, 1]
    shape[array_axis] = -1
    weight = weight.reshape(shape)
    return np.asarray(image.take(lower, array_axis) * (1 - weight) + image.take(lower + 1, array_axis) * weight)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...] | torch.Size, step: int) -> torch.Tensor:
    """Draw noise of mean 0 and standard deviation about 1.

    It is correlated over ``step`` voxels; 0 means a handful of waves over the volume.
    """
    counts = [4, 4, 4] if step == 0 else [max(2, n // step) for n in shape]
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    points = torch.randn([1, 1, *counts], generator=generator)
    return F.interpolate(points, size=tuple(shape), mode="trilinear", align_corners=True)[0, 0]


def _blurred(volume: torch.Tensor, sigma_voxels: float) -> torch.Tensor:
    reach = max(1, int(np.ceil(2.5 * sigma_voxels)))
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma_voxels) ** 2)
    taps = taps / taps.sum()
    for axis in range(3):
        volume = _convolved(volume, taps, axis)
    return volume


def _convolved(volume: torch.Tensor, taps: torch.Tensor, axis: int) -> torch.Tensor:
    """Convolve along one axis, borders repeated."""
    reach = len(taps) // 2
    result = torch.zeros_like(volume)
    n = volume.shape[axis]
    for offset, tap in zip(range(-reach, reach + 1), taps, strict=True):
        index = (torch.arange(n) + offset).clamp(0, n - 1)
        result += float(tap) * volume.index_select(axis, index)
    return result
