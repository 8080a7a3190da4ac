"""Ways in which a sequence loses signal inside the head, and what looks like it and is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from glioserve_dicom.volumes.geometry import SequenceVolume, apply

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Change = Callable[[SequenceVolume, Mask, np.random.Generator], Array]


def spoilt(volume: SequenceVolume, mask: Mask, kind: str, rng: np.random.Generator) -> SequenceVolume:
    """Return ``volume`` with one of :data:`LOSSES` or :data:`LOOKALIKES`; ``mask`` is its brain, both [z, y, x]."""
    voxels = {**LOSSES, **LOOKALIKES}[kind](volume, mask, rng)
    return replace(volume, voxels=np.ascontiguousarray(voxels, dtype=np.float32))


def slice_axis(volume: SequenceVolume) -> int:
    """Return the array axis of largest spacing, z where they are equal."""
    spacings = np.round(volume.geometry.spacing_mm, 3)[::-1]
    return int(np.argmax(spacings))


def _span(mask: Mask, axis: int) -> tuple[int, int]:
    """Return the first plane of the brain along ``axis`` and the one after the last, stem and vertex left out."""
    area = mask.sum(axis=tuple(a for a in range(3) if a != axis))
    planes = np.flatnonzero(area > 0.35 * area.max())
    return int(planes[0]), int(planes[-1]) + 1


def _filled(volume: SequenceVolume, planes: npt.NDArray[np.intp], fill: float | Array, axis: int) -> Array:
    voxels = np.moveaxis(volume.voxels.copy(), axis, 0)
    voxels[planes] = fill
    return np.moveaxis(voxels, 0, axis)


def _air(volume: SequenceVolume) -> float:
    """Return the level of the noise in the corners, or a hundredth of the bright voxels where there is none."""
    corner = volume.voxels[:4, :8, :8]
    return max(float(corner.std()), 0.01 * float(np.percentile(volume.voxels, 99)))


def _noise(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> Array:
    real, imaginary = rng.normal(0, sigma, (2, *shape))
    return np.asarray(np.hypot(real, imaginary), dtype=np.float32)


def _filling(
    kind: str, volume: SequenceVolume, mask: Mask, shape: tuple[int, ...], rng: np.random.Generator
) -> float | Array:
    """Return what stands in place of lost signal: zero, the brain's median, air's noise, or noise as bright as it."""
    bright = float(np.median(volume.voxels[mask]))
    if kind in ("air", "noise"):
        return _noise(shape, _air(volume) if kind == "air" else 0.8 * bright, rng)
    return bright if kind == "constant" else 0.0


def _share_blank(low: float, high: float) -> Change:
    """Slices from one share of the stack to another are zero."""

    def change(volume: SequenceVolume, mask: Mask, rng: np.random.Generator) -> Array:
        del mask, rng
        axis = slice_axis(volume)
        count = volume.voxels.shape[axis]
        return _filled(volume, np.arange(int(count * low), int(count * high)), 0.0, axis)

    return change


def _slices(number: int, fill: str) -> Change:
    """``number`` slices somewhere in the brain are filled with something else."""

    def change(volume: SequenceVolume, mask: Mask, rng: np.random.Generator) -> Array:
        axis = slice_axis(volume)
        first, last = _span(mask, axis)
        start = int(rng.integers(first + 1, max(first + 2, last - number)))
        planes = np.arange(start, min(start + number, last))
        size = np.moveaxis(volume.voxels, axis, 0)[planes].shape
        before = np.moveaxis(volume.voxels, axis, 0)[[start - 1]]
        return _filled(volume, planes, before if fill == "copy" else _filling(fill, volume, mask, size, rng), axis)

    return change


def _every(step: int) -> Change:
    """Every ``step``-th slice is zero."""

    def change(volume: SequenceVolume, mask: Mask, rng: np.random.Generator) -> Array:
        del mask
        axis = slice_axis(volume)
        return _filled(volume, np.arange(int(rng.integers(step)), volume.voxels.shape[axis], step), 0.0, axis)

    return change


def _in_plane(fill: str, share: float = 1 / 3) -> Change:
    """A part of all rows or columns of every slice is filled with something else, at either end or in the middle."""

    def change(volume: SequenceVolume, mask: Mask, rng: np.random.Generator) -> Array:
        axis = int(rng.choice([a for a in range(3) if a != slice_axis(volume)]))
        first, last = _span(mask, axis)
        width = max(2, round((last - first) * share))
        start = int(rng.integers(first, last - width + 1))
        planes = np.arange(start, start + width)
        size = np.moveaxis(volume.voxels, axis, 0)[planes].shape
        return _filled(volume, planes, _filling(fill, volume, mask, size, rng), axis)

    return change


def _slices_in_part(volume: SequenceVolume, mask: Mask, rng: np.random.Generator) -> Array:
    """Half of the columns of three slices are zero."""
    axis = slice_axis(volume)
    first, last = _span(mask, axis)
    start = int(rng.integers(first, last - 3))
    voxels = np.moveaxis(volume.voxels.copy(), axis, 0)
    middle = int(np.argwhere(np.moveaxis(mask, axis, 0)[start])[:, 1].mean())
    voxels[start : start + 3, :, middle:] = 0
    return np.moveaxis(voxels, 0, axis)


def _octant(volume: SequenceVolume, mask: Mask, rng: np.random.Generator) -> Array:
    """One eighth of the head is zero."""
    voxels = volume.voxels.copy()
    middle = np.argwhere(mask).mean(axis=0).astype(int)
    voxels[tuple(slice(0, m) if rng.random() < 0.5 else slice(m, None) for m in middle)] = 0
    return voxels


LOSSES: Mapping[str, Change] = {
    "two thirds blank": _share_blank(0.0, 0.66),
    "upper half blank": _share_blank(0.5, 1.0),
    "lower half blank": _share_blank(0.0, 0.5),
    "five slices zero": _slices(5, "zero"),
    "one slice zero": _slices(1, "zero"),
    "every fourth slice zero": _every(4),
    "every second slice zero": _every(2),
    "one slice constant": _slices(1, "constant"),
    "three slices constant": _slices(3, "constant"),
    "one slice of air": _slices(1, "air"),
    "one slice of noise": _slices(1, "noise"),
    "three slices of noise": _slices(3, "noise"),
    "a slice repeated": _slices(1, "copy"),
    "a slice repeated twice": _slices(2, "copy"),
    "in-plane third zero": _in_plane("zero"),
    "in-plane third constant": _in_plane("constant"),
    "in-plane third noise": _in_plane("noise"),
    "half of three slices zero": _slices_in_part,
    "an octant zero": _octant,
}
"""Losses that a person must look at."""


def _as_it_is(volume: SequenceVolume, mask: Mask, rng: np.random.Generator) -> Array:
    del mask, rng
    return volume.voxels


def _noisy(volume: SequenceVolume, mask: Mask, rng: np.random.Generator) -> Array:
    """Rician noise of 4 to 12 % of the brain."""
    sigma = float(np.median(volume.voxels[mask])) * rng.uniform(0.04, 0.12)
    real, imaginary = rng.normal(0, sigma, (2, *volume.voxels.shape))
    return np.asarray(np.hypot(volume.voxels + real, imaginary), dtype=np.float32)


def _shaded(volume: SequenceVolume, mask: Mask, rng: np.random.Generator) -> Array:
    """A coil's shading of up to three or four from one side to the other."""
    del mask
    field = np.zeros(volume.voxels.shape, dtype=np.float32)
    for axis, count in enumerate(volume.voxels.shape):
        ramp = np.linspace(-1, 1, count, dtype=np.float32) * np.float32(rng.normal() * 0.4)
        field += ramp.reshape([-1 if a == axis else 1 for a in range(3)])
    return np.asarray(volume.voxels * np.exp(field), dtype=np.float32)


