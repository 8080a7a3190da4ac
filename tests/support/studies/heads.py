"""A head that knows left from right: an ellipsoid with a bright marker on the patient's left, on any grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

MARKER_LPS_MM = np.array([38.0, -28.0, 24.0])
"""Left, anterior, superior: it tells every mirroring and every swap of axes."""
LESION_LPS_MM = np.array([-30.0, 22.0, 8.0])
"""Right, posterior."""

ORIENTATIONS: dict[str, npt.NDArray[np.float64]] = {
    # Columns: the LPS directions of voxel x (column), y (row) and z (slice).
    "axial": np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]).T,
    "axial, feet last": np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, -1]]).T,
    "axial, prone": np.array([[-1.0, 0, 0], [0, -1, 0], [0, 0, 1]]).T,
    "sagittal": np.array([[0.0, 1, 0], [0, 0, -1], [1, 0, 0]]).T,
    "sagittal, right last": np.array([[0.0, 1, 0], [0, 0, -1], [-1, 0, 0]]).T,
    "coronal": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]).T,
    "coronal, from behind": np.array([[-1.0, 0, 0], [0, 0, -1], [0, -1, 0]]).T,
}


def rotation(axis: int, degrees: float) -> npt.NDArray[np.float64]:
    """3 x 3 about one LPS axis."""
    a, b = [i for i in range(3) if i != axis]
    matrix = np.eye(3)
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix[a, a] = matrix[b, b] = cosine
    matrix[a, b], matrix[b, a] = -sine, sine
    return matrix


ORIENTATIONS["oblique axial"] = rotation(0, 18) @ rotation(2, -12) @ ORIENTATIONS["axial"]
ORIENTATIONS["oblique sagittal"] = rotation(2, 14) @ rotation(1, 9) @ ORIENTATIONS["sagittal"]


def head_grid(
    orientation: npt.NDArray[np.float64], spacing_mm: tuple[float, float, float] = (1.5, 1.5, 4.0)
) -> tuple[tuple[int, int, int], npt.NDArray[np.float64]]:
    """Shape [z, y, x] and lps_from_voxel of a grid of 224 x 224 x 200 mm about the origin."""
    size_mm = np.abs(orientation).T @ np.array([210.0, 230.0, 200.0])
    sizes = np.ceil(size_mm / np.array(spacing_mm)).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = orientation * np.array(spacing_mm)
    affine[:3, 3] = -affine[:3, :3] @ ((sizes - 1) / 2)
    x, y, z = (int(n) for n in sizes)
    return (z, y, x), affine


def head_volume(shape: tuple[int, int, int], lps_from_voxel: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """FP32 [z, y, x]: scalp 700, skull 60, brain 420, ventricles 120, a lesion 640 and the marker 1500; air 0."""
    z, y, x = np.ogrid[tuple(slice(n) for n in shape)]
    left, posterior, superior = (row[0] * x + row[1] * y + row[2] * z + row[3] for row in lps_from_voxel[:3])

    def inside(centre: Sequence[float], radii: Sequence[float]) -> npt.NDArray[np.bool_]:
        (a, b, c), (r, s, t) = centre, radii
        return np.asarray(((left - a) / r) ** 2 + ((posterior - b) / s) ** 2 + ((superior - c) / t) ** 2 < 1)

    volume = np.zeros(shape, dtype=np.float32)
    nose = inside((0, -96, -40), (12, 16, 18))
    for where, value in (
        (nose, 650),
        (inside((0, 0, 0), (78, 94, 88)), 700),
        (inside((0, 0, 0), (72, 88, 82)), 60),
        (inside((0, 0, 2), (67, 83, 76)), 420),
        (inside((9, 2, 10), (6, 22, 12)), 120),
        (inside((-9, 2, 10), (6, 22, 12)), 120),
        (inside(LESION_LPS_MM.tolist(), (13, 13, 13)), 640),
        (inside(MARKER_LPS_MM.tolist(), (7, 7, 7)), 1500),
    ):
        volume[where] = value
    head = volume > 0
    volume[head] += 12 * np.sin(left[head] / 5) * np.sin(posterior[head] / 6) * np.sin(superior[head] / 7)
    return volume
