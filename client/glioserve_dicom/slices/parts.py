"""Split the images of a series into parts, each of which is one volume or carries its problem.

In this order: frame of reference, ImageType, echo, StackID, plane, matrix and pixel size; then, only where one
position is there twice, by what else differs between the images at that place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_dicom.files.attributes import comparable, text
from glioserve_dicom.files.part10 import Instance
from glioserve_dicom.identity import image_type_order, value_order
from glioserve_dicom.slices.decode import refuse_unreadable, same_image
from glioserve_dicom.slices.frames import (
    Frame,
    Plane,
    frame_count,
    frame_value,
    image_type_of,
    plane_of,
)
from glioserve_dicom.slices.spacing import SAME_POSITION_MM, even_step

ImageTypeKey = tuple[tuple[int, int, str], ...]
"""An image type as :func:`glioserve_dicom.identity.image_type_order` has it."""
ORIENTATION_TOLERANCE = 1e-3
"""Largest difference of a direction cosine within a stack."""
PIXEL_TOLERANCE_MM = 1e-3
"""Largest difference of a PixelSpacing within a stack."""
ECHO_TOLERANCE_MS = 0.05
"""Echo times nearer than this are one echo: a scanner may round each image's on its own."""
OTHER_PLANE_DEGREES = 10.0
"""Planes further apart are another view (a localiser's); nearer ones are one view whose images disagree."""
MIN_OWN_SLICES = 3
"""Fewest images in one plane that form a stack of their own; fewer are strays of the stack beside them."""
MOST_STRAYS = 64
"""Most strays that are tried one by one as slices of a stack."""


_REPEATS = {
    "acquisition": ("FrameContentSequence", "FrameAcquisitionNumber", "AcquisitionNumber"),
    "phase": ("FrameContentSequence", "TemporalPositionIndex", "TemporalPositionIdentifier"),
    "inversion": ("MRModifierSequence", "InversionTimes", "InversionTime"),
    "flip angle": ("MRTimingAndRelatedParametersSequence", "FlipAngle", "FlipAngle"),
    "repetition": ("MRTimingAndRelatedParametersSequence", "RepetitionTime", "RepetitionTime"),
    "b-value": ("MRDiffusionSequence", "DiffusionBValue", "DiffusionBValue"),
}
"""Attributes that may tell images at one position apart: name, functional group, its keyword, the classic keyword."""


@dataclass(frozen=True, eq=False)
class Placed:
    """A frame with what tells it apart within its series."""

    frame: Frame
    frame_of_reference: str = ""
    image_type: ImageTypeKey | None = ()
    """The type, or None where it cannot be read: the image may be of any kind."""
    echo: str = ""
    echo_ms: float = 0.0
    stack_id: str = ""
    problem: GlioserveError | None = None

    @property
    def plane(self) -> Plane:
        """Plane of a frame without a problem."""
        assert self.frame.plane is not None
        return self.frame.plane


@dataclass(frozen=True, eq=False)
class Part:
    """Images of a series that belong together."""

    part: tuple[str, ...]
    """Names of what sets them apart; empty for the whole series."""
    members: tuple[Placed, ...]
    problem: GlioserveError | None = None


def placed_frames(instance: Instance) -> list[Placed]:
    """Return every frame of a file; one stand-in with the problem where its frames cannot be told apart."""
    try:
        count = frame_count(instance.dataset)
    except GlioserveError as problem:
        return [Placed(Frame(instance), image_type=_image_type_if_any(instance, 0), problem=problem)]
    return [_placed(instance, index) for index in range(count)]


def _placed(instance: Instance, index: int) -> Placed:
    dataset = instance.dataset
    image_type = _image_type_if_any(instance, index)
    try:
        refuse_unreadable(instance, image_type_of(dataset, index))
        plane = plane_of(dataset, index)
        echo = frame_value(dataset, index, "MREchoSequence", "EffectiveEchoTime", "EchoTime")
        return Placed(
            Frame(instance, index, plane),
            text(dataset, "FrameOfReferenceUID"),
            image_type,
            comparable(dataset, "EchoNumbers"),
            float(echo.split("\\")[0] or 0),
            frame_value(dataset, index, "FrameContentSequence", "StackID"),
        )
    except GlioserveError as problem:
        return Placed(Frame(instance, index), image_type=image_type, problem=problem)


def _image_type_if_any(instance: Instance, index: int) -> ImageTypeKey | None:
    try:
        return image_type_order(image_type_of(instance.dataset, index))
    except GlioserveError:  # raised again where the frame is resolved
        return None


