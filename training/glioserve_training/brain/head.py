"""One whole head as a map of labels, and the signed distance to what a brain mask should hold.

The frame is LPS (x Left, y Posterior, z Superior, mm), its origin the MNI152 template's. The brain is the template's
tissue, warped at random; membranes, skull, scalp, face and neck are grown around it as shells and solids whose sizes,
outlines and presence are drawn. It is a caricature on purpose: a network that has to find the brain in ten thousand
wrong heads does not lean on how one right head looks (Hoopes et al. 2022, SynthStrip; Billot et al. 2023, SynthSeg).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from glioserve_contract.records.grid import Vector
from glioserve_phantom.shapes import Coordinates, Noise, capsule, ellipsoid, union
from glioserve_preprocess.arrays import BoolArray, FloatArray
from glioserve_preprocess.brain.classical import largest_piece
from glioserve_training.brain.atlas import tissue_maps

SPACING_MM = 2.0
BOX_LOW_MM: Vector = (-108.0, -138.0, -180.0)
BOX_HIGH_MM: Vector = (108.0, 142.0, 112.0)
SULCUS_CLOSING_MM = 5.0
"""The mask's surface: what a ball of this radius, rolled over the brain, cannot reach. Sulci and the ventricles are
inside, the fluid over the convexity is not."""
CAVITY_CLOSING_MM = 14.0
"""The skull's inner surface bridges what a ball of this radius cannot reach."""
MAX_DISTANCE_MM = 12.7
"""Distances are kept in tenths of a millimetre in a signed byte."""

Labels = npt.NDArray[np.uint8]


class HeadTissue(IntEnum):
    """The tissue of a voxel. Only AIR's value has a meaning (0 is where nothing is painted)."""

    AIR = 0
    SKIN = 1
    FAT = 2
    MUSCLE = 3
    SOFT_A = 4
    SOFT_B = 5
    GLAND = 6
    BONE = 7
    MARROW = 8
    DURA = 9
    CSF = 10
    VENTRICLE = 11
    GREY = 12
    WHITE = 13
    DEEP_GREY = 14
    CEREBELLUM = 15
    CORD = 16
    VESSEL = 17
    EYE = 18
    LENS = 19
    NERVE = 20
    MUCOSA = 21
    CARTILAGE = 22
    DISC = 23
    OEDEMA = 24
    ENHANCING = 25
    NECROTIC = 26
    CAVITY = 27
    BLOOD = 28
    COLLECTION = 29
    FLAP_RIM = 30


@dataclass(frozen=True, eq=False)
class SyntheticHead:
    """Labels and signed distance (tenths of a mm, negative inside the brain mask), both [z, y, x], SPACING_MM."""

    labels: Labels
    distance: npt.NDArray[np.int8]


@dataclass(frozen=True)
class _Build:
    """Properties that differ between heads, in mm where not stated otherwise."""

    csf: float
    csf_unevenness: float
    skull: float
    scalp: float
    tissue_threshold: float
    """Threshold of the tissue probability: a high one is an atrophied brain."""
    marrow_share: float
    face: float
    neck: float


def axes_mm() -> Coordinates:
    """Return the coordinates of the grid's voxel centres in mm: x [1, 1, nx], y [1, ny, 1], z [nz, 1, 1]."""
    x, y, z = (
        np.arange(low + SPACING_MM / 2, high, SPACING_MM, dtype=np.float32)
        for low, high in zip(BOX_LOW_MM, BOX_HIGH_MM, strict=True)
    )
    return x[None, None, :], y[None, :, None], z[:, None, None]


def make_head(seed: int) -> SyntheticHead:
    """Make the head of this seed: the same labels on every machine, but for rounding."""
    rng = np.random.default_rng(seed)
    build = _Build(
        csf=float(rng.uniform(0.8, 4.0)),
        csf_unevenness=float(rng.uniform(0.1, 0.6)),
        skull=float(rng.uniform(4.0, 9.5)),
        scalp=float(rng.uniform(3.0, 10.0)),
        tissue_threshold=float(rng.uniform(0.35, 0.62)),
        marrow_share=float(rng.uniform(0.2, 0.55)),
        face=float(rng.uniform(0.88, 1.12)),
        neck=float(rng.uniform(46, 72)),
    )
    p = axes_mm()
    q = _own_frame(rng, p)
    grey, white = _warped_tissue(rng, p, q)
    whole = grey + white
    fine = _noise(rng, p, 9.0)
    tissue = largest_piece(whole + np.float32(0.12) * fine * (whole > 0.1) > build.tissue_threshold)
    mask = ndimage.binary_fill_holes(closed(tissue, SULCUS_CLOSING_MM))
    distance = signed_distance_mm(mask)
    labels = np.zeros(mask.shape, dtype=np.uint8)
    shell = ndimage.gaussian_filter(signed_distance_mm(closed(mask, CAVITY_CLOSING_MM)), 1.0)
    _paint_soft_parts(rng, labels, build, q, p, shell)
    _paint_skull(rng, labels, build, q, p, shell, distance)
    _paint_face(rng, labels, build, q, distance)
    _paint_brain(rng, labels, mask, tissue, grey, white, distance, q)
    _paint_vessels(rng, labels, build, q, p, shell, mask)
    tenths = np.clip(np.rint(distance * 10), -127, 127).astype(np.int8)
    return SyntheticHead(labels, tenths)


