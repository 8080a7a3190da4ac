"""A figure that only rounding carries beyond a bound is not beyond it; one that is beyond it by more is."""

import ast
import math
from pathlib import Path

import pytest

from glioserve_contract.records.preprocess import QualityCheck
from glioserve_contract.rounding import ROUNDING, at_least, at_most

ROOT = Path(__file__).resolve().parents[2]
BOUNDS = (-100.0, -0.005, 0.0, 0.25, 0.95, 1.0, 1.75, 40.0, 100.0)


def beside(value, steps):
    """The number ``steps`` representable ones above ``value``, below where negative."""
    for _ in range(abs(steps)):
        value = math.nextafter(value, math.copysign(math.inf, steps))
    return value


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("steps", [-4, -1, 0, 1, 4])
def test_a_few_bits_do_not_count(bound, steps):
    assert at_least(beside(bound, steps), bound)
    assert at_most(beside(bound, steps), bound)


@pytest.mark.parametrize("bound", BOUNDS)
def test_more_than_rounding_counts(bound):
    off = 3 * ROUNDING * max(1, abs(bound))
    assert not at_least(bound - off, bound)
    assert not at_most(bound + off, bound)
    assert not at_least(math.nan, bound)
    assert not at_most(math.nan, bound)


def test_a_check_sets_rounding_right_and_nothing_else():
    above = QualityCheck.judged("overlap", 1.0000000000000004, "share", (0.25, 1.0))
    assert (above.value, above.verdict) == (1.0, "ok")
    below = QualityCheck.judged("gain", -1e-9, "nat", (0.0, 100.0))
    assert (below.value, below.verdict) == (0.0, "ok")
    for value in (1.01, 0.24, math.nan):
        judged = QualityCheck.judged("overlap", value, "share", (0.25, 1.0))
        assert judged.verdict == "review"
        assert judged.value == value or math.isnan(judged.value)


VERDICT_OF_ITS_OWN = {"preprocess_service/glioserve_preprocess/series/opinions.py"}
"""Modules whose verdict is not that of a range: voxels give an opinion where the share reaches its threshold."""


def test_every_check_of_the_product_is_judged_in_one_place():
    """No other module of the product decides a verdict by a comparison of its own."""
    made = {
        str(file.relative_to(ROOT))
        for folder in ("client", "preprocess_service", "training", "export", "pacs", "cli", "model_repository")
        for file in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "QualityCheck"
    }
    assert made == VERDICT_OF_ITS_OWN