def parts_of(frames: Sequence[Placed]) -> list[Part]:
    """Return the parts of one series, in an order that does not depend on the order of the files."""
    sound = [f for f in frames if f.problem is None]
    groups = [Part((), tuple(sound))] if sound else []
    for name, split in _SPLITS:
        groups = [part for group in groups for part in _split(group, name, split)]
    groups = [part for group in groups for part in _planes(group)]
    groups = [part for group in groups for part in _matrices(group)]
    groups = [part for group in groups for part in _repeats(group)]
    groups = _without_strays(groups)
    faulty: dict[ImageTypeKey | None, list[Placed]] = defaultdict(list)
    for frame in frames:
        if frame.problem is not None:
            faulty[frame.image_type].append(frame)
    for image_type in sorted(faulty, key=lambda t: (t is None, t or ())):
        groups = _with_problem(groups, image_type, faulty[image_type])
    return groups


def _split(group: Part, name: str, split: Callable[[Sequence[Placed]], list[list[Placed]]]) -> list[Part]:
    if group.problem is not None:
        return [group]
    parts = split(group.members)
    if len(parts) == 1:
        return [group]
    return [replace(group, part=(*group.part, f"{name} {n}"), members=tuple(p)) for n, p in enumerate(parts, 1)]


def _by(
    key: Callable[[Placed], object], order: Callable[[Any], Any] | None = None
) -> Callable[[Sequence[Placed]], list[list[Placed]]]:
    """Return the split into parts of equal keys, sorted by the ``order`` of each key (default: :func:`_natural`)."""

    def split(members: Sequence[Placed]) -> list[list[Placed]]:
        parts: dict[object, list[Placed]] = defaultdict(list)
        for member in members:
            parts[key(member)].append(member)
        return [parts[k] for k in sorted(parts, key=order or _natural)]

    return split


def _natural(key: object) -> tuple[object, ...]:
    """Return a key that sorts numbers by value, and texts behind them."""
    values = key if isinstance(key, tuple) else str(key).split("\\")
    return tuple((0, float(v), "") if _is_number(v) else (1, 0.0, v) for v in map(str, values))


def _is_number(value: str) -> bool:
    return value.replace(".", "", 1).replace("-", "", 1).isdigit() and value.isascii()


def _near(values: Callable[[Placed], Sequence[float]], tolerance: float) -> Callable[..., list[list[Placed]]]:
    """Return the split into parts whose values are within ``tolerance`` of the part's first, in their order."""

    def split(members: Sequence[Placed]) -> list[list[Placed]]:
        parts: list[list[Placed]] = []
        firsts = np.empty((len(members), len(values(members[0]))))  # one array: a study may have thousands of parts
        for member in sorted(members, key=lambda m: tuple(values(m))):
            own = np.array(values(member))
            near = np.flatnonzero(np.abs(firsts[: len(parts)] - own).max(axis=1, initial=0) <= tolerance)
            if near.size:
                parts[near[0]].append(member)
            else:
                firsts[len(parts)] = own
                parts.append([member])
        return parts

    return split


_SPLITS = (
    ("frame of reference", _by(lambda m: m.frame_of_reference, str)),
    ("type", _by(lambda m: m.image_type, tuple)),
    ("echo", _by(lambda m: m.echo)),
    ("echo", _near(lambda m: (m.echo_ms,), ECHO_TOLERANCE_MS)),
    ("stack", _by(lambda m: m.stack_id, value_order)),
)


def _planes(group: Part) -> list[Part]:
    """Return a part for each view; planes that are nearly, but not quite, the same are one part that cannot be read."""
    rounding = 2 * max(m.plane.cosine_error for m in group.members)
    parts = _near(lambda m: m.plane.orientation, ORIENTATION_TOLERANCE + rounding)(group.members)
    normals = np.array([part[0].plane.normal for part in parts])
    views: list[list[list[Placed]]] = []
    view_of = np.empty(len(parts), dtype=int)
    for at, part in enumerate(parts):
        alike = np.abs(normals[:at] @ normals[at]) > np.cos(np.radians(OTHER_PLANE_DEGREES))
        view_of[at] = min(view_of[:at][alike], default=len(views))
        if view_of[at] == len(views):
            views.append([])
        views[view_of[at]].append(part)
    found = []
    for number, view in enumerate(views, 1):
        name = (f"plane {number}",) if len(views) > 1 else ()
        problem = _mixed("ImageOrientationPatient") if len(view) > 1 else group.problem
        found.append(Part((*group.part, *name), tuple(m for part in view for m in part), problem))
    return found


def _matrices(group: Part) -> list[Part]:
    if group.problem is not None:
        return [group]
    spacing = _near(lambda m: m.plane.pixel_spacing_mm, PIXEL_TOLERANCE_MM)
    by_size = _by(lambda m: (m.plane.rows, m.plane.columns))(group.members)
    parts = [part for same_size in by_size for part in spacing(same_size)]
    if len(parts) == 1:
        return [group]
    if min(map(len, parts)) < MIN_OWN_SLICES:
        keyword = "Rows or Columns" if len(by_size) > 1 else "PixelSpacing"
        return [replace(group, problem=_mixed(keyword))]
    return [replace(group, part=(*group.part, f"matrix {n}"), members=tuple(p)) for n, p in enumerate(parts, 1)]


