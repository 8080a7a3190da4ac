"""Comparison of a computed figure with a bound that its ideal value may equal.

A share of everything is 1 and a difference from the same is 0, but the sums that they are computed from end a few bits
beside: 1.0000000000000004 is not above 1. A figure may lie beyond a bound by ``ROUNDING`` of it.
"""

from __future__ import annotations

ROUNDING = 1e-6
"""Part of a bound (of one, where the bound is smaller) that rounding may add or take; a few single-precision steps."""


def at_least(value: float, bound: float) -> bool:
    """Return True where ``value`` is not below ``bound`` by more than rounding; NaN is not at least anything."""
    return value >= bound - slack(bound)


def at_most(value: float, bound: float) -> bool:
    """Return True where ``value`` is not above ``bound`` by more than rounding; NaN is not at most anything."""
    return value <= bound + slack(bound)


def slack(bound: float) -> float:
    """Return what rounding may add to a figure at ``bound`` or take from it, in the figure's unit."""
    return ROUNDING * max(1.0, abs(bound))
