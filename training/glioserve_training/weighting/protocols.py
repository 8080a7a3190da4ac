"""Sequences as scanners run them: the kinds that are told apart, each with its techniques and ranges of timings.

A :class:`Look` is what one sequence makes of one patient's tissues; ``scene`` scans it. Kinds that are a contrast of
their own are here, everything else ("other") is in ``others``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from glioserve_contract import Modality
from glioserve_contract.sequences import PixelKind
from glioserve_phantom import signal
from glioserve_phantom.signal import Tissues
from glioserve_preprocess.arrays import DoubleArray
from glioserve_training.brain.contrast import sequence_contrast
from glioserve_training.brain.head import HeadTissue
from glioserve_training.weighting.anatomy import ARTERY, CHOROID, LABELS, PITUITARY
from glioserve_training.weighting.tissue import with_agent

GENERIC = 0.1
"""Share of T1, T1ce, T2 and FLAIR that come from the brain network's table of contrasts in place of an equation."""
FATTY = (HeadTissue.FAT, HeadTissue.MARROW)
BRAIN = (
    HeadTissue.VENTRICLE, HeadTissue.GREY, HeadTissue.WHITE, HeadTissue.DEEP_GREY, HeadTissue.CEREBELLUM,
    HeadTissue.OEDEMA, HeadTissue.ENHANCING, HeadTissue.NECROTIC, HeadTissue.CAVITY, HeadTissue.BLOOD, CHOROID, ARTERY,
)  # fmt: skip
"""Tissues that a stripped image keeps."""


@dataclass(frozen=True, eq=False)
class Look:
    """Intensities of the tissues, and what else the sequence does to an image."""

    means: DoubleArray
    """Mean of each tissue, [LABELS], in any unit."""
    is_epi: bool = False
    """Read by an echo-planar train: distorted and coarse."""
    dropout: float = 0.0
    """Loss beside air-filled sinuses, 0 to about 2."""
    noise: float = 0.0
    """Noise beyond that of every scan, as a share of the bright tissues."""
    is_signed: bool = False
    """Noise in air is of either sign, about a level above 0."""
    slab: bool = False
    """A slab in place of a head."""
    few_slices: bool = False
    """A handful of thick slices with wide gaps."""
    coarse: bool = False
    """Voxels of 2.5 mm or more."""
    field: float = 0.0
    """Share of a smooth field that is not tissue: phase, field maps."""
    off_head: bool = False
    """A neck, or nothing of a head."""
    is_object: bool = False
    """A test object of a few solids in place of a head."""


Drawer = Callable[[np.random.Generator, Tissues, DoubleArray], Look]
"""Draws a look from a patient's tissues and the agent's concentrations after an injection, mM."""


def _fat_saturated(means: DoubleArray, rng: np.random.Generator, odds: float) -> DoubleArray:
    if rng.random() < odds:
        means[list(FATTY)] *= rng.uniform(0.04, 0.3)
    return means


def _spin_echo_flow(means: DoubleArray, rng: np.random.Generator, veins: tuple[float, float]) -> DoubleArray:
    """Take away the signal that flowing blood loses between excitation and refocusing."""
    means[HeadTissue.VESSEL] *= rng.uniform(*veins)
    means[ARTERY] *= rng.uniform(0.0, 0.35)
    return means


def _inflow(means: DoubleArray, fresh: DoubleArray, rng: np.random.Generator, veins: float = 0.35) -> DoubleArray:
    """Add blood that flows in unsaturated: arteries up to all of it, veins up to a share."""
    for label, most in ((ARTERY, 1.0), (HeadTissue.VESSEL, veins)):
        share = rng.uniform(0, most)
        means[label] = (1 - share) * means[label] + share * fresh[label]
    return means


