"""Instances to stacks: the images that belong together as one volume.

A series may hold more than one: a localiser beside the images, two echoes, two acquisitions, derived images. And one
volume may have been split over two series. Stacks are told apart by what the standard says of each image, in this
order: series, frame of reference, ImageType, echo, StackID, plane, matrix and pixel size; then, only where one
position is there twice, by what else differs between the images at that place. Nothing is dropped and nothing is
forced: a stack that cannot be a volume carries its ``problem``, raised when it is assembled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_preprocess.attributes import comparable, text
from glioserve_preprocess.decode import refuse_unreadable, rescale_of
from glioserve_preprocess.frames import Frame, Plane, frame_count, frame_value, image_type_of, plane_of
from glioserve_preprocess.part10 import Instance
from glioserve_preprocess.quiet import quiet_pydicom
from glioserve_preprocess.read import Instances
from glioserve_preprocess.spacing import SAME_POSITION_MM, even_step

ORIENTATION_TOLERANCE = 1e-3
"""Largest difference of a direction cosine within a stack."""
PIXEL_TOLERANCE_MM = 1e-3
"""Likewise of PixelSpacing."""
ECHO_TOLERANCE_MS = 0.05
"""Echo times nearer than this are one echo: a scanner may round each image's on its own."""
OTHER_PLANE_DEGREES = 10.0
"""Planes further apart are another view (a localiser's); nearer ones are one view whose images disagree."""
MIN_OWN_SLICES = 3
"""Fewer images of another matrix in the same plane are no stack of their own but strays of the one beside them."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Images of one series, one kind and one plane, sorted along its normal."""

    series_instance_uid: str
    part: str
    """What sets it apart within its series ("echo 2", "acquisition 2, plane 3"); empty when it is the whole."""
    frames: tuple[Frame, ...]
    """At least one. Copies are still in: only pixels tell."""
    slices: int
    """Different positions."""
    problem: GlioserveError | None = None
    """Why it cannot be a volume, as far as headers tell; None when they tell nothing against it."""


def stacks_of(instances: Instances) -> tuple[Stack, ...]:
    """Every stack of the study, in an order that does not depend on the order of the files."""
    series: dict[str, list[_Resolved]] = defaultdict(list)
    with quiet_pydicom():
        for instance in instances.instances:
            series[text(instance.dataset, "SeriesInstanceUID")] += _resolved_frames(instance)
        stacks = [stack for uid in sorted(series) for stack in _stacks_of_series(uid, series[uid])]
        return tuple(_joined(stacks))


def same_image(one: Frame, other: Frame) -> bool:
    """Whether the second is an exact copy: stored pixels, their meaning and their place are all equal."""
    if one.plane is None or other.plane is None or one.index != other.index:
        return False
    a, b = one.instance, other.instance
    return (
        bool(np.abs(np.subtract(one.plane.position_lps_mm, other.plane.position_lps_mm)).max() < SAME_POSITION_MM)
        and a.transfer_syntax == b.transfer_syntax
        and len(a.pixels) == len(b.pixels)
        and all(comparable(a.dataset, k) == comparable(b.dataset, k) for k in _PIXEL_MEANING)
        and rescale_of(one) == rescale_of(other)
        and bytes(a.pixels) == bytes(b.pixels)
    )


@dataclass(frozen=True, eq=False)
class _Resolved:
    """A frame with what tells it apart within its series."""

    frame: Frame
    frame_of_reference: str = ""
    image_type: tuple[str, ...] = ()
    echo: str = ""
    echo_ms: float = 0.0
    stack_id: str = ""
    problem: GlioserveError | None = None

    @property
    def plane(self) -> Plane:
        """Of a frame without a problem."""
        assert self.frame.plane is not None
        return self.frame.plane


@dataclass(frozen=True, eq=False)
class _Group:
    part: tuple[str, ...]
    members: tuple[_Resolved, ...]
    problem: GlioserveError | None = None


