"""Simulate outcomes that arrive one by one: how often a good model is called worse, and how soon a bad one is.

``make bench NAME=outcomes [ARGS='--streams 500']``. The model is looked at after every study. A stream that is never
worse has the sensitivity and specificity of its evaluation throughout; in the others the specificity falls, from the
first study on or after a number of good ones.
"""

from __future__ import annotations

import argparse

import numpy as np

from bars import Bar, print_bars
from common import print_table, write_result
from glioserve_watch.outcomes.evidence import Expectation, Fall, interval
from glioserve_watch.outcomes.standing import FALSE_ALARMS, WORSE_AT

SPECIFICITY, SENSITIVITY, FALLEN = 0.94, 0.86, 0.80
RECURRENCES = 0.7
"""Share of recurrence among the outcomes."""
STUDIES = 1000
FOUND_WITHIN = {0: 120, 50: 150, 200: 200}
"""Recurrences after the fall within which nine of ten streams must be found, by those that were answered as the
evaluation said before it."""
QUANTILES = (0.5, 0.8, 0.9, 0.95)


def false_alarm(rng: np.random.Generator) -> tuple[bool, bool]:
    """Return whether a stream as good as its evaluation was ever called worse, and whether an interval ever missed."""
    sensitivity, specificity = Fall(Expectation(SENSITIVITY)), Fall(Expectation(SPECIFICITY))
    alarm = missed = False
    right = wrong = 0
    for recurrence, draw in zip(rng.random(STUDIES) < RECURRENCES, rng.random(STUDIES), strict=True):
        fall, rate = (specificity, SPECIFICITY) if recurrence else (sensitivity, SENSITIVITY)
        alarm |= fall.add(bool(draw < rate)) >= WORSE_AT
        if recurrence:
            right, wrong = right + (draw < rate), wrong + (draw >= rate)
            if (right + wrong) % 10 == 0:
                low, high = interval(int(right), int(wrong), FALSE_ALARMS)
                missed |= not low <= rate <= high
    return alarm, missed


def found_after(rng: np.random.Generator, good_before: int) -> float:
    """Return the recurrences between the fall and the alarm; infinite where none came in :data:`STUDIES` of them."""
    fall = Fall(Expectation(SPECIFICITY))
    for number, draw in enumerate(rng.random(good_before + STUDIES)):
        if fall.add(bool(draw < (SPECIFICITY if number < good_before else FALLEN))) >= WORSE_AT:
            return max(number + 1 - good_before, 0)
    return float("inf")


def main() -> None:
    """Print the table and the bars, and keep them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    alarms, missed = np.mean([false_alarm(rng) for _ in range(args.streams)], axis=0)
    found = {before: [found_after(rng, before) for _ in range(args.streams)] for before in FOUND_WITHIN}
    rows = [[f"{before} good ones before", *np.quantile(delays, QUANTILES)] for before, delays in found.items()]
    columns = ["recurrences until it is found", *(f"{q:.0%} of streams" for q in QUANTILES)]
    print_table(f"Specificity falls from {SPECIFICITY} to {FALLEN}, {args.streams} streams", columns, rows)
    bars = [
        Bar("good streams ever called worse", float(alarms), FALSE_ALARMS, "share", note=f"{STUDIES} looks each"),
        Bar("intervals that ever missed the rate", float(missed), FALSE_ALARMS, "share", note="every tenth look"),
        *(
            Bar("recurrences until 90% are found", float(row[3]), limit, note=str(row[0]))
            for row, limit in zip(rows, FOUND_WITHIN.values(), strict=True)
        ),
    ]
    print_bars(bars)
    write_result(
        "outcomes",
        vars(args),
        {
            "found_after": {
                str(b): dict(zip(map(str, QUANTILES), r[1:], strict=True)) for b, r in zip(found, rows, strict=True)
            },
            "bars": [bar.record() for bar in bars],
        },
        ("numpy",),
    )


if __name__ == "__main__":
    main()