@dataclass(frozen=True)
class T1Technique:
    """One T1-weighted technique with its timings: the same before and after the agent in most studies."""

    name: str
    tr_ms: float
    te_ms: float
    flip_deg: float = 90.0
    ti_ms: float = 0.0
    spacing_ms: float = 0.0
    pulses: int = 0

    def means(self, t: Tissues, rng: np.random.Generator, enhanced: bool) -> DoubleArray:
        """Return the tissues' signal, with flow."""
        if self.name == "mprage":
            arguments = (self.tr_ms, self.ti_ms, self.te_ms, self.flip_deg, self.spacing_ms, self.pulses)
            means = signal.magnetisation_prepared(t, *arguments)
            return _inflow(means, signal.fresh_gradient_echo(t, self.te_ms, self.flip_deg), rng)
        if self.name == "gradient echo":
            means = signal.spoiled_gradient_echo(t, self.tr_ms, self.te_ms, self.flip_deg)
            return _inflow(means, signal.fresh_gradient_echo(t, self.te_ms, self.flip_deg), rng)
        if self.name == "inversion recovery":
            means = signal.inversion_recovery(t, self.tr_ms, self.te_ms, self.ti_ms)
        else:
            means = signal.spin_echo(t, self.tr_ms, self.te_ms)
        return _spin_echo_flow(means, rng, (0.35, 1.0) if enhanced else (0.1, 1.0))


def draw_t1_technique(rng: np.random.Generator, field_tesla: float) -> T1Technique:
    """Draw a technique: spin echo, inversion recovery, 2D and 3D gradient echo, MPRAGE."""
    name = rng.choice(("spin echo", "inversion recovery", "2d", "3d", "mprage"), p=(0.34, 0.1, 0.09, 0.17, 0.3))
    if name == "spin echo":
        return T1Technique(str(name), rng.uniform(380, 750), rng.uniform(6, 20))
    if name == "inversion recovery":
        tr = rng.uniform(1600, 2600)
        white = 650 if field_tesla == 1.5 else 860
        # between the nulls of white matter and of fluid, nearer to where white matter is brightest
        ti = signal.nulling_inversion_ms(white, tr) * rng.uniform(1.7, 2.1)
        return T1Technique(str(name), tr, rng.uniform(7, 25), ti_ms=ti)
    if name == "2d":
        return T1Technique("gradient echo", rng.uniform(120, 350), rng.uniform(2, 6), rng.uniform(60, 90))
    if name == "3d":
        tr = rng.uniform(5, 28)
        ernst = np.rad2deg(np.arccos(np.exp(-tr / 900)))
        return T1Technique("gradient echo", tr, rng.uniform(1.5, 6), max(10.0, ernst * rng.uniform(1.8, 3.2)))
    spacing, pulses = rng.uniform(5.5, 9.5), 2 * int(rng.integers(55, 90))
    ti = max(pulses / 2 * spacing + 10, rng.uniform(750, 1150))
    tr = max(ti + pulses / 2 * spacing + 50, rng.uniform(1500, 2600))
    return T1Technique("mprage", tr, rng.uniform(1.8, 5), rng.uniform(7, 12), ti, spacing, pulses)


def t1_look(
    rng: np.random.Generator, t: Tissues, agent_mm: DoubleArray, technique: T1Technique, enhanced: bool
) -> Look:
    """Draw a T1-weighted look before or after the agent; some from the generic table."""
    if rng.random() < GENERIC:
        return Look(generic_means(rng, Modality.T1CE if enhanced else Modality.T1))
    t = with_agent(t, agent_mm) if enhanced else t
    means = technique.means(t, rng, enhanced)
    return Look(_fat_saturated(means, rng, 0.2), dropout=0.3 if technique.name == "gradient echo" else 0.0)


def generic_means(rng: np.random.Generator, modality: Modality) -> DoubleArray:
    """Draw the generic table's intensities near a sequence, for the further labels too."""
    means = np.zeros(LABELS)
    means[: len(HeadTissue)] = sequence_contrast(rng, modality)
    means[ARTERY] = means[HeadTissue.VESSEL] * rng.uniform(0.3, 1.1)
    enhanced = modality is Modality.T1CE
    means[CHOROID] = means[HeadTissue.GREY] * (rng.uniform(1.3, 2.2) if enhanced else rng.uniform(0.6, 1.1))
    means[PITUITARY] = means[HeadTissue.GREY] * (rng.uniform(1.3, 2.2) if enhanced else rng.uniform(0.8, 1.2))
    return means


