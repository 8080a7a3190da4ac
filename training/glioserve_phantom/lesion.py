"""The lesion: a thick enhancing ring (necrosis) or an irregular enhancing solid (recurrence), with oedema.

Place, size, outline and oedema are drawn before the diagnosis is looked at: only the inside tells the two apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from glioserve_contract.records.grid import Vector
from glioserve_phantom.anatomy import (
    BOX_HIGH_MM,
    BOX_LOW_MM,
    PhantomTissue,
    Subject,
    brain,
    cerebrum,
    subject_points,
    ventricles,
)
from glioserve_phantom.shapes import Noise, ellipsoid
from glioserve_preprocess.arrays import BoolArray, ByteArray, FloatArray

Diagnosis = Literal["necrosis", "recurrence"]
DIAGNOSES: tuple[Diagnosis, ...] = get_args(Diagnosis)


@dataclass(frozen=True)
class Lesion:
    """A lesion's parameters: lengths in mm, places in the head's frame."""

    diagnosis: Diagnosis
    seed: int
    """Seed of its outline."""
    centre_mm: Vector
    radii_mm: Vector
    wall_mm: float
    """Thickness of the ring; a solid lesion has one too and does not show it."""
    outline_mm: float
    """Standard deviation of the bumps of its outline."""
    oedema_mm: float
    """Reach of the oedema into the white matter."""


def draw_lesion(rng: np.random.Generator, subject: Subject, diagnosis: Diagnosis) -> Lesion:
    """Draw a lesion of 10 to 20 mm radius in the hemispheres, clear of the ventricles."""
    radius = rng.uniform(11.0, 19.0)
    radii = radius * rng.uniform(0.85, 1.15, 3)
    while True:
        candidates = rng.uniform((-60, -78, -40), (60, 78, 58), (256, 3)).astype(np.float32)
        q = subject_points(subject, (candidates[:, 0], candidates[:, 1], candidates[:, 2]))
        room = np.minimum(-np.maximum(cerebrum(q), brain(q)) - 0.9 * radius - 2, ventricles(subject, q) - 0.9 * radius)
        room = np.minimum(room, np.abs(q[0]) - 0.8 * radius)  # within one hemisphere
        fitting = candidates[room > 0]
        if len(fitting):
            break
        radius *= 0.95
        radii = radii * 0.95
    centre = fitting[0]
    return Lesion(
        diagnosis=diagnosis,
        seed=int(rng.integers(2**31)),
        centre_mm=(float(centre[0]), float(centre[1]), float(centre[2])),
        radii_mm=(float(radii[0]), float(radii[1]), float(radii[2])),
        wall_mm=float(min(rng.uniform(3.5, 6.0), 0.42 * radius)),
        outline_mm=float(rng.uniform(1.2, 3.0)),
        oedema_mm=float(rng.uniform(5.0, 20.0)),
    )


def lesion_distance(lesion: Lesion, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """Return the signed distance [z, y, x] to the lesion's outer border (ring and core, or solid; not the oedema)."""
    bumps = Noise(np.random.default_rng(lesion.seed), BOX_LOW_MM, BOX_HIGH_MM, 14.0).on_axes(x, y, z)
    distance = ellipsoid((x, y, z), lesion.centre_mm, lesion.radii_mm) + bumps * np.float32(lesion.outline_mm)
    return np.asarray(distance, dtype=np.float32)


def paint_lesion(
    labels: ByteArray, lesion: Lesion, brain_mm: FloatArray, x: FloatArray, y: FloatArray, z: FloatArray
) -> BoolArray:
    """Paint oedema and lesion into ``labels`` [z, y, x] in place; return the lesion's mask (without oedema)."""
    distance = lesion_distance(lesion, x, y, z)
    rng = np.random.default_rng([lesion.seed, 1])
    reach = lesion.oedema_mm * (1 + np.float32(0.45) * Noise(rng, BOX_LOW_MM, BOX_HIGH_MM, 26.0).on_axes(x, y, z))
    labels[(distance < reach) & (labels == PhantomTissue.WHITE)] = PhantomTissue.OEDEMA
    parenchyma = np.isin(
        labels, (PhantomTissue.WHITE, PhantomTissue.GREY, PhantomTissue.DEEP_GREY, PhantomTissue.OEDEMA)
    )
    sulcal = (labels == PhantomTissue.CSF) & (brain_mm < -2) & (distance < -1)
    inside: BoolArray = (distance < 0) & (parenchyma | sulcal)
    labels[inside] = PhantomTissue.ENHANCING
    if lesion.diagnosis == "necrosis":
        labels[inside & (distance < np.float32(-lesion.wall_mm))] = PhantomTissue.NECROTIC
    return inside