def signed_distance_mm(mask: BoolArray) -> FloatArray:
    """Return the distance [z, y, x] to the mask's surface in mm, between voxels; negative inside."""
    outside = ndimage.distance_transform_edt(~mask)
    inside = ndimage.distance_transform_edt(mask)
    signed = np.where(mask, 0.5 - inside, outside - 0.5)
    return np.asarray(signed * SPACING_MM, dtype=np.float32)


def closed(mask: BoolArray, radius_mm: float) -> BoolArray:
    """Return the morphological closing by a ball."""
    reach = radius_mm / SPACING_MM
    grown = ndimage.distance_transform_edt(~mask) <= reach
    return np.asarray((ndimage.distance_transform_edt(grown) > reach) | mask)


def _own_frame(rng: np.random.Generator, p: Coordinates) -> Coordinates:
    """Return the head's points in the template's frame, but for the warp: size, proportions, asymmetry."""
    size = rng.normal(0.95, 0.045)
    sx, sy, sz = (np.float32(np.clip(size * (1 + rng.normal(0, 0.03)), 0.82, 1.06)) for _ in range(3))
    xy, xz, yz = (np.float32(v) for v in rng.normal(0, 0.03, 3))
    x, y, z = p
    return (x - xy * y - xz * z) / sx, (y - yz * z) / sy, z / sz + 0 * x


def _warped_tissue(rng: np.random.Generator, p: Coordinates, q: Coordinates) -> tuple[FloatArray, FloatArray]:
    """Return the grey and white matter probability at every point, the template bent at two wavelengths."""
    grey, white, voxel_from_lps = tissue_maps()
    coarse, fine = rng.uniform(1.5, 5.0), rng.uniform(0.3, 1.4)
    places = []
    for coordinate in q:
        bend = np.float32(coarse) * _noise(rng, p, 90.0) + np.float32(fine) * _noise(rng, p, 30.0)
        places.append(coordinate + bend)
    indices = [
        voxel_from_lps[i, 0] * places[0] + voxel_from_lps[i, 1] * places[1] + voxel_from_lps[i, 2] * places[2]
        + voxel_from_lps[i, 3]
        for i in range(3)
    ]  # fmt: skip
    near = np.stack(indices)
    return (
        ndimage.map_coordinates(grey, near, order=1, mode="constant"),
        ndimage.map_coordinates(white, near, order=1, mode="constant"),
    )


