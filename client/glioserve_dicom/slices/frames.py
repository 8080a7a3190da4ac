"""Find where one image lies: from a classic file's own attributes, or from an enhanced file's functional groups.

An enhanced object (PS3.3 C.7.6.16) holds many frames; what they share stands once, what differs stands per frame,
and a per-frame group wins over a shared one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.limits import MAX_INSTANCES, MAX_POSITION_MM
from glioserve_contract.records.grid import Vector
from glioserve_dicom.files.attributes import (
    comparable,
    items,
    malformed,
    numbers,
    text,
    texts,
    whole,
)
from glioserve_dicom.files.part10 import ENHANCED_STORAGE, Instance, sop_class_of

UNIT_TOLERANCE = 1e-3
"""Largest deviation of an axis' length from 1, and of the two from a right angle, beside what rounding explains."""
MIN_PIXEL_MM, MAX_PIXEL_MM = 0.05, 50.0
"""A pixel outside is not an MR image's, but a damaged header's."""
MIN_SIDE_PIXELS, MAX_SIDE_PIXELS = 2, 1 << 14
"""A line of pixels is not a slice."""
FUNCTIONAL_GROUPS = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
MAX_FRAMES = MAX_INSTANCES
_EXACT = 1e-6
"""Axes nearer than this to unit vectors at a right angle stay as they are."""
_Orientation = tuple[float, float, float, float, float, float]
_PLANE_GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
}


