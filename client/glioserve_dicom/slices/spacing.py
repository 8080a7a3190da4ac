"""The geometry gate: slices are evenly spaced along their normal, or what is wrong has its code."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from glioserve_contract import ErrorCode, GlioserveError

SAME_POSITION_MM = 0.01
"""Distance below which two slices lie at one position."""
MIN_STEP_MM, MAX_STEP_MM = 0.05, 50.0
"""Smallest and largest distance of neighbouring slices of a volume, in mm."""
SPACING_TOLERANCE = 0.05
"""Share of the median slice distance by which one may differ."""
GAP_TOLERANCE = 0.15
"""Largest distance of a gap from a whole number of steps that still counts as missing slices, in steps."""
SHEAR_TOLERANCE_MM = 0.5
"""Largest in-plane drift of any slice against the first, over the whole stack."""

Points = npt.NDArray[np.float64]
"""[n, 3] in LPS mm."""


def even_step(positions: Points, normal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the vector from slice to slice along the unit ``normal``; ``positions`` are sorted along it, each once.

    Args:
        positions: first voxels of the slices, [n, 3] in LPS mm.
        normal: unit vector [3] in LPS, along which the positions grow.

    Raises:
        TooFewSlicesError: GLIO-1303 for a single slice.
        MissingSliceError: GLIO-1401 for gaps of whole slices.
        ShearedGeometryError: GLIO-1404 for slices that are shifted in-plane.
        IrregularSpacingError: GLIO-1405 for uneven distances, or those outside 0.05 to 50 mm.
    """
    if len(positions) < 2:
        raise GlioserveError(ErrorCode.TOO_FEW_SLICES, "At least two slices are needed.")
    offsets = positions - positions[0]
    drift_mm = float(np.linalg.norm(offsets - np.outer(offsets @ normal, normal), axis=1).max())
    if drift_mm > SHEAR_TOLERANCE_MM:
        raise GlioserveError(ErrorCode.SHEARED_GEOMETRY, f"Slices are shifted by up to {drift_mm:.1f} mm in-plane.")
    distances_mm = np.diff(positions @ normal)
    usual_mm = float(np.median(distances_mm))
    if np.abs(distances_mm - usual_mm).max() > SPACING_TOLERANCE * usual_mm:
        raise _uneven(distances_mm)
    if not MIN_STEP_MM <= usual_mm <= MAX_STEP_MM:
        raise GlioserveError(ErrorCode.IRREGULAR_SPACING, f"Slices lie {usual_mm:.2f} mm apart.")
    step: npt.NDArray[np.float64] = normal * float(distances_mm.mean())
    return step


def _uneven(distances_mm: npt.NDArray[np.float64]) -> GlioserveError:
    said = f"{len(distances_mm) + 1} slices, {distances_mm.min():.2f} to {distances_mm.max():.2f} mm apart."
    if distances_mm.min() < SAME_POSITION_MM:
        return GlioserveError(ErrorCode.IRREGULAR_SPACING, said)
    steps = distances_mm / distances_mm.min()
    if np.abs(steps - np.rint(steps)).max() <= GAP_TOLERANCE:
        missing = int(np.rint(steps).sum()) - len(steps)
        return GlioserveError(ErrorCode.MISSING_SLICE, f"{said[:-1]}: {missing} missing.")
    return GlioserveError(ErrorCode.IRREGULAR_SPACING, said)
