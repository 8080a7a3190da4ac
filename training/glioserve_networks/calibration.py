"""Temperature scaling: one number by which a trained network's logits are divided, so that its probabilities hold.

NumPy and SciPy only: scores that a server gave are calibrated as well as logits in training.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

Logits = npt.NDArray[np.float32 | np.float64]
"""Two logits per case, [n, 2]."""

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 100.0
"""Bounds of the temperature that a recipe may carry."""


def fit_temperature(logits: Logits, labels: npt.NDArray[np.int64]) -> float:
    """Return the temperature in [0.01, 100] of the least cross entropy of ``logits / T``.

    This is temperature scaling (Guo 2017). ``logits`` is [n, 2], ``labels`` [n]. The temperature moves no case across
    a threshold of one half. Cases that are all on the right side have no such temperature: the result is then the
    lower bound.
    """
    exact = np.asarray(logits, dtype=np.float64)

    def loss(log_t: float) -> float:
        return cross_entropy(exact / math.exp(log_t), labels)

    bounds = (math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE))
    found = optimize.minimize_scalar(loss, bounds=bounds, method="bounded")
    return round(float(math.exp(found.x)), 4)


def cross_entropy(logits: Logits, labels: npt.NDArray[np.int64]) -> float:
    """Return the mean negative logarithm of the true class's probability, in nats.

    ``logits`` is [n, 2], ``labels`` [n].
    """
    of_true = np.take_along_axis(logits, labels[:, np.newaxis], axis=1)[:, 0]
    return float((special.logsumexp(logits, axis=1) - of_true).mean())
