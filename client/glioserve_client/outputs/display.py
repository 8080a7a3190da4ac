"""Turn a volume for a reader: nearest axial view, radiological convention, from the affine alone.

A display array is [slice, row, column]. Columns run to the patient's left, which is thus on the viewer's right;
rows run posterior, so that anterior is up; slices run superior. A sagittal, coronal or oblique acquisition is only
permuted and flipped, never resampled: its rows and columns are its own, on the axes nearest to these.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from glioserve_dicom.volumes.geometry import Matrix

Number = TypeVar("Number", bound=np.generic)
LETTER_COSINE = 0.38
"""Least share of a direction (22 degrees) from which a second letter is shown: ``LA`` is left and a little anterior."""
PLACEMENT_TOLERANCE_VOXELS = 0.1
"""Largest distance between two descriptions of a voxel's place that are still the same grid."""


@dataclass(frozen=True, eq=False)
class AxialView:
    """The permutation and flips from a voxel grid to its nearest axial display."""

    shape: tuple[int, int, int]
    """(slices, rows, columns)."""
    lps_from_display: Matrix
    """4 x 4, display (column, row, slice) to LPS mm."""
    _array_axes: tuple[int, int, int]
    _flips: tuple[bool, bool, bool]

    def of(self, voxels: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """Return the display array of ``voxels`` [z, y, x]; a view, no copy."""
        turned = voxels.transpose(self._array_axes)
        slices, rows, columns = (slice(None, None, -1 if flip else 1) for flip in self._flips)
        return turned[slices, rows, columns]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Spacing along (column, row, slice), in mm."""
        x, y, z = (float(n) for n in np.linalg.norm(self.lps_from_display[:3, :3], axis=0))
        return x, y, z

    @property
    def display_from_lps(self) -> Matrix:
        """Inverse of :attr:`lps_from_display`."""
        return np.linalg.inv(self.lps_from_display)


def axial_view(shape: tuple[int, ...], lps_from_voxel: Matrix) -> AxialView:
    """Return the view of a grid of ``shape`` (z, y, x); voxel (x, y, z) is at ``lps_from_voxel @ (x, y, z, 1)``."""
    directions = lps_from_voxel[:3, :3] / np.linalg.norm(lps_from_voxel[:3, :3], axis=0)
    # Which voxel axis shows left, posterior, superior: the assignment nearest to all three at once.
    best = max(permutations(range(3)), key=lambda p: sum(abs(directions[i, p[i]]) for i in range(3)))
    backwards = [bool(directions[i, best[i]] < 0) for i in range(3)]
    voxel_from_display = np.zeros((4, 4))
    voxel_from_display[3, 3] = 1
    for display_axis, voxel_axis in enumerate(best):
        voxel_from_display[voxel_axis, display_axis] = -1 if backwards[display_axis] else 1
        voxel_from_display[voxel_axis, 3] = shape[2 - voxel_axis] - 1 if backwards[display_axis] else 0
    columns, rows, slices = (shape[2 - voxel_axis] for voxel_axis in best)
    return AxialView(
        (slices, rows, columns),
        lps_from_voxel @ voxel_from_display,
        (2 - best[2], 2 - best[1], 2 - best[0]),
        (backwards[2], backwards[1], backwards[0]),
    )


def letters(direction: npt.NDArray[np.float64]) -> str:
    """Return where an LPS direction points, as a display's edge shows it: ``L``, ``AL``, ``HA`` (H head, F feet)."""
    unit = direction / np.linalg.norm(direction)
    named = [(abs(value), pair[int(value > 0)]) for value, pair in zip(unit, ("RL", "AP", "FH"), strict=True)]
    named.sort(reverse=True)
    return "".join(letter for share, letter in named[:2] if share >= LETTER_COSINE or share == named[0][0])


def onto_grid(
    voxels: npt.NDArray[Number], lps_from_voxel: Matrix, shape: tuple[int, ...], lps_from_grid: Matrix
) -> npt.NDArray[Number] | None:
    """Return ``voxels`` [z, y, x] in the order of another description of the same grid, or None if it is another grid.

    Two descriptions agree when one is the other with axes swapped or reversed, or a part of it.

    Args:
        voxels: array [z, y, x] on the first grid.
        lps_from_voxel: 4 x 4, voxel (x, y, z) of the first grid to LPS mm.
        shape: (z, y, x) of the other grid.
        lps_from_grid: 4 x 4, voxel (x, y, z) of the other grid to LPS mm.
    """
    source_from_grid = np.linalg.inv(lps_from_voxel) @ lps_from_grid
    whole = np.rint(source_from_grid)
    sizes = np.array(shape[::-1])
    corners = np.array([[i * (n - 1) for i, n in zip(c, sizes, strict=True)] + [1] for c in np.ndindex(2, 2, 2)])
    if np.abs(corners @ (source_from_grid - whole).T).max() > PLACEMENT_TOLERANCE_VOXELS:
        return None
    linear = np.abs(whole[:3, :3])
    if not (linear.sum(axis=0) == 1).all() or not (linear.sum(axis=1) == 1).all():
        return None
    source_axes = [int(np.argmax(linear[:, grid_axis])) for grid_axis in range(3)]
    indices = [whole[s, g] * np.arange(sizes[g]) + whole[s, 3] for g, s in enumerate(source_axes)]
    if any(i.min() < 0 or i.max() >= voxels.shape[2 - s] for i, s in zip(indices, source_axes, strict=True)):
        return None
    turned = voxels.transpose([2 - source_axes[g] for g in (2, 1, 0)])
    return turned[np.ix_(*(indices[g].astype(np.intp) for g in (2, 1, 0)))]
