"""elastix: its default rigid parameter map as it comes, which starts from the centres of the images."""

from __future__ import annotations

from typing import Any

import itk
import numpy as np


def image(voxels: Any, lps_from_voxel: Any) -> Any:
    """An ITK image of an array [z, y, x], FP32."""
    spacing = np.linalg.norm(lps_from_voxel[:3, :3], axis=0)
    made = itk.image_from_array(np.ascontiguousarray(voxels, dtype=np.float32))
    made.SetOrigin(lps_from_voxel[:3, 3].tolist())
    made.SetSpacing(spacing.tolist())
    made.SetDirection(itk.matrix_from_array(np.ascontiguousarray(lps_from_voxel[:3, :3] / spacing)))
    return made


def register(fixed: Any, moving: Any) -> tuple[Any, str]:
    """moving_lps_from_fixed_lps: elastix's Euler transform maps fixed points to moving ones."""
    parameters = itk.ParameterObject.New()
    parameters.AddParameterMap(parameters.GetDefaultParameterMap("rigid"))
    _, result = itk.elastix_registration_method(
        fixed, moving, parameter_object=parameters, number_of_threads=1, log_to_console=False
    )
    found = result.GetParameterMap(0)
    if found["Transform"][0] != "EulerTransform" or found["ComputeZYX"][0] != "false":
        raise ValueError(f"unexpected transform {found['Transform'][0]}")
    x, y, z, *shift = (float(v) for v in found["TransformParameters"])
    centre = np.array([float(v) for v in found["CenterOfRotationPoint"]])
    matrix = np.eye(4)
    matrix[:3, :3] = _turn(2, z) @ _turn(0, x) @ _turn(1, y)  # ITK's Euler angles without ComputeZYX
    matrix[:3, 3] = np.array(shift) + centre - matrix[:3, :3] @ centre
    return matrix, ""


def _turn(axis: int, angle: float) -> Any:
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[a, b], matrix[b, a] = -np.sin(angle), np.sin(angle)
    return matrix
