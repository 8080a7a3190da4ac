"""The brain mask on the reference sequence: by a network that the recipe names, or by the classical method."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from glioserve_contract.recipe import BrainExtraction
from glioserve_contract.records import QualityCheck
from glioserve_preprocess.brain_classical import classical_mask
from glioserve_preprocess.brain_limits import refuse_volume, refuse_wide_field
from glioserve_preprocess.brain_model import load_brain_model
from glioserve_preprocess.brain_network import Margin, brain_margin, mask_of_margin
from glioserve_preprocess.geometry import Geometry, Volume, apply

VOLUME_LITRES = (0.9, 2.2)
"""A plausible adult brain with its fluid (HD-BET's of a real patient: 1.6)."""


def extract_brain(
    reference: Volume, method: BrainExtraction, brain_models: Path | None = None
) -> npt.NDArray[np.uint8]:
    """The brain mask on ``reference``'s own grid, 0/1 [z, y, x].

    ``brain_models``: a site's own folder of brain models. Raises GLIO-1601 where there is no brain, GLIO-5113 to
    -5115 where the recipe's network cannot be had.
    """
    model = load_brain_model(method, brain_models)
    refuse_wide_field(reference.geometry)
    if model is None:
        return classical_mask(reference)
    return cut_mask(brain_margin(reference, model), reference.geometry)


def cut_mask(margin: Margin, target: Geometry) -> npt.NDArray[np.uint8]:
    """The brain mask of a margin on ``target``'s grid, 0/1 [z, y, x]. Raises GLIO-1601 where it is no brain's size."""
    mask = mask_of_margin(margin, target)
    refuse_volume(int(mask.sum()), math.prod(target.spacing_mm))
    return mask


def check_brain(mask: npt.NDArray[np.uint8], geometry: Geometry) -> QualityCheck:
    """Whether the mask's volume is a brain's."""
    litres = float(mask.sum()) * float(np.prod(geometry.spacing_mm)) / 1e6
    low, high = VOLUME_LITRES
    return QualityCheck("brain_volume", litres, "litre", low, high, "ok" if low <= litres <= high else "review")


def mask_points_lps_mm(mask: npt.NDArray[np.uint8], geometry: Geometry, most: int = 20000) -> npt.NDArray[np.float64]:
    """Centres of at most ``most`` voxels of the mask, evenly picked, [n, 3]."""
    indices = np.argwhere(mask)[:, ::-1]
    indices = indices[:: max(1, len(indices) // most)]
    return apply(geometry.lps_from_voxel, indices.astype(np.float64))
