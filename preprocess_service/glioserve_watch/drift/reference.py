"""The reference of a network: the values of its training or validation studies, summarised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from glioserve_contract.records.recipe import Recipe, preprocessing_digest
from glioserve_contract.records.studies.drift import (
    CATEGORY_FEATURES,
    DRIFT_REFERENCE_SCHEMA,
    MOST_CATEGORIES,
    MOST_VALUES,
    NUMBER_FEATURES,
    DriftReference,
)
from glioserve_watch.drift.values import StudyValues

_DIGITS = 6


def make_reference(studies: Sequence[StudyValues], recipe: Recipe, weights_digest: str, source: str) -> DriftReference:
    """Return the reference of these studies.

    A feature that fewer than half of them have is left out.

    Raises:
        SchemaError: there are too few studies.
    """
    numbers: dict[str, tuple[float, ...]] = {}
    for name in NUMBER_FEATURES:
        values = [study.numbers[name] for study in studies if name in study.numbers]
        if 2 * len(values) >= len(studies) > 0:
            numbers[name] = summary(values)
    categories: dict[str, dict[str, int]] = {}
    for name in CATEGORY_FEATURES:
        words = Counter(study.words[name] for study in studies if name in study.words)
        if 2 * words.total() >= len(studies) > 0:
            categories[name] = dict(sorted(words.most_common(MOST_CATEGORIES)))
    reference = DriftReference(
        schema=DRIFT_REFERENCE_SCHEMA,
        weights_digest=weights_digest,
        preprocessing_digest=preprocessing_digest(recipe),
        temperature=recipe.temperature,
        studies=len(studies),
        source=source,
        numbers=numbers,
        categories=categories,
    )
    reference.check("reference")
    return reference


def summary(values: Sequence[float]) -> tuple[float, ...]:
    """Return at most :data:`MOST_VALUES` of the sorted values, evenly spaced among them, in six digits."""
    ascending = np.sort(np.array(values, dtype=np.float64))
    if len(ascending) > MOST_VALUES:
        # The middles of equal parts: their distribution function lies within half a step of the values' own.
        ranks = ((np.arange(MOST_VALUES) + 0.5) / MOST_VALUES * len(ascending)).astype(int)
        ascending = ascending[ranks]
    return tuple(float(f"{value:.{_DIGITS}g}") for value in ascending)
