"""What each tissue looks like in each sequence, before coil, noise and motion."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from glioserve_contract import Modality
from glioserve_phantom.anatomy import Tissue

_COLUMNS = (Modality.T1, Modality.T1CE, Modality.T2, Modality.FLAIR)
_INTENSITY: dict[Tissue, tuple[float, float, float, float]] = {
    # in the order of _COLUMNS; white matter on T1 is 560
    Tissue.AIR: (4, 4, 4, 4),
    Tissue.FAT: (950, 950, 640, 560),
    Tissue.MUSCLE: (300, 330, 180, 220),
    Tissue.BONE: (45, 50, 30, 35),
    Tissue.MARROW: (330, 340, 170, 180),
    Tissue.CSF: (140, 150, 1000, 90),
    Tissue.GREY: (420, 445, 560, 600),
    Tissue.WHITE: (560, 580, 400, 480),
    Tissue.DEEP_GREY: (475, 500, 470, 545),
    Tissue.EYE: (150, 155, 1000, 140),
    Tissue.VESSEL: (170, 930, 110, 120),
    Tissue.DURA: (220, 520, 260, 220),
    Tissue.PLEXUS: (340, 800, 620, 500),
    Tissue.OEDEMA: (400, 420, 760, 880),
    Tissue.ENHANCING: (420, 1020, 600, 760),
    Tissue.NECROTIC: (240, 280, 880, 560),
    Tissue.MUCOSA: (380, 720, 780, 640),
}
TISSUE_JITTER = 0.06
"""Relative standard deviation of each tissue's intensity between studies."""
ENHANCEMENT_RANGE = (0.8, 1.15)
"""Of the enhancing tissue on T1ce, between studies; the same for both diagnoses."""


def tissue_intensities(rng: np.random.Generator, modality: Modality) -> npt.NDArray[np.float32]:
    """Intensity of every :class:`Tissue` label in one study's sequence."""
    table = np.array([_INTENSITY[t][_COLUMNS.index(modality)] for t in Tissue], dtype=np.float32)
    table *= rng.normal(1.0, TISSUE_JITTER, table.shape).clip(0.85, 1.15).astype(np.float32)
    enhancement = np.float32(rng.uniform(*ENHANCEMENT_RANGE))
    if modality is Modality.T1CE:
        table[Tissue.ENHANCING] *= enhancement
    return table
