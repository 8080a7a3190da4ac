"""Mask and alignment errors as preprocessing makes them, so that the network has seen them before."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from glioserve_dicom.volumes.geometry import Geometry, Matrix
from glioserve_phantom.acquisition import rigid
from glioserve_preprocess.arrays import ByteArray

USUAL_ERROR_MM, USUAL_ERROR_DEG = 0.4, 0.3
"""Standard deviation per axis of a registration that went well."""
LARGE_ERROR_SHARE, LARGE_ERROR_MM, LARGE_ERROR_DEG = 0.08, 2.5, 2.0
"""Share of registrations that go less well, and their standard deviation per axis."""
MIN_LITRES, MAX_LITRES = 0.7, 2.4
"""Volumes of a mask beyond which it would have been refused, or sent to review."""


def registration_error(rng: np.random.Generator, centre_lps_mm: npt.NDArray[np.float64]) -> Matrix:
    """Draw a small rigid motion about the brain's centre, now and then a larger one."""
    large = rng.random() < LARGE_ERROR_SHARE
    angle_deg, shift_mm = (LARGE_ERROR_DEG, LARGE_ERROR_MM) if large else (USUAL_ERROR_DEG, USUAL_ERROR_MM)
    error = rigid(rng.normal(0, angle_deg, 3), rng.normal(0, shift_mm, 3))
    error[:3, 3] += centre_lps_mm - error[:3, :3] @ centre_lps_mm
    return error


def damaged(rng: np.random.Generator, mask: ByteArray, geometry: Geometry) -> ByteArray:
    """Return ``mask`` [z, y, x] grown, shrunk, cut or with leftovers of skull; unchanged if too little is left."""
    spacing_zyx_mm = geometry.spacing_mm[::-1]
    outside_mm = ndimage.distance_transform_edt(mask == 0, spacing_zyx_mm)
    inside_mm = ndimage.distance_transform_edt(mask, spacing_zyx_mm)
    signed_mm = outside_mm - inside_mm
    # A smooth wobble, so that the border is off by different amounts in different places.
    wobble = ndimage.gaussian_filter(rng.standard_normal(mask.shape), [18 / s for s in spacing_zyx_mm])
    wobble *= rng.uniform(0, 4) / max(float(wobble.std()), 1e-9)
    result = signed_mm + wobble < rng.uniform(-4, 4)
    if rng.random() < 0.3:
        result |= _leftovers(rng, signed_mm, spacing_zyx_mm)
    if rng.random() < 0.3:
        result &= ~_cut(rng, mask, spacing_zyx_mm)
    litres = float(result.sum()) * float(np.prod(spacing_zyx_mm)) / 1e6
    return result.astype(np.uint8) if MIN_LITRES <= litres <= MAX_LITRES else mask


def _leftovers(
    rng: np.random.Generator, signed_mm: npt.NDArray[np.float64], spacing_zyx_mm: tuple[float, ...]
) -> npt.NDArray[np.bool_]:
    """Draw a patch of skull, scalp or neck of 15 to 35 mm that the mask runs out into."""
    border = np.argwhere(np.abs(signed_mm - 8) < 4)
    if not len(border):
        return np.zeros(signed_mm.shape, dtype=bool)
    patch: npt.NDArray[np.bool_] = _distance_mm(border[rng.integers(len(border))], signed_mm.shape, spacing_zyx_mm) < (
        rng.uniform(15, 35)
    )
    return patch & (signed_mm < 20)


def _cut(rng: np.random.Generator, mask: ByteArray, spacing_zyx_mm: tuple[float, ...]) -> npt.NDArray[np.bool_]:
    """Draw a bite of 15 to 30 mm out of the border, or everything below some plane (cerebellum and stem lost)."""
    inside = np.argwhere(mask)
    if rng.random() < 0.5:
        border = inside[ndimage.distance_transform_edt(mask, spacing_zyx_mm)[mask > 0] < 6]
        bite: npt.NDArray[np.bool_] = _distance_mm(border[rng.integers(len(border))], mask.shape, spacing_zyx_mm) < (
            rng.uniform(15, 30)
        )
        return bite
    axis = int(rng.integers(3))
    low = np.quantile(inside[:, axis], rng.uniform(0.02, 0.15))
    plane: npt.NDArray[np.bool_] = np.broadcast_to(
        np.expand_dims(np.arange(mask.shape[axis]) < low, [a for a in range(3) if a != axis]), mask.shape
    )
    return plane


def _distance_mm(
    centre: npt.NDArray[np.int64], shape: tuple[int, ...], spacing_zyx_mm: tuple[float, ...]
) -> npt.NDArray[np.float64]:
    grids = np.ogrid[tuple(slice(n) for n in shape)]
    square = sum(((g - c) * s) ** 2 for g, c, s in zip(grids, centre, spacing_zyx_mm, strict=True))
    return np.asarray(np.sqrt(square), dtype=np.float64)
