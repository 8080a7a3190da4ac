"""Phantoms rendered coarsely, and kept: seconds instead of half a minute for the tests that share one."""

from __future__ import annotations

from functools import lru_cache

from glioserve_phantom import Diagnosis, Phantom
from glioserve_training.phantom_dataset import coarse_phantom


@lru_cache(maxsize=4)
def small_phantom(seed: int, diagnosis: Diagnosis | None = None) -> Phantom:
    """A phantom of 2 mm; its scans keep their slices and motion and have coarser pixels."""
    phantom = coarse_phantom(seed)
    return phantom.with_diagnosis(diagnosis) if diagnosis else phantom