def _without_strays(groups: Sequence[Part]) -> list[Part]:
    """Mark parts whose missing or outermost slices were set apart: without them they would be short in silence."""
    strays = [g for g in groups if len(g.members) < MIN_OWN_SLICES and g.problem is None]
    grids = np.array([_grid_of(stray) for stray in strays]).reshape(len(strays), 8)
    return [_without_its_stray(group, strays, grids) for group in groups] if strays else list(groups)


def _without_its_stray(group: Part, strays: Sequence[Part], grids: npt.NDArray[np.float64]) -> Part:
    if group.problem is not None or len(group.members) < MIN_OWN_SLICES:
        return group
    on_its_grid = np.flatnonzero(np.abs(grids - _grid_of(group)).max(axis=1) <= ORIENTATION_TOLERANCE)
    if len(on_its_grid) > MOST_STRAYS:
        detail = f"{len(on_its_grid)} other images of the series, each on its own, may be slices of it."
        return replace(group, problem=GlioserveError(ErrorCode.MIXED_GEOMETRY, detail))
    for at in on_its_grid:
        if _complete(group, strays[at]):
            detail = f"It lacks slices that differ from the others ({', '.join(strays[at].part)})."
            return replace(group, problem=GlioserveError(ErrorCode.MIXED_GEOMETRY, detail))
    return group


def _grid_of(group: Part) -> tuple[float, ...]:
    plane = group.members[0].plane
    return (plane.rows, plane.columns, *plane.orientation)


def _complete(group: Part, stray: Part) -> bool:
    """Return whether the two, on one grid, are together one evenly spaced stack."""
    plane = group.members[0].plane
    positions = [m.plane.position_lps_mm for _, m in along((*group.members, *stray.members))]
    try:
        even_step(np.array(positions), plane.normal, plane.normal_error)
    except GlioserveError:
        return False
    return True


def _mixed(keyword: str) -> GlioserveError:
    return GlioserveError(ErrorCode.MIXED_GEOMETRY, f"Its images differ in {keyword}.")


def _repeats(group: Part) -> list[Part]:
    """Split a part that has positions twice by what in :data:`_REPEATS` tells the images apart, if anything does.

    Each part must have slices as near together as the whole: two interleaved halves of one acquisition are none.
    """
    if group.problem is not None or not _has_repeats(group.members):
        return [group]
    whole_mm = _least_step_mm(group.members)
    keys = {id(m): {name: _repeat_key(m, name) for name in _REPEATS} for m in group.members}
    for count in (1, 2):
        for names in combinations(_REPEATS, count):
            parts = _by(lambda m, names=names: tuple(keys[id(m)][n] for n in names))(group.members)  # type: ignore[misc]
            if len(parts) < 2 or any(_has_repeats(part) for part in parts):
                continue
            if all(len(part) == 1 or _least_step_mm(part) < 1.5 * whole_mm for part in parts):
                label = " and ".join(names)
                return [
                    replace(group, part=(*group.part, f"{label} {n}"), members=tuple(p)) for n, p in enumerate(parts, 1)
                ]
    return [group]


def _repeat_key(member: Placed, name: str) -> str:
    frame = member.frame
    try:
        return frame_value(frame.dataset, frame.index, *_REPEATS[name])
    except GlioserveError:
        return ""


def _has_repeats(members: Iterable[Placed]) -> bool:
    """Return whether two different images lie at one position."""
    return any(
        b_mm - a_mm < SAME_POSITION_MM and not same_image(a.frame, b.frame)
        for (a_mm, a), (b_mm, b) in pairwise(along(members))
    )


def _least_step_mm(members: Iterable[Placed]) -> float:
    steps = np.diff(np.array([mm for mm, _ in along(members)]))
    steps = steps[steps >= SAME_POSITION_MM]
    return float(steps.min()) if steps.size else np.inf


def along(members: Iterable[Placed]) -> list[tuple[float, Placed]]:
    """Return (mm along the normal, member), sorted; ties by what does not depend on the order of the files."""
    members = tuple(members)
    normal = members[0].plane.normal
    placed = [(float(np.dot(m.plane.position_lps_mm, normal)), m) for m in members]
    return sorted(placed, key=lambda p: (round(p[0], 3), text(p[1].frame.dataset, "SOPInstanceUID"), p[1].frame.index))


def _with_problem(groups: list[Part], image_type: ImageTypeKey | None, faulty: list[Placed]) -> list[Part]:
    """Pass the problem of images without a place to stacks of their kind, which may lack them, or to a new one."""
    problem = min((f.problem for f in faulty if f.problem is not None), key=str)
    spoilt = [g for g in groups if image_type is None or g.members[0].image_type == image_type]
    if not spoilt:
        return [*groups, Part((f"images {len(groups) + 1}",) if groups else (), tuple(faulty), problem)]
    return [replace(g, problem=g.problem or problem) if g in spoilt else g for g in groups]
