"""Find the voxels that an answer is about: each series that the report names, read here and put on the report's grid.

The server never sends the images back. The report names a series by its pseudonym; the client alone knows which of
its own files that is. They are stacked and decoded by the code that the server runs (:mod:`glioserve_dicom.slices`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from glioserve_client.dicomfile import DicomFile, text_of
from glioserve_client.outputs.display import onto_grid
from glioserve_client.prediction import Prediction
from glioserve_client.study import DicomStudy, Study, VolumeStudy
from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.install import install_advice
from glioserve_contract.records.grid import GridRecord
from glioserve_contract.records.preprocess import SeriesRecord
from glioserve_dicom.files.part10 import parse
from glioserve_dicom.read import Instances
from glioserve_dicom.slices.assemble import assemble
from glioserve_dicom.slices.stacks import JOINED, Stack, stacks_of
from glioserve_dicom.volumes.geometry import Matrix, SequenceVolume

Voxels = npt.NDArray[np.float32]
_RENUMBERED = ("frame of reference", "type")
"""Parts that are numbered in an order which de-identification may change."""


class NoAnatomy(str, Enum):
    """Reasons why a series is not shown."""

    NOT_GIVEN = "no study was given"
    NOT_SENT = "the study given is not the one that was sent"
    UNREADABLE = "the series cannot be made a volume here"
    AMBIGUOUS = "several stacks of the series lie on the report's grid"
    ELSEWHERE = "the series does not lie on the report's grid"


@dataclass(frozen=True)
class AnatomyProblem:
    """Reason why there is no anatomy, with a sentence for the reader."""

    reason: NoAnatomy
    sentence: str
    code: ErrorCode | None = None
    """Code of the reader's refusal, where it refused."""

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True, eq=False)
class PlacedStack:
    """A series' own images and the volume that they make."""

    stack: Stack
    """Images along the stack's normal, copies included."""
    volume: SequenceVolume
    """Volume [z, y, x] in the stack's own order, which the report's grid may turn or flip."""


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A series' volume FP32 [z, y, x] on the report's grid, or the reason why there is none."""

    voxels: Voxels | None
    problem: AnatomyProblem | None = None
    placed: PlacedStack | None = None
    """The images that the volume was made of; None for a study of volumes."""


def reference_anatomy(study: Study | None, prediction: Prediction) -> Anatomy:
    """Return the reference series on the heat map's own grid; nothing is raised for what cannot be shown."""
    preprocess = prediction.report.preprocess
    return series_anatomy(study, prediction, preprocess.reference, preprocess.reference_grid)


def series_anatomy(study: Study | None, prediction: Prediction, modality: Modality, grid: GridRecord) -> Anatomy:
    """Return the series that the report names for a sequence, on ``grid``; nothing is raised for what cannot be shown.

    Args:
        study: the study that was sent; None where the caller has none.
        prediction: the answer.
        modality: the sequence.
        grid: a description of the series' own voxels, their axes in any order and direction.
    """
    if study is None:
        return _NOT_GIVEN
    reference = modality is prediction.report.preprocess.reference
    name = f"The reference series ({modality})" if reference else f"The {modality} series"
    if isinstance(study, VolumeStudy):
        return _of_volume(study, grid, modality, name)
    record = next((s for s in prediction.report.preprocess.series if s.modality is modality), None)
    original = prediction.original_series_uids.get(record.series_instance_uid) if record else None
    if record is None or not original or not any(f.series_instance_uid == original for f in _sent(study)):
        return _missing(name, NoAnatomy.NOT_SENT, "the report does not name a series of this study")
    try:
        return _of_stacks(_stacks(study, record, original), record, grid, name)
    except GlioserveError as problem:
        return _refused(name, problem)
    except Exception:  # noqa: BLE001 - decoders raise anything; a picture is not worth an answer
        return _missing(name, NoAnatomy.UNREADABLE, "its files cannot be read here")


_NOT_GIVEN = Anatomy(None, AnatomyProblem(NoAnatomy.NOT_GIVEN, "No study was given."))


def _of_volume(study: VolumeStudy, grid: GridRecord, modality: Modality, name: str) -> Anatomy:
    if modality not in study.volumes:
        return _missing(name, NoAnatomy.NOT_SENT, "the study given is not the one that was sent")
    volume = study.volumes[modality]
    placed = _placed(volume.voxels, volume.lps_from_voxel, grid)
    if placed is None:
        return _elsewhere(name)
    outside = np.isnan(placed)  # NaN stands for the outside of the field of view, which is shown as its darkest voxel
    return Anatomy(np.where(outside, np.nanmin(placed), placed) if outside.any() else placed)


def _of_stacks(stacks: Sequence[Stack], record: SeriesRecord, grid: GridRecord, name: str) -> Anatomy:
    """Return the one of the series' stacks that lies on the grid; of several, the report's part."""
    placed: dict[str, Anatomy] = {}
    problem: GlioserveError | None = None
    for stack in stacks:
        try:
            volume = assemble(stack, record.modality)
        except GlioserveError as refusal:
            problem = problem or refusal
            continue
        voxels = _placed(volume.voxels, volume.geometry.lps_from_voxel, grid)
        if voxels is not None:
            placed[stack.part] = Anatomy(voxels, placed=PlacedStack(stack, volume))
    if len(placed) == 1:
        return next(iter(placed.values()))
    if record.part in placed and not any(word in record.part for word in _RENUMBERED):
        return placed[record.part]
    if placed:
        return _missing(name, NoAnatomy.AMBIGUOUS, "several of its stacks lie on the report's grid")
    return _refused(name, problem) if problem is not None else _elsewhere(name)


def _stacks(study: DicomStudy, record: SeriesRecord, original: str) -> list[Stack]:
    """Return the stacks with images of the series; where it was joined with others, all files are looked through."""
    files = [f for f in _sent(study) if f.series_instance_uid == original or record.part.startswith(JOINED)]
    instances = tuple(parse(f.content, f"File {number}") for number, f in enumerate(files, 1))
    return [
        stack
        for stack in stacks_of(Instances(instances))
        if any(text_of(frame.dataset, "SeriesInstanceUID") == original for frame in stack.frames)
    ]


def _sent(study: DicomStudy) -> Iterator[DicomFile]:
    return (f for f in study.files if not f.reason_not_sent)


def _placed(voxels: Voxels, lps_from_voxel: Matrix, grid: GridRecord) -> Voxels | None:
    return onto_grid(voxels, lps_from_voxel, grid.size_voxels[::-1], np.array(grid.lps_from_voxel))


def _refused(name: str, problem: GlioserveError) -> Anatomy:
    detail = problem.detail.rstrip(".")
    if problem.code is ErrorCode.UNDECODABLE_PIXELS:
        detail += f"; compressed files need an extra: {install_advice('dicom')}"
    return _missing(name, NoAnatomy.UNREADABLE, detail, problem.code)


def _elsewhere(name: str) -> Anatomy:
    return _missing(name, NoAnatomy.ELSEWHERE, "its voxels do not lie on the grid that the report names")


def _missing(name: str, reason: NoAnatomy, why: str, code: ErrorCode | None = None) -> Anatomy:
    return Anatomy(None, AnatomyProblem(reason, f"{name} is not shown: {why}.", code))