def _paint_soft_parts(
    rng: np.random.Generator, labels: Labels, build: _Build, q: Coordinates, p: Coordinates, shell: FloatArray
) -> None:
    """Paint scalp, face and neck, filled with a random patchwork of soft tissues."""
    f = build.face
    depth = build.csf + build.skull + build.scalp * (1 - np.float32(0.25) * _noise(rng, p, 60.0))
    scalp = shell - depth
    face = ellipsoid(q, (0, -36, -70), (64 * f, 56 * f, 66 * f))
    face = union(face, ellipsoid(q, (0, -92 * f, -52), (14, 18, 22)), 12)  # the nose
    face = union(face, ellipsoid(q, (0, -66 * f, -118), (34, 26, 24)), 18)  # the chin
    lean = float(rng.uniform(-15, 25))
    neck = np.maximum(capsule(q, (0, 24, -40), (0, 34 + lean, -230), build.neck), q[2] + np.float32(30))
    soft = union(union(scalp, face, 14), neck, 18)
    soft = soft + np.float32(rng.uniform(0.5, 2.5)) * _noise(rng, p, 35.0) * (q[2] < -10)
    for side in (-1, 1):  # ears
        if rng.random() < 0.8:
            place = (83 * side, 18 + float(rng.uniform(-6, 6)), -38)
            soft = np.minimum(soft, ellipsoid(q, place, (7, 15, 26)))
    fields = [_noise(rng, p, float(rng.uniform(14, 45))) for _ in range(4)]
    kinds = np.array([HeadTissue.MUSCLE, HeadTissue.FAT, HeadTissue.SOFT_A, HeadTissue.SOFT_B], dtype=np.uint8)
    inside = soft < 0
    labels[inside] = kinds[np.argmax(fields, axis=0)][inside]
    outer = inside & (soft > -build.scalp * 0.9)
    labels[outer] = HeadTissue.FAT
    near_skull = inside & (scalp < 0) & (shell > build.csf + build.skull)
    labels[near_skull] = HeadTissue.FAT
    muscle_mm = np.float32(build.scalp) * (np.float32(0.45) + np.float32(0.3) * fields[1])
    side_parts = (np.abs(q[0]) > 45) & (q[2] < 35) & (q[1] < 25)
    nape = (q[1] > 60) & (q[2] < -20)
    labels[near_skull & (side_parts | nape) & (scalp < -muscle_mm)] = HeadTissue.MUSCLE
    labels[near_skull & (scalp < -0.7 * build.scalp) & (fields[2] > 0.5)] = HeadTissue.SOFT_A  # galea
    labels[inside & (soft > -2.2)] = HeadTissue.SKIN


def _paint_skull(
    rng: np.random.Generator,
    labels: Labels,
    build: _Build,
    q: Coordinates,
    p: Coordinates,
    shell: FloatArray,
    distance: FloatArray,
) -> None:
    """Paint fluid between brain and skull, dura, two tables of bone with marrow between, the base, the spine."""
    uneven = 1 + np.float32(build.csf_unevenness) * _noise(rng, p, 50.0)
    inner = np.float32(build.csf) * np.clip(uneven, 0.1, 3)
    thickness = build.skull * (1 + np.float32(0.2) * _noise(rng, p, 40.0))
    base = (q[2] < -18) & (shell > 0)
    thickness = np.where(base, thickness * np.float32(rng.uniform(0.3, 0.9)), thickness)
    outside = shell > inner
    bone = outside & (shell < inner + thickness) & ((labels != HeadTissue.AIR) | (q[2] > -40))
    labels[bone] = HeadTissue.BONE
    middle = np.abs(shell - inner - thickness / 2) < thickness * np.float32(build.marrow_share) / 2
    labels[bone & middle & (thickness > 4)] = HeadTissue.MARROW
    cavity = shell <= inner
    labels[cavity] = HeadTissue.CSF
    # Where the brain's underside recedes, the cavity is filled by the base of the skull.
    receding = cavity & (distance > np.maximum(inner, 2.5)) & (q[2] < -12)
    labels[receding] = np.where(_noise(rng, p, 16.0) > 0.4, HeadTissue.MARROW, HeadTissue.BONE)[receding]
    if rng.random() < 0.8:
        labels[(np.abs(shell - inner) < 1.1) & (cavity | bone)] = HeadTissue.DURA
    spine = np.maximum(capsule(q, (0, 22, -92), (0, 30, -220), 19), q[2] + np.float32(84))
    labels[spine < 0] = HeadTissue.BONE
    labels[spine < -3] = HeadTissue.MARROW
    labels[(spine < 0) & (np.sin(q[2] * np.float32(2 * np.pi / 19)) > 0.85)] = HeadTissue.DISC
    arch = np.maximum(capsule(q, (0, 48, -88), (0, 56, -220), 15), q[2] + np.float32(80))
    labels[(arch < 0) & (_noise(rng, p, 14.0) > -0.2)] = HeadTissue.BONE
    canal = np.maximum(capsule(q, (0, 38, -64), (0, 44, -220), 9.5), q[2] + np.float32(64))
    labels[(canal < 0) & (distance > 0)] = HeadTissue.CSF
    labels[(canal < -float(rng.uniform(3.0, 5.0))) & (distance > 0)] = HeadTissue.CORD