def draw_t2(rng: np.random.Generator, t: Tissues, agent_mm: DoubleArray) -> Look:
    """Draw a T2-weighted turbo spin echo, 2D or 3D."""
    if rng.random() < GENERIC:
        return Look(generic_means(rng, Modality.T2))
    t = with_agent(t, agent_mm) if rng.random() < 0.3 else t
    means = signal.spin_echo(t, rng.uniform(2400, 7500), rng.uniform(78, 135))
    return Look(_spin_echo_flow(_fat_saturated(means, rng, 0.2), rng, (0.05, 0.7)))


def draw_flair(rng: np.random.Generator, t: Tissues, agent_mm: DoubleArray) -> Look:
    """Draw a FLAIR whose inversion time is near the null of fluid, 2D or 3D."""
    if rng.random() < GENERIC:
        return Look(generic_means(rng, Modality.FLAIR))
    tr = rng.uniform(4800, 11500)
    ti = signal.nulling_inversion_ms(t.t1_ms[HeadTissue.CSF], tr) * rng.uniform(0.93, 1.07)
    t = with_agent(t, agent_mm) if rng.random() < 0.3 else t
    means = signal.inversion_recovery(t, tr, rng.uniform(80, 150), ti)
    return Look(_spin_echo_flow(_fat_saturated(means, rng, 0.4), rng, (0.05, 0.7)))


def draw_pd(rng: np.random.Generator, t: Tissues, agent_mm: DoubleArray) -> Look:
    """Draw a proton-density-weighted turbo spin echo, or a gradient echo of small flip angle."""
    if rng.random() < 0.85:
        means = signal.spin_echo(t, rng.uniform(2300, 5500), rng.uniform(7, 34))
        return Look(_spin_echo_flow(_fat_saturated(means, rng, 0.2), rng, (0.05, 0.7)))
    tr = rng.uniform(15, 40)
    means = signal.spoiled_gradient_echo(t, tr, rng.uniform(2, 6), rng.uniform(2.5, 5))
    return Look(_inflow(means, signal.fresh_gradient_echo(t, 4, 4), rng), dropout=0.2)


def draw_diffusion(rng: np.random.Generator, t: Tissues, agent_mm: DoubleArray) -> Look:
    """Draw a diffusion-weighted image, one without weighting, or a map of diffusion or anisotropy."""
    which = rng.choice(("b", "b0", "adc", "fa"), p=(0.58, 0.12, 0.22, 0.08))
    tr, te = rng.uniform(3000, 9000), rng.uniform(55, 110)
    if which == "adc":
        means = t.adc_mm2_per_s * 1e3
        means[HeadTissue.BONE] = rng.uniform(0, 0.3)
        means[HeadTissue.AIR] = rng.uniform(0, 0.4) if rng.random() < 0.4 else 0
        return Look(means, is_epi=True, noise=rng.uniform(0.02, 0.08), is_signed=rng.random() < 0.3)
    if which == "fa":
        means = np.full(LABELS, 0.15) * rng.uniform(0.6, 1.4, LABELS)
        means[[HeadTissue.WHITE, HeadTissue.CORD, HeadTissue.NERVE]] = rng.uniform(0.4, 0.6)
        means[[HeadTissue.CSF, HeadTissue.VENTRICLE]] = rng.uniform(0.03, 0.1)
        means[HeadTissue.AIR] = 0
        return Look(means, is_epi=True, noise=rng.uniform(0.05, 0.12))
    b = 0.0 if which == "b0" else rng.uniform(700, 1600)
    means = signal.diffusion_weighted(t, tr, te, b)
    means[list(FATTY)] *= rng.uniform(0.0, 0.15)
    return Look(means, is_epi=True, noise=rng.uniform(0.0, 0.08), dropout=0.2)


def draw_perfusion(rng: np.random.Generator, t: Tissues, agent_mm: DoubleArray) -> Look:
    """Draw a frame of gradient-echo EPI, before or during a bolus, or a map of blood flow or volume."""
    if rng.random() < 0.75:
        te, flip = rng.uniform(25, 50), rng.uniform(40, 90)
        t = with_agent(t, agent_mm * rng.uniform(0.5, 4)) if rng.random() < 0.5 else t
        means = signal.spoiled_gradient_echo(t, rng.uniform(1000, 2600), te, flip)
        means[list(FATTY)] *= rng.uniform(0.0, 0.15)
        return Look(means, is_epi=True, dropout=rng.uniform(0.7, 2.0), noise=rng.uniform(0.0, 0.04))
    means = rng.uniform(0.0, 0.12, LABELS)
    grey = [HeadTissue.GREY, HeadTissue.DEEP_GREY, HeadTissue.CEREBELLUM]
    means[grey] = rng.uniform(0.85, 1.15, 3)
    means[HeadTissue.WHITE] = rng.uniform(0.25, 0.5)
    means[[HeadTissue.VESSEL, ARTERY]] = rng.uniform(0.8, 3, 2)
    means[[HeadTissue.ENHANCING, CHOROID]] = rng.uniform(0.5, 2.5, 2)
    means[HeadTissue.AIR] = 0
    return Look(means, is_epi=True, dropout=0.3, noise=rng.uniform(0.05, 0.2), is_signed=rng.random() < 0.5)


