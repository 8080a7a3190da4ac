"""Several sequences of one head in one place: the same anatomy, pose and slices, looked at in many ways.

Geometry is what costs time, so it is drawn once for several looks: labels are sampled on slices (each of several thin
layers, so that thick slices mix tissues), and every look is a table of intensities on them, degraded on its own. What
comes out goes through the same function as a scan in serving.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from glioserve_contract import Modality
from glioserve_contract.sequences import PixelKind
from glioserve_dicom.volumes.geometry import Geometry, SequenceVolume
from glioserve_phantom.signal import Tissues
from glioserve_preprocess.arrays import DoubleArray, FloatArray
from glioserve_training.brain.head import Labels, SyntheticHead
from glioserve_training.brain.scan import (
    BRAIN_CENTRE_MM,
    degraded,
    draw_field_of_view,
    draw_pose,
    draw_slices,
    draw_warp,
    sampled,
    smooth_noise,
)
from glioserve_training.weighting.anatomy import LABELS, prepared
from glioserve_training.weighting.others import draw_other
from glioserve_training.weighting.protocols import BRAIN, DRAWERS, Look, T1Technique, draw_t1_technique, t1_look
from glioserve_training.weighting.tissue import draw_concentrations, draw_tissues

LAYER_MM = 2.6
"""Greatest distance of the layers that make up a slice."""
FIELD_CELLS = (84, 88, 84)
"""Size of the largest field of view, in cells of 3 mm (x, y, z)."""
STRIPPED, DEFACED, SLAB = 0.04, 0.04, 0.12
"""Share of scans without all but brain, without a face, and of groups that are a slab in place of a head."""
_NECK_MM = -70.0
"""Height in the template under which nothing of the head is left."""
_SINUSES_MM = np.array(
    [(0, -18, -40), (0, -78, -8), (-8, -50, -42), (8, -50, -42), (-52, 28, -46), (52, 28, -46), (0, -40, -52)]
)
"""Air-filled spaces beside which gradient echoes lose signal and echo-planar images bend, in the template's LPS."""


@dataclass(frozen=True, eq=False)
class Scene:
    """Labels of one head on the slices of one scan, and the patient's tissues."""

    layers: Labels
    """Labels [z, y, x], the slice axis ``thick`` times as long as the image's."""
    axis: int
    """Array axis of the slices."""
    thick: int
    """Layers of a slice."""
    spacing_mm: DoubleArray
    """(z, y, x) of the image."""
    first_mm: DoubleArray
    """Centre of the first voxel, (z, y, x), in the scanner's LPS."""
    pose: npt.NDArray[np.float64]
    texture: FloatArray
    """Smooth noise of standard deviation 1 on the layers."""
    tissues: Tissues
    agent_mm: DoubleArray
    technique: T1Technique


def draw_scene(head: SyntheticHead, rng: np.random.Generator) -> Scene:
    """Draw pose, slices, field of view, the patient's tissues and the T1 technique."""
    labels = torch.from_numpy(prepared(head, rng).astype(np.float32))
    xyz_axis, step_mm = draw_slices(rng)
    pose, warp = draw_pose(rng), draw_warp(rng)
    extent, start = draw_field_of_view(rng, FIELD_CELLS)
    if rng.random() < SLAB:
        kept = float(rng.uniform(45, 110))
        start[xyz_axis] += float(rng.uniform(0, max(0.0, extent[xyz_axis] - kept)))
        extent[xyz_axis] = min(kept, extent[xyz_axis])
    spacing = np.full(3, rng.uniform(1.8, 2.5))
    if step_mm > LAYER_MM:
        spacing[xyz_axis] = step_mm
    thickness = spacing[xyz_axis] * float(rng.uniform(0.75, 1.0))
    thick = int(np.ceil(thickness / LAYER_MM))
    places = [
        (first + step * (np.arange(max(8, int(length / step))) + 0.5)).astype(np.float32)
        for first, step, length in zip(start, spacing, extent, strict=True)
    ]
    first = np.array([p[0] for p in places])[::-1].astype(np.float64)
    within = thickness * ((np.arange(thick) + 0.5) / thick - 0.5)
    places[xyz_axis] = (places[xyz_axis][:, None] + within[None]).ravel().astype(np.float32)
    layers = sampled(labels, places, pose, warp, padding=0.0, mode="nearest").astype(np.uint8)
    tissues = draw_tissues(rng)
    return Scene(
        layers=layers,
        axis=2 - xyz_axis,
        thick=thick,
        spacing_mm=spacing[::-1].copy(),
        first_mm=first,
        pose=pose,
        texture=np.asarray(smooth_noise(rng, layers.shape, int(rng.choice((2, 3, 5)))).numpy()),
        tissues=tissues,
        agent_mm=draw_concentrations(rng),
        technique=draw_t1_technique(rng, tissues.field_tesla),
    )


