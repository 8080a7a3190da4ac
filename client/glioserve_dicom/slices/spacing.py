"""The geometry gate: slices are evenly spaced along their normal, or what is wrong has its code.

Positions are held to an even grid, each by its own error: half of its last decimal, as archives and anonymisers round
positions, to 0.1 mm at the coarsest. Distances of neighbours do not decide by themselves, since rounding changes those
of thin slices by a fifth. Where all of them are alike, though, small errors that add up may take slices further off the
grid.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from glioserve_contract import ErrorCode, GlioserveError

SAME_POSITION_MM = 0.1
"""Distance below which two slices lie at one position: two roundings of it may be that far apart."""
MAX_STEP_MM = 50.0
"""Largest distance of neighbouring slices of a volume, in mm."""
POSITION_TOLERANCE = 0.012
"""Share of the slice distance by which any slice may lie off the even grid."""
DRIFT_TOLERANCE = 0.04
"""The same where no distance of neighbours differs from the grid's by more than :data:`POSITION_TOLERANCE`."""
MOST_ROUNDING = 0.25
"""Largest share of the slice distance that counts as rounding: more could hide a missing slice."""
SHEAR_TOLERANCE_MM = 0.5
"""Largest in-plane drift of any slice against the first, over the whole stack."""
_SINGLE_PRECISION_MM = 1e-4
"""Largest error of a position that was written from a number of single precision."""

Points = npt.NDArray[np.float64]
"""[n, 3] in LPS mm."""
Vector = npt.NDArray[np.float64]
"""One number for each slice, or a vector [3] in LPS."""


def even_step(positions: Points, normal: Vector, normal_error: float) -> Vector:
    """Return the vector from slice to slice, across the images, of the even grid that fits the positions best.

    It runs along ``normal``, or along the positions where rounding of the normal explains the difference and the
    positions are better known.

    Args:
        positions: first voxels of the slices, [n, 3] in LPS mm, sorted along the normal, each once.
        normal: unit vector across the images [3] in LPS, along which the positions grow.
        normal_error: largest angle in radians by which rounding may have turned it.

    Raises:
        TooFewSlicesError: GLIO-1303 for a single slice.
        MissingSliceError: GLIO-1401 for gaps of whole slices.
        ShearedGeometryError: GLIO-1404 for slices that are shifted in-plane.
        IrregularSpacingError: GLIO-1405 for uneven distances, or those outside 0.1 to 50 mm.
    """
    if len(positions) < 2:
        raise GlioserveError(ErrorCode.TOO_FEW_SLICES, "At least two slices are needed.")
    normal = _stack_normal(positions, normal, normal_error)
    offsets = positions - positions[0]
    drift_mm = float(np.linalg.norm(offsets - np.outer(offsets @ normal, normal), axis=1).max())
    if drift_mm > SHEAR_TOLERANCE_MM:
        raise GlioserveError(ErrorCode.SHEARED_GEOMETRY, f"Slices are shifted by up to {drift_mm:.1f} mm in-plane.")
    along_mm, error_mm = offsets @ normal, _rounding_mm(positions) @ np.abs(normal)
    index = np.arange(len(positions))
    step_mm = _fitted_step(index, along_mm)
    if np.diff(along_mm).min() < SAME_POSITION_MM or not _is_even(index, along_mm, error_mm):
        raise _uneven(along_mm, error_mm)
    if step_mm > MAX_STEP_MM:
        raise GlioserveError(ErrorCode.IRREGULAR_SPACING, f"Slices lie {step_mm:.2f} mm apart.")
    step: Vector = normal * step_mm
    return step


def _stack_normal(positions: Points, normal: Vector, normal_error: float) -> Vector:
    centred = np.arange(len(positions)) - (len(positions) - 1) / 2
    run = centred @ positions
    direction: Vector = run / float(max(np.linalg.norm(run), np.finfo(float).tiny))
    extent_mm = float(np.linalg.norm(positions[-1] - positions[0]))
    # the slope of a line through n points with errors of e at most is off by 3 e / n at most
    better_known = 3 * np.linalg.norm(_rounding_mm(positions), axis=1).max() < normal_error * extent_mm
    return direction if better_known and np.linalg.norm(np.cross(normal, direction)) <= normal_error else normal


