"""A brain model run on a scan: the distance of each place inside the brain, and the mask where that is positive.

``resample -> crop to the head -> scale intensities -> turn -> pad -> run``, then pad, turn and crop undone. The margin
lives on the model's own coarse grid; the mask is cut at the resolution of the grid that it is wanted on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.brain_model import AXIS_OF_LETTER, BrainIntensity, BrainModelCard
from glioserve_dicom.volumes.geometry import Geometry, SequenceVolume, apply, canonical, isotropic_cover
from glioserve_preprocess.arrays import BoolArray, ByteArray, DoubleArray, FloatArray
from glioserve_preprocess.brain.classical import largest_piece
from glioserve_preprocess.brain.limits import refuse_wide_field
from glioserve_preprocess.brain.model import BrainModel
from glioserve_preprocess.tensor.grid import sample

Unit = Literal["mm", "logit", "probability"]

HEAD_SPACING_MM = 4.0
"""Spacing at which the head is looked for, where a field of view is larger than the model takes."""
ABOVE_HEAD_MM = 25.0
"""Height kept above the top of the head as it is found; neck and shoulders are cut instead."""
HEAD_HEIGHT_MM = 200.0
"""Height below its top over which the middle of the head is computed."""
FLAT = 1e-5
"""Least range over the largest magnitude of the intensities; a smaller one is rounding by the sampling."""
SPECKS = 0.002
"""Share of the bright voxels that may lie outside the head, at either end of an axis."""


@dataclass(frozen=True, eq=False)
class Margin:
    """Depth of each voxel inside the brain by the model's own measure: positive inside, 0 at the surface."""

    values: FloatArray
    """FP32 [z, y, x]. What lies beyond the grid counts as outside the brain."""
    geometry: Geometry
    """The model's spacing, axes nearest to L, P and S, cropped to what the model takes."""
    unit: Unit
    """Millimetres to the surface, or logits or probability beyond the model's threshold."""


def brain_margin(volume: SequenceVolume, model: BrainModel) -> Margin:
    """Run ``model`` on a scan of any orientation and spacing.

    Raises:
        GlioserveError: GLIO-1601 where there is no head to run it on.
    """
    volume, card = canonical(volume), model.card
    refuse_wide_field(volume.geometry)
    grid = _head_grid(volume, card)
    voxels = sample(volume.voxels, volume.geometry, grid, np.eye(4))
    order, flips = _turn(card.orientation)
    tensor, (a, b, c) = _tensor(np.flip(voxels.transpose(order), flips), card)
    inside = _inside(model.run(tensor)[0, :, a, b, c], card)
    if not np.isfinite(inside).all():
        raise GlioserveError(ErrorCode.BRAIN_NOT_FOUND, f"The brain model {card.name} gave values that are not finite.")
    values = np.flip(inside, flips).transpose(np.argsort(order))
    units: dict[str, Unit] = {"signed_distance_mm": "mm", "probability": "probability"}
    return Margin(np.ascontiguousarray(values), grid, units.get(card.output_kind, "logit"))


def mask_of_margin(margin: Margin, target: Geometry) -> ByteArray:
    """Return the mask on ``target``'s grid, 0/1 [z, y, x]: the largest piece of positive margin, its holes filled."""
    mask = np.zeros(target.shape, dtype=np.uint8)
    box = _box_of_brain(margin, target)
    if box is None:
        return mask
    x, y, z = box
    affine = target.lps_from_voxel.copy()
    affine[:3, 3] = apply(affine, np.array([[x.start, y.start, z.start]], dtype=np.float64))[0]
    part = Geometry((x.stop - x.start, y.stop - y.start, z.stop - z.start), affine)
    inside = sample(margin.values, margin.geometry, part, np.eye(4), outside=np.nan) > 0  # NaN is not
    mask[z, y, x] = one_solid_piece(inside)
    return mask


def _head_grid(volume: SequenceVolume, card: BrainModelCard) -> Geometry:
    """Return cubic voxels of the model's spacing over the whole scan, or as much of it as the model takes."""
    cover = isotropic_cover(volume.geometry, card.spacing_mm)
    most = [0, 0, 0]
    for letter, n in zip(card.orientation, card.max_size_voxels, strict=True):
        most[AXIS_OF_LETTER[letter]] = n
    size = np.minimum(cover.size_voxels, most)
    if (size == cover.size_voxels).all():
        return cover
    crown, middle = apply(cover.voxel_from_lps, crown_and_middle_lps_mm(volume))
    start = np.rint(middle - (size - 1) / 2)
    start[2] = np.floor(crown[2] + ABOVE_HEAD_MM / card.spacing_mm) + 1 - size[2]
    start = np.clip(start, 0, np.array(cover.size_voxels) - size)
    affine = cover.lps_from_voxel.copy()
    affine[:3, 3] = apply(affine, start[None])[0]
    x, y, z = (int(n) for n in size)
    return Geometry((x, y, z), affine)


