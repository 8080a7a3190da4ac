"""Enhanced objects whose sequences are damaged: groups deleted, doubled, swapped, nested, emptied, filled with junk."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from copy import deepcopy

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from fuzz.mutations.attributes import any_edit, junk, raw_of, rewritten, set_raw
from fuzz.sources import MARKER

Random = np.random.Generator
_TOPS = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")


def mutated(rng: Random, files: Sequence[bytes]) -> tuple[list[bytes], str]:
    """One to three changes to the groups of one object."""
    ways = [WAYS[rng.integers(len(WAYS))] for _ in range(int(rng.choice([1, 1, 2, 3])))]
    number = int(rng.integers(len(files)))
    changed = list(files)

    def edit(dataset: Dataset) -> None:
        for way in ways:
            way(rng, dataset)

    try:
        changed[number] = rewritten(files[number], edit)
    except Exception as error:  # what pydicom cannot write down
        return changed, f"unchanged ({type(error).__name__})"
    return changed, " and ".join(way.__name__.strip("_").replace("_", " ") for way in ways)


def _top(rng: Random, dataset: Dataset) -> DicomSequence:
    top = dataset.get(_TOPS[int(rng.random() < 0.25)])
    return top if isinstance(top, DicomSequence) else DicomSequence()


def _some_frame(rng: Random, dataset: Dataset) -> Dataset:
    top = _top(rng, dataset)
    return top[int(rng.integers(len(top)))] if len(top) else Dataset()


def _frame_deleted(rng: Random, dataset: Dataset) -> None:
    top = _top(rng, dataset)
    if len(top):
        del top[int(rng.integers(len(top)))]
        if rng.random() < 0.5:
            dataset.NumberOfFrames = max(1, len(top))


def _frame_doubled(rng: Random, dataset: Dataset) -> None:
    top = _top(rng, dataset)
    if len(top):
        top.insert(int(rng.integers(len(top))), deepcopy(top[int(rng.integers(len(top)))]))
        if rng.random() < 0.5:
            dataset.NumberOfFrames = len(top)


def _frames_swapped(rng: Random, dataset: Dataset) -> None:
    top = _top(rng, dataset)
    if len(top) > 1:
        a, b = (int(n) for n in rng.choice(len(top), 2, replace=False))
        top[a], top[b] = top[b], top[a]


def _group_deleted(rng: Random, dataset: Dataset) -> None:
    _drop(rng, _some_frame(rng, dataset))


def _group_deleted_everywhere(rng: Random, dataset: Dataset) -> None:
    seed = int(rng.integers(2**32))
    for frame in _top(rng, dataset):
        _drop(np.random.default_rng(seed), frame)


def _drop(rng: Random, frame: Dataset) -> None:
    tags = list(frame.keys())
    if tags:
        del frame[tags[rng.integers(len(tags))]]


def _group_doubled(rng: Random, dataset: Dataset) -> None:
    group = _some_group(rng, _some_frame(rng, dataset))
    if group is not None and len(group):
        group.append(deepcopy(group[0]))


def _group_emptied(rng: Random, dataset: Dataset) -> None:
    group = _some_group(rng, _some_frame(rng, dataset))
    if group is not None:
        group.clear()


def _groups_exchanged(rng: Random, dataset: Dataset) -> None:
    """Put what stands in one frame's group into another's, of another kind."""
    here, there = (_some_group(rng, _some_frame(rng, dataset)) for _ in range(2))
    if here is not None and there is not None and len(here) and len(there):
        here[0], there[0] = deepcopy(there[0]), deepcopy(here[0])


def _junk_in_group(rng: Random, dataset: Dataset) -> None:
    frame = _some_frame(rng, dataset)
    group = _some_group(rng, frame)
    place = group[0] if group is not None and len(group) and rng.random() < 0.8 else frame
    edit, _ = any_edit(rng)
    own = [e.keyword for e in place if e.VR != "SQ"]
    if own and rng.random() < 0.7:
        keyword = own[rng.integers(len(own))]
        set_raw(place, keyword, str(place[keyword].VR), junk(rng, keyword, raw_of(place, keyword)))
    else:
        edit(place)


def _group_made_private(rng: Random, dataset: Dataset) -> None:
    frame = _some_frame(rng, dataset)
    frame.add_new(0x00211001, "LO", MARKER)
    frame.add_new(0x00211002, "SQ", [Dataset()])


def _deeply_nested(rng: Random, dataset: Dataset) -> None:
    """Written by hand: pydicom cannot."""
    implicit, little = dataset.original_encoding
    sign = "<" if little else ">"
    length = 0xFFFFFFFF
    opened = (
        struct.pack(f"{sign}HH", 0x0020, 0x9113) + (b"" if implicit else b"SQ\0\0") + struct.pack(f"{sign}I", length)
    )
    opened += struct.pack(f"{sign}HHI", 0xFFFE, 0xE000, length)
    closed = struct.pack(f"{sign}HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    depth = int(rng.choice([3, 60, 400, 5000]))
    outer = struct.pack(f"{sign}HHI", 0xFFFE, 0xE000, depth * (len(opened) + len(closed)))
    place = dataset if rng.random() < 0.5 else _some_frame(rng, dataset)
    set_raw(place, "PlanePositionSequence", "SQ", outer + opened * depth + closed * depth)


def _top_moved(rng: Random, dataset: Dataset) -> None:
    """Shared groups are the frames' own, or the other way round."""
    per_frame, shared = (dataset.get(top) for top in _TOPS)
    if shared is not None:
        dataset.PerFrameFunctionalGroupsSequence = shared
    if per_frame is not None:
        dataset.SharedFunctionalGroupsSequence = per_frame


def _frame_count_wrong(rng: Random, dataset: Dataset) -> None:
    dataset.NumberOfFrames = int(rng.choice([1, 2, 3, 27, 100, 16384, 2**31 - 1]))


def _classic_attributes_too(rng: Random, dataset: Dataset) -> None:
    dataset.ImagePositionPatient = [0, 0, float(rng.integers(100))]
    dataset.ImageOrientationPatient = [0, 1, 0, 1, 0, 0]
    dataset.PixelSpacing = [1, 1]


def _positions_jittered(rng: Random, dataset: Dataset) -> None:
    amount = rng.choice([1e-4, 0.005, 0.02, 0.3, 5.0])
    for frame in dataset.get(_TOPS[0]) or ():
        for group in frame.get("PlanePositionSequence") or ():
            old = np.array(group.ImagePositionPatient, dtype=float)
            group.ImagePositionPatient = [f"{v:.6g}" for v in old + rng.normal(0, amount, 3)]


def _some_group(rng: Random, frame: Dataset) -> DicomSequence | None:
    groups = [e.value for e in frame if e.VR == "SQ"]
    return groups[rng.integers(len(groups))] if groups else None


WAYS = (
    _frame_deleted,
    _frame_doubled,
    _frames_swapped,
    _group_deleted,
    _group_deleted_everywhere,
    _group_doubled,
    _group_emptied,
    _groups_exchanged,
    _junk_in_group,
    _junk_in_group,
    _group_made_private,
    _deeply_nested,
    _top_moved,
    _frame_count_wrong,
    _classic_attributes_too,
    _positions_jittered,
)
