"""Instances to stacks: the images that belong together as one volume.

A series may hold more than one: a localiser beside the images, two echoes, two acquisitions, derived images. And one
volume may have been split over two series. Nothing is dropped and nothing is forced: a stack that cannot be a volume
carries its ``problem``, raised when it is assembled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
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
from glioserve_dicom.slices.parts import Part, Placed, along, parts_of, placed_frames
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
        stacks = [_stack(uid, part) for uid in sorted(series) for part in parts_of(series[uid])]
        return tuple(_joined(stacks))


def _stack(uid: str, part: Part) -> Stack:
    name = ", ".join(part.part)
    if any(m.problem is not None for m in part.members):
        ordered = sorted(part.members, key=lambda m: (text(m.frame.dataset, "SOPInstanceUID"), m.frame.index))
        return Stack(uid, name, tuple(m.frame for m in ordered), len(ordered), part.problem)
    sorted_members = along(part.members)
    slices = 1 + sum(b - a >= SAME_POSITION_MM for (a, _), (b, _) in pairwise(sorted_members))
    return Stack(uid, name, tuple(m.frame for _, m in sorted_members), slices, part.problem)


def _joined(stacks: Sequence[Stack]) -> list[Stack]:
    """Join halves of one volume that came under several SeriesInstanceUIDs; return everything else as it is.

    They must share a frame of reference, all attributes of the acquisition, and the grid; and together
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
            part = f"{JOINED} {len(halves) - 1} other series"
            whole = replace(first, part=part, frames=tuple(frames), slices=sum(s.slices for s in halves))
            stacks = [whole if s is first else s for s in stacks if s is first or s not in halves]
    return list(stacks)


def _acquisition_key(stack: Stack) -> tuple[str, ...]:
    """Return a key that is equal for halves of one volume; empty without a frame of reference, which proves nothing."""
    frame = stack.frames[0]
    dataset, plane = frame.dataset, frame.plane
    if plane is None or not text(dataset, "FrameOfReferenceUID"):
        return ()
    try:
        values = [text(dataset, keyword) for keyword in ("FrameOfReferenceUID", "Modality")]
        values += [str(image_type_order(image_type_of(dataset, frame.index))), str(agent_in(dataset))]
        values += [comparable(dataset, keyword) for keyword in _SAME_NUMBERS]
        values += ["\\".join(kept_codes(keyword, text(dataset, keyword))) for keyword in _SAME_CODES]
        values += [kept_text(text(dataset, keyword), LONGEST_TEXT[keyword]) for keyword in _SAME_WORDS]
        values.append(frame_value(dataset, frame.index, "MREchoSequence", "EffectiveEchoTime"))
    except GlioserveError:
        return ()
    grid = [f"{v:.3f}" for v in (*plane.orientation, *plane.pixel_spacing_mm, plane.rows, plane.columns)]
    return (
        text(dataset, "FrameOfReferenceUID"),
        str(image_type_order(image_type_of(dataset, frame.index))),
        *values,
        *grid,
    )


def _fit(halves: Sequence[Stack]) -> bool:
    planes = [f.plane for s in halves for f in s.frames if f.plane is not None]
    normal = planes[0].normal
    positions = np.array([p.position_lps_mm for p in planes])
    positions = positions[np.argsort(positions @ normal)]
    try:
        step = even_step(positions, normal, planes[0].normal_error)
    except GlioserveError:
        return False
    return float(np.linalg.norm(step)) >= SAME_POSITION_MM