_PIXEL_MEANING = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "PhotometricInterpretation")
_REPEATS = {
    "acquisition": ("FrameContentSequence", "FrameAcquisitionNumber", "AcquisitionNumber"),
    "phase": ("FrameContentSequence", "TemporalPositionIndex", "TemporalPositionIdentifier"),
    "inversion": ("MRModifierSequence", "InversionTimes", "InversionTime"),
    "flip angle": ("MRTimingAndRelatedParametersSequence", "FlipAngle", "FlipAngle"),
    "repetition": ("MRTimingAndRelatedParametersSequence", "RepetitionTime", "RepetitionTime"),
    "b-value": ("MRDiffusionSequence", "DiffusionBValue", "DiffusionBValue"),
}
"""What may tell two images at one position apart: name, functional group, its keyword, the classic keyword."""
_SAME_ACQUISITION = (
    "Modality SeriesDescription ProtocolName SequenceName ScanningSequence SequenceVariant MRAcquisitionType "
    "RepetitionTime EchoTime InversionTime FlipAngle EchoTrainLength ContrastBolusAgent"
).split()
"""What two series must agree on to be halves of one."""


def _resolved_frames(instance: Instance) -> list[_Resolved]:
    """Every frame of a file; one stand-in with the problem where its frames cannot be told apart."""
    try:
        count = frame_count(instance.dataset)
    except GlioserveError as problem:
        return [_Resolved(Frame(instance), image_type=_image_type_if_any(instance, 0), problem=problem)]
    return [_resolved(instance, index) for index in range(count)]


def _resolved(instance: Instance, index: int) -> _Resolved:
    dataset = instance.dataset
    image_type = _image_type_if_any(instance, index)
    try:
        refuse_unreadable(instance, image_type)
        plane = plane_of(dataset, index)
        echo = frame_value(dataset, index, "MREchoSequence", "EffectiveEchoTime", "EchoTime")
        return _Resolved(
            Frame(instance, index, plane),
            text(dataset, "FrameOfReferenceUID"),
            image_type,
            comparable(dataset, "EchoNumbers"),
            float(echo.split("\\")[0] or 0),
            frame_value(dataset, index, "FrameContentSequence", "StackID"),
        )
    except GlioserveError as problem:
        return _Resolved(Frame(instance, index), image_type=image_type, problem=problem)


def _image_type_if_any(instance: Instance, index: int) -> tuple[str, ...]:
    try:
        return image_type_of(instance.dataset, index)
    except GlioserveError:  # said again where the frame is resolved
        return ()


def _stacks_of_series(uid: str, frames: Sequence[_Resolved]) -> list[Stack]:
    sound = [f for f in frames if f.problem is None]
    groups = [_Group((), tuple(sound))] if sound else []
    for name, split in _SPLITS:
        groups = [part for group in groups for part in _split(group, name, split)]
    groups = [part for group in groups for part in _planes(group)]
    groups = [part for group in groups for part in _matrices(group)]
    groups = [part for group in groups for part in _repeats(group)]
    faulty: dict[tuple[str, ...], list[_Resolved]] = defaultdict(list)
    for frame in frames:
        if frame.problem is not None:
            faulty[frame.image_type].append(frame)
    for image_type in sorted(faulty):
        groups = _with_problem(groups, image_type, faulty[image_type])
    return [_stack(uid, group) for group in groups]


def _split(group: _Group, name: str, split: Callable[[Sequence[_Resolved]], list[list[_Resolved]]]) -> list[_Group]:
    if group.problem is not None:
        return [group]
    parts = split(group.members)
    if len(parts) == 1:
        return [group]
    return [replace(group, part=(*group.part, f"{name} {n}"), members=tuple(p)) for n, p in enumerate(parts, 1)]


def _by(key: Callable[[_Resolved], object]) -> Callable[[Sequence[_Resolved]], list[list[_Resolved]]]:
    """Parts of equal keys, in the order of the keys."""

    def split(members: Sequence[_Resolved]) -> list[list[_Resolved]]:
        parts: dict[object, list[_Resolved]] = defaultdict(list)
        for member in members:
            parts[key(member)].append(member)
        return [parts[k] for k in sorted(parts, key=_natural)]

    return split


def _natural(key: object) -> tuple[object, ...]:
    """Numbers by value, and texts behind them."""
    values = key if isinstance(key, tuple) else str(key).split("\\")
    return tuple((0, float(v), "") if _is_number(v) else (1, 0.0, v) for v in map(str, values))


