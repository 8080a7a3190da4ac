"""The lesion: a thick enhancing ring (necrosis) or an irregular enhancing solid (recurrence), with oedema.

Place, size, outline and oedema are drawn before the diagnosis is looked at: only the inside tells the two apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from glioserve_phantom.anatomy import (
    BOX_HIGH_MM,
    BOX_LOW_MM,
    Subject,
    Tissue,
    brain,
    cerebrum,
    subject_points,
    ventricles,
)
from glioserve_phantom.shapes import Array, Noise, Triple, ellipsoid

Diagnosis = Literal["necrosis", "recurrence"]
DIAGNOSES: tuple[Diagnosis, ...] = get_args(Diagnosis)


@dataclass(frozen=True)
class Lesion:
    """Lengths in mm, places in the head's frame."""

    diagnosis: Diagnosis
    seed: int
    """Of its outline."""
    centre_mm: Triple
    radii_mm: Triple
    wall_mm: float
    """Of the ring. A solid lesion has one too and does not show it."""
    outline_mm: float
    """Standard deviation of the bumps of its outline."""
    oedema_mm: float
    """How far oedema reaches into the white matter."""


def draw_lesion(rng: np.random.Generator, subject: Subject, diagnosis: Diagnosis) -> Lesion:
    """A lesion of 10 to 20 mm radius in the hemispheres, clear of the ventricles."""
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


def lesion_distance(lesion: Lesion, x: Array, y: Array, z: Array) -> Array:
    """Signed distance [z, y, x] to the lesion's outer border (ring and core, or solid; not the oedema)."""
    bumps = Noise(np.random.default_rng(lesion.seed), BOX_LOW_MM, BOX_HIGH_MM, 14.0).on_axes(x, y, z)
    distance = ellipsoid((x, y, z), lesion.centre_mm, lesion.radii_mm) + bumps * np.float32(lesion.outline_mm)
    return np.asarray(distance, dtype=np.float32)


def paint_lesion(
    labels: npt.NDArray[np.uint8], lesion: Lesion, brain_mm: Array, x: Array, y: Array, z: Array
) -> npt.NDArray[np.bool_]:
    """Paint oedema and lesion into ``labels`` [z, y, x] in place; returns the lesion's mask (without oedema)."""
    distance = lesion_distance(lesion, x, y, z)
    rng = np.random.default_rng([lesion.seed, 1])
    reach = lesion.oedema_mm * (1 + np.float32(0.45) * Noise(rng, BOX_LOW_MM, BOX_HIGH_MM, 26.0).on_axes(x, y, z))
    labels[(distance < reach) & (labels == Tissue.WHITE)] = Tissue.OEDEMA
    parenchyma = np.isin(labels, (Tissue.WHITE, Tissue.GREY, Tissue.DEEP_GREY, Tissue.OEDEMA))
    sulcal = (labels == Tissue.CSF) & (brain_mm < -2) & (distance < -1)
    inside: npt.NDArray[np.bool_] = (distance < 0) & (parenchyma | sulcal)
    labels[inside] = Tissue.ENHANCING
    if lesion.diagnosis == "necrosis":
        labels[inside & (distance < np.float32(-lesion.wall_mm))] = Tissue.NECROTIC
    return inside
