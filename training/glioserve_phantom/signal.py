"""Signal equations of pulse sequences: the transverse magnetisation at the echo of each tissue.

Times in ms, angles in degrees; every result is an array over the tissues, in units of the proton density, without coil
or noise. Equations: Haacke et al., Magnetic Resonance Imaging, 2nd ed. (2014); the magnetisation-prepared train after
Deichmann 2000 (NeuroImage 12:112).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from glioserve_preprocess.arrays import DoubleArray


@dataclass(frozen=True, eq=False)
class Tissues:
    """One patient's tissues in one magnet; every array has one entry for each tissue."""

    t1_ms: DoubleArray
    t2_ms: DoubleArray
    t2_star_ms: DoubleArray
    density: DoubleArray
    """Proton density; water of CSF is 1."""
    adc_mm2_per_s: DoubleArray
    field_tesla: float


def spin_echo(t: Tissues, tr_ms: float, te_ms: float) -> DoubleArray:
    """Return a spin echo's signal; that of a turbo spin echo for its effective echo time."""
    return np.asarray(t.density * (1 - np.exp(-tr_ms / t.t1_ms)) * np.exp(-te_ms / t.t2_ms))


def inversion_recovery(t: Tissues, tr_ms: float, te_ms: float, ti_ms: float) -> DoubleArray:
    """Return the magnitude after an inversion, read by spin echoes: FLAIR, STIR, T1-FLAIR."""
    recovered = 1 - 2 * np.exp(-ti_ms / t.t1_ms) + np.exp(-tr_ms / t.t1_ms)
    return np.asarray(t.density * np.abs(recovered) * np.exp(-te_ms / t.t2_ms))


def nulling_inversion_ms(t1_ms: float, tr_ms: float) -> float:
    """Return the inversion time at which a tissue of ``t1_ms`` gives no signal."""
    return float(t1_ms * (np.log(2) - np.log1p(np.exp(-tr_ms / t1_ms))))


def spoiled_gradient_echo(t: Tissues, tr_ms: float, te_ms: float, flip_deg: float) -> DoubleArray:
    """Return the steady state of a spoiled gradient echo (Ernst)."""
    flip = np.deg2rad(flip_deg)
    e1 = np.exp(-tr_ms / t.t1_ms)
    return np.asarray(t.density * np.sin(flip) * (1 - e1) / (1 - np.cos(flip) * e1) * np.exp(-te_ms / t.t2_star_ms))


def magnetisation_prepared(
    t: Tissues, tr_ms: float, ti_ms: float, te_ms: float, flip_deg: float, spacing_ms: float, pulses: int
) -> DoubleArray:
    """Return the magnitude of MPRAGE at the middle of its train of gradient echoes, in the steady state.

    Args:
        t: The tissues.
        tr_ms: From inversion to inversion.
        ti_ms: From the inversion to the middle of the train.
        te_ms: Echo time.
        flip_deg: Flip angle of each pulse of the train.
        spacing_ms: From pulse to pulse.
        pulses: Number of pulses, even.
    """
    cosine, sine = np.cos(np.deg2rad(flip_deg)), np.sin(np.deg2rad(flip_deg))
    before = np.exp(-max(ti_ms - pulses / 2 * spacing_ms, 0) / t.t1_ms)
    after = np.exp(-max(tr_ms - ti_ms - pulses / 2 * spacing_ms, 0) / t.t1_ms)
    step = np.exp(-spacing_ms / t.t1_ms)
    # One pulse and its recovery take m to (cos m) step + (1 - step); n of them are gain ** n and a drive.
    gain = cosine * step
    fixed = (1 - step) / (1 - gain)
    whole, half = gain**pulses, gain ** (pulses / 2)
    # With m before the inversion: train starts at 1 - (1 + m) before; the cycle closes at m again.
    # m = 1 - (1 - end) after, end = fixed + (start - fixed) whole, start = 1 - before - m before.
    constant = 1 - after + after * (fixed + (1 - before - fixed) * whole)
    m = constant / (1 + after * whole * before)
    start = 1 - before - m * before
    middle = fixed + (start - fixed) * half
    return np.asarray(t.density * np.abs(middle) * sine * np.exp(-te_ms / t.t2_star_ms))


def balanced_gradient_echo(t: Tissues, tr_ms: float, flip_deg: float) -> DoubleArray:
    """Return a balanced steady-state free precession's signal on resonance, at half its repetition time."""
    flip = np.deg2rad(flip_deg)
    e1, e2 = np.exp(-tr_ms / t.t1_ms), np.exp(-tr_ms / t.t2_ms)
    steady = (1 - e1) / (1 - (e1 - e2) * np.cos(flip) - e1 * e2)
    return np.asarray(t.density * np.sin(flip) * steady * np.exp(-tr_ms / 2 / t.t2_ms))


def diffusion_weighted(t: Tissues, tr_ms: float, te_ms: float, b_s_per_mm2: float) -> DoubleArray:
    """Return a diffusion-weighted spin echo's signal."""
    return np.asarray(spin_echo(t, tr_ms, te_ms) * np.exp(-b_s_per_mm2 * t.adc_mm2_per_s))


def fresh_gradient_echo(t: Tissues, te_ms: float, flip_deg: float) -> DoubleArray:
    """Return the signal of spins that no pulse has saturated: blood that has just flowed in."""
    return np.asarray(t.density * np.sin(np.deg2rad(flip_deg)) * np.exp(-te_ms / t.t2_star_ms))
