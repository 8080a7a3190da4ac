"""Each sequence to the reference: one rigid transform by mutual information, from voxels, never from headers alone.

Two searches a pair, each in one thread: from the reference's points into the moving image, and a second one with the
roles exchanged, which knows nothing of the first. Their results are judged before they are used (:func:`_judge`).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.records.preprocess import QualityCheck, Verdict
from glioserve_dicom.volumes.geometry import Matrix, SequenceVolume, apply
from glioserve_preprocess.arrays import DoubleArray
from glioserve_preprocess.registration.pyramid import LEVELS_MM, prepare
from glioserve_preprocess.registration.rigid import Rigid
from glioserve_preprocess.registration.search import APART_MM, Found, Pair
from glioserve_preprocess.stopwatch import Check, go_on

MIDDLE, FINE = 1, len(LEVELS_MM) - 1
OFF_MM = 8.0
"""Distance from the optimum, in each of the six parameters, at which the similarity is computed for the contrast. Near
the optimum it tells sharp from blunt, and noise, shading and thick slices lower it less than they do at 15 mm."""
USUAL_GAIN_NATS = -0.005
"""Gain of similarity, over that of the header's position, that needs no review. The position is the optimum of two
directions at 1 mm and its similarity is that of 4 mm, so that a head which did not move gains nothing and may lose
this much; a search that ended wrong loses far more."""
USUAL_CONTRAST, REFUSED_CONTRAST = 1.3, 1.12
"""Similarity at the optimum over the highest OFF_MM away: below the first a person should look, below the second the
registration has failed. Calibrated on phantoms and a real patient (``make bench NAME=registration_check``)."""
USUAL_CONTRAST_OF_PART, PART_OVERLAP = 1.2, 0.5
"""Usual contrast where the overlap is below the second: fewer slices have fewer edges, and the optimum is blunter."""
USUAL_OVERLAP, REFUSED_OVERLAP = 0.25, 0.1
"""Share of the reference's head in the moving field of view."""
REFUSED_NATS = 0.05
"""Similarity of two things that have nothing to do with each other; heads reach five times that and more."""
USUAL_RIVAL, BETTER_RIVAL = 0.9, 1.1
"""Similarity of another position that the second search found over this one's: above the first the two cannot be told
apart, above the second the other one is right."""
AGREEING_MM = 2.0
"""Mean distance over the head below which two transforms are one; above it a person should look."""
MOST = 100.0
"""Upper end of a ratio that has none."""
MAX_DISPLACEMENT_MM = 500.0
"""Largest displacement; no scanner's table moves further."""


@dataclass(frozen=True, eq=False)
class Registration:
    """The rigid transform of one sequence, with the figures by which it is judged.

    ``moving_lps_from_reference_lps`` carries the reference's points into the moving sequence's own space.
    """

    modality: Modality
    moving_lps_from_reference_lps: Matrix
    similarity: float
    """Mutual information in nats on the 4 mm level, times the overlap."""
    similarity_before: float
    """The same at the header position."""
    contrast: float
    """Similarity over the highest one OFF_MM away."""
    overlap: float
    displacement_mm: float
    """Mean distance that the head moved from the header position."""
    both_ways_mm: float
    """Mean distance over the head between the two directions' results, whose middle this is."""
    second_start_mm: float
    """Mean distance over the head between this result and the second search's."""
    rival: float
    """Similarity of the second search's end over this result's, where it is another position; 0 where they agree."""

    @property
    def checks(self) -> tuple[QualityCheck, ...]:
        """Every figure with its usual range; ``review`` outside it. :attr:`refusal` holds what is worse."""
        least = USUAL_CONTRAST if self.overlap >= PART_OVERLAP else USUAL_CONTRAST_OF_PART
        return (
            self._check("contrast", min(self.contrast, MOST), "ratio", (least, MOST)),
            self._check("gain", self.similarity - self.similarity_before, "nat", (USUAL_GAIN_NATS, MOST)),
            self._check("overlap", self.overlap, "share", (USUAL_OVERLAP, 1.0)),
            self._check("rival", min(self.rival, MOST), "ratio", (0.0, USUAL_RIVAL)),
            self._check("both_ways", self.both_ways_mm, "mm", (0.0, AGREEING_MM)),
        )

    def _check(self, name: str, value: float, unit: str, usual: tuple[float, float]) -> QualityCheck:
        return QualityCheck.judged(f"{self.modality}_registration_{name}", value, unit, usual)

    @property
    def verdict(self) -> Verdict:
        """The worst of the checks."""
        return "review" if any(check.verdict == "review" for check in self.checks) else "ok"

    @property
    def refusal(self) -> str:
        """Reason why the registration must not be used; empty where there is none."""
        if self.overlap < REFUSED_OVERLAP:
            return f"only {self.overlap:.0%} of the head is in its field of view"
        if self.similarity < REFUSED_NATS * self.overlap:
            return "nothing in it resembles the reference"
        if self.contrast < REFUSED_CONTRAST:
            return f"at the best position it is {self.contrast:.2f} times as similar as {OFF_MM:.0f} mm away"
        if self.displacement_mm > MAX_DISPLACEMENT_MM:
            return f"the head would have moved by {self.displacement_mm:.0f} mm"
        return ""