def draw_look(scene: Scene, kind: PixelKind, rng: np.random.Generator) -> Look:
    """Draw a look of the kind; T1 and T1ce of a scene share their technique most of the time."""
    if kind in (PixelKind.T1, PixelKind.T1CE):
        technique = scene.technique if rng.random() < 0.6 else draw_t1_technique(rng, scene.tissues.field_tesla)
        return t1_look(rng, scene.tissues, scene.agent_mm, technique, kind is PixelKind.T1CE)
    drawer = draw_other if kind is PixelKind.OTHER else DRAWERS[kind]
    return drawer(rng, scene.tissues, scene.agent_mm)


def scan_look(scene: Scene, look: Look, rng: np.random.Generator) -> SequenceVolume:
    """Scan one look of the scene, as a scanner would store it."""
    means = look.means / max(float(np.percentile(look.means, 85)), 1e-9)
    if rng.random() < STRIPPED:
        means = np.where(np.isin(np.arange(LABELS), BRAIN), means, 0)
    layers = means.astype(np.float32)[scene.layers]
    layers *= 1 + np.float32(rng.uniform(0, 0.12)) * scene.texture
    parts = [layers[(slice(None),) * scene.axis + (slice(i, None, scene.thick),)] for i in range(scene.thick)]
    image = np.asarray(sum(parts[1:], parts[0]) / np.float32(scene.thick))
    if look.is_object:
        image = _test_object(scene, image.shape, rng)
    if look.is_epi or look.dropout:
        image = _beside_air(scene, look, image, rng)
    if look.is_epi or look.coarse:
        for axis in range(3):
            width = 2 if axis != scene.axis or scene.spacing_mm[axis] < LAYER_MM else 1
            image = ndimage.uniform_filter1d(image, width, axis=axis)
    if look.field:
        waves = smooth_noise(rng, image.shape, 0).numpy() * np.float32(look.field)
        image = image * np.float32(rng.uniform(0.2, 1)) + (waves % 2 if rng.random() < 0.5 else waves)
    if look.noise and look.is_signed:
        image = image + np.float32(look.noise) * _white(rng, image.shape)
    elif look.noise:
        image = np.hypot(image + np.float32(look.noise) * _white(rng, image.shape), np.float32(look.noise))
    if rng.random() < DEFACED:
        _, y, z = _head_mm(scene, image.shape)
        image = np.where((y < -38) & (z < -18), 0, image).astype(np.float32)
    if look.is_signed and image.min() < 0:
        image = image - image.min()
    image = degraded(np.ascontiguousarray(image, dtype=np.float32), rng, 2 - scene.axis)
    return _stored(scene, look, image, rng)


