"""Checks of a brain mask: its volume, shape and place, how sure the model is, and how well a second mask agrees.

Every figure has a usual range; outside it the study goes to ``review`` and no label is given. The ranges were set on
synthetic heads, sound and spoilt, whose true masks are known (``make bench NAME=brain_gate``); no patient set them.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from glioserve_contract.records.preprocess import QualityCheck
from glioserve_dicom.volumes.geometry import Geometry, apply
from glioserve_preprocess.arrays import BoolArray, DoubleArray, FloatArray
from glioserve_preprocess.brain.network import Margin, one_solid_piece

VOLUME_LITRES = (0.9, 2.2)
"""Volume of a plausible adult brain with its fluid."""
SOLIDITY = (0.83, 1.0)
"""Volume over that of the convex hull; lobes of scalp or face that a mask includes lower it."""
SLENDERNESS = (1.0, 1.75)
"""Longest over shortest axis of the mask's ellipsoid of inertia."""
BELOW_CROWN_MM = (-100.0, 45.0)
"""Distance from the mask's top up to the head's: fluid, skull and scalp, and what a tilted head adds. A mask in the
face or the neck, or in a head that the file turns upside down, lies lower. Only that end counts: where a sequence shows
the scalp dark, the head seems to end lower than it does."""
ENCLOSED_SHARE = (0.3, 1.0)
"""Share of the rays leaving the mask upwards and sideways that meet something dark and then something bright again, as
skull and scalp are; a bottle in the scanner has neither."""
RAYS = 400
RAY_STEP_MM = 2.0
SKULL_WITHIN_MM, SCALP_WITHIN_MM = 20.0, 36.0
"""Distances beyond the mask's surface within which a dark place, and a bright one after it, are looked for."""
RISE = 0.2
"""Share of the brain's median intensity by which the scalp must be brighter than a place before it."""
MIN_RAYS = RAYS // 10
"""Least number of rays within the field of view; from fewer nothing is concluded."""
BORDER_SHARE = (0.0, 0.10)
"""Share of the mask's surface on the border of the field of view; a high one means a brain that is cut off."""
UNSURENESS = (0.0, 0.4)
"""Mean, near the surface, of the difference between one and the slope of the model's distance: a true distance grows by
a millimetre a millimetre, and that of a model that hesitates between two surfaces by less."""
NEAR_MM = 4.0
AGREEMENT_DICE = (0.90, 1.0)
"""Dice of the masks that two sequences give, each on its own."""


def volume_check(mask: npt.NDArray[np.generic], geometry: Geometry) -> QualityCheck:
    """Check that the mask [z, y, x] holds as much as a brain."""
    litres = float(np.count_nonzero(mask)) * math.prod(geometry.spacing_mm) / 1e6
    return QualityCheck.judged("brain_volume", litres, "litre", VOLUME_LITRES)


def shape_checks(mask: BoolArray, geometry: Geometry) -> tuple[QualityCheck, ...]:
    """Check solidity, slenderness and border contact of a mask [z, y, x] that is not empty."""
    surface = mask & ~ndimage.binary_erosion(mask, border_value=1)
    border = np.ones(mask.shape, dtype=bool)
    border[1:-1, 1:-1, 1:-1] = False
    on_border = int((mask & border).sum())
    touching = on_border / max(1, int(surface.sum()) + on_border)
    spacing = np.array(geometry.spacing_mm)[::-1]
    places = np.argwhere(mask) * spacing
    spread = np.sqrt(np.maximum(np.linalg.eigvalsh(np.atleast_2d(np.cov(places.T))), 1e-9))
    edge = np.argwhere(surface | (mask & border)) * spacing
    return (
        QualityCheck.judged("brain_solidity", _solidity(edge, int(mask.sum()), spacing), "share", SOLIDITY),
        QualityCheck.judged("brain_slenderness", min(float(spread[-1] / spread[0]), 100.0), "ratio", SLENDERNESS),
        QualityCheck.judged("brain_border", touching, "share", BORDER_SHARE),
    )


def position_check(mask: BoolArray, geometry: Geometry, crown_lps_mm: DoubleArray) -> QualityCheck:
    """Check the distance of the top of a non-empty mask [z, y, x] below the head's, along the patient's axis."""
    places = np.argwhere(mask)[:, ::-1].astype(np.float64)
    top_mm = float(apply(geometry.lps_from_voxel, places)[:, 2].max())
    return QualityCheck.judged("brain_below_crown", float(crown_lps_mm[2]) - top_mm, "mm", BELOW_CROWN_MM)


