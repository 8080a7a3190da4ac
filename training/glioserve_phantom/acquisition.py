"""The scanner's view of the head: planes, slice profile, coil, noise; one :class:`PhantomAcquisition` a sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import SimpleITK as sitk

from glioserve_contract import Modality
from glioserve_contract.records.grid import Vector
from glioserve_dicom.volumes.geometry import Geometry, Matrix
from glioserve_phantom.sequences import PROTOCOLS
from glioserve_phantom.shapes import Noise
from glioserve_preprocess.arrays import DoubleArray, FloatArray
from glioserve_preprocess.itk import to_sitk_transform

ScanPlane = Literal["axial", "sagittal", "coronal"]

_IN_PLANE: dict[ScanPlane, tuple[Vector, Vector]] = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
}
"""Directions of columns and rows in LPS, by the radiological convention; slices follow their cross product."""
_HEAD_MM: dict[ScanPlane, float] = {"axial": 164.0, "sagittal": 164.0, "coronal": 200.0}
"""Extent that a stack covers along its normal."""
_HEAD_CENTRE_MM = np.array([0.0, 0.0, -6.0])
MIN_SLICES = 34
PROFILE_STEP_MM = 1.25
"""Largest distance of the planes whose mean is a slice."""


@dataclass(frozen=True, eq=False)
class PhantomAcquisition:
    """One sequence's grid and imperfections."""

    modality: Modality
    plane: ScanPlane
    geometry: Geometry
    slice_thickness_mm: float
    """Thickness, at most the slice spacing; the rest is gap."""
    noise: float
    """Rician sigma as a share of white matter's intensity on T1 (560 units)."""
    bias: float
    """Standard deviation of the logarithm of the coil's field."""
    gain: float
    seed: int


def rotation(angles_deg: DoubleArray) -> DoubleArray:
    """Return the rotation matrix about x, then y, then z."""
    (ca, cb, cc), (sa, sb, sc) = np.cos(np.radians(angles_deg)), np.sin(np.radians(angles_deg))
    about_x = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    about_y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    about_z = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    turned: DoubleArray = about_z @ about_y @ about_x
    return turned


def rigid(angles_deg: DoubleArray, shift_mm: DoubleArray) -> Matrix:
    """Return the 4 x 4 matrix that rotates about the origin, then shifts."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(angles_deg)
    matrix[:3, 3] = shift_mm
    return matrix


def plane_axes(plane: ScanPlane) -> DoubleArray:
    """Return the directions of columns, rows and slices in LPS, as the columns of a 3 x 3 matrix."""
    columns, rows = (np.array(v, dtype=np.float64) for v in _IN_PLANE[plane])
    return np.column_stack([columns, rows, np.cross(columns, rows)])


def draw_acquisition(rng: np.random.Generator, modality: Modality, scanner_lps_from_head: Matrix) -> PhantomAcquisition:
    """Draw a plausible clinical acquisition of at least 34 slices, planned on a head that lies in the given pose."""
    protocol = PROTOCOLS[modality]
    plane: ScanPlane = ("axial", "sagittal", "coronal")[rng.choice(3, p=protocol.plane_odds)]
    spacing = float(rng.choice(protocol.spacings_mm))
    if plane == "coronal":
        spacing = 5.0
    slices = max(MIN_SLICES, int(np.ceil(_HEAD_MM[plane] / spacing)))
    matrix_size = int(rng.choice((224, 256, 288)))
    field_mm = float(rng.uniform(228, 250))
    in_plane = field_mm / matrix_size
    oblique = rotation(rng.uniform(-6, 6, 3) if rng.random() < 0.5 else np.zeros(3))
    directions = oblique @ plane_axes(plane)
    centre = (scanner_lps_from_head @ np.append(_HEAD_CENTRE_MM, 1))[:3] + rng.uniform(-3, 3, 3)
    affine = np.eye(4)
    affine[:3, :3] = directions * np.array((in_plane, in_plane, spacing))
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array((matrix_size, matrix_size, slices)) - 1) / 2)
    return PhantomAcquisition(
        modality=modality,
        plane=plane,
        geometry=Geometry((matrix_size, matrix_size, slices), affine),
        slice_thickness_mm=spacing * float(rng.uniform(0.85, 1.0)),
        noise=float(rng.uniform(0.012, 0.035)),
        bias=float(rng.uniform(0.05, 0.15)),
        gain=float(np.exp(rng.uniform(np.log(0.6), np.log(2.4)))),
        seed=int(rng.integers(2**31)),
    )


def scan(head: sitk.Image, acquisition: PhantomAcquisition, scanner_lps_from_head: Matrix) -> FloatArray:
    """Return the voxels [z, y, x] of ``head`` (an image in the head's frame) as this acquisition measures it."""
    geometry = acquisition.geometry
    voxels = sample_slices(head, geometry, acquisition.slice_thickness_mm, scanner_lps_from_head)
    rng = np.random.default_rng(acquisition.seed)
    z, y, x = geometry.shape
    coil = Noise(rng, (0, 0, 0), (1, 1, 1), 1.2)
    voxels *= np.exp(np.float32(acquisition.bias) * coil.on_axes(_unit(x), _unit(y), _unit(z)))
    sigma = np.float32(acquisition.noise * 560)
    real = voxels + sigma * rng.standard_normal(voxels.shape, dtype=np.float32)
    imaginary = sigma * rng.standard_normal(voxels.shape, dtype=np.float32)
    return np.asarray(np.hypot(real, imaginary) * np.float32(acquisition.gain), dtype=np.float32)


def sample_slices(
    head: sitk.Image, geometry: Geometry, thickness_mm: float, scanner_lps_from_head: Matrix
) -> FloatArray:
    """Sample ``head`` on ``geometry``'s grid [z, y, x] in the scanner, with a box profile of ``thickness_mm``."""
    planes = max(1, int(np.ceil(thickness_mm / PROFILE_STEP_MM)))
    directions = geometry.lps_from_voxel[:3, :3] / np.array(geometry.spacing_mm)
    to_head = to_sitk_transform(np.linalg.inv(scanner_lps_from_head))
    total = np.zeros(geometry.shape, dtype=np.float32)
    for offset in (np.arange(planes) + 0.5) / planes - 0.5:
        origin = geometry.lps_from_voxel[:3, 3] + directions[:, 2] * offset * thickness_mm
        plane = sitk.Resample(
            head,
            geometry.size_voxels,
            to_head,
            sitk.sitkLinear,
            origin.tolist(),
            geometry.spacing_mm,
            directions.ravel().tolist(),
            0.0,
            sitk.sitkFloat32,
        )
        total += sitk.GetArrayViewFromImage(plane)  # a view: the image must outlive the line
    return total / np.float32(planes)


def _unit(count: int) -> FloatArray:
    return np.linspace(0, 1, count, dtype=np.float32)


def head_axes(spacing_mm: float, low_mm: Vector, high_mm: Vector) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return coordinates that span a box: x [1, 1, nx], y [1, ny, 1], z [nz, 1, 1]."""
    x, y, z = (np.arange(a, b, spacing_mm, dtype=np.float32) for a, b in zip(low_mm, high_mm, strict=True))
    return x[None, None, :], y[None, :, None], z[:, None, None]
