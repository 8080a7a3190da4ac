"""What is no brain at all, whichever method looked for it (GLIO-1601); what is merely odd is judged elsewhere."""

from __future__ import annotations

import math

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_dicom.volumes.geometry import Geometry

REFUSED_LITRES = (0.4, 3.0)
"""Outside, no mask was found at all."""
MAX_FIELD_LITRES = 125.0
"""Of the field of view, half a metre to a side: in more than that nobody looks for a head, as it would take minutes."""


def refuse_wide_field(geometry: Geometry) -> None:
    """Raises GLIO-1601 for a field of view that holds far more than a head."""
    litres = math.prod(n * s for n, s in zip(geometry.size_voxels, geometry.spacing_mm, strict=True)) / 1e6
    if litres > MAX_FIELD_LITRES:
        detail = f"A sequence's field of view holds {litres:.0f} litres, not a head alone."
        raise GlioserveError(ErrorCode.BRAIN_NOT_FOUND, detail)


def refuse_volume(voxels: int, voxel_mm3: float) -> None:
    """Raises GLIO-1601 where so many voxels cannot be a brain."""
    litres = voxels * voxel_mm3 / 1e6
    if not REFUSED_LITRES[0] <= litres <= REFUSED_LITRES[1]:
        raise GlioserveError(ErrorCode.BRAIN_NOT_FOUND, f"The brain mask holds {litres:.2f} litres.")
