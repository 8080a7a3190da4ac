"""Instances to stacks: the images that belong together as one volume.

A series may hold more than one: a localiser beside the images, two echoes, two acquisitions, derived images. And one
volume may have been split over two series. Nothing is dropped and nothing is forced: a stack that cannot be a volume
carries its ``problem``, raised when it is assembled.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from glioserve_contract import GlioserveError
from glioserve_dicom.agents import agent_in
from glioserve_dicom.files.attributes import comparable, text
from glioserve_dicom.files.quiet import quiet
from glioserve_dicom.identity import image_type_order, kept_codes
from glioserve_dicom.read import Instances
from glioserve_dicom.slices.frames import Frame, frame_value, image_type_of
from glioserve_dicom.slices.parts import (
    MIN_OWN_SLICES,
    ORIENTATION_TOLERANCE,
    PIXEL_TOLERANCE_MM,
    Part,
    Placed,
    along,
    parts_of,
    placed_frames,
)
from glioserve_dicom.slices.spacing import SAME_POSITION_MM, even_step
from glioserve_dicom.words import LONGEST_TEXT, kept_text

_SAME_NUMBERS = "RepetitionTime EchoTime InversionTime FlipAngle EchoTrainLength".split()
_SAME_CODES = "ScanningSequence SequenceVariant MRAcquisitionType".split()
_SAME_WORDS = "SeriesDescription ProtocolName SequenceName".split()
"""Attributes that two series must agree on to be halves of one, as far as the client sends them."""
JOINED = "joined with"
"""Start of the ``part`` of a stack that was made of several series."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Images of one series, one kind and one plane, sorted along its normal."""

    series_instance_uid: str
    part: str
    """Name of what sets it apart within its series ("echo 2", "acquisition 2, plane 3"); empty when it is the whole."""
    frames: tuple[Frame, ...]
    """Images, at least one. Copies are still among them: only pixels show which they are."""
    slices: int
    """Number of different positions."""
    problem: GlioserveError | None = None
    """Reason why it cannot be a volume, as far as headers show; None where they show none."""


def stacks_of(instances: Instances) -> tuple[Stack, ...]:
    """Return every stack of the study, in an order that does not depend on the order of the files."""
    series: dict[str, list[Placed]] = defaultdict(list)
    with quiet("pydicom"):
        for instance in instances.instances:
            series[text(instance.dataset, "SeriesInstanceUID")] += placed_frames(instance)
        stacks = [_stack(uid, name, part) for uid, name, frames in _series(series) for part in parts_of(frames)]
        return tuple(_joined(stacks))


def counted(slices: int) -> str:
    """Return a number of slices in words: ``1 slice``, ``41 slices``."""
    return f"{slices} slice{'' if slices == 1 else 's'}"


def too_few(stacks: Sequence[Stack], min_slices: int) -> str:
    """Return the end of a message about series that are too short: how many slices they have, and why if it shows."""
    most = max(stack.slices for stack in stacks)
    return f"has {counted(most)}; the recipe needs {min_slices}.{scattered(stacks)}"


def scattered(stacks: Iterable[Stack]) -> str:
    """Return a sentence, after a space, where most series are of one image each, and at least three; else nothing."""
    images = Counter(stack.series_instance_uid for stack in stacks for _ in stack.frames)
    lone = sum(count == 1 for count in images.values())
    if lone < MIN_OWN_SLICES or 2 * lone <= len(images):
        return ""
    return (
        f" There are {lone} series of one image each, as an anonymiser leaves them that gives each file a "
        "SeriesInstanceUID of its own: keep one for each series, or SeriesNumber."
    )


def _series(by_uid: Mapping[str, Sequence[Placed]]) -> list[tuple[str, str, Sequence[Placed]]]:
    """Return the series of a study as SeriesInstanceUID, name of what sets it apart, and images.

    UIDs may have been rewritten: one for each file, one for several series, or none. Then SeriesNumber counts.
    """
    found: list[tuple[str, str, Sequence[Placed]]] = []
    lone: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for uid in sorted(by_uid):
        if uid and len(by_uid[uid]) == 1 and (key := _series_key(by_uid[uid][0])):
            lone[key].append(uid)
        else:
            found += [(uid, name, frames) for name, frames in _numbered(by_uid[uid], bool(uid))]
    for uids in lone.values():
        if len(uids) < MIN_OWN_SLICES:
            found += [(uid, "", by_uid[uid]) for uid in uids]
            continue
        found.append((uids[0], f"{JOINED} {len(uids) - 1} other series", [by_uid[uid][0] for uid in uids]))
    return [(uid, name, _placed_together(frames)) for uid, name, frames in sorted(found, key=lambda f: f[:2])]


def _placed_together(frames: Sequence[Placed]) -> Sequence[Placed]:
    """Return images of one series without their frames of reference, if each has one of its own."""
    references = {text(f.frame.dataset, "FrameOfReferenceUID") for f in frames}
    if len(references) < len(frames) or len(frames) < MIN_OWN_SLICES:
        return frames
    return [replace(f, frame_of_reference="") for f in frames]


def _numbered(frames: Sequence[Placed], has_uid: bool) -> list[tuple[str, Sequence[Placed]]]:
    """Return the images by SeriesNumber, where that tells whole series apart; else all under an empty name."""
    numbers: dict[str, list[Placed]] = defaultdict(list)
    for frame in frames:
        numbers[_series_number(frame.frame)].append(frame)
    if len(numbers) == 1 or (has_uid and ("" in numbers or min(map(len, numbers.values())) < MIN_OWN_SLICES)):
        return [("", frames)]
    return [(f"number {number}" if number else "", numbers[number]) for number in sorted(numbers)]


