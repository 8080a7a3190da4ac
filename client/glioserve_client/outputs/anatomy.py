"""The local voxels under the heat map: the reference series, decoded here and put on the heat map's own grid.

The server never sends the images back. The report names the reference series by its pseudonym; the client alone
can tell which of its own files that is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from glioserve_client.dicomfile import DicomFile, parse
from glioserve_client.outputs.display import Matrix, onto_grid
from glioserve_client.prediction import Heatmap, Prediction
from glioserve_client.study import DicomStudy, Study
from glioserve_dicom.files.quiet import quiet

UNEVEN_TOLERANCE = 0.1
"""Of the slice distance: how far a slice may lie from its place in an even stack."""


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The reference volume FP32 [z, y, x] on the heat map's grid, or the reason why there is none."""

    voxels: npt.NDArray[np.float32] | None
    problem: str = ""


class _NoAnatomyError(Exception):
    """Why; the text goes to the reader."""


@dataclass(frozen=True, eq=False)
class _Slice:
    position: npt.NDArray[np.float64]
    directions: npt.NDArray[np.float64]
    """LPS mm per (column, row), shape (3, 2)."""
    pixels: npt.NDArray[np.float32]


def reference_anatomy(study: Study | None, prediction: Prediction) -> Anatomy:
    """What to draw the heat map of ``prediction`` over. Never raises: an overlay without anatomy is still shown."""
    heatmap, reference = prediction.heatmap, prediction.report.preprocess.reference
    if heatmap is None or study is None:
        return Anatomy(None, "No study was given.")
    try:
        if isinstance(study, DicomStudy):
            voxels, lps_from_voxel = _stack(_slices(_reference_files(study, prediction)))
        elif reference in study.volumes:
            voxels, lps_from_voxel = study.volumes[reference].voxels, study.volumes[reference].lps_from_voxel
        else:
            raise _NoAnatomyError("the study given is not the one that was sent")
        return Anatomy(_placed(voxels, lps_from_voxel, heatmap))
    except _NoAnatomyError as problem:
        return Anatomy(None, f"The reference series ({reference}) is not shown: {problem}.")


def _reference_files(study: DicomStudy, prediction: Prediction) -> list[DicomFile]:
    reference = prediction.report.preprocess.reference
    used = prediction.report.preprocess.series
    sent_as = next((s.series_instance_uid for s in used if s.modality is reference), None)
    original = prediction.original_series_uids.get(sent_as or "")
    files = [f for f in study.files if f.series_instance_uid == original and not f.reason_not_sent]
    if not original or not files:
        raise _NoAnatomyError("the report names no series of this study")
    return list({f.content: f for f in files}.values())  # a copy of a file is no second slice


def _slices(files: list[DicomFile]) -> list[_Slice]:
    slices = []
    for number, file in enumerate(files):
        try:
            with quiet("pydicom"):
                slices += _frames(parse(file.content, f"File {number + 1}"))
        except Exception as error:  # decoders raise anything; an overlay is not worth an answer
            raise _NoAnatomyError(
                "its pixels or geometry cannot be decoded here; for compressed files install 'glioserve[dicom]'"
            ) from error
    return slices


def _frames(dataset: Dataset) -> list[_Slice]:
    """The slices of one file: a classic image's one, an enhanced image's many. Rescaled."""
    pixels = dataset.pixel_array.reshape(-1, int(dataset.Rows), int(dataset.Columns))
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or [None] * len(pixels)
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    frames = []
    for frame, group in zip(pixels, per_frame, strict=True):
        levels = [level for level in (group, shared) if level is not None]

        def value(keyword: str, macro: str, levels: list[Dataset] = levels) -> Any:
            holders = [level[macro][0] for level in levels if macro in level] + [dataset]
            return next((h[keyword].value for h in holders if keyword in h), None)

        # reshape() is the check: a missing attribute would become a lone NaN.
        orientation = np.array(value("ImageOrientationPatient", "PlaneOrientationSequence"), np.float64).reshape(6)
        row_mm, column_mm = (float(mm) for mm in value("PixelSpacing", "PixelMeasuresSequence"))
        slope = value("RescaleSlope", "PixelValueTransformationSequence")
        intercept = value("RescaleIntercept", "PixelValueTransformationSequence")
        values = frame.astype(np.float32) * float(1 if slope is None else slope) + float(intercept or 0)
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            values = -values
        directions = np.column_stack([orientation[:3] * column_mm, orientation[3:] * row_mm])
        position = np.array(value("ImagePositionPatient", "PlanePositionSequence"), np.float64).reshape(3)
        frames.append(_Slice(position, directions, values.astype(np.float32)))
    return frames


def _stack(slices: list[_Slice]) -> tuple[npt.NDArray[np.float32], Matrix]:
    """One even stack [z, y, x], sorted along its normal, and its voxel-to-LPS affine."""
    first = slices[0]
    same = [
        s.pixels.shape == first.pixels.shape and np.allclose(s.directions, first.directions, atol=1e-3) for s in slices
    ]
    if len(slices) < 2 or not all(same):
        raise _NoAnatomyError("its images do not form one stack")
    normal = np.cross(first.directions[:, 0], first.directions[:, 1])
    slices = sorted(slices, key=lambda s: float(s.position @ normal))
    positions = np.array([s.position for s in slices])
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    even = positions[0] + np.arange(len(slices))[:, None] * step
    if np.linalg.norm(positions - even, axis=1).max() > UNEVEN_TOLERANCE * np.linalg.norm(step):
        raise _NoAnatomyError("its slices are not evenly spaced, or two lie at one place")
    lps_from_voxel = np.eye(4)
    lps_from_voxel[:3] = np.column_stack([first.directions, step, positions[0]])
    return np.stack([s.pixels for s in slices]), lps_from_voxel


def _placed(voxels: npt.NDArray[np.float32], lps_from_voxel: Matrix, heatmap: Heatmap) -> npt.NDArray[np.float32]:
    placed = onto_grid(voxels, lps_from_voxel, heatmap.voxels.shape, heatmap.lps_from_voxel)
    if placed is None:
        raise _NoAnatomyError("its voxels do not lie where the heat map's grid says")
    return placed
