"""The search for the rigid motion that makes two heads' mutual information largest: many coarse starts, then down.

Every seed is fixed and one search runs in one thread, so the same pair gives the same bits however many run at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import numpy as np

from glioserve_dicom.volumes.geometry import Matrix
from glioserve_preprocess.arrays import DoubleArray
from glioserve_preprocess.registration.pyramid import LEVELS_MM, Prepared
from glioserve_preprocess.registration.rigid import RADIUS_MM, Rigid, Similarity

SAMPLES = (6_000, 20_000, 120_000)
"""Number of points drawn from the fixed head on each level."""
RANKING_SAMPLES = 2_000
START_ANGLES_DEG = (-25.0, 0.0, 25.0)
"""Rotations about each axis at each start position."""
START_RISES_MM = (-20.0, 0.0, 20.0)
"""Shifts along the patient's superior axis, with the heads' centres together: fields of view end at different heights.
The header's own position is a start too."""
STARTS_TRIED, STARTS_FOLLOWED, STARTS_REFINED = 12, 4, 2
"""Numbers of starts: the most similar of all are improved a little, the best of those, if apart, to the end of the
coarse level, and the best of those also on the middle one."""
TRIAL_ITERATIONS, MAX_ITERATIONS = 6, 40
APART_MM = 8.0
"""Distance (norm of the six parameters) below which the ends of two searches are one."""
SEED = 20251


@dataclass(frozen=True)
class Found:
    """The end of a search: six parameters in mm, and the objective there."""

    parameters_mm: DoubleArray
    nats: float


@dataclass(eq=False)
class Pair:
    """The similarities of one ordered pair, by level (0 the coarsest), made when first asked for."""

    fixed: Prepared
    moving: Prepared
    _similarities: dict[tuple[int, int], Similarity] = field(default_factory=dict)

    def similarity(self, level: int, samples: int | None = None) -> Similarity:
        """Return the similarity on one level, by default of as many points as SAMPLES has for it."""
        count = samples or SAMPLES[level]
        key = (level, count)
        if key not in self._similarities:
            self._similarities[key] = Similarity(self.fixed, self.moving, level, count, SEED + level)
        return self._similarities[key]

    @property
    def pivot_lps_mm(self) -> DoubleArray:
        """The point that the six parameters turn about: the fixed head's centre."""
        return self.fixed.centre_lps_mm

    def matrix(self, found: Found) -> Matrix:
        """Return the 4 x 4 matrix of a search's end, fixed LPS mm to moving LPS mm."""
        return Rigid(self.pivot_lps_mm, found.parameters_mm).matrix

    def of_matrix(self, matrix: Matrix) -> DoubleArray:
        """Return the six parameters of a rigid matrix."""
        return Rigid.of_matrix(matrix, self.pivot_lps_mm).parameters_mm

    def search(self) -> Found:
        """Search from the coarse starts to the end of the middle level."""
        coarse = self.similarity(0)
        tried = [_climb(coarse, start, TRIAL_ITERATIONS) for start in self._ranked_starts()]
        followed: list[Found] = []
        for trial in sorted(tried, key=lambda found: -found.nats):
            if len(followed) < STARTS_FOLLOWED and _is_new(trial, followed):
                followed.append(_climb(coarse, trial.parameters_mm))
        best: list[Found] = []
        for end in sorted(followed, key=lambda found: -found.nats):
            if len(best) < STARTS_REFINED and _is_new(end, best):
                best.append(end)
        refined = [self.refine(found.parameters_mm, 1) for found in best]
        return max(refined, key=lambda found: found.nats)

    def refine(self, parameters_mm: DoubleArray, level: int) -> Found:
        """Climb from a start in the neighbourhood to the optimum on ``level``."""
        return _climb(self.similarity(level), parameters_mm, times_overlap=level < len(LEVELS_MM) - 1)

    def _ranked_starts(self) -> list[DoubleArray]:
        together = self.moving.centre_lps_mm - self.fixed.centre_lps_mm
        shifts = [np.zeros(3), *(together + np.array([0.0, 0.0, rise]) for rise in START_RISES_MM)]
        turns = [np.deg2rad(angles) * RADIUS_MM for angles in product(START_ANGLES_DEG, repeat=3)]
        starts = [np.concatenate([turn, shift]) for shift in shifts for turn in turns]
        quick = self.similarity(0, RANKING_SAMPLES)
        nats = np.array([quick.shared_nats(start)[0] for start in starts])
        return [starts[i] for i in np.argsort(-nats, kind="stable")[:STARTS_TRIED]]


def _is_new(found: Found, others: list[Found]) -> bool:
    return all(np.linalg.norm(found.parameters_mm - o.parameters_mm) > APART_MM for o in others)


def _climb(
    similarity: Similarity, start_mm: DoubleArray, iterations: int = MAX_ITERATIONS, *, times_overlap: bool = True
) -> Found:
    return Found(*similarity.climb(start_mm, iterations, times_overlap=times_overlap))
