"""The values of one study that drift is measured on: numbers and words by the name of their feature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from glioserve_contract.records.studies.drift import CATEGORY_FEATURES, NUMBER_FEATURES, SCORE_FEATURE
from glioserve_contract.records.studies.study import StudyFeatures

_LOW, _MEDIAN, _HIGH = 0.1, 0.5, 0.9
_INTENSITY = "_intensity"


@dataclass(frozen=True)
class StudyValues:
    """Values of one study; a feature that it lacks is left out."""

    numbers: dict[str, float]
    words: dict[str, str]


def values_of(features: StudyFeatures, score: float) -> StudyValues:
    """Return the values of a study with its score.

    A histogram becomes its median and its spread, the distance between the tenth and the ninetieth percentile: the
    voxels of one study do not vary as studies do, so its bins cannot be compared as if each voxel were
    one. The field strength is rounded to half a tesla, since scanners state 2.89 as well as 3.
    """
    numbers = {name: value for name, value in features.numbers.items() if name in NUMBER_FEATURES}
    numbers[SCORE_FEATURE] = score
    if "field_strength_tesla" in numbers:
        numbers["field_strength_tesla"] = round(2 * numbers["field_strength_tesla"]) / 2
    for name, histogram in features.histograms.items():
        if name.endswith(_INTENSITY):
            low, median, high = histogram_quantiles(histogram, (_LOW, _MEDIAN, _HIGH))
            numbers[f"{name}_median"], numbers[f"{name}_spread"] = median, high - low
    words = {name: word for name, word in features.categories.items() if name in CATEGORY_FEATURES}
    return StudyValues(numbers, words)


def histogram_quantiles(shares: tuple[float, ...], quantiles: tuple[float, ...]) -> list[float]:
    """Return quantiles of a histogram over 0 to 1 in equal bins, each bin taken as evenly filled."""
    edges = np.linspace(0.0, 1.0, len(shares) + 1)
    below = np.concatenate([[0.0], np.cumsum(shares)])
    total = below[-1]
    found = np.interp(np.array(quantiles) * total, below, edges)
    return [float(value) for value in found]
