"""Images of none of the other kinds: further contrasts, subtractions, maps, phases, necks, test objects and noise."""

from __future__ import annotations

import numpy as np

from glioserve_phantom import signal
from glioserve_phantom.signal import Tissues
from glioserve_preprocess.arrays import DoubleArray
from glioserve_training.brain.contrast import random_contrast
from glioserve_training.brain.head import HeadTissue
from glioserve_training.weighting.anatomy import ARTERY, CHOROID, LABELS, PITUITARY
from glioserve_training.weighting.protocols import FATTY, Look, draw_t1_technique, draw_t2
from glioserve_training.weighting.tissue import with_agent

_ODDS = {
    "random": 0.2,
    "stir": 0.09,
    "susceptibility": 0.15,
    "subtraction": 0.1,
    "first inversion": 0.09,
    "double inversion": 0.07,
    "map": 0.08,
    "phase": 0.08,
    "fat": 0.05,
    "noise": 0.04,
    "off head": 0.05,
    "object": 0.06,
}


def draw_other(rng: np.random.Generator, t: Tissues, agent_mm: DoubleArray) -> Look:
    """Draw something that is none of the other kinds."""
    odds = np.array(list(_ODDS.values()))
    which = str(rng.choice(list(_ODDS), p=odds / odds.sum()))
    if which == "random":
        return Look(_random(rng))
    if which == "stir":
        ti = signal.nulling_inversion_ms(float(t.t1_ms[HeadTissue.FAT]), 4000) * rng.uniform(0.9, 1.1)
        return Look(signal.inversion_recovery(t, rng.uniform(3000, 6000), rng.uniform(15, 65), ti))
    if which == "susceptibility":
        return _susceptibility(rng, t)
    if which == "subtraction":
        technique = draw_t1_technique(rng, t.field_tesla)
        after = technique.means(with_agent(t, agent_mm), rng, enhanced=True)
        before = technique.means(t, rng, enhanced=False)
        return Look(np.abs(after - before), noise=rng.uniform(0.03, 0.12), is_signed=rng.random() < 0.3)
    if which == "first inversion":
        ti = rng.uniform(0.95, 1.15) * signal.nulling_inversion_ms(float(t.t1_ms[HeadTissue.WHITE]), 5000)
        return Look(signal.inversion_recovery(t, 5000, 3, ti))
    if which == "double inversion":
        means = signal.spin_echo(t, 6000, rng.uniform(80, 130))
        means[[HeadTissue.WHITE, HeadTissue.CORD, HeadTissue.NERVE]] *= rng.uniform(0.0, 0.2)
        means[[HeadTissue.CSF, HeadTissue.VENTRICLE, HeadTissue.EYE, *FATTY]] *= rng.uniform(0.0, 0.1)
        means[[ARTERY, HeadTissue.VESSEL]] *= 0.1
        return Look(means, noise=rng.uniform(0.0, 0.06))
    if which == "map":
        values = (t.t1_ms, t.t2_ms, t.t2_star_ms, 1 / t.t1_ms, 1 / t.t2_star_ms)[int(rng.integers(5))]
        means = np.minimum(values, np.percentile(values, rng.uniform(70, 95)))
        means[HeadTissue.AIR] = 0
        return Look(means, noise=rng.uniform(0.05, 0.15), is_signed=rng.random() < 0.5)
    if which == "phase":
        return Look(_random(rng) * rng.uniform(0, 0.15) + 1, field=rng.uniform(0.5, 2), noise=0.05, is_signed=True)
    if which == "fat":
        means = rng.uniform(0, 0.06, LABELS)
        means[list(FATTY)] = rng.uniform(0.7, 1.0, 2)
        return Look(means)
    if which == "noise":
        return Look(np.full(LABELS, rng.uniform(0.2, 1)), noise=rng.uniform(0.05, 0.3), is_signed=True)
    if which == "object":
        return Look(np.ones(LABELS), is_object=True)
    technique = draw_t1_technique(rng, t.field_tesla)
    means = technique.means(t, rng, enhanced=False) if rng.random() < 0.5 else draw_t2(rng, t, agent_mm).means
    return Look(means, off_head=True)


def _random(rng: np.random.Generator) -> DoubleArray:
    """Draw a number for each tissue, for the further labels too."""
    means = np.zeros(LABELS)
    means[: len(HeadTissue)] = random_contrast(rng)
    means[[ARTERY, CHOROID, PITUITARY]] = rng.uniform(0.05, 1.8, 3)
    return means


def _susceptibility(rng: np.random.Generator, t: Tissues) -> Look:
    """Draw a T2*-weighted gradient echo: 2D of small flip angle, or 3D with veins made dark."""
    if rng.random() < 0.5:
        te = rng.uniform(15, 30)
        means = signal.spoiled_gradient_echo(t, rng.uniform(400, 900), te, rng.uniform(12, 25))
    else:
        means = signal.spoiled_gradient_echo(t, rng.uniform(25, 55), rng.uniform(20, 40), rng.uniform(10, 20))
        means[HeadTissue.VESSEL] *= rng.uniform(0.1, 0.8)
    return Look(means, dropout=rng.uniform(0.6, 1.8))