def _is_number(value: str) -> bool:
    return value.replace(".", "", 1).replace("-", "", 1).isdigit() and value.isascii()


def _near(values: Callable[[_Resolved], Sequence[float]], tolerance: float) -> Callable[..., list[list[_Resolved]]]:
    """Parts whose values differ by no more than ``tolerance`` from the part's first, in the order of the values."""

    def split(members: Sequence[_Resolved]) -> list[list[_Resolved]]:
        parts: list[list[_Resolved]] = []
        firsts: list[npt.NDArray[np.float64]] = []
        for member in sorted(members, key=lambda m: tuple(values(m))):
            own = np.array(values(member))
            near = (i for i, first in enumerate(firsts) if np.abs(own - first).max() <= tolerance)
            at = next(near, len(firsts))
            if at == len(firsts):
                firsts.append(own)
                parts.append([])
            parts[at].append(member)
        return parts

    return split


_SPLITS = (
    ("frame of reference", _by(lambda m: m.frame_of_reference)),
    ("type", _by(lambda m: m.image_type)),
    ("echo", _by(lambda m: m.echo)),
    ("echo", _near(lambda m: (m.echo_ms,), ECHO_TOLERANCE_MS)),
    ("stack", _by(lambda m: m.stack_id)),
)


def _planes(group: _Group) -> list[_Group]:
    """A part for each view; planes that are nearly, but not quite, the same are one part that cannot be read."""
    views: list[list[list[_Resolved]]] = []
    for part in _near(lambda m: m.plane.orientation, ORIENTATION_TOLERANCE)(group.members):
        cosine = np.cos(np.radians(OTHER_PLANE_DEGREES))
        near = (v for v in views if any(abs(part[0].plane.normal @ other[0].plane.normal) > cosine for other in v))
        view = next(near, None)
        if view is None:
            views.append([part])
        else:
            view.append(part)
    found = []
    for number, view in enumerate(views, 1):
        name = (f"plane {number}",) if len(views) > 1 else ()
        problem = _mixed("ImageOrientationPatient") if len(view) > 1 else group.problem
        found.append(_Group((*group.part, *name), tuple(m for part in view for m in part), problem))
    return found


def _matrices(group: _Group) -> list[_Group]:
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


def _mixed(keyword: str) -> GlioserveError:
    return GlioserveError(ErrorCode.MIXED_GEOMETRY, f"Its images differ in {keyword}.")


def _repeats(group: _Group) -> list[_Group]:
    """Where positions are there twice, the parts that something of :data:`_REPEATS` makes of them, if it does.

    Each part must have slices as near together as the whole: two interleaved halves of one acquisition are none.
    """
    if group.problem is not None or not _has_repeats(group.members):
        return [group]
    whole_mm = _least_step_mm(group.members)
    for count in (1, 2):
        for names in combinations(_REPEATS, count):
            parts = _by(lambda m, names=names: tuple(_repeat_key(m, n) for n in names))(group.members)  # type: ignore[misc]
            if len(parts) < 2 or any(_has_repeats(part) for part in parts):
                continue
            if all(len(part) == 1 or _least_step_mm(part) < 1.5 * whole_mm for part in parts):
                label = " and ".join(names)
                return [
                    replace(group, part=(*group.part, f"{label} {n}"), members=tuple(p)) for n, p in enumerate(parts, 1)
                ]
    return [group]


def _repeat_key(member: _Resolved, name: str) -> str:
    frame = member.frame
    try:
        return frame_value(frame.dataset, frame.index, *_REPEATS[name])
    except GlioserveError:
        return ""


def _has_repeats(members: Iterable[_Resolved]) -> bool:
    """Whether two different images lie at one position."""
    return any(
        b_mm - a_mm < SAME_POSITION_MM and not same_image(a.frame, b.frame)
        for (a_mm, a), (b_mm, b) in pairwise(_along(members))
    )


def _least_step_mm(members: Iterable[_Resolved]) -> float:
    along = np.array([mm for mm, _ in _along(members)])
    steps = np.diff(along)
    steps = steps[steps >= SAME_POSITION_MM]
    return float(steps.min()) if steps.size else np.inf


