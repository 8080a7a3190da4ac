"""Arrivals of studies from many hospitals, by hour of a weekday: a Poisson process whose rate follows the clock.

Independent Poisson streams add up to one, so the hospitals are drawn as one stream.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

DAY_S, HOUR_S = 86400.0, 3600.0
WEEKDAY = (1, 1, 1, 1, 1, 2, 3, 6, 10, 12, 12, 11, 9, 10, 12, 12, 10, 8, 6, 4, 3, 2, 2, 1)
"""Weight of each hour of a weekday. Assumed, not measured: scanners busy from eight to six, few studies at night."""


def busiest_hour(per_day: float, weights: Sequence[float] = WEEKDAY) -> float:
    """Return the studies that the busiest hour has on average."""
    return per_day * max(weights) / sum(weights)


def arrivals_s(
    per_day: float, days: int, draw: np.random.Generator, weights: Sequence[float] = WEEKDAY
) -> npt.NDArray[np.float64]:
    """Return when studies arrive, in seconds from the first midnight, in order.

    The rate is constant within an hour, so an hour has a Poisson number of arrivals, spread evenly over it.
    """
    rates = per_day * np.asarray(weights, dtype=np.float64) / sum(weights)
    counts = draw.poisson(np.tile(rates, days))
    hours = np.repeat(np.arange(len(counts)), counts)
    return np.sort((hours + draw.random(len(hours))) * HOUR_S)