def register(reference: SequenceVolume, moving: SequenceVolume) -> Registration:
    """Return the rigid transform from ``reference`` to ``moving`` space, as :func:`register_all` does."""
    return register_all(reference, [moving])[0]


def register_all(
    reference: SequenceVolume, moving: Sequence[SequenceVolume], threads: int = 1, check: Check = go_on
) -> list[Registration]:
    """Register each of ``moving`` to ``reference``, on up to ``threads`` threads; the same bits on any number.

    ``check`` is called before each search, by any of the threads; what it raises ends the registration.

    Raises:
        GlioserveError: GLIO-1501 where two heads do not overlap or no position stands out; the message names the
            sequence.
    """
    found = examine(reference, moving, threads, check)
    for registration in found:
        if registration.refusal:
            detail = f"{registration.modality} could not be aligned to {reference.modality}: {registration.refusal}."
            raise GlioserveError(ErrorCode.REGISTRATION_FAILED, detail)
    return found


def examine(
    reference: SequenceVolume, moving: Sequence[SequenceVolume], threads: int = 1, check: Check = go_on
) -> list[Registration]:
    """Register as :func:`register_all` does, without raising, so that refused results can be looked at."""
    # A BLAS that starts threads for a 4 x 4 inverse lets them spin for longer than the registration takes.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(max(1, threads)) as pool:
        fixed, *others = pool.map(prepare, [reference, *moving])
        searches = [
            (
                pool.submit(_search, check, Pair(fixed, other), to_the_end=True),
                pool.submit(_search, check, Pair(other, fixed), to_the_end=False),
            )
            for other in others
        ]
        judged = [pool.submit(_judge, *pair.result(), *second.result()) for pair, second in searches]
        return [registration.result() for registration in judged]


def mean_displacement_mm(matrix: Matrix, points_lps_mm: DoubleArray) -> float:
    """Return the mean distance that ``points_lps_mm`` [n, 3] move under ``matrix``."""
    return float(np.linalg.norm(apply(matrix, points_lps_mm) - points_lps_mm, axis=1).mean())


def _search(check: Check, pair: Pair, *, to_the_end: bool) -> tuple[Pair, Found]:
    check()
    found = pair.search()
    return pair, pair.refine(found.parameters_mm, FINE) if to_the_end else found


def _judge(pair: Pair, found: Found, back: Pair, second: Found) -> Registration:
    """Compute the figures that show whether the position stands out, the heads overlap and both searches agree.

    Where the second search found better, the first one starts again from there.
    """
    modality = pair.moving.volume.modality
    first = back.refine(back.of_matrix(np.linalg.inv(pair.matrix(found))), MIDDLE)
    if second.nats > BETTER_RIVAL * first.nats:
        found = pair.refine(pair.of_matrix(np.linalg.inv(back.matrix(second))), FINE)
        first = back.refine(back.of_matrix(np.linalg.inv(pair.matrix(found))), MIDDLE)
    head = pair.fixed.head_points_lps_mm()
    matrix, apart_mm = _both_ways(pair, found, back, head)
    parameters_mm = pair.of_matrix(matrix)
    second_mm = _apart_mm(matrix, np.linalg.inv(back.matrix(second)), head)
    middle = pair.similarity(MIDDLE)
    nats, overlap = middle.nats(parameters_mm)[0], middle.overlap(parameters_mm)
    around = max(middle.nats(parameters_mm + step)[0] for step in OFF_MM * np.vstack([np.eye(6), -np.eye(6)]))
    return Registration(
        modality=modality,
        moving_lps_from_reference_lps=matrix,
        similarity=middle.shared_nats(parameters_mm)[0],
        similarity_before=middle.shared_nats(np.zeros(6))[0],
        contrast=nats / max(around, 1e-9),
        overlap=overlap,
        displacement_mm=mean_displacement_mm(matrix, head),
        both_ways_mm=apart_mm,
        second_start_mm=second_mm,
        rival=second.nats / max(first.nats, 1e-9) if second_mm > AGREEING_MM else 0.0,
    )


def _both_ways(pair: Pair, found: Found, back: Pair, head_lps_mm: DoubleArray) -> tuple[Matrix, float]:
    """Return the middle of this result and the exchanged pair's, and their mean distance over the head.

    Each direction interpolates the other volume, and errs by what that does to thick slices: together they err less.
    """
    there = pair.matrix(found)
    again = np.linalg.inv(back.matrix(back.refine(back.of_matrix(np.linalg.inv(there)), FINE)))
    apart_mm = _apart_mm(there, again, head_lps_mm)
    other_mm = pair.of_matrix(again)
    if apart_mm > AGREEING_MM or np.linalg.norm(other_mm - found.parameters_mm) > APART_MM:  # half a turn has two names
        return there, apart_mm
    return Rigid(pair.pivot_lps_mm, (found.parameters_mm + other_mm) / 2).matrix, apart_mm


def _apart_mm(first: Matrix, second: Matrix, points_lps_mm: DoubleArray) -> float:
    return float(np.linalg.norm(apply(first, points_lps_mm) - apply(second, points_lps_mm), axis=1).mean())