def _rounding_mm(positions: Points) -> Points:
    """Return the most by which each coordinate may have been rounded: half of its last decimal, 0.05 mm at most."""
    return np.select([_is_multiple(positions, unit_mm) for unit_mm in (0.1, 0.01)], [0.05, 0.005], 0.0005)


def _is_multiple(values: Points, unit: float) -> npt.NDArray[np.bool_]:
    multiple: npt.NDArray[np.bool_] = np.abs(values - unit * np.rint(values / unit)) <= _SINGLE_PRECISION_MM
    return multiple


def _fitted_step(index: npt.NDArray[np.int_], along_mm: Vector) -> float:
    """Return the slope of the least-squares line of positions over the slices' numbers."""
    centred = index - index.mean()
    return float(centred @ along_mm / (centred @ centred))


def _is_even(index: npt.NDArray[np.int_], along_mm: Vector, error_mm: Vector) -> bool:
    """Return whether an even grid exists that has slice ``index[k]`` within the tolerance of ``along_mm[k]``, each."""
    step_mm = _fitted_step(index, along_mm)
    steps_mm = np.diff(along_mm) / np.diff(index)
    alike = bool(np.abs(steps_mm - step_mm).max() <= POSITION_TOLERANCE * step_mm)
    least_mm = (DRIFT_TOLERANCE if alike else POSITION_TOLERANCE) * step_mm
    allowed = np.clip(error_mm + _SINGLE_PRECISION_MM, least_mm, MOST_ROUNDING * step_mm)
    most = float(allowed.max())

    def missed_mm(step: float) -> float:
        """Return by how much the two strictest slices miss a common grid of this step; not above 0 if they do not."""
        off = along_mm - step * index
        return float((off - allowed).max() - (off + allowed).min())

    if missed_mm(step_mm) <= 0:
        return True
    # convex in the step; a grid that fits has a step this near to that of the least squares
    low, high = step_mm - 6 * most / len(index), step_mm + 6 * most / len(index)
    for _ in range(50):
        third = (high - low) / 3
        left, right = missed_mm(low + third), missed_mm(high - third)
        if min(left, right) <= 0:
            return True
        low, high = (low, high - third) if left < right else (low + third, high)
    return False


def _uneven(along_mm: Vector, error_mm: Vector) -> GlioserveError:
    distances_mm = np.diff(along_mm)
    said = f"{len(along_mm)} slices, {distances_mm.min():.2f} to {distances_mm.max():.2f} mm apart"
    if distances_mm.min() >= SAME_POSITION_MM and (missing := _missing(along_mm, error_mm)):
        return GlioserveError(ErrorCode.MISSING_SLICE, f"{said}: {missing} missing.")
    return GlioserveError(ErrorCode.IRREGULAR_SPACING, f"{said}.")


def _missing(along_mm: Vector, error_mm: Vector) -> int:
    """Return how many slices are missing if the others lie on an even grid with gaps; 0 if they do not."""
    distances_mm = np.diff(along_mm)
    near = distances_mm[distances_mm <= 1.5 * distances_mm.min()]
    for step_mm in (float(np.median(distances_mm)), float(np.median(near)), float(distances_mm.min())):
        for _ in range(3):  # a step that is a little off miscounts wide gaps, and its grid is the better guess
            index = np.concatenate([[0], np.cumsum(np.maximum(np.rint(distances_mm / step_mm), 1))]).astype(int)
            step_mm = _fitted_step(index, along_mm)
        if index[-1] > len(distances_mm) and _is_even(index, along_mm, error_mm):
            return int(index[-1]) - len(distances_mm)
    return 0