@dataclass(frozen=True)
class Plane:
    """An image's place in the patient's LPS space."""

    position_lps_mm: Vector
    """Centre of the first pixel."""
    orientation: _Orientation
    """Unit vectors in LPS at a right angle: towards growing columns, then towards growing rows."""
    pixel_spacing_mm: tuple[float, float]
    """Distance of neighbouring rows, then of neighbouring columns, as PixelSpacing has it."""
    rows: int
    columns: int
    cosine_error: float = 0.0
    """Most by which each direction cosine was rounded: half of its last decimal, 0.005 at the coarsest."""

    @property
    def normal_error(self) -> float:
        """Largest angle in radians by which that may have turned the normal."""
        return float(np.sqrt(6)) * self.cosine_error

    @property
    def centre_lps_mm(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Centre of the image."""
        row_mm, column_mm = self.pixel_spacing_mm
        along_columns = (self.columns - 1) / 2 * column_mm * np.array(self.orientation[:3])
        along_rows = (self.rows - 1) / 2 * row_mm * np.array(self.orientation[3:])
        return np.asarray(np.array(self.position_lps_mm) + along_columns + along_rows)

    @property
    def normal(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Unit vector across the image, right-handed with its axes."""
        across = np.cross(self.orientation[:3], self.orientation[3:])
        return cast("np.ndarray[tuple[int], np.dtype[np.float64]]", across / np.linalg.norm(across))


@dataclass(frozen=True, eq=False)
class Frame:
    """One image: a classic file, or one frame of an enhanced one."""

    instance: Instance
    index: int = 0
    """0-based number of the frame in its file."""
    plane: Plane | None = None
    """Place of the image; None where its headers do not state it. Its stack then has a ``problem``."""

    @property
    def dataset(self) -> FileDataset:
        """The file's headers."""
        return self.instance.dataset


def is_multiframe(dataset: Dataset) -> bool:
    """Return whether geometry and timings stand in functional groups: the object's type is its SOP class.

    Groups are optional in a classic image (PS3.3 A.4), which Hitachi's scanners write without content: its own
    attributes place it. A classic object is read by its groups only if they are there for every frame and its own
    attributes cannot place it: it has several frames, or no position.
    """
    if not any(keyword in dataset for keyword in FUNCTIONAL_GROUPS):
        return False
    if sop_class_of(dataset) in ENHANCED_STORAGE:
        return True
    try:
        count = whole(dataset, "NumberOfFrames") or 1
        per_frame = len(items(dataset, "PerFrameFunctionalGroupsSequence"))
    except GlioserveError:
        return False
    return per_frame == count and (count > 1 or "ImagePositionPatient" not in dataset)


def functional_group(dataset: Dataset, index: int, keyword: str) -> Dataset | None:
    """Return the first item of a frame's functional group (``MREchoSequence``), its own or the shared one, or None."""
    per_frame = items(dataset, "PerFrameFunctionalGroupsSequence")
    holders = [per_frame[index]] if index < len(per_frame) else []
    for holder in (*holders, *items(dataset, "SharedFunctionalGroupsSequence")[:1]):
        found = items(holder, keyword)
        if found:
            return found[0]
    return None


def frame_value(dataset: Dataset, index: int, group: str, keyword: str, classic: str = "") -> str:
    """Return a frame's value in one spelling: ``keyword`` of its functional ``group``, else ``classic`` of the file."""
    if is_multiframe(dataset) and (holder := functional_group(dataset, index, group)) is not None:
        found = comparable(holder, keyword)
        if found:
            return found
    return comparable(dataset, classic) if classic else ""


def frame_count(dataset: Dataset) -> int:
    """Return the number of frames of the file. Raises GLIO-1209 and GLIO-1213 where they cannot be told apart."""
    count = whole(dataset, "NumberOfFrames")
    count = 1 if count is None else count
    if not 1 <= count <= MAX_FRAMES:
        raise malformed("NumberOfFrames", f"is {count}")
    if is_multiframe(dataset):
        per_frame = len(items(dataset, "PerFrameFunctionalGroupsSequence"))
        if per_frame != count:
            raise malformed("NumberOfFrames", f"is {count}, but functional groups are there for {per_frame} frames")
    elif count > 1:
        raise GlioserveError(ErrorCode.UNSUPPORTED_OBJECT, f"{count} frames in one file without functional groups.")
    return count


def plane_of(dataset: Dataset, index: int) -> Plane:
    """Return where a frame lies. Raises GLIO-1208 and GLIO-1213 for what is missing, malformed or absurd."""
    rows, columns = (_side(dataset, keyword) for keyword in ("Rows", "Columns"))
    across_and_down = _needed(dataset, index, "ImageOrientationPatient", 6)
    cosine_error = _cosine_error(across_and_down)
    axes = _unit_axes(across_and_down, cosine_error)
    position = _needed(dataset, index, "ImagePositionPatient", 3)
    if max(map(abs, position)) > MAX_POSITION_MM:
        raise malformed("ImagePositionPatient", "lies beyond any scanner")
    spacing = _needed(dataset, index, "PixelSpacing", 2)
    if not all(MIN_PIXEL_MM <= s <= MAX_PIXEL_MM for s in spacing):
        raise malformed("PixelSpacing", f"is not within {MIN_PIXEL_MM:g} and {MAX_PIXEL_MM:g} mm")
    return Plane(
        cast(Vector, position),
        axes,
        cast("tuple[float, float]", spacing),
        rows,
        columns,
        cosine_error,
    )


def facing(plane: Plane, across: npt.NDArray[np.float64]) -> Plane:
    """Return the plane, turned by the least angle so that the vector ``across`` is across it."""
    normal = across / np.linalg.norm(across)
    if np.abs(normal - plane.normal).max() < _EXACT:
        return plane
    axes = np.array(plane.orientation).reshape(2, 3)
    return replace(plane, orientation=_orthonormal(axes - np.outer(axes @ normal, normal)))


def image_type_of(dataset: Dataset, index: int) -> tuple[str, ...]:
    """Return ImageType, or the frame's own FrameType with its ComplexImageComponent."""
    group = functional_group(dataset, index, "MRImageFrameTypeSequence") if is_multiframe(dataset) else None
    if group is None:
        return texts(dataset, "ImageType")
    component = text(group, "ComplexImageComponent")
    return (*(texts(group, "FrameType") or texts(dataset, "ImageType")), *([component] if component else []))


def _needed(dataset: Dataset, index: int, keyword: str, count: int) -> tuple[float, ...]:
    holder: Dataset | None = dataset
    if is_multiframe(dataset):
        holder = functional_group(dataset, index, _PLANE_GROUPS[keyword])
    found = numbers(holder, keyword, count) if holder is not None else ()
    if not found:
        raise GlioserveError(ErrorCode.MISSING_ATTRIBUTE, f"{keyword} is missing.")
    return found


def _side(dataset: Dataset, keyword: str) -> int:
    value = whole(dataset, keyword)
    if value is None:
        raise GlioserveError(ErrorCode.MISSING_ATTRIBUTE, f"{keyword} is missing.")
    if not MIN_SIDE_PIXELS <= value <= MAX_SIDE_PIXELS:
        raise malformed(keyword, f"is {value}")
    return value


def _cosine_error(values: Sequence[float]) -> float:
    """Return half of the cosines' last decimal; 0 for more than four decimals, and for axes of the patient."""
    rounded = np.array([v for v in values if v not in (0, 1, -1)])
    for unit in (0.01, 0.001, 0.0001) if len(rounded) else ():
        if np.abs(rounded - unit * np.rint(rounded / unit)).max() < unit / 1000:
            return unit / 2
    return 0.0


def _unit_axes(values: Sequence[float], cosine_error: float) -> _Orientation:
    """Return the cosines as two unit vectors at a right angle. Raises GLIO-1213 if rounding does not explain the rest.

    Their products are off by at most twice the length of an axis' rounding error, the root of three cosines' squares.
    """
    axes = np.array(values).reshape(2, 3)
    with np.errstate(over="ignore", invalid="ignore"):
        off = np.abs(axes @ axes.T - np.eye(2))
    # each length's square is off by twice the length's own error
    if not (off <= UNIT_TOLERANCE * (1 + np.eye(2)) + 2 * np.sqrt(3) * cosine_error).all():
        raise malformed("ImageOrientationPatient", "is not two unit vectors at a right angle")
    return _orthonormal(axes) if off.max() > _EXACT else cast(_Orientation, tuple(values))


def _orthonormal(axes: npt.NDArray[np.float64]) -> _Orientation:
    """Return the nearest two unit vectors at a right angle (polar decomposition)."""
    left, _, right = np.linalg.svd(axes, full_matrices=False)
    return cast(_Orientation, tuple(float(v) for v in (left @ right).ravel()))
