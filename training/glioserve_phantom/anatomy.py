"""One subject's head: its shape parameters and the tissue at every point.

The head's own frame is LPS-like (x Left, y Posterior, z Superior, mm) with its origin inside the brain; a scan
places it in the scanner by a rigid pose. Shapes are a caricature that keeps what preprocessing relies on: bright
scalp, dark skull, CSF, a folded brain, ventricles, eyes, air, face and neck.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from glioserve_contract.records.grid import Vector
from glioserve_phantom.shapes import Coordinates, Noise, capsule, ellipsoid, union
from glioserve_preprocess.arrays import ByteArray, FloatArray

BOX_LOW_MM: Vector = (-100.0, -128.0, -150.0)
BOX_HIGH_MM: Vector = (100.0, 122.0, 96.0)
"""Upper corner of the box that holds the head; its floor cuts the neck."""


class PhantomTissue(IntEnum):
    """Labels of the rendered head, in no particular order."""

    AIR = 0
    FAT = 1
    MUSCLE = 2
    BONE = 3
    MARROW = 4
    CSF = 5
    GREY = 6
    WHITE = 7
    DEEP_GREY = 8
    EYE = 9
    VESSEL = 10
    DURA = 11
    PLEXUS = 12
    OEDEMA = 13
    ENHANCING = 14
    NECROTIC = 15
    MUCOSA = 16


@dataclass(frozen=True)
class Subject:
    """The parameters that differ between heads. Lengths in mm."""

    seed: int
    """Seed of the smooth fields that fold the cortex and bend the surfaces."""
    scale: Vector
    """Size along x, y, z, around 1."""
    skew: Vector
    """Shear x by y, x by z, y by z: no head is symmetric."""
    skull_mm: float
    scalp_mm: float
    csf_mm: float
    """Thickness of the layer between brain and skull."""
    ventricle: float
    """Size of the lateral ventricles, around 1."""
    surface_mm: float
    """Standard deviation of the bumps of the surfaces."""
    sulcus_mm: float
    """Half width of the sulci: wide in an atrophied brain."""


def draw_subject(rng: np.random.Generator) -> Subject:
    """Draw a head of adult size (brain 1.1 to 1.7 L)."""
    scale = rng.normal(1.0, (0.035, 0.035, 0.035)).clip(0.92, 1.08)
    skew = rng.normal(0.0, (0.03, 0.02, 0.04)).clip(-0.08, 0.08)
    return Subject(
        seed=int(rng.integers(2**31)),
        scale=(float(scale[0]), float(scale[1]), float(scale[2])),
        skew=(float(skew[0]), float(skew[1]), float(skew[2])),
        skull_mm=float(rng.uniform(5.0, 8.0)),
        scalp_mm=float(rng.uniform(4.5, 8.5)),
        csf_mm=float(rng.uniform(1.5, 4.0)),
        ventricle=float(rng.uniform(0.75, 1.45)),
        surface_mm=float(rng.uniform(0.6, 1.4)),
        sulcus_mm=float(rng.uniform(0.2, 0.8)),
    )


def subject_points(subject: Subject, p: Coordinates) -> Coordinates:
    """Carry head-frame points into the frame of the average head, where all shapes are defined."""
    x, y, z = p
    (sx, sy, sz), (xy, xz, yz) = subject.scale, subject.skew
    u = (x - np.float32(xy) * y - np.float32(xz) * z) / np.float32(sx)
    v = (y - np.float32(yz) * z) / np.float32(sy)
    return u, v, z / np.float32(sz)


def cerebrum(q: Coordinates) -> FloatArray:
    """Return the distance to the hemispheres with their temporal lobes and flattened base, in the average head."""
    upper = ellipsoid(q, (0, 0, 4), (66, 84, 60))
    base = np.float32(-30) + np.float32(0.12) * (q[1] + np.float32(30)) - q[2]
    upper = np.maximum(upper, base)
    for side in (-1, 1):
        upper = union(upper, ellipsoid(q, (36 * side, -14, -26), (25, 40, 21)), 8)
    return upper


def brain(q: Coordinates) -> FloatArray:
    """Return the distance to what a brain mask should hold: cerebrum, cerebellum, and stem to the foramen magnum."""
    whole = union(cerebrum(q), ellipsoid(q, (0, 44, -40), (50, 33, 26)), 6)
    stem = np.maximum(capsule(q, (0, 8, -20), (0, 22, -84), 13), np.float32(-72) - q[2])
    return union(whole, stem, 6)


def ventricles(subject: Subject, q: Coordinates) -> FloatArray:
    """Return the distance to the lateral, third and fourth ventricles."""
    size = subject.ventricle
    result = ellipsoid(q, (0, 6, -2), (2.6 * size, 14, 10))
    result = union(result, ellipsoid(q, (0, 34, -38), (8, 6, 8)))
    for side in (-1, 1):
        body = capsule(q, (9.0 * side, -26, 8), (14.0 * side, 24, 16), 6.0 * size)
        horn = capsule(q, (14.0 * side, 24, 16), (24.0 * side, 46, 2), 6.5 * size)
        temporal = capsule(q, (26.0 * side, 28, -8), (34.0 * side, -8, -24), 3.0 * size)
        result = union(result, union(union(body, horn, 3), temporal, 3))
    return result


def label_head(subject: Subject, x: FloatArray, y: FloatArray, z: FloatArray) -> tuple[ByteArray, FloatArray]:
    """Return tissue labels [z, y, x] on the grid of three coordinate arrays, and the brain's signed distance.

    ``x`` [1, 1, nx], ``y`` [1, ny, 1], ``z`` [nz, 1, 1] in the head's frame.
    """
    q = subject_points(subject, (x, y, z))
    rng = np.random.default_rng(subject.seed)
    bumps = Noise(rng, BOX_LOW_MM, BOX_HIGH_MM, 45.0).on_axes(x, y, z) * np.float32(subject.surface_mm)
    thickness = Noise(rng, BOX_LOW_MM, BOX_HIGH_MM, 60.0).on_axes(x, y, z)
    brain_mm = brain(q) + bumps
    labels = np.full(brain_mm.shape, PhantomTissue.AIR, dtype=np.uint8)
    folds = Noise(rng, BOX_LOW_MM, BOX_HIGH_MM, 17.0).on_axes(x, y, z)
    _paint_outside(labels, subject, q, brain_mm, thickness, folds)
    _paint_brain(labels, subject, q, brain_mm, folds)
    return labels, brain_mm


def _paint_outside(
    labels: ByteArray, subject: Subject, q: Coordinates, brain_mm: FloatArray, thickness: FloatArray, folds: FloatArray
) -> None:
    """Paint all that is not intracranial: scalp, face, neck, skull, eyes and air."""
    inner = brain_mm - np.float32(subject.csf_mm)
    skull = inner - np.float32(subject.skull_mm) * (1 + np.float32(0.15) * thickness)
    scalp = skull - np.float32(subject.scalp_mm) * (1 - np.float32(0.2) * thickness)
    face = ellipsoid(q, (0, -46, -72), (62, 58, 64))
    face = union(face, ellipsoid(q, (0, -102, -62), (12, 16, 20)), 14)
    neck = np.maximum(capsule(q, (0, 22, -40), (0, 34, -200), 56), q[2] - np.float32(-30))
    head = union(union(scalp, face, 16), neck, 20)
    labels[head < 0] = PhantomTissue.MUSCLE
    labels[(head < 0) & (np.abs(folds) < 0.16)] = PhantomTissue.FAT  # the planes between muscles
    labels[(head < 0) & ((head > np.float32(-subject.scalp_mm)) | (scalp < 0))] = PhantomTissue.FAT
    for side in (-1, 1):  # temporal muscles lie on the skull, under the fat
        temporal = ellipsoid(q, (64 * side, -28, -18), (14, 30, 34))
        labels[(temporal < 0) & (head < -3) & (labels == PhantomTissue.FAT)] = PhantomTissue.MUSCLE
    labels[(skull < 0) & (labels != PhantomTissue.AIR)] = PhantomTissue.BONE
    middle = np.float32(subject.skull_mm / 2)
    labels[(np.abs(skull + middle) < middle - 2) & (thickness > 0) & (q[2] > -10)] = PhantomTissue.MARROW
    spine = np.maximum(capsule(q, (0, 30, -88), (0, 36, -200), 21), q[2] - np.float32(-86))
    labels[spine < 0] = PhantomTissue.BONE
    labels[spine < -3] = PhantomTissue.MARROW
    canal = np.maximum(capsule(q, (0, 22, -70), (0, 32, -200), 9), head)
    labels[canal < 0] = PhantomTissue.CSF
    labels[canal < -3.5] = PhantomTissue.WHITE
    for side in (-1, 1):
        labels[ellipsoid(q, (32 * side, -66, -46), (18, 24, 15)) < 0] = PhantomTissue.FAT
        labels[ellipsoid(q, (32 * side, -75, -46), (12, 12, 12)) < 0] = PhantomTissue.EYE
        labels[ellipsoid(q, (34 * side, -70, -76), (13, 14, 15)) < 0] = PhantomTissue.AIR  # maxillary sinuses
    nose = ellipsoid(q, (0, -72, -64), (13, 30, 26))
    labels[nose < 0] = PhantomTissue.MUCOSA
    labels[(nose < 0) & (np.abs(np.sin(q[0] * np.float32(0.7))) > 0.6)] = PhantomTissue.AIR
    labels[capsule(q, (0, -36, -80), (0, -8, -150), 8) < 0] = PhantomTissue.AIR
    labels[ellipsoid(q, (0, -30, -40), (9, 9, 7)) < np.float32(-1)] = PhantomTissue.AIR  # sphenoid sinus
    # A skull's base is bone below the brain too, whatever was painted there.
    labels[(skull < 0) & (skull > -4) & (labels != PhantomTissue.AIR) & (canal > 0)] = PhantomTissue.BONE


def _paint_brain(labels: ByteArray, subject: Subject, q: Coordinates, brain_mm: FloatArray, folds: FloatArray) -> None:
    """Paint CSF, cortex, white matter, deep nuclei, ventricles and the vessels that take up contrast."""
    labels[(brain_mm < np.float32(subject.csf_mm + 0.9)) & (brain_mm > -3)] = PhantomTissue.DURA
    labels[brain_mm < np.float32(subject.csf_mm)] = PhantomTissue.CSF
    # The field's zero set cuts the surface as sulci do; its slope is about 2 pi / wavelength per mm.
    sulci = np.maximum(np.abs(folds) * np.float32(17 / (2 * np.pi)) - np.float32(subject.sulcus_mm), -brain_mm - 18)
    fissure = np.maximum(np.abs(q[0]) - np.float32(1.2), np.float32(14) - q[2])
    to_csf = np.minimum(-brain_mm, np.minimum(sulci, np.maximum(fissure, -brain_mm - 60)))
    labels[to_csf > 0] = PhantomTissue.GREY
    labels[to_csf > 3.2] = PhantomTissue.WHITE
    for side in (-1, 1):
        for centre, radii in (
            ((14 * side, 8, 0), (10, 15, 10)),
            ((25 * side, -8, 0), (8, 17, 12)),
            ((13 * side, -24, 8), (6, 10, 9)),
        ):
            labels[ellipsoid(q, centre, radii) < 0] = PhantomTissue.DEEP_GREY
    hollow = ventricles(subject, q)
    labels[(hollow < 0) & (brain_mm < -2)] = PhantomTissue.CSF
    for side in (-1, 1):
        plexus = capsule(q, (13.0 * side, 12, 13), (19.0 * side, 36, 8), 2.4)
        labels[(plexus < 0) & (hollow < 0)] = PhantomTissue.PLEXUS
    sinus = np.maximum(np.abs(q[0]) + np.abs(brain_mm - np.float32(subject.csf_mm - 1)) - np.float32(4.5), -10 - q[2])
    labels[(sinus < 0) & (q[1] > -70)] = PhantomTissue.VESSEL
    for side in (-1, 1):
        labels[capsule(q, (4.0 * side, 70, -18), (48.0 * side, 44, -30), 3.6) < 0] = PhantomTissue.VESSEL
        labels[capsule(q, (5.0 * side, -12, -34), (40.0 * side, -20, -12), 1.8) < 0] = PhantomTissue.VESSEL
