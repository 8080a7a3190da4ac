"""Clocks of a study: one order of its times, over midnight, without dates, and without those of another day.

Client and server count a study's times by the same rule, so that both see the same order. Clocks are microseconds since
the year 1, or since midnight (below one day) where a file states no date.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

DAY_US = 86_400_000_000
EXAMINATION_US = DAY_US // 2
"""Time after the study's first from which on a time counts for nothing: it is of another examination, whose injection
is not this one's."""
NIGHT_US = 3 * DAY_US // 4
"""Distance of two neighbouring clocks without dates from which on the later one was the evening before."""


def first_of(clocks_us: Iterable[int]) -> int:
    """Return the clock from which a study's times count; 0 where there is none. Dated ones count before undated."""
    known = sorted(set(clocks_us))
    if dated := [us for us in known if us >= DAY_US]:
        return dated[0]
    evenings = (after for before, after in pairwise(known) if after - before >= NIGHT_US)
    return next(evenings, known[0] if known else 0)


def since(first_us: int, clock_us: int) -> int | None:
    """Return the time from the study's first clock to another one; None outside :data:`EXAMINATION_US`."""
    passed_us = clock_us - first_us
    if passed_us < 0 and first_us < DAY_US:  # past midnight
        passed_us += DAY_US
    return passed_us if 0 <= passed_us < EXAMINATION_US else None
