"""Temperature scaling: one number by which a trained network's logits are divided, so that its probabilities hold.

NumPy and SciPy only: scores that a server gave are calibrated as well as logits in training.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 100.0
"""What a recipe may carry."""


def fit_temperature(logits: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.int64]) -> float:
    """The temperature in [0.01, 100] of the least cross entropy of ``logits / T`` (Guo 2017, temperature scaling).

    ``logits`` [n, 2], ``labels`` [n]. It moves no case across a threshold of one half. Cases that are all on the
    right side have no such temperature: the answer is then the lower end.
    """
    exact = np.asarray(logits, dtype=np.float64)

    def loss(log_t: float) -> float:
        return cross_entropy(exact / math.exp(log_t), labels)

    bounds = (math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE))
    found = optimize.minimize_scalar(loss, bounds=bounds, method="bounded")
    return round(float(math.exp(found.x)), 4)


def cross_entropy(logits: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.int64]) -> float:
    """Mean negative logarithm of the true class's probability, in nats. ``logits`` [n, 2], ``labels`` [n]."""
    of_true = np.take_along_axis(logits, labels[:, np.newaxis], axis=1)[:, 0]
    return float((special.logsumexp(logits, axis=1) - of_true).mean())
