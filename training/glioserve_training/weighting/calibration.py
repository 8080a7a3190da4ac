"""Calibration of the logits: one temperature, and a threshold for each kind, set on heads that training did not see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize

from glioserve_contract.sequences import PixelKind
from glioserve_preprocess.arrays import DoubleArray, FloatArray

Indices = npt.NDArray[np.int64]
MOST_WRONG = 0.005
"""Greatest share of wrong ones among the scans that are answered with a kind: half of the bar, for fresh scans."""
LEAST_THRESHOLD = 0.98
"""No lower threshold is taken: a hundred scans of a kind cannot show that a lower one holds, and heads other than those
of training are told with a confidence that they do not deserve."""

NEVER_SAID = (PixelKind.SCOUT,)
"""Kinds that are told apart in training and never answered: weak T1 images of other heads look like low-flip scouts,
which headers and geometry tell better."""


@dataclass(frozen=True)
class Calibration:
    """Temperature and thresholds as the model's card carries them, and what they do to the scans they were set on."""

    temperature: float
    thresholds: tuple[float, ...]
    """Thresholds in the order of ``PixelKind``."""
    answered: float
    """Share of the scans that are answered."""
    wrong: float
    """Share of the answered ones that are answered wrong."""


def shares_of(logits: FloatArray | DoubleArray, temperature: float) -> DoubleArray:
    """Return the softmax of ``logits`` [N, kinds] over ``temperature``."""
    scaled = (logits - logits.max(axis=1, keepdims=True)).astype(np.float64) / temperature
    shares: DoubleArray = np.exp(scaled)
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


def calibrated(logits: FloatArray, kinds: Indices) -> Calibration:
    """Return the temperature of the least cross-entropy, and the lowest threshold of each kind that few wrong pass.

    Args:
        logits: [N, kinds].
        kinds: True kinds as indices into ``PixelKind``, [N].
    """
    rows = np.arange(len(kinds))

    def entropy(log_temperature: float) -> float:
        return float(-np.log(shares_of(logits, np.exp(log_temperature))[rows, kinds] + 1e-12).mean())

    found = optimize.minimize_scalar(entropy, bounds=(np.log(0.3), np.log(5)), method="bounded")
    temperature = round(float(np.exp(found.x)), 3)
    shares = shares_of(logits, temperature)
    said = shares.argmax(axis=1)
    thresholds = tuple(_threshold(shares, said, kinds, index) for index in range(len(PixelKind)))
    answers = shares[rows, said] >= np.array(thresholds)[said]
    wrong = float((said != kinds)[answers].mean()) if answers.any() else 0.0
    return Calibration(temperature, thresholds, float(answers.mean()), wrong)


def _threshold(shares: DoubleArray, said: Indices, kinds: Indices, index: int) -> float:
    """Return the lowest threshold, in hundredths, from which at most MOST_WRONG of the answers are wrong."""
    if list(PixelKind)[index] in NEVER_SAID:
        return 1.0
    chosen = said == index
    share, wrong = shares[chosen, index], kinds[chosen] != index
    for hundredths in range(round(LEAST_THRESHOLD * 100), 100):
        above = share >= hundredths / 100
        if not above.any() or wrong[above].mean() <= MOST_WRONG:
            return hundredths / 100
    return 0.995
