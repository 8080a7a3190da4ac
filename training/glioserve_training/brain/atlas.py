"""The folded brain that heads are grown around: the MNI152 tissue maps that the nilearn package carries.

ICBM 2009a nonlinear symmetric grey and white matter probabilities (Fonov et al. 2011, NeuroImage 54:313), 1 mm.
Nothing of nilearn is run; its two files are read.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_preprocess.arrays import FloatArray

NOTICE = """\
- **Notice.** The heads are derived from the MNI ICBM152 2009a tissue maps, which come with this notice: Copyright (C)
  1993-2004 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University.
  Permission to use, copy, modify, and distribute this software and its documentation for any purpose and without fee
  is hereby granted, provided that the above copyright notice appear in all copies. The authors and McGill University
  make no representations about the suitability of this software for any purpose. It is provided "as is" without
  express or implied warranty. The authors are not responsible for any data loss, equipment damage, property loss, or
  injury to subjects or patients resulting from the use or misuse of this software package."""
"""A line for the card of each network that was trained on such heads; the maps' owners ask for it in all copies."""
_FILE = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"


@lru_cache(maxsize=1)
def tissue_maps() -> tuple[FloatArray, FloatArray, npt.NDArray[np.float64]]:
    """Return (grey, white, voxel_from_lps): stored probabilities FP32 [x, y, z], and the 4 x 4 map into them."""
    package = find_spec("nilearn")
    if package is None or package.origin is None:
        raise GlioserveError(
            ErrorCode.INVALID_ARTIFACT,
            "Heads are grown from nilearn's tissue maps, and nilearn is not installed.",
            "Install it: pip install nilearn.",
        )
    folder = Path(package.origin).parent / "datasets" / "data"
    grey, white = (nib.Nifti1Image.from_filename(folder / _FILE.format(name)) for name in ("gm", "wm"))
    voxel_from_lps = np.linalg.inv(grey.affine) @ np.diag([-1.0, -1.0, 1.0, 1.0])
    return _probabilities(grey), _probabilities(white), voxel_from_lps


def _probabilities(image: nib.Nifti1Image) -> FloatArray:
    return np.asarray(np.asarray(image.dataobj, dtype=np.float32) / 255)