def enclosure_check(mask: BoolArray, image: FloatArray, geometry: Geometry) -> QualityCheck | None:
    """Check that skull and scalp surround a non-empty mask; ``image``, the scan, is on the same grid [z, y, x].

    Rays go from the mask's middle to where the third axis (superior) does not fall. Returns None where too few of them
    stay in the field of view.
    """
    turns = np.arange(RAYS) * np.pi * (3 - np.sqrt(5))  # a spiral spreads them evenly over half a sphere
    rise = np.arange(RAYS) / RAYS
    flat = np.sqrt(1 - rise**2)
    directions = (
        np.stack([rise, flat * np.sin(turns), flat * np.cos(turns)]) / np.array(geometry.spacing_mm)[::-1, None]
    )
    lengths_mm = np.arange(0, np.linalg.norm(np.array(mask.shape) * geometry.spacing_mm[::-1]), RAY_STEP_MM)
    middle = np.argwhere(mask).mean(axis=0)
    places = middle[:, None, None] + directions[:, :, None] * lengths_mm
    inside = ndimage.map_coordinates(mask.astype(np.uint8), places, order=0) > 0
    values = ndimage.map_coordinates(image, places, order=1, cval=np.nan)
    leaves = inside.shape[1] - 1 - inside[:, ::-1].argmax(axis=1)
    near, far = int(SKULL_WITHIN_MM / RAY_STEP_MM), int(SCALP_WITHIN_MM / RAY_STEP_MM)
    enclosed = []
    least = RISE * float(np.median(image[mask]))
    for profile, surface in zip(values, leaves, strict=True):
        beyond = profile[surface + 1 : surface + 1 + far]
        if len(beyond) < far or not np.isfinite(beyond).all():
            continue
        brightest_after = np.maximum.accumulate(beyond[::-1])[::-1]
        enclosed.append((brightest_after - beyond)[:near].max() > least)
    if len(enclosed) < MIN_RAYS:
        return None
    return QualityCheck.judged("brain_enclosure", float(np.mean(enclosed)), "share", ENCLOSED_SHARE)


def unsureness_check(margin: Margin) -> QualityCheck | None:
    """Check that the margin grows as a distance does; return None for a model that gives something else."""
    near = np.abs(margin.values) < NEAR_MM
    if margin.unit != "mm" or not near.any() or min(margin.values.shape) < 2:
        return None
    along = np.gradient(margin.values, *margin.geometry.spacing_mm[::-1])
    slope = np.sqrt(sum(g[near] ** 2 for g in along))
    return QualityCheck.judged("brain_unsureness", float(np.abs(slope - 1).mean()), "ratio", UNSURENESS)


def agreement_check(one: BoolArray, other: BoolArray) -> QualityCheck:
    """Check the Dice of two masks on one grid."""
    total = int(one.sum()) + int(other.sum())
    dice = 2 * int((one & other).sum()) / total if total else 0.0
    return QualityCheck.judged("brain_agreement", dice, "Dice", AGREEMENT_DICE)


def margin_checks(margin: Margin, image: FloatArray, crown_lps_mm: DoubleArray) -> tuple[QualityCheck, ...]:
    """Return all checks of one margin; the volume's alone where its mask is empty.

    ``image`` is the scan on the margin's grid [z, y, x], ``crown_lps_mm`` a point as high as the head's top.
    """
    mask, geometry = one_solid_piece(margin.values > 0), margin.geometry
    if not mask.any():
        return (volume_check(mask, geometry),)
    where = position_check(mask, geometry, crown_lps_mm)
    may_be_none = (enclosure_check(mask, image, geometry), unsureness_check(margin))
    judged = (c for c in may_be_none if c is not None)
    return (volume_check(mask, geometry), *shape_checks(mask, geometry), where, *judged)


def _solidity(edge_mm: DoubleArray, voxels: int, spacing: DoubleArray) -> float:
    """Return the mask's volume over that of its hull, which goes through voxel centres and is grown by half a voxel."""
    try:
        hull = ConvexHull(edge_mm)
    except (QhullError, ValueError):  # flat, or a handful of voxels
        return 0.0
    whole = hull.volume + hull.area * float(spacing.min()) / 2
    return float(min(1.0, voxels * float(np.prod(spacing)) / whole))
