"""Relaxation times, proton density and diffusion of the tissues of a head, and what a gadolinium agent makes of them.

Values at 1.5 and 3 T are round figures within the ranges of Stanisz 2005 (MRM 54:507; white and grey matter, muscle,
blood, cartilage), Wansapura 1999 (JMRI 9:531; brain at 3 T, T2*), Rooney 2007 (MRM 57:308; brain, CSF), Gold 2004 (AJR
183:343; fat, marrow, cartilage, muscle), Lu 2004 (MRM 52:679) and Zhao 2007 (MRM 58:592; blood), Bojorquez 2017 (MRI
35:69; review). Membranes, mucosa, glands and lesions are less well known and are drawn from wider ranges. Relaxivities:
Rohrer 2005 (Invest Radiol 40:715). Every value is drawn anew for each patient.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from glioserve_phantom.signal import Tissues
from glioserve_preprocess.arrays import DoubleArray
from glioserve_training.brain.head import HeadTissue
from glioserve_training.weighting.anatomy import ARTERY, CHOROID, LABELS, PITUITARY

_T = HeadTissue
_TABLE: dict[int, tuple[float, float, float, float, float, float, float, float]] = {
    # T1 ms at 1.5 and 3 T, T2 ms at 1.5 and 3 T, T2* ms at 1.5 and 3 T, proton density, ADC in 1e-3 mm2/s
    _T.AIR: (1000, 1000, 50, 50, 30, 30, 0.0, 0.0),
    _T.SKIN: (900, 1050, 35, 30, 18, 12, 0.7, 0.9),
    _T.FAT: (260, 370, 110, 100, 45, 28, 0.95, 0.05),
    _T.MUSCLE: (1000, 1400, 38, 32, 28, 22, 0.75, 1.4),
    _T.SOFT_A: (850, 1050, 55, 48, 30, 22, 0.8, 1.2),
    _T.SOFT_B: (650, 850, 60, 52, 32, 24, 0.85, 1.1),
    _T.GLAND: (750, 950, 75, 65, 40, 28, 0.85, 1.1),
    _T.BONE: (250, 300, 0.6, 0.5, 0.5, 0.4, 0.2, 0.1),
    _T.MARROW: (330, 420, 70, 60, 14, 8, 0.8, 0.3),
    _T.DURA: (650, 750, 18, 15, 9, 6, 0.6, 0.5),
    _T.CSF: (4100, 4300, 2000, 1700, 900, 600, 1.0, 3.1),
    _T.VENTRICLE: (4100, 4300, 2000, 1700, 1000, 700, 1.0, 3.1),
    _T.GREY: (1130, 1430, 95, 85, 65, 50, 0.83, 0.83),
    _T.WHITE: (650, 860, 76, 68, 60, 46, 0.7, 0.72),
    _T.DEEP_GREY: (980, 1230, 82, 70, 52, 38, 0.79, 0.76),
    _T.CEREBELLUM: (1150, 1430, 95, 85, 65, 50, 0.83, 0.75),
    _T.CORD: (740, 950, 78, 72, 55, 42, 0.72, 0.9),
    _T.VESSEL: (1440, 1650, 150, 60, 70, 25, 0.9, 1.5),
    _T.EYE: (3800, 4000, 1400, 1200, 700, 500, 1.0, 2.8),
    _T.LENS: (900, 1050, 28, 24, 18, 14, 0.65, 0.8),
    _T.NERVE: (720, 920, 76, 68, 50, 38, 0.72, 0.9),
    _T.MUCOSA: (1050, 1300, 115, 100, 35, 24, 0.9, 1.5),
    _T.CARTILAGE: (900, 1150, 38, 32, 22, 16, 0.7, 1.3),
    _T.DISC: (950, 1150, 90, 78, 45, 32, 0.8, 1.5),
    _T.OEDEMA: (1400, 1750, 170, 145, 110, 85, 0.9, 1.4),
    _T.ENHANCING: (1250, 1550, 125, 108, 75, 55, 0.87, 1.05),
    _T.NECROTIC: (2000, 2400, 300, 240, 150, 110, 0.95, 1.8),
    _T.CAVITY: (3400, 3600, 1200, 1000, 500, 350, 1.0, 2.8),
    _T.BLOOD: (650, 800, 90, 75, 30, 20, 0.85, 0.9),
    _T.COLLECTION: (2100, 2500, 400, 320, 200, 140, 1.0, 2.2),
    _T.FLAP_RIM: (400, 500, 2, 1.5, 1.5, 1, 0.3, 0.3),
    ARTERY: (1440, 1650, 230, 140, 120, 60, 0.9, 1.5),
    CHOROID: (1300, 1600, 130, 110, 50, 36, 0.9, 1.6),
    PITUITARY: (850, 1080, 85, 75, 45, 32, 0.82, 1.0),
}
_LOOSE = (_T.SKIN, _T.SOFT_A, _T.SOFT_B, _T.GLAND, _T.MARROW, _T.DURA, _T.MUCOSA, _T.ENHANCING, _T.NECROTIC, _T.BLOOD)
"""Tissues whose values vary most; the others' T1 and T2 vary by 6 and 8 per cent."""