def _paint_face(rng: np.random.Generator, labels: Labels, build: _Build, q: Coordinates, distance: FloatArray) -> None:
    """Paint orbits, sinuses, airways, mastoids, jaw, tongue, glands; each drawn, some left out."""
    free = distance > 2.0
    f = build.face

    def paint(solid: FloatArray, tissue: HeadTissue | Labels, odds: float = 1.0) -> None:
        if rng.random() < odds:
            where = (solid < 0) & free
            labels[where] = tissue if isinstance(tissue, HeadTissue) else tissue[where]

    def jitter(spread: float) -> float:
        return float(rng.normal(0, spread))

    cells = np.where(_cells(rng, q) > 0.0, HeadTissue.AIR, HeadTissue.BONE).astype(np.uint8)
    for side in (-1, 1):
        orbit = (31 * side * f + jitter(1.5), -50 * f + jitter(2), -34 + jitter(2))
        paint(ellipsoid(q, orbit, (19, 24, 18)), HeadTissue.BONE)
        paint(ellipsoid(q, orbit, (17, 23, 16)), HeadTissue.FAT)
        eye = (orbit[0] + side * 1.0, orbit[1] - 9, orbit[2])
        paint(ellipsoid(q, eye, (12.5, 12.5, 12.5)), HeadTissue.EYE, 0.95)
        paint(ellipsoid(q, (eye[0], eye[1] - 9, eye[2]), (5, 3, 5)), HeadTissue.LENS)
        paint(capsule(q, (eye[0], eye[1] + 11, eye[2]), (8 * side, -12, -28), 2.4), HeadTissue.NERVE, 0.9)
        for around in range(4):
            dx, dz = 9 * np.cos(around * np.pi / 2), 9 * np.sin(around * np.pi / 2)
            rod = capsule(q, (eye[0] + dx, eye[1] + 6, eye[2] + dz), (12 * side, -18, -30), 1.8)
            paint(rod, HeadTissue.MUSCLE, 0.8)
        maxilla = ellipsoid(q, (31 * side * f, -46 * f + jitter(3), -70 + jitter(3)), (15, 17, 17))
        paint(maxilla, HeadTissue.BONE)
        paint(maxilla + np.float32(2.5), HeadTissue.MUCOSA)
        paint(maxilla + np.float32(rng.uniform(2.5, 9)), HeadTissue.AIR, 0.9)
        mastoid = ellipsoid(q, (52 * side, 28 + jitter(3), -46 + jitter(3)), (13, 17, 20))
        paint(mastoid, HeadTissue.BONE)
        paint(mastoid + np.float32(1.5), cells if rng.random() < 0.8 else HeadTissue.MARROW)
        petrous = capsule(q, (52 * side, 26, -42), (16 * side, 4, -38), float(rng.uniform(6, 9)))
        paint(petrous, HeadTissue.BONE)
        paint(petrous + np.float32(4), HeadTissue.MARROW, 0.4)
        paint(capsule(q, (80 * side, 18, -40), (40 * side, 14, -40), 3.5), HeadTissue.AIR)  # ear canal
        paint(ellipsoid(q, (58 * side, 8 + jitter(4), -72), (15, 20, 24)), HeadTissue.GLAND, 0.8)
        ramus = capsule(q, (52 * side, -8, -62), (44 * side, -24, -112), 7)
        paint(ramus, HeadTissue.BONE)
        paint(ramus + np.float32(3), HeadTissue.MARROW)
        jaw = capsule(q, (44 * side, -24, -112), (0, -66 * f, -118), 8)
        paint(jaw, HeadTissue.BONE)
        paint(jaw + np.float32(3), HeadTissue.MARROW)
        paint(capsule(q, (26 * side, 4, -60), (30 * side, 16, -220), float(rng.uniform(3, 6))), HeadTissue.VESSEL, 0.9)
    nose = union(ellipsoid(q, (0, -58 * f, -56), (15, 34, 24)), ellipsoid(q, (0, -30, -64), (14, 20, 14)), 6)
    paint(nose, HeadTissue.MUCOSA)
    waves = np.abs(np.sin(q[0] * np.float32(rng.uniform(0.5, 0.8)) + q[2] * np.float32(0.1)))
    paint(np.maximum(nose, np.float32(0.55) - waves), HeadTissue.AIR)
    sphenoid = ellipsoid(q, (jitter(3), -18 + jitter(3), -40), (13 + jitter(3), 12, 9))
    paint(sphenoid, HeadTissue.AIR if rng.random() < 0.8 else HeadTissue.MUCOSA)
    frontal = ellipsoid(q, (jitter(4), -78 * f, -8 + jitter(4)), (22 * rng.uniform(0.5, 1.4), 7, 15))
    paint(
        np.maximum(frontal, -distance + np.float32(4)),
        HeadTissue.AIR if rng.random() < 0.75 else HeadTissue.MUCOSA,
        0.8,
    )
    paint(capsule(q, (0, 0, -66), (0, 16, -220), float(rng.uniform(6, 11))), HeadTissue.AIR)  # pharynx
    paint(ellipsoid(q, (0, -32 * f, -96), (24, 34, 20)), HeadTissue.MUSCLE)  # tongue
    paint(ellipsoid(q, (0, -30, -96), (22, 30, 3)), HeadTissue.AIR, 0.3)
    clivus = capsule(q, (0, -2, -36), (0, 22, -64), 6)
    paint(clivus, HeadTissue.MARROW if rng.random() < 0.7 else HeadTissue.BONE)
    paint(
        ellipsoid(q, (0, -6, -28), (7, 6, 5)), HeadTissue.VESSEL if rng.random() < 0.5 else HeadTissue.GLAND
    )  # pituitary