def _test_object(scene: Scene, shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """Return a cylinder or a ball of fluid with up to a dozen rods and balls in it, brighter or darker."""
    image = np.zeros(shape, dtype=np.float32)
    axes = _axes_mm(scene, shape)
    for number in range(int(rng.integers(1, 14))):
        radius = rng.uniform(60, 105) if number == 0 else rng.uniform(3, 35)
        centre = rng.normal(0, 8 if number == 0 else 35, 3)
        reach = np.full(3, radius)
        if rng.random() < 0.6:
            reach[int(rng.integers(3))] *= rng.uniform(1, 40)  # a rod
        z, y, x = (((a - c) / r) ** 2 for a, c, r in zip(axes, centre, reach, strict=True))
        inside = z[:, None, None] + y[:, None] + x < 1
        if number:
            inside &= image > 0
        image[inside] = rng.uniform(0.6, 1.2) if number == 0 else rng.uniform(0, 2)
    return image


def _white(rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    return rng.standard_normal(shape, dtype=np.float32)


def _head_mm(scene: Scene, shape: tuple[int, ...]) -> list[FloatArray]:
    """Return the template's x, y and z of every voxel, but for the warp."""
    z, y, x = (a.astype(np.float32) for a in _axes_mm(scene, shape))
    m = scene.pose.astype(np.float32)
    return [
        m[i, 0] * x[None, None, :] + m[i, 1] * y[None, :, None] + m[i, 2] * z[:, None, None] + m[i, 3] for i in range(3)
    ]


def _axes_mm(scene: Scene, shape: tuple[int, ...]) -> list[DoubleArray]:
    """Return the scanner's coordinates along the array's axes (z, y, x)."""
    return [first + step * np.arange(n) for first, step, n in zip(scene.first_mm, scene.spacing_mm, shape, strict=True)]


def _beside_air(scene: Scene, look: Look, image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Darken the image beside the sinuses and, for echo-planar ones, bend it along y."""
    scanner_from_head = np.linalg.inv(scene.pose)
    axes = _axes_mm(scene, image.shape)
    near = np.zeros(image.shape, dtype=np.float32)
    for place in _SINUSES_MM + rng.normal(0, 3, _SINUSES_MM.shape):
        centre, width = (scanner_from_head @ [*place, 1])[2::-1], rng.uniform(11, 18)
        z, y, x = (np.exp((a - c) ** 2 / (-2 * width**2)).astype(np.float32) for a, c in zip(axes, centre, strict=True))
        near += (np.float32(rng.uniform(0.5, 1.3)) * z[:, None] * y)[:, :, None] * x
    image = image * np.exp(-np.float32(look.dropout) * near)
    if not look.is_epi:
        return np.asarray(image)
    shift = near * np.float32(rng.choice((-1, 1)) * rng.uniform(0, 10) / scene.spacing_mm[1])
    at = np.clip(np.arange(image.shape[1], dtype=np.float32)[None, :, None] + shift, 0, image.shape[1] - 1)
    lower = np.minimum(at.astype(np.intp), image.shape[1] - 2)
    weight = at - lower
    return np.asarray(
        np.take_along_axis(image, lower, 1) * (1 - weight) + np.take_along_axis(image, lower + 1, 1) * weight
    )


def _stored(scene: Scene, look: Look, image: FloatArray, rng: np.random.Generator) -> SequenceVolume:
    """Cut a slab, a few slices or the neck out of the image, and give it its place."""
    axis, spacing, first = scene.axis, scene.spacing_mm.copy(), scene.first_mm.copy()
    start, step, count = 0, 1, image.shape[axis]
    if look.slab:
        count = min(count, max(8, int(rng.uniform(45, 115) / spacing[axis])))
        start = int(rng.integers(0, image.shape[axis] - count + 1))
    elif look.few_slices:
        count = int(rng.integers(1, 8))
        step = max(1, int(rng.uniform(8, 30) / spacing[axis]))
        middle = image.shape[axis] // 2 + int(rng.normal(0, 10) / spacing[axis])
        start = int(np.clip(middle - (count - 1) * step // 2, 0, max(0, image.shape[axis] - 1)))
    image = image[(slice(None),) * axis + (slice(start, start + (count - 1) * step + 1, step),)]
    first[axis] += start * spacing[axis]
    spacing[axis] *= step
    if look.few_slices and step == 1 and image.shape[axis] == 1:
        spacing[axis] = max(spacing[axis], 5.0)
    if look.off_head:
        below = int((_NECK_MM - BRAIN_CENTRE_MM[2] - first[0]) / spacing[0])
        image = image[:below] if below >= 8 else np.abs(_white(rng, image.shape))
    affine = np.diag([*spacing[::-1], 1.0])
    affine[:3, 3] = first[::-1]
    z, y, x = image.shape
    return SequenceVolume(Modality.T1, image, Geometry((x, y, z), affine))
