"""Studies for drift: references and streams of independent features, without a phantom."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from glioserve_contract import CONTRACT_VERSION
from glioserve_contract.records.recipe import Recipe
from glioserve_contract.records.report import ModelRecord
from glioserve_contract.records.studies.drift import DriftReference
from glioserve_contract.records.studies.study import StudyFeatures, StudyRecord
from glioserve_watch.drift.reference import make_reference
from glioserve_watch.drift.values import values_of
from support.models.recipes import tiny_recipe

DIGEST = "sha256:" + "a" * 64
VENDORS = ("SIEMENS", "GE", "PHILIPS")


def a_study(rng: np.random.Generator, shift: float = 0.0, vendors: tuple[str, ...] = VENDORS) -> StudyFeatures:
    """The features of one study; ``shift`` moves the spacing of T1, in its standard deviations."""
    histogram = rng.dirichlet(np.full(32, 50.0))
    return StudyFeatures(
        {
            "t1_pixel_spacing_mm": float(rng.normal(0.9 + 0.05 * shift, 0.05)),
            "brain_volume_liters": rng.normal(1.4, 0.1),
        },
        {"manufacturer": vendors[rng.integers(len(vendors))]},
        {"t1_intensity": tuple(float(share) for share in histogram)},
    )


def a_reference(studies: int = 200, seed: int = 0, recipe: Recipe | None = None) -> DriftReference:
    rng = np.random.default_rng(seed)
    values = [values_of(a_study(rng), float(rng.uniform())) for _ in range(studies)]
    return make_reference(values, recipe or tiny_recipe(), DIGEST, "made up")


def records(
    seed: int,
    *,
    site: str = "north",
    version: str = "1",
    digest: str = DIGEST,
    shift: float = 0.0,
    vendors: tuple[str, ...] = VENDORS,
) -> Iterator[StudyRecord]:
    """A stream of records without an end."""
    rng = np.random.default_rng([seed, 1])
    number = 0
    while True:
        number += 1
        yield StudyRecord(
            f"{number:020d}-{seed}-{site}-{version}", "2026-01-31T23:59:59.000Z", "r", "answered", "", "report",
            CONTRACT_VERSION, caller=site, model=ModelRecord("tiny", version, digest, "resnet10"),
            score=float(rng.uniform()), features=a_study(rng, shift, vendors),
        )  # fmt: skip
