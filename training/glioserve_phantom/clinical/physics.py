"""Signal of the phantom's tissues in a scan, at 1.5 and 3 T, before and after a contrast agent.

The equations are those of :mod:`glioserve_phantom.signal`; relaxation times are rounded from Stanisz et al., Magn Reson
Med 2005;54:507 and Bojorquez et al., Magn Reson Imaging 2017;35:69. Flow is a factor: a void in spin echoes, inflow in
gradient echoes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from glioserve_phantom.anatomy import PhantomTissue
from glioserve_phantom.signal import (
    Tissues,
    diffusion_weighted,
    fresh_gradient_echo,
    inversion_recovery,
    spoiled_gradient_echo,
)
from glioserve_preprocess.arrays import DoubleArray, FloatArray

Pulse = Literal["spin echo", "inversion spin echo", "gradient echo", "prepared gradient echo", "diffusion"]
FatImage = Literal["all", "suppressed", "water", "fat", "in phase", "opposed"]
"""The share of fat that is shown: all, little, or that of one of the four images of a Dixon acquisition."""

_T = PhantomTissue
# Proton density, T1 at 1.5 T and at 3 T, T2, T2* (ms), fat fraction, diffusion (1e-3 mm2/s), uptake of agent (mmol/l)
_TISSUE: dict[PhantomTissue, tuple[float, float, float, float, float, float, float, float]] = {
    _T.AIR: (0.005, 1000, 1000, 50, 5, 0.0, 1.0, 0.0),
    _T.FAT: (0.85, 290, 370, 85, 40, 0.9, 0.05, 0.0),
    _T.MUSCLE: (0.80, 950, 1350, 42, 28, 0.03, 1.5, 0.06),
    _T.BONE: (0.06, 900, 1100, 12, 3, 0.1, 0.3, 0.02),
    _T.MARROW: (0.75, 380, 450, 62, 28, 0.55, 0.3, 0.05),
    _T.CSF: (1.0, 4000, 4200, 1200, 400, 0.0, 3.0, 0.0),
    _T.GREY: (0.83, 1050, 1400, 98, 60, 0.0, 0.82, 0.008),
    _T.WHITE: (0.70, 650, 870, 78, 52, 0.0, 0.72, 0.006),
    _T.DEEP_GREY: (0.78, 850, 1180, 72, 42, 0.0, 0.76, 0.008),
    _T.EYE: (1.0, 3500, 3800, 900, 300, 0.0, 2.8, 0.0),
    _T.VESSEL: (0.90, 1450, 1650, 150, 60, 0.0, 3.0, 1.0),
    _T.DURA: (0.60, 820, 1000, 50, 30, 0.1, 1.0, 0.45),
    _T.PLEXUS: (0.90, 1300, 1600, 150, 80, 0.0, 2.0, 0.7),
    _T.OEDEMA: (0.90, 1350, 1650, 150, 110, 0.0, 1.4, 0.03),
    _T.ENHANCING: (0.87, 1200, 1500, 120, 80, 0.0, 1.1, 0.6),
    _T.NECROTIC: (0.97, 2000, 2400, 250, 150, 0.0, 2.2, 0.05),
    _T.MUCOSA: (0.90, 1150, 1350, 110, 60, 0.0, 1.6, 0.6),
}
_RELAXIVITY_PER_MMOL_S = {1.5: 4.6, 3.0: 3.9}
"""Longitudinal relaxivity of gadobutrol and its like, by field strength in tesla."""
_SUPPRESSED = 0.1
"""Share of fat's signal that fat suppression leaves."""
BRIGHT = 900.0
"""Intensity of the brightest of fat, brain and fluid, before coil, noise and gain."""


@dataclass(frozen=True)
class Contrast:
    """The parameters of a scan that decide the signal of tissue."""

    pulse: Pulse
    repetition_time_ms: float
    """Time between excitations; of a prepared gradient echo, the time between inversions."""
    echo_time_ms: float
    inversion_time_ms: float = 0.0
    flip_angle_deg: float = 90.0
    field_tesla: float = 1.5
    agent: float = 0.0
    """Amount of contrast agent in usual doses; 0 for none."""
    inflow: float = 0.0
    """Share of the blood, 0 to 1, that enters the slab unsaturated."""
    fat: FatImage = "all"
    b_value_s_mm2: float = 0.0


def tissue_signal(contrast: Contrast) -> FloatArray:
    """Return the intensity of every :class:`PhantomTissue` label, scaled to :data:`BRIGHT`."""
    table = np.array([_TISSUE[t] for t in PhantomTissue])
    density, t1_low, t1_high, t2, t2_star, fat_fraction, diffusion, uptake = table.T
    t1 = t1_low if contrast.field_tesla < 2 else t1_high
    relaxivity = _RELAXIVITY_PER_MMOL_S[1.5 if contrast.field_tesla < 2 else 3.0]
    t1 = 1 / (1 / t1 + relaxivity * contrast.agent * uptake / 1000)
    tissues = Tissues(t1, t2, t2_star, density, diffusion / 1000, contrast.field_tesla)
    signal = _at_the_echo(contrast, tissues)
    signal[_T.VESSEL] = _blood(contrast, tissues, signal[_T.VESSEL])
    signal *= _shown_fat(contrast.fat, fat_fraction)
    shown = [_T.FAT, _T.CSF, _T.GREY, _T.WHITE] if contrast.fat == "fat" else [_T.CSF, _T.GREY, _T.WHITE]
    fat = signal[_T.FAT] if contrast.fat in ("all", "in phase", "opposed") else 0.0
    scaled: FloatArray = (signal * BRIGHT / max(float(signal[shown].max()), 0.9 * fat)).astype(np.float32)
    return scaled


def _at_the_echo(contrast: Contrast, t: Tissues) -> DoubleArray:
    tr_ms, te_ms, ti_ms = contrast.repetition_time_ms, contrast.echo_time_ms, contrast.inversion_time_ms
    if contrast.pulse == "inversion spin echo":
        return inversion_recovery(t, tr_ms, te_ms, ti_ms)
    if contrast.pulse == "prepared gradient echo":
        return inversion_recovery(replace(t, t2_ms=t.t2_star_ms), tr_ms, te_ms, ti_ms)
    if contrast.pulse == "gradient echo":
        return spoiled_gradient_echo(t, tr_ms, te_ms, contrast.flip_angle_deg)
    return diffusion_weighted(t, tr_ms, te_ms, contrast.b_value_s_mm2)


def _blood(contrast: Contrast, t: Tissues, resting: float) -> float:
    """Return the signal of flowing blood: a void in spin echoes, in part or whole unsaturated in gradient echoes."""
    if contrast.pulse in ("spin echo", "inversion spin echo", "diffusion"):
        return resting * (0.75 if contrast.agent else 0.2)
    flip_deg = 90.0 if contrast.pulse == "prepared gradient echo" else contrast.flip_angle_deg
    fresh = float(fresh_gradient_echo(t, contrast.echo_time_ms, flip_deg)[_T.VESSEL])
    return resting + contrast.inflow * max(0.0, fresh - resting)


def _shown_fat(image: FatImage, fat_fraction: DoubleArray) -> DoubleArray:
    water = 1 - fat_fraction
    shown = {
        "all": np.ones_like(water),
        "suppressed": water + _SUPPRESSED * fat_fraction,
        "water": water + 0.03,
        "fat": fat_fraction + 0.03,
        "in phase": np.ones_like(water),
        "opposed": np.abs(water - fat_fraction) + 0.03,
    }
    return np.asarray(shown[image], dtype=np.float64)