def draw_angiography(rng: np.random.Generator, t: Tissues, agent_mm: DoubleArray) -> Look:
    """Draw a time-of-flight, phase-contrast or contrast-enhanced angiography."""
    which = rng.choice(("tof", "phase", "agent"), p=(0.65, 0.2, 0.15))
    if which == "phase":
        means = rng.uniform(0.0, 0.06, LABELS)
        means[[ARTERY, HeadTissue.VESSEL]] = (1.0, rng.uniform(0.1, 1.0))
        return Look(means, noise=rng.uniform(0.02, 0.06))
    if which == "agent":
        t = with_agent(t, agent_mm * rng.uniform(3, 6))
        means = signal.spoiled_gradient_echo(t, rng.uniform(3, 6), rng.uniform(1, 2), rng.uniform(20, 40))
        still = np.ones(LABELS, dtype=bool)
        still[[ARTERY, HeadTissue.VESSEL]] = False
        means[still] *= rng.uniform(0.05, 0.35)
        return Look(means, noise=rng.uniform(0.01, 0.04))
    te, flip = rng.uniform(2.5, 7), rng.uniform(15, 28)
    means = signal.spoiled_gradient_echo(t, rng.uniform(18, 38), te, flip)
    transfer = rng.uniform(0.55, 1.0)
    fluid = [HeadTissue.CSF, HeadTissue.VENTRICLE, HeadTissue.EYE, HeadTissue.CAVITY, *FATTY]
    means[np.isin(np.arange(LABELS), fluid, invert=True)] *= transfer
    fresh = signal.fresh_gradient_echo(t, te, flip)
    means[ARTERY] = fresh[ARTERY] * rng.uniform(0.7, 1.1)
    means[HeadTissue.VESSEL] += fresh[HeadTissue.VESSEL] * rng.uniform(0, 0.25)
    return Look(_fat_saturated(means, rng, 0.4), slab=rng.random() < 0.85, dropout=0.2)


def draw_scout(rng: np.random.Generator, t: Tissues, agent_mm: DoubleArray) -> Look:
    """Draw a localiser: a handful of slices in one plane, or a quick coarse 3D gradient echo."""
    if rng.random() < 0.4:
        te, flip = rng.uniform(1.0, 1.8), rng.uniform(3, 9)
        means = signal.spoiled_gradient_echo(t, rng.uniform(2.6, 4.2), te, flip)
        return Look(_inflow(means, signal.fresh_gradient_echo(t, te, flip), rng), coarse=True)
    which = rng.choice(("flash", "balanced", "haste"))
    if which == "flash":
        means = signal.spoiled_gradient_echo(t, rng.uniform(5, 25), rng.uniform(2, 6), rng.uniform(10, 40))
    elif which == "balanced":
        means = signal.balanced_gradient_echo(t, rng.uniform(3, 5), rng.uniform(40, 70))
    else:
        means = signal.spin_echo(t, 20000, rng.uniform(50, 100))
    return Look(means, few_slices=True)


DRAWERS: dict[PixelKind, Drawer] = {
    PixelKind.T2: draw_t2,
    PixelKind.FLAIR: draw_flair,
    PixelKind.PD: draw_pd,
    PixelKind.DIFFUSION: draw_diffusion,
    PixelKind.PERFUSION: draw_perfusion,
    PixelKind.ANGIOGRAPHY: draw_angiography,
    PixelKind.SCOUT: draw_scout,
}
"""Kinds other than T1 and T1ce, whose technique is drawn first, and than "other"."""
