"""Put the local voxels under the heat map: the reference series, read here and placed on the heat map's own grid.

The server never sends the images back. The report names the reference series by its pseudonym; the client alone
knows which of its own files that is. They are stacked and decoded by the code that the server runs
(:mod:`glioserve_dicom.slices`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from glioserve_client.dicomfile import DicomFile, text_of
from glioserve_client.outputs.display import onto_grid
from glioserve_client.prediction import Heatmap, Prediction
from glioserve_client.study import DicomStudy, Study, VolumeStudy
from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.install import install_advice
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
    """Reasons why the heat map is drawn without anatomy."""

    NOT_GIVEN = "no study was given"
    NOT_SENT = "the study given is not the one that was sent"
    UNREADABLE = "the reference series cannot be made a volume here"
    AMBIGUOUS = "several stacks of the reference series lie on the heat map's grid"
    ELSEWHERE = "the reference series does not lie on the heat map's grid"


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
    """The reference series' own images and the volume that they make."""

    stack: Stack
    """Images along the stack's normal, copies included."""
    volume: SequenceVolume
    """Volume [z, y, x] in the stack's own order, which the heat map's grid may turn or flip."""


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The reference volume FP32 [z, y, x] on the heat map's grid, or the reason why there is none."""

    voxels: Voxels | None
    problem: AnatomyProblem | None = None
    placed: PlacedStack | None = None
    """The images that the volume was made of; None for a study of volumes."""


def reference_anatomy(study: Study | None, prediction: Prediction) -> Anatomy:
    """Return what to draw the heat map of ``prediction`` over.

    Nothing is raised for what cannot be shown, as an overlay without anatomy is still an answer.
    """
    heatmap, reference = prediction.heatmap, prediction.report.preprocess.reference
    if heatmap is None or study is None:
        return Anatomy(None, AnatomyProblem(NoAnatomy.NOT_GIVEN, "No study was given."))
    if isinstance(study, VolumeStudy):
        return _of_volume(study, heatmap, reference)
    record = next((s for s in prediction.report.preprocess.series if s.modality is reference), None)
    original = prediction.original_series_uids.get(record.series_instance_uid) if record else None
    if record is None or not original or not any(f.series_instance_uid == original for f in _sent(study)):
        return _missing(reference, NoAnatomy.NOT_SENT, "the report does not name a series of this study")
    try:
        return _of_stacks(_stacks(study, record, original), record, heatmap)
    except GlioserveError as problem:
        return _refused(reference, problem)
    except Exception:  # noqa: BLE001 - decoders raise anything; an overlay is not worth an answer
        return _missing(reference, NoAnatomy.UNREADABLE, "its files cannot be read here")


def _of_volume(study: VolumeStudy, heatmap: Heatmap, reference: Modality) -> Anatomy:
    if reference not in study.volumes:
        return _missing(reference, NoAnatomy.NOT_SENT, "the study given is not the one that was sent")
    volume = study.volumes[reference]
    placed = _placed(volume.voxels, volume.lps_from_voxel, heatmap)
    return Anatomy(placed) if placed is not None else _elsewhere(reference)


def _of_stacks(stacks: Sequence[Stack], record: SeriesRecord, heatmap: Heatmap) -> Anatomy:
    """Return the one of the series' stacks that lies on the heat map's grid; of several, the report's part."""
    placed: dict[str, Anatomy] = {}
    problem: GlioserveError | None = None
    for stack in stacks:
        try:
            volume = assemble(stack, record.modality)
        except GlioserveError as refusal:
            problem = problem or refusal
            continue
        voxels = _placed(volume.voxels, volume.geometry.lps_from_voxel, heatmap)
        if voxels is not None:
            placed[stack.part] = Anatomy(voxels, placed=PlacedStack(stack, volume))
    if len(placed) == 1:
        return next(iter(placed.values()))
    if record.part in placed and not any(name in record.part for name in _RENUMBERED):
        return placed[record.part]
    if placed:
        return _missing(record.modality, NoAnatomy.AMBIGUOUS, "several of its stacks lie on the heat map's grid")
    return _refused(record.modality, problem) if problem is not None else _elsewhere(record.modality)


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


def _placed(voxels: Voxels, lps_from_voxel: Matrix, heatmap: Heatmap) -> Voxels | None:
    return onto_grid(voxels, lps_from_voxel, heatmap.voxels.shape, heatmap.lps_from_voxel)


def _refused(reference: Modality, problem: GlioserveError) -> Anatomy:
    detail = problem.detail.rstrip(".")
    if problem.code is ErrorCode.UNDECODABLE_PIXELS:
        detail += f"; compressed files need an extra: {install_advice('dicom')}"
    return _missing(reference, NoAnatomy.UNREADABLE, detail, problem.code)


def _elsewhere(reference: Modality) -> Anatomy:
    return _missing(reference, NoAnatomy.ELSEWHERE, "its voxels do not lie on the heat map's grid")


def _missing(reference: Modality, reason: NoAnatomy, why: str, code: ErrorCode | None = None) -> Anatomy:
    return Anatomy(None, AnatomyProblem(reason, f"The reference series ({reference}) is not shown: {why}.", code))
