"""Optimisation profiles: the batch sizes that a plan is tuned for, and what each of them takes.

Triton runs a batch by the listed profile whose optimum is nearest to it, among those that take it
(docs/adr/0012-plans-on-site.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from glioserve_contract.limits import MAX_CLASSIFIER_BATCH
from glioserve_contract.records.recipe import Recipe
from glioserve_contract.tensors import CLASSIFIER_MODEL

BATCHES = (MAX_CLASSIFIER_BATCH, 4, 1)
"""Batch that each profile is tuned for, by the profile's index. Each takes every batch up to its own; the largest
comes first, because profile 0 is what a configuration that names none gets, and that one must take them all."""
PROFILE_INDICES = tuple(range(len(BATCHES)))
"""Indices that a Triton configuration lists to have all profiles."""
INPUT = CLASSIFIER_MODEL.inputs[0]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ShapeProfile:
    """IMAGE's smallest, best and largest shape [N, C, D, H, W]."""

    smallest: Shape
    best: Shape
    largest: Shape

    @property
    def batch(self) -> int:
        """The batch that it is tuned for, which is the largest it takes."""
        return self.largest[0]


def profiles(recipe: Recipe) -> tuple[ShapeProfile, ...]:
    """Return one profile for each of :data:`BATCHES`, in the plan's order."""
    dims = INPUT.dims(recipe)
    return tuple(ShapeProfile((1, *dims), (batch, *dims), (batch, *dims)) for batch in BATCHES)