def crown_and_middle_lps_mm(volume: SequenceVolume) -> DoubleArray:
    """Return [2, 3]: a point as high as the top of what is bright, and the middle of the part below it."""
    coarse = isotropic_cover(volume.geometry, HEAD_SPACING_MM)
    voxels = sample(volume.voxels, volume.geometry, coarse, np.eye(4))
    voxels = np.minimum(voxels, np.percentile(voxels, 99))
    otsu = sitk.OtsuThresholdImageFilter()
    otsu.Execute(sitk.GetImageFromArray(voxels))
    bright = voxels > otsu.GetThreshold()
    if not bright.any():
        raise GlioserveError(ErrorCode.BRAIN_NOT_FOUND, "A sequence shows no head.")
    top = _ends(bright, 0)[1]
    bright[: max(0, round(top - HEAD_HEIGHT_MM / HEAD_SPACING_MM))] = False
    x, y, z = (sum(_ends(bright, axis)) / 2 for axis in (2, 1, 0))
    return apply(coarse.lps_from_voxel, np.array([[x, y, top], [x, y, z]]))


def _ends(bright: BoolArray, axis: int) -> tuple[float, float]:
    """Return the first and last index along an axis between which all but a few specks lie."""
    along = np.cumsum(bright.sum(axis=tuple(a for a in range(3) if a != axis)))
    low, high = np.searchsorted(along, [SPECKS * along[-1], (1 - SPECKS) * along[-1]])
    return float(low), float(high)


def _turn(orientation: str) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """Return (order, flips): the axis of [z, y, x] for each tensor axis, and the tensor axes that point back."""
    a, b, c = (2 - AXIS_OF_LETTER[letter] for letter in orientation)
    return (a, b, c), tuple(axis for axis, letter in enumerate(orientation) if letter in "IAR")


def _tensor(voxels: FloatArray, card: BrainModelCard) -> tuple[FloatArray, tuple[slice, slice, slice]]:
    """Return a turned scan padded to the model's FP32 [1, 1, a, b, c], and the slices of it that hold the scan."""
    shape = (voxels.shape[0], voxels.shape[1], voxels.shape[2])
    size = card.tensor_size(shape)
    a, b, c = (slice((whole - n) // 2, (whole - n) // 2 + n) for whole, n in zip(size, shape, strict=True))
    tensor = np.zeros((1, 1, *size), dtype=np.float32)
    if card.intensity.over == "tensor":
        tensor[0, 0, a, b, c] = voxels
        return _scaled(tensor, tensor, card.intensity), (a, b, c)
    chosen = voxels[voxels != 0] if card.intensity.over == "nonzero" else voxels
    scaled = _scaled(voxels, chosen, card.intensity)
    tensor[0, 0, a, b, c] = scaled if card.intensity.over != "nonzero" else np.where(voxels == 0, 0, scaled)
    return tensor, (a, b, c)


def _scaled(voxels: FloatArray, chosen: FloatArray, intensity: BrainIntensity) -> FloatArray:
    """Scale ``voxels`` by figures of the ``chosen`` ones; raise GLIO-1601 where those are all alike."""
    if chosen.size and intensity.percentiles is not None:
        start, end = (float(v) for v in np.percentile(chosen, intensity.percentiles))
        width = end - start
    elif chosen.size:
        start, width = float(chosen.mean(dtype=np.float64)), float(chosen.std(dtype=np.float64))
    else:
        start = width = 0.0
    if not width > FLAT * abs(start):
        raise GlioserveError(ErrorCode.BRAIN_NOT_FOUND, "A sequence shows nothing at the brain model's resolution.")
    scaled = (voxels - np.float32(start)) / np.float32(width)
    return np.clip(scaled, 0, 1, out=scaled) if intensity.clip else scaled


def _inside(answer: FloatArray, card: BrainModelCard) -> FloatArray:
    """Return the model's answer [channels, a, b, c] as a margin, positive inside."""
    inside: FloatArray
    if card.output_kind == "signed_distance_mm":
        inside = np.float32(card.threshold) - answer[0]
    elif card.output_kind == "class_logits":
        inside = answer[1] - answer[0] - np.float32(card.threshold)
    else:
        inside = answer[0] - np.float32(card.threshold)
    return inside


def _box_of_brain(margin: Margin, target: Geometry) -> tuple[slice, slice, slice] | None:
    """Return the part of ``target``, (x, y, z), that can hold brain; sampling and labelling the rest would be waste."""
    inside = margin.values > 0
    ends = []
    for axis in (2, 1, 0):
        found = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        if not found.size:
            return None
        ends.append((found[0] - 1.0, found[-1] + 1.0))
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
    places = apply(target.voxel_from_lps @ margin.geometry.lps_from_voxel, corners)
    # Two voxels more: a coarser target smooths the margin by its own voxel.
    low = np.maximum(np.floor(places.min(axis=0)).astype(int) - 2, 0)
    high = np.minimum(np.ceil(places.max(axis=0)).astype(int) + 3, target.size_voxels)
    if (low >= high).any():
        return None
    x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return x, y, z


def one_solid_piece(mask: BoolArray) -> BoolArray:
    """Return the largest piece of face neighbours, with everything filled that it encloses."""
    mask = largest_piece(mask)
    outside, count = ndimage.label(np.pad(~mask, 1, constant_values=True))
    solid: BoolArray = outside[1:-1, 1:-1, 1:-1] != outside[0, 0, 0]
    return solid if count > 1 else mask
