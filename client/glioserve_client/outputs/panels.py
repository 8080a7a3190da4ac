"""One picture of one plane: which slice, where on the canvas, and which pixel a point of the patient falls on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from glioserve_client.outputs.colour import blend
from glioserve_client.outputs.display import AxialView, letters

ViewPlane = Literal["axial", "coronal", "sagittal"]
Box = tuple[int, int, int, int]
"""Pixels: left, top, right, bottom; the last two are outside."""

_AXES: dict[ViewPlane, tuple[int, int, int]] = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}
"""Display axes (0 column, 1 row, 2 slice) that run across, down and through each plane."""


@dataclass(frozen=True)
class Crop:
    """The part of a display grid that is drawn: first and last voxel + 1 along (column, row, slice)."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]

    def size_mm(self, view: AxialView, plane: ViewPlane) -> tuple[float, float]:
        """Return the width and height of a plane's picture, in mm."""
        across, down, _ = _AXES[plane]
        extent = [(self.stop[a] - self.start[a]) * view.spacing_mm[a] for a in (across, down)]
        return extent[0], extent[1]


@dataclass(frozen=True, eq=False)
class Panel:
    """A plane's picture on the canvas. Its pixels and the patient's points are tied by :meth:`pixel_of`."""

    plane: ViewPlane
    index: int
    """Number of the slice, along the axis through the plane, in the display grid."""
    box: Box
    crop: Crop
    view: AxialView

    def pixel_of(self, point_lps_mm: npt.ArrayLike) -> tuple[float, float] | None:
        """Return the canvas (x, y) of a point; None where it is off the slice (by half of one) or outside the crop."""
        point = self.view.display_from_lps @ np.append(np.asarray(point_lps_mm, dtype=np.float64), 1.0)
        across, down, through = _AXES[self.plane]
        if abs(point[through] - self.index) > 0.5 + 1e-9:
            return None
        left, top, right, bottom = self.box
        x_share = (point[across] + 0.5 - self.crop.start[across]) / (self.crop.stop[across] - self.crop.start[across])
        y_share = (point[down] + 0.5 - self.crop.start[down]) / (self.crop.stop[down] - self.crop.start[down])
        if self.upside_down:
            y_share = 1 - y_share
        if not (0 <= x_share <= 1 and 0 <= y_share <= 1):
            return None
        return left + x_share * (right - left) - 0.5, top + y_share * (bottom - top) - 0.5

    @property
    def upside_down(self) -> bool:
        """True for coronal and sagittal pictures: slices run superior, which is at their top."""
        return self.plane != "axial"

    @property
    def edge_letters(self) -> tuple[str, str, str, str]:
        """Letters of what lies to the picture's left, right, top and bottom."""
        across, down, _ = _AXES[self.plane]
        to_right = self.view.lps_from_display[:3, across]
        to_bottom = self.view.lps_from_display[:3, down] * (-1 if self.upside_down else 1)
        return letters(-to_right), letters(to_right), letters(-to_bottom), letters(to_bottom)

    def render(self, grey: npt.NDArray[np.float32], heat: npt.NDArray[np.float32]) -> Image.Image:
        """Return the picture from display arrays [slice, row, column]: ``grey`` 0 to 255, ``heat`` 0 to 1."""
        size = (self.box[2] - self.box[0], self.box[3] - self.box[1])
        smooth_grey = self._resized(grey, size, Image.Resampling.BICUBIC)
        smooth_heat = self._resized(heat, size, Image.Resampling.BILINEAR)
        return Image.fromarray(blend(np.clip(smooth_grey, 0, 255), np.clip(smooth_heat, 0, 1)))

    def _resized(
        self, display: npt.NDArray[np.float32], size: tuple[int, int], how: Image.Resampling
    ) -> npt.NDArray[np.float32]:
        """Return this slice, cropped, as an array of ``size`` (width, height)."""
        _, _, through = _AXES[self.plane]
        ranges = [slice(a, b) for a, b in zip(self.crop.start, self.crop.stop, strict=True)]
        ranges[through] = slice(self.index, self.index + 1)
        plane = display[ranges[2], ranges[1], ranges[0]].squeeze(axis=2 - through)
        if self.upside_down:
            plane = plane[::-1]
        return np.asarray(Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32)).resize(size, how))


def whole(shape: tuple[int, ...]) -> Crop:
    """Return the crop that keeps all of a display array of ``shape`` (slices, rows, columns)."""
    return Crop((0, 0, 0), (shape[2], shape[1], shape[0]))


def crop_to_head(grey: npt.NDArray[np.float32], heat: npt.NDArray[np.float32], view: AxialView) -> Crop:
    """Return the box around what is not background and all that is warm, with a margin of 6 mm; never empty."""
    shown = (grey > 25) | (heat > 0.1)
    start, stop = [0, 0, 0], [0, 0, 0]
    for axis in range(3):
        array_axis = 2 - axis
        share = shown.mean(axis=tuple(a for a in range(3) if a != array_axis))
        # A few bright voxels in a plane are noise; a warm one is not.
        warm = (heat > 0.1).any(axis=tuple(a for a in range(3) if a != array_axis))
        used = np.flatnonzero((share > 0.004) | warm)
        margin = int(np.ceil(6.0 / view.spacing_mm[axis]))
        first, last = (int(used[0]), int(used[-1])) if used.size else (0, len(share) - 1)
        start[axis], stop[axis] = max(0, first - margin), min(len(share), last + margin + 1)
    return Crop((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def slices_to_show(heat: npt.NDArray[np.float32], peak: int, count: int, crop: Crop) -> list[int]:
    """Return at most ``count`` axial slices, inferior first: the warm ones evenly, the peak's always among them.

    ``heat`` is a display array. Where fewer are warm, the peak's neighbours fill up.
    """
    first, last = crop.start[2], crop.stop[2] - 1
    count = min(count, last - first + 1)
    warm = np.flatnonzero(heat.max(axis=(1, 2)) > 0.25)
    low, high = (int(warm[0]), int(warm[-1])) if warm.size else (peak, peak)
    if high - low + 1 < count:
        low = max(first, min(peak - count // 2, last - count + 1))
        high = low + count - 1
    chosen = np.unique(np.rint(np.linspace(low, high, count)).astype(int))
    if peak not in chosen:
        chosen[np.argmin(np.abs(chosen - peak))] = peak
    return sorted(int(k) for k in chosen)


def peak_of(heat: npt.NDArray[np.float32], crop: Crop) -> tuple[int, int, int]:
    """Return the display (column, row, slice) of the hottest voxel; the crop's middle when nothing is warm."""
    if not heat.any():
        middle = [(a + b) // 2 for a, b in zip(crop.start, crop.stop, strict=True)]
        return middle[0], middle[1], middle[2]
    k, j, i = (int(n) for n in np.unravel_index(int(np.argmax(heat)), heat.shape))
    return i, j, k