def _along(members: Iterable[_Resolved]) -> list[tuple[float, _Resolved]]:
    """(mm along the normal, member), sorted; ties by what does not depend on the order of the files."""
    members = tuple(members)
    normal = members[0].plane.normal
    placed = [(float(np.dot(m.plane.position_lps_mm, normal)), m) for m in members]
    return sorted(placed, key=lambda p: (round(p[0], 3), text(p[1].frame.dataset, "SOPInstanceUID"), p[1].frame.index))


def _with_problem(groups: list[_Group], image_type: tuple[str, ...], faulty: list[_Resolved]) -> list[_Group]:
    """Images that cannot be placed spoil the stacks of their own kind, which may lack them; else they are a stack."""
    problem = min((f.problem for f in faulty if f.problem is not None), key=str)
    spoilt = [g for g in groups if g.members[0].image_type == image_type]
    if not spoilt:
        return [*groups, _Group((f"images {len(groups) + 1}",) if groups else (), tuple(faulty), problem)]
    return [replace(g, problem=g.problem or problem) if g in spoilt else g for g in groups]


def _stack(uid: str, group: _Group) -> Stack:
    part = ", ".join(group.part)
    if any(m.problem is not None for m in group.members):
        ordered = sorted(group.members, key=lambda m: (text(m.frame.dataset, "SOPInstanceUID"), m.frame.index))
        return Stack(uid, part, tuple(m.frame for m in ordered), len(ordered), group.problem)
    along = _along(group.members)
    slices = 1 + sum(b - a >= SAME_POSITION_MM for (a, _), (b, _) in pairwise(along))
    return Stack(uid, part, tuple(m.frame for _, m in along), slices, group.problem)


def _joined(stacks: Sequence[Stack]) -> list[Stack]:
    """Halves of one volume that came under several SeriesInstanceUIDs, made whole; everything else as it is.

    They must share a frame of reference, everything that says how and what was acquired, and the grid; and together
    they must be evenly spaced with no position twice. Halves that a reader could take for two volumes stay two.
    """
    alike: dict[tuple[str, ...], list[Stack]] = defaultdict(list)
    for stack in stacks:
        if stack.problem is None and (key := _acquisition_key(stack)):
            alike[key].append(stack)
    for halves in alike.values():
        if len({s.series_instance_uid for s in halves}) == len(halves) > 1 and _fit(halves):
            first = min(halves, key=lambda s: s.series_instance_uid)
            normal = first.frames[0].plane.normal if first.frames[0].plane else np.zeros(3)
            frames = sorted(
                (f for s in halves for f in s.frames),
                key=lambda f: float(np.dot(f.plane.position_lps_mm if f.plane else (0, 0, 0), normal)),
            )
            part = f"joined with {len(halves) - 1} other series"
            whole = replace(first, part=part, frames=tuple(frames), slices=sum(s.slices for s in halves))
            stacks = [whole if s is first else s for s in stacks if s is first or s not in halves]
    return list(stacks)


def _acquisition_key(stack: Stack) -> tuple[str, ...]:
    """Equal for stacks that may be halves of one volume; empty without a frame of reference, which proves nothing."""
    frame = stack.frames[0]
    dataset, plane = frame.dataset, frame.plane
    if plane is None or not text(dataset, "FrameOfReferenceUID"):
        return ()
    try:
        said = [comparable(dataset, keyword) for keyword in _SAME_ACQUISITION]
        said.append(frame_value(dataset, frame.index, "MREchoSequence", "EffectiveEchoTime"))
    except GlioserveError:
        return ()
    grid = [f"{v:.3f}" for v in (*plane.orientation, *plane.pixel_spacing_mm, plane.rows, plane.columns)]
    return (text(dataset, "FrameOfReferenceUID"), *image_type_of(dataset, frame.index), *said, *grid)


def _fit(halves: Sequence[Stack]) -> bool:
    planes = [f.plane for s in halves for f in s.frames if f.plane is not None]
    normal = planes[0].normal
    positions = np.array([p.position_lps_mm for p in planes])
    positions = positions[np.argsort(positions @ normal)]
    try:
        step = even_step(positions, normal)
    except GlioserveError:
        return False
    return float(np.linalg.norm(step)) >= SAME_POSITION_MM
