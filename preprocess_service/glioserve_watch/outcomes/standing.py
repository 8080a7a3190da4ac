"""Sensitivity and specificity since a version serves, compared with its evaluation.

Radiation necrosis is the positive class, as everywhere: sensitivity is the share of necrosis that was labelled so,
specificity the share of recurrence. Studies without a label count as abstained and in neither rate.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from glioserve_contract.records.studies.outcome import OutcomeRecord, Truth
from glioserve_watch.outcomes.evidence import Expectation, Fall, interval

RateName = Literal["sensitivity", "specificity"]
RATES: dict[RateName, Truth] = {"sensitivity": "necrosis", "specificity": "recurrence"}
"""Each rate and the truth of the studies that it counts."""
FALSE_ALARMS = 0.05
"""Highest probability that a model which is as good as in its evaluation is ever called worse."""
WORSE_AT = len(RATES) / FALSE_ALARMS
"""Evidence from which on a rate counts as fallen: the probability is shared by both rates."""


@dataclass(frozen=True)
class Rate:
    """One rate and what is known of it."""

    right: int
    """Studies with the right label."""
    n: int
    """Studies that are counted."""
    lower: float
    """Lower end of the interval that holds at every look, 95%."""
    upper: float
    """Upper end of that interval."""
    expected: float | None = None
    """The rate by the evaluation; None where there is none to hold it against."""
    evidence: float | None = None
    """Evidence that it has fallen below the expected one; None where there is none."""
    worse_after: int | None = None
    """Number of studies of this truth after which the evidence reached :data:`WORSE_AT`; None where it never did."""

    @property
    def value(self) -> float | None:
        """The rate; None without a study."""
        return self.right / self.n if self.n else None


@dataclass(frozen=True)
class Standing:
    """One version of the model in operation."""

    version: str
    """Version of the classifier."""
    digest: str
    """Digest of its weights."""
    abstained: int
    """Studies with an outcome and without a label."""
    rates: dict[RateName, Rate]
    """Sensitivity and specificity."""
    subgroups: dict[str, dict[RateName, Rate]] = field(default_factory=dict)
    """The rates by subgroup (``manufacturer SIEMENS``), without evidence: many are looked at, so some stand out."""

    @property
    def worse(self) -> bool:
        """True where a rate has fallen below the rate of the evaluation."""
        return any(rate.worse_after is not None for rate in self.rates.values())


def standings(
    outcomes: Iterable[OutcomeRecord], expected: Mapping[str, Mapping[RateName, Expectation]]
) -> tuple[Standing, ...]:
    """Return the standing of every version that has an outcome, in the order of their first.

    Args:
        outcomes: Outcomes in the order in which they arrived.
        expected: Rates by the evaluation, by the digest of the weights.
    """
    by_model: dict[str, list[OutcomeRecord]] = defaultdict(list)
    for outcome in outcomes:
        by_model[outcome.digest].append(outcome)
    return tuple(_standing(digest, own, expected.get(digest, {})) for digest, own in by_model.items())


def _standing(digest: str, outcomes: list[OutcomeRecord], expected: Mapping[RateName, Expectation]) -> Standing:
    groups: dict[str, list[OutcomeRecord]] = defaultdict(list)
    for outcome in outcomes:
        for name, value in sorted(outcome.groups.items()):
            groups[f"{name} {value}"].append(outcome)
    return Standing(
        version=outcomes[-1].version,
        digest=digest,
        abstained=sum(not outcome.label for outcome in outcomes),
        rates={name: _rate(outcomes, truth, expected.get(name)) for name, truth in RATES.items()},
        subgroups={
            group: {name: _rate(own, truth, None) for name, truth in RATES.items()}
            for group, own in sorted(groups.items())
        },
    )


def _rate(outcomes: list[OutcomeRecord], truth: Truth, expectation: Expectation | None) -> Rate:
    answers = [outcome.label == truth for outcome in outcomes if outcome.label and outcome.truth == truth]
    right = sum(answers)
    lower, upper = interval(right, len(answers) - right)
    if expectation is None:
        return Rate(right, len(answers), lower, upper)
    fall, worse_after = Fall(expectation), None
    for answer in answers:
        if fall.add(answer) >= WORSE_AT and worse_after is None:
            worse_after = fall.studies
    return Rate(right, len(answers), lower, upper, expectation.rate, fall.evidence, worse_after)
