"""Conversions from voxel grids to SimpleITK's images; ITK's physical space is LPS too."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from glioserve_dicom.volumes.geometry import Geometry, Matrix


def set_itk_threads(count: int = 1) -> None:
    """Limit ITK to ``count`` threads in this process: worker processes share the cores."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(count)


def to_sitk(voxels: npt.NDArray[np.generic], geometry: Geometry) -> sitk.Image:
    """Return an ITK image of an array [z, y, x] on the grid ``geometry``."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels))
    image.SetOrigin(geometry.lps_from_voxel[:3, 3].tolist())
    image.SetSpacing(geometry.spacing_mm)
    directions = geometry.lps_from_voxel[:3, :3] / np.array(geometry.spacing_mm)
    image.SetDirection(directions.ravel().tolist())
    return image


def to_sitk_transform(matrix: Matrix) -> sitk.AffineTransform:
    """Return an ITK transform that maps output points by ``matrix``."""
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation(matrix[:3, 3].tolist())
    return transform
