"""Order the quality checks for a reader: what failed, then what is near a bound, then the rest."""

from __future__ import annotations

from dataclasses import dataclass

from glioserve_contract.records.preprocess import QualityCheck

NEAR_SHARE = 0.1
"""A value is near a bound from this share of the bound, or of the range where that is smaller, to it."""
_SHARES = ("share", "Dice")
"""Units whose values cannot be above 1."""


@dataclass(frozen=True)
class OrderedChecks:
    """The checks in three groups; the first two are what a reader must look at."""

    failed: tuple[QualityCheck, ...]
    near: tuple[QualityCheck, ...]
    """Checks that hold with little to spare, the least first."""
    fine: tuple[QualityCheck, ...]


def ordered(checks: tuple[QualityCheck, ...]) -> OrderedChecks:
    """Return the checks by concern; within a group, but for the second, in the report's order."""
    failed = tuple(check for check in checks if check.verdict != "ok")
    rest = [check for check in checks if check.verdict == "ok"]
    near = sorted((check for check in rest if room(check) < NEAR_SHARE), key=room)
    return OrderedChecks(failed, tuple(near), tuple(check for check in rest if check not in near))


def room(check: QualityCheck) -> float:
    """Return the distance to the nearer bound, as a share of the bound or, where that is smaller, of the range.

    A bound that the figure cannot cross does not count: 0 below, and 1 above for shares. A range of one value leaves
    no room that could be small. Without a bound that counts, the result is infinite.
    """
    width = check.high - check.low
    if width <= 0:
        return float("inf")
    bounds = [] if check.low == 0 else [(check.low, check.value - check.low)]
    if not (check.unit in _SHARES and check.high == 1):
        bounds.append((check.high, check.high - check.value))
    return min((distance / min(width, abs(bound) or width) for bound, distance in bounds), default=float("inf"))
