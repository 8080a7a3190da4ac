"""Statistics that hold however often one looks: intervals of a rate, and the evidence that it has fallen.

A rate is the share of right answers among studies of one truth, which arrive one by one. A usual interval or test is
valid for one look at a number of studies that was fixed before; a reader who looks after every study and acts on the
first that is significant is wrong far more often than it says. Both statistics here rest on martingales whose
probability of ever reaching 1/a is at most a (Ville 1939).

Sources: Robbins, Ann Math Statist 1970 (mixtures); Ramdas et al., Statist Sci 2023 (e-processes, confidence sequences).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import lgamma, log

import numpy as np

ALTERNATIVES = 20
"""Rates below the expected one that the evidence is spread over, at equal distances from 0."""
_BISECTIONS = 60


def interval(right: int, wrong: int, error: float = 0.05) -> tuple[float, float]:
    """Return an interval that holds the rate at every look at once with probability 1 - ``error``.

    It is the set of rates that the mixture over all rates of equal weight has not refuted.

    Args:
        right: Number of right answers.
        wrong: Number of wrong answers.
        error: Probability that the rate is ever outside.
    """
    n = right + wrong
    if n == 0:
        return 0.0, 1.0
    mixture = lgamma(right + 1) + lgamma(wrong + 1) - lgamma(n + 2)

    def refuted(rate: float) -> bool:
        return mixture - _times_log(right, rate) - _times_log(wrong, 1 - rate) >= -log(error)

    share = right / n
    return (
        0.0 if right == 0 else _edge(0.0, share, refuted),
        1.0 if wrong == 0 else _edge(1.0, share, refuted),
    )


def _times_log(count: int, value: float) -> float:
    return count * log(value) if count else 0.0


def _edge(outside: float, inside: float, refuted: Callable[[float], bool]) -> float:
    """Return the end of the interval between a refuted rate and one that is not."""
    for _ in range(_BISECTIONS):
        middle = (outside + inside) / 2
        if refuted(middle):
            outside = middle
        else:
            inside = middle
    return outside


@dataclass(frozen=True)
class Expectation:
    """A rate that an evaluation found."""

    rate: float
    """Share of right answers, below 1."""

    @classmethod
    def of_figure(cls, rate: float, n: int | None) -> Expectation:
        """Return the expectation of an evaluation on ``n`` studies of that truth.

        An evaluation without an error does not prove that there will never be one: the rate is at most
        (n + 1) / (n + 2), so that a single wrong answer does not refute it.
        """
        return cls(min(rate, 1 - 1 / ((n or 0) + 2)))


class Fall:
    """Evidence that a rate is below the expected one, from some study on.

    The evidence is 1 before the first study. As long as the rate is at least the expected one, it ever reaches 1/a with
    a probability of at most a. It is spread over :data:`ALTERNATIVES` lower rates of equal weight, and over the study
    from which on the rate is lower, the k-th with weight 1 / (k (k + 1)): a model that was good for a long time is not
    trusted longer for it.
    """

    def __init__(self, expectation: Expectation) -> None:
        expected = expectation.rate
        lower = expected * np.arange(ALTERNATIVES) / ALTERNATIVES
        self._right = lower / expected
        self._wrong = (1 - lower) / (1 - expected)
        self._begun = np.zeros(ALTERNATIVES)
        self.studies = 0

    def add(self, right: bool) -> float:
        """Take the next study; return the evidence after it."""
        self.studies += 1
        begins = 1 / (self.studies * (self.studies + 1))
        self._begun = (self._begun + begins) * (self._right if right else self._wrong)
        return self.evidence

    @property
    def evidence(self) -> float:
        """The evidence: at most the reciprocal of the probability that it would ever come this far by chance."""
        not_begun = 1 / (self.studies + 1)
        return float(self._begun.mean() + not_begun)