def _cells(rng: np.random.Generator, q: Coordinates) -> FloatArray:
    """Return a quick sponge of three waves with random phases: the product of two, plus half of the third."""
    a, b, c = (np.float32(v) for v in rng.uniform(0, 6.28, 3))
    k = np.float32(2 * np.pi / rng.uniform(7, 12))
    return np.asarray(np.sin(k * q[0] + a) * np.sin(k * q[1] + b) + np.sin(k * q[2] + c) * np.float32(0.5))


def _paint_brain(
    rng: np.random.Generator,
    labels: Labels,
    mask: BoolArray,
    tissue: BoolArray,
    grey: FloatArray,
    white: FloatArray,
    distance: FloatArray,
    q: Coordinates,
) -> None:
    """Paint grey and white matter, fluid in sulci and ventricles, cerebellum, the falx."""
    is_white = white * np.float32(rng.uniform(0.8, 1.25)) > grey
    labels[mask] = HeadTissue.CSF
    labels[mask & ~tissue & (distance < -12)] = HeadTissue.VENTRICLE
    labels[tissue & is_white] = HeadTissue.WHITE
    labels[tissue & ~is_white] = HeadTissue.GREY
    nuclei = (distance < -22) & (np.abs(q[0]) < 38) & (np.abs(q[2] - 3) < 18)
    labels[tissue & ~is_white & nuclei] = HeadTissue.DEEP_GREY
    below = (q[2] < -14) & (q[1] > 38 - np.float32(0.4) * (q[2] + 14))
    labels[tissue & ~is_white & below] = HeadTissue.CEREBELLUM
    if rng.random() < 0.8:
        labels[(np.abs(q[0]) < 1.2) & (labels == HeadTissue.CSF) & (q[2] > 5)] = HeadTissue.DURA


def _paint_vessels(
    rng: np.random.Generator,
    labels: Labels,
    build: _Build,
    q: Coordinates,
    p: Coordinates,
    shell: FloatArray,
    mask: BoolArray,
) -> None:
    """Paint venous sinuses on the skull's inside, arteries at the base, veins over the convexity."""
    free = ~mask
    half = float(rng.uniform(3.0, 6.5))
    sagittal = free & (np.abs(q[0]) < half) & (shell > -5) & (shell < build.csf + 1.5) & (q[2] > -25)
    labels[sagittal & ((q[1] > -50) | (q[2] > 20))] = HeadTissue.VESSEL
    height = -24 - np.float32(0.05) * np.abs(q[0]) + 3 * _noise(rng, p, 50.0)
    transverse = free & (np.abs(q[2] - height) < half) & (shell > -6) & (shell < build.csf + 2) & (q[1] > 30)
    labels[transverse] = HeadTissue.VESSEL
    for side in (-1, 1):
        carotid = capsule(q, (16 * side, -4, -34), (24 * side, 4, -66), 3.0)
        labels[(carotid < 0) & free] = HeadTissue.VESSEL
        cavernous = ellipsoid(q, (14 * side, -2, -30), (6, 11, 8))
        labels[(cavernous < 0) & free] = HeadTissue.VESSEL
    labels[(capsule(q, (0, 14, -34), (0, 20, -62), 2.2) < 0) & free] = HeadTissue.VESSEL
    if rng.random() < 0.7:
        veins = np.abs(_noise(rng, p, 28.0)) < rng.uniform(0.04, 0.12)
        labels[veins & free & (shell <= build.csf) & (labels == HeadTissue.CSF)] = HeadTissue.VESSEL


def _noise(rng: np.random.Generator, p: Coordinates, wavelength_mm: float) -> FloatArray:
    return Noise(rng, BOX_LOW_MM, BOX_HIGH_MM, wavelength_mm).on_axes(*p)