_UPTAKE: dict[int, tuple[float, float]] = {
    # concentration over that of the blood, minutes after the injection
    _T.SKIN: (0.05, 0.25),
    _T.MUSCLE: (0.05, 0.15),
    _T.SOFT_A: (0.05, 0.3),
    _T.SOFT_B: (0.05, 0.3),
    _T.GLAND: (0.2, 0.6),
    _T.FAT: (0.0, 0.03),
    _T.MARROW: (0.02, 0.15),
    _T.DURA: (0.2, 0.8),
    _T.GREY: (0.025, 0.05),
    _T.WHITE: (0.01, 0.025),
    _T.DEEP_GREY: (0.025, 0.05),
    _T.CEREBELLUM: (0.025, 0.05),
    _T.VESSEL: (1.0, 1.0),
    _T.MUCOSA: (0.35, 1.0),
    _T.OEDEMA: (0.0, 0.06),
    _T.ENHANCING: (0.25, 1.2),
    _T.NECROTIC: (0.0, 0.12),
    _T.COLLECTION: (0.0, 0.1),
    _T.FLAP_RIM: (0.1, 0.5),
    ARTERY: (1.0, 1.0),
    CHOROID: (0.4, 1.1),
    PITUITARY: (0.4, 1.0),
}
_R1_PER_MM_S = {1.5: 4.3, 3.0: 3.8}
_R2_PER_MM_S = {1.5: 5.3, 3.0: 6.0}
_R2_STAR_PER_MM_S = {1.5: 9.0, 3.0: 14.0}
"""The susceptibility of an agent in vessels adds to R2* beyond its relaxivity."""


def draw_tissues(rng: np.random.Generator) -> Tissues:
    """Draw one patient's tissues at 1.5 or 3 T, before any agent."""
    field = 3.0 if rng.random() < 0.55 else 1.5
    table = np.array([_TABLE[label] for label in range(LABELS)])
    at = 0 if field == 1.5 else 1
    loose = np.isin(np.arange(LABELS), _LOOSE)

    def about(values: DoubleArray, tight: float, wide: float) -> DoubleArray:
        return np.asarray(values * np.exp(rng.normal(0, np.where(loose, wide, tight))))

    t2 = about(table[:, 2 + at], 0.08, 0.2)
    return Tissues(
        t1_ms=about(table[:, at], 0.06, 0.18),
        t2_ms=t2,
        t2_star_ms=np.minimum(about(table[:, 4 + at], 0.12, 0.25), t2),
        density=np.minimum(about(table[:, 6], 0.03, 0.08), 1.05),
        adc_mm2_per_s=about(table[:, 7], 0.08, 0.2) * 1e-3,
        field_tesla=field,
    )


def draw_concentrations(rng: np.random.Generator) -> DoubleArray:
    """Draw the agent's concentration in each tissue, mM [LABELS], some minutes after half to one and a half doses.

    The lesion's enhancing part takes up none in one patient of four.
    """
    share = np.array([rng.uniform(*_UPTAKE.get(label, (0.0, 0.0))) for label in range(LABELS)])
    if rng.random() < 0.25:
        share[_T.ENHANCING] = rng.uniform(0, 0.03)
    return np.asarray(share * rng.uniform(0.45, 1.5))


def with_agent(tissues: Tissues, concentrations_mm: DoubleArray) -> Tissues:
    """Return the tissues with their rates raised by relaxivity times concentration (mM [LABELS])."""
    field = tissues.field_tesla
    return replace(
        tissues,
        t1_ms=1 / (1 / tissues.t1_ms + _R1_PER_MM_S[field] * concentrations_mm / 1000),
        t2_ms=1 / (1 / tissues.t2_ms + _R2_PER_MM_S[field] * concentrations_mm / 1000),
        t2_star_ms=1 / (1 / tissues.t2_star_ms + _R2_STAR_PER_MM_S[field] * concentrations_mm / 1000),
    )