def _stripped(volume: SequenceVolume, mask: Mask, rng: np.random.Generator) -> Array:
    """Zero outside the brain, as another tool leaves it."""
    del rng
    return np.where(mask, volume.voxels, np.float32(0))


def _defaced(volume: SequenceVolume, mask: Mask, rng: np.random.Generator) -> Array:
    """Zero in front of and below the brain's front."""
    del rng
    z, y, x = np.indices(mask.shape)
    places = apply(volume.geometry.lps_from_voxel, np.stack([x, y, z], axis=-1).reshape(-1, 3).astype(np.float64))
    brain = places[mask.ravel()]
    face = (places[:, 1] < np.percentile(brain[:, 1], 25)) & (places[:, 2] < np.percentile(brain[:, 2], 25))
    return np.where(face.reshape(mask.shape) & ~mask, np.float32(0), volume.voxels)


def _cavity(volume: SequenceVolume, mask: Mask, rng: np.random.Generator) -> Array:
    """A ball of 25 to 32 mm radius of fluid that the sequence shows dark, with the noise that air has."""
    inside = np.argwhere(mask)
    centre = inside[int(rng.integers(len(inside)))]
    spacing = np.array(volume.geometry.spacing_mm)[::-1]
    grids = np.ogrid[tuple(slice(0, n) for n in mask.shape)]
    distance = np.sqrt(sum(((g - c) * s) ** 2 for g, c, s in zip(grids, centre, spacing, strict=True)))
    fluid = _noise(volume.voxels.shape, _air(volume), rng)
    return np.where((distance < rng.uniform(25, 32)) & mask, fluid, volume.voxels)


def _cleaned(volume: SequenceVolume, mask: Mask, rng: np.random.Generator) -> Array:
    """Air set to zero, as scanners' and archives' filters do."""
    del rng
    return np.where(volume.voxels < 0.12 * np.median(volume.voxels[mask]), np.float32(0), volume.voxels)


def _eight_bits(volume: SequenceVolume, mask: Mask, rng: np.random.Generator) -> Array:
    """Scaled to 0 to 255 whole numbers by the brightest voxel."""
    del mask, rng
    return np.asarray(np.rint(volume.voxels / volume.voxels.max() * 255), dtype=np.float32)


LOOKALIKES: Mapping[str, Change] = {
    "as it is": _as_it_is,
    "noise": _noisy,
    "shading": _shaded,
    "skull-stripped": _stripped,
    "defaced": _defaced,
    "dark cavity": _cavity,
    "air cleaned": _cleaned,
    "eight bits": _eight_bits,
}
"""Sound images that must not be flagged."""
