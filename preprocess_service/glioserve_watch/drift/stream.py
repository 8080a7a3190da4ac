"""The last studies of one site under one version, in bounded memory, and what they differ in from the reference."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

import numpy as np

from glioserve_contract.metrics.drift import DRIFT_WINDOWS as WINDOWS
from glioserve_contract.records.studies.drift import DriftReference
from glioserve_watch.drift.distance import Numbers
from glioserve_watch.drift.rule import Drifted, compare_numbers, compare_words, is_flagged
from glioserve_watch.drift.values import StudyValues

Found = dict[tuple[str, int], Drifted]
"""Comparisons by feature and window."""


class Stream:
    """Sliding windows over the studies of one site and version."""

    def __init__(self, reference: DriftReference, flags: Iterable[str] = ()) -> None:
        self.reference = reference
        self.flags = {flag for flag in flags if flag in self.features}
        """Features that are flagged."""
        self.found: Found = {}
        """The last comparison; a feature with too few studies is not in it."""
        self.studies: deque[StudyValues] = deque(maxlen=max(WINDOWS))
        """The last studies, oldest first."""
        self._sorted = {name: np.array(values) for name, values in reference.numbers.items()}

    @property
    def features(self) -> tuple[str, ...]:
        """Features that the reference has."""
        return (*self.reference.numbers, *self.reference.categories)

    def add(self, study: StudyValues) -> None:
        """Take one study; the oldest one leaves."""
        numbers = {name: value for name, value in study.numbers.items() if name in self.reference.numbers}
        words = {name: word for name, word in study.words.items() if name in self.reference.categories}
        self.studies.append(StudyValues(numbers, words))

    def look(self) -> None:
        """Compare every feature in every window, and set or clear its flag."""
        found: Found = {}
        flagged = set()
        for name in self.features:
            for window in WINDOWS:
                drifted = self._compare(name, window)
                if drifted is None:
                    continue
                found[name, window] = drifted
                if is_flagged(drifted, self.reference, name in self.flags):
                    flagged.add(name)
        self.found, self.flags = found, flagged

    def values(self, name: str, window: int) -> Numbers:
        """Return the values FP64 [n] of a feature that is a number in a window; NaN where a study has none."""
        recent = list(self.studies)[-window:]
        return np.array([study.numbers.get(name, np.nan) for study in recent], dtype=np.float64)

    def counts(self, name: str, window: int) -> dict[str, int]:
        """Return the studies of a window by the word that they have."""
        recent = list(self.studies)[-window:]
        return dict(Counter(study.words[name] for study in recent if name in study.words))

    def _compare(self, name: str, window: int) -> Drifted | None:
        if name in self._sorted:
            return compare_numbers(self._sorted[name], self.values(name, window))
        return compare_words(self.reference.categories[name], self.counts(name, window))
