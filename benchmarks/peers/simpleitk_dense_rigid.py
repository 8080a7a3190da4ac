"""SimpleITK again, with more voxels on coarse levels: 50, 20 and 2 % of them at 4, 3 and 2 mm."""

from __future__ import annotations

from typing import Any

import SimpleITK as sitk
from simpleitk_rigid import descend, image

__all__ = ["image", "register"]


def register(fixed: sitk.Image, moving: sitk.Image) -> tuple[Any, str]:
    """moving_lps_from_fixed_lps."""
    matrix = descend(fixed, moving, spacing_mm=1.0, shrink=(4, 3, 2), sigmas=(2, 1.5, 1), share=(0.5, 0.2, 0.02))
    return matrix, ""
