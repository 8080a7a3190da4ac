"""Distances equal SciPy's and closed forms, the bound holds, and a stable stream is not flagged."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from glioserve_contract.metrics.drift import DRIFT_WINDOWS as WINDOWS
from glioserve_watch.drift.distance import (
    chance_of,
    ks_distance,
    psi,
    psi_bins,
    psi_of_numbers,
    psi_of_words,
    share_distance,
)
from glioserve_watch.drift.rule import (
    CLEAR_CHANCE,
    MIN_PSI,
    MIN_STUDIES,
    Drifted,
    compare_numbers,
    compare_words,
    is_flagged,
    limit_of,
)
from glioserve_watch.drift.values import histogram_quantiles
from support.results.drifting import a_reference


@pytest.mark.parametrize("digits", [1, 6], ids=["ties", "none"])
def test_the_distance_is_scipys(digits: int) -> None:
    rng = np.random.default_rng(0)
    for m, n in ((30, 20), (72, 50), (512, 200), (31, 1)):
        a, b = np.sort(rng.normal(size=m).round(digits)), np.sort(rng.normal(0.3, 1.2, n).round(digits))
        assert ks_distance(a, b) == pytest.approx(stats.ks_2samp(a, b).statistic, abs=1e-12)


@pytest.mark.parametrize(("m", "n"), [(30, 20), (72, 50), (72, 200), (512, 200)])
def test_the_bound_is_above_the_exact_chance(m: int, n: int) -> None:
    low = np.arange(m, dtype=float)
    for lower in range(1, n, max(1, n // 20)):
        sample = np.concatenate([np.full(lower, -1.0), np.linspace(0, m - 1, n - lower)])
        exact = stats.ks_2samp(low, sample, method="exact")
        assert chance_of(float(exact.statistic), m, n) >= exact.pvalue


def test_a_share_is_the_distance_of_its_zeros_and_ones() -> None:
    reference, sample = {"GE": 30, "SIEMENS": 42}, {"GE": 5, "CANON": 45}
    ones = [np.sort(np.repeat([0.0, 1.0], (sum(c.values()) - c.get("CANON", 0), c.get("CANON", 0))))
            for c in (reference, sample)]  # fmt: skip
    assert share_distance(reference, sample) == pytest.approx(0.9) == ks_distance(*ones)
    assert compare_words(reference, sample).chance == pytest.approx(3 * chance_of(0.9, 72, 50))


def test_the_stability_index_is_its_formula() -> None:
    p, q = np.array([100.5, 300.5, 100.5]) / 501.5, np.array([10.5, 10.5, 30.5]) / 51.5
    wanted = sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert psi(np.array([100.0, 300.0, 100.0]), np.array([10.0, 10.0, 30.0])) == pytest.approx(wanted)
    assert psi_of_words({"a": 100, "b": 300, "c": 100}, {"c": 30, "b": 10, "a": 10}) == pytest.approx(wanted)
    assert psi(np.array([50.0, 50.0]), np.array([50.0, 50.0])) == 0


def test_the_bins_hold_equal_shares_and_a_constant_has_one() -> None:
    reference = np.arange(100, dtype=float)
    counts = np.bincount(np.searchsorted(psi_bins(reference), reference, side="left"))
    assert counts.tolist() == [10] * 10
    assert psi_of_numbers(reference, reference[::2]) < 0.02
    constant = np.full(40, 3.0)
    assert psi_of_numbers(constant, constant) == 0
    assert psi_of_numbers(constant, np.full(40, 4.0)) > 3


def test_quantiles_of_a_histogram() -> None:
    assert histogram_quantiles((0.25,) * 4, (0.1, 0.5, 0.9)) == pytest.approx([0.1, 0.5, 0.9])
    assert histogram_quantiles((0.0, 0.5, 0.0, 0.5), (0.25, 0.75)) == pytest.approx([0.375, 0.875])


def test_too_few_studies_say_nothing() -> None:
    reference = np.arange(60, dtype=float)
    few = np.concatenate([np.full(30, np.nan), np.full(MIN_STUDIES - 1, 1e9)])
    assert compare_numbers(reference, few) is None
    found = compare_numbers(reference, np.append(few, 1e9))
    assert (found.studies, found.ks) == (MIN_STUDIES, 1.0)
    assert compare_words({"GE": 60}, {"CANON": MIN_STUDIES - 1}) is None


def test_the_limit_is_divided_among_features_and_windows() -> None:
    reference = a_reference()
    features = len(reference.numbers) + len(reference.categories)
    assert limit_of(features) * features * len(WINDOWS) == pytest.approx(1e-6)
    below, above = (Drifted(1.0, 0.5, 50, factor * limit_of(features)) for factor in (0.99, 1.01))
    assert is_flagged(below, reference, False)
    assert not is_flagged(above, reference, False)
    assert is_flagged(above, reference, True), "it stays"
    assert not is_flagged(Drifted(1.0, 0.1, 50, CLEAR_CHANCE), reference, True), "until chance explains it"
    assert not is_flagged(Drifted(MIN_PSI - 0.01, 0.5, 50, 0.0), reference, False), "sure, and small"


def test_the_rate_of_false_flags_is_below_what_the_rule_promises() -> None:
    """The distance's null distribution is the same for every continuous feature, so uniform numbers stand for all.

    At a hundred thousand times the rate a look at 500 studies would be allowed 50 flags of a feature in one window;
    the share of streams that have any at all is counted.
    """
    rng = np.random.default_rng(1)
    window, looks, allowed_per_look = WINDOWS[0], 300, 1e-3
    crossed = 0
    for _ in range(60):
        reference, stream = np.sort(rng.uniform(size=72)), rng.uniform(size=looks + window)
        chances = [chance_of(ks_distance(reference, np.sort(stream[i : i + window])), 72, window) for i in range(looks)]
        crossed += min(chances) < allowed_per_look
    assert crossed / 60 <= looks * allowed_per_look