def _series_number(frame: Frame) -> str:
    """Return SeriesNumber; empty where it is absent or is not a number, which the client does not send."""
    try:
        return comparable(frame.dataset, "SeriesNumber")
    except GlioserveError:
        return ""


def _series_key(placed: Placed) -> tuple[str, ...]:
    """Return a key that is equal for images of one series; empty without a SeriesNumber, which proves nothing."""
    number = _series_number(placed.frame)
    values = _acquisition_values(placed.frame) if number else ()
    return (number, *values) if values else ()


def _stack(uid: str, series_name: str, part: Part) -> Stack:
    name = ", ".join((series_name, *part.part) if series_name else part.part)
    if any(m.problem is not None for m in part.members):
        ordered = sorted(part.members, key=lambda m: (text(m.frame.dataset, "SOPInstanceUID"), m.frame.index))
        return Stack(uid, name, tuple(m.frame for m in ordered), len(ordered), part.problem)
    sorted_members = along(part.members)
    slices = 1 + sum(b - a >= SAME_POSITION_MM for (a, _), (b, _) in pairwise(sorted_members))
    return Stack(uid, name, tuple(m.frame for _, m in sorted_members), slices, part.problem)


def _joined(stacks: Sequence[Stack]) -> list[Stack]:
    """Join halves of one volume that came under several SeriesInstanceUIDs; return everything else as it is.

    They must share a frame of reference, all attributes of the acquisition, and the grid; and together
    they must be evenly spaced with no position twice. Halves that a reader could take for two volumes stay two,
    unless their SeriesNumbers tell which belong together.
    """
    whole_of: dict[int, Stack | None] = {}
    for alike in _alike(stacks):
        by_number: dict[str, list[Stack]] = defaultdict(list)
        for stack in alike:
            by_number[_series_number(stack.frames[0])].append(stack)
        for halves in [alike] if _fit(alike) else [h for h in by_number.values() if _fit(h)]:
            whole = _whole(halves)
            whole_of |= {id(s): whole if s.series_instance_uid == whole.series_instance_uid else None for s in halves}
    kept = (whole_of.get(id(stack), stack) for stack in stacks)
    return [stack for stack in kept if stack is not None]


def _alike(stacks: Sequence[Stack]) -> list[list[Stack]]:
    """Return the sound stacks in groups of one acquisition and one grid."""
    groups: dict[tuple[str, ...], list[list[Stack]]] = defaultdict(list)
    for stack in stacks:
        if stack.problem is None and (key := _acquisition_key(stack)):
            same = next((group for group in groups[key] if _same_grid(group[0], stack)), None)
            if same is None:
                groups[key].append([stack])
            else:
                same.append(stack)
    return [group for alike in groups.values() for group in alike]


def _same_grid(one: Stack, other: Stack) -> bool:
    a, b = one.frames[0].plane, other.frames[0].plane
    if a is None or b is None or (a.rows, a.columns) != (b.rows, b.columns):
        return False
    off = np.abs(np.subtract(a.orientation, b.orientation)).max()
    apart_mm = np.abs(np.subtract(a.pixel_spacing_mm, b.pixel_spacing_mm)).max()
    return bool(off <= ORIENTATION_TOLERANCE + 2 * a.cosine_error and apart_mm <= PIXEL_TOLERANCE_MM)


def _whole(halves: Sequence[Stack]) -> Stack:
    first = min(halves, key=lambda s: s.series_instance_uid)
    normal = first.frames[0].plane.normal if first.frames[0].plane else np.zeros(3)
    frames = sorted(
        (f for s in halves for f in s.frames),
        key=lambda f: float(np.dot(f.plane.position_lps_mm if f.plane else (0, 0, 0), normal)),
    )
    part = f"{JOINED} {len(halves) - 1} other series"
    return replace(first, part=part, frames=tuple(frames), slices=sum(s.slices for s in halves))


def _acquisition_key(stack: Stack) -> tuple[str, ...]:
    """Return a key that is equal for halves of one volume; empty without a frame of reference, which proves nothing."""
    reference = text(stack.frames[0].dataset, "FrameOfReferenceUID")
    values = _acquisition_values(stack.frames[0]) if reference else ()
    return (reference, *values) if values else ()


def _acquisition_values(frame: Frame) -> tuple[str, ...]:
    """Return what two images of one acquisition have alike; empty where it cannot be read."""
    dataset = frame.dataset
    try:
        values = [text(dataset, "Modality")]
        values += [str(image_type_order(image_type_of(dataset, frame.index))), str(agent_in(dataset))]
        values += [comparable(dataset, keyword) for keyword in _SAME_NUMBERS]
        values += ["\\".join(kept_codes(keyword, text(dataset, keyword))) for keyword in _SAME_CODES]
        values += [kept_text(text(dataset, keyword), LONGEST_TEXT[keyword]) for keyword in _SAME_WORDS]
        values.append(frame_value(dataset, frame.index, "MREchoSequence", "EffectiveEchoTime"))
        return tuple(values)
    except GlioserveError:
        return ()


def _fit(halves: Sequence[Stack]) -> bool:
    """Return whether stacks of several series are evenly spaced together, with no position twice."""
    if len({s.series_instance_uid for s in halves}) != len(halves) or len(halves) < 2:
        return False
    planes = [f.plane for s in halves for f in s.frames if f.plane is not None]
    normal = planes[0].normal
    positions = np.array([p.position_lps_mm for p in planes])
    positions = positions[np.argsort(positions @ normal)]
    try:
        even_step(positions, normal, planes[0].normal_error)
    except GlioserveError:
        return False
    return True
