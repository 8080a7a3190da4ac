"""Limits beyond which a mask or a field of view is refused, with any method (GLIO-1601); the gate judges the rest."""

from __future__ import annotations

import math

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_dicom.volumes.geometry import Geometry

REFUSED_LITRES = (0.4, 3.0)
"""Volume outside which a mask is not taken for a brain."""
MAX_FIELD_LITRES = 125.0
"""Largest field of view, half a metre to a side; searching a larger one for a head would take minutes."""


def refuse_wide_field(geometry: Geometry) -> None:
    """Raise GLIO-1601 for a field of view that holds far more than a head."""
    litres = math.prod(n * s for n, s in zip(geometry.size_voxels, geometry.spacing_mm, strict=True)) / 1e6
    if litres > MAX_FIELD_LITRES:
        detail = f"A sequence's field of view holds {litres:.0f} litres, far more than a head."
        raise GlioserveError(ErrorCode.BRAIN_NOT_FOUND, detail)


def refuse_volume(voxels: int, voxel_mm3: float) -> None:
    """Raise GLIO-1601 where the mask's volume is not that of a brain."""
    litres = voxels * voxel_mm3 / 1e6
    if not REFUSED_LITRES[0] <= litres <= REFUSED_LITRES[1]:
        raise GlioserveError(
            ErrorCode.BRAIN_NOT_FOUND,
            f"The brain mask holds {litres:.2f} litres, not {REFUSED_LITRES[0]} to {REFUSED_LITRES[1]}.",
        )
