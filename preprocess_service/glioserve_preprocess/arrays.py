"""Names of the array types that the preprocessing and the packages above it share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
"""Single precision: voxels, distances, intensities."""
DoubleArray = npt.NDArray[np.float64]
"""Double precision: points, parameters, affines."""
BoolArray = npt.NDArray[np.bool_]
"""A mask while it is computed."""
ByteArray = npt.NDArray[np.uint8]
"""A mask of 0 and 1 as it is handed on, labels, or histogram bins."""
