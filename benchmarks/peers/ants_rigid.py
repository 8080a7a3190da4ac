"""ANTs: ``ants.registration('Rigid')`` as it comes, which starts from the centres of mass; the seed is fixed."""

from __future__ import annotations

from typing import Any

import ants
import numpy as np

SEED = 1


def image(voxels: Any, lps_from_voxel: Any) -> Any:
    """An ANTs image of an array [z, y, x]; its physical space is ITK's, LPS mm."""
    spacing = np.linalg.norm(lps_from_voxel[:3, :3], axis=0)
    direction = lps_from_voxel[:3, :3] / spacing
    transposed = np.ascontiguousarray(voxels.transpose(2, 1, 0))
    return ants.from_numpy(transposed, lps_from_voxel[:3, 3].tolist(), spacing.tolist(), direction)


def register(fixed: Any, moving: Any) -> tuple[Any, str]:
    """moving_lps_from_fixed_lps. ANTs' forward transform pulls moving voxels to the fixed grid: fixed to moving."""
    result = ants.registration(fixed, moving, type_of_transform="Rigid", random_seed=SEED)
    (file,) = result["fwdtransforms"]
    transform = ants.read_transform(file)
    parameters, centre = np.array(transform.parameters), np.array(transform.fixed_parameters)
    matrix = np.eye(4)
    matrix[:3, :3] = parameters[:9].reshape(3, 3)
    matrix[:3, 3] = parameters[9:] + centre - matrix[:3, :3] @ centre
    return matrix, ""
