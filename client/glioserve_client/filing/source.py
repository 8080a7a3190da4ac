"""Find the images that an answer is filed beside: the reference series with its original headers, in its own order."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from glioserve_client.dicomfile import text_of
from glioserve_client.outputs.anatomy import reference_anatomy
from glioserve_client.outputs.display import onto_grid
from glioserve_client.prediction import Prediction
from glioserve_client.study import DicomStudy, Study, checked_study
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_dicom.files.quiet import quiet
from glioserve_dicom.slices.assemble import without_copies
from glioserve_dicom.slices.frames import is_multiframe
from glioserve_dicom.volumes.geometry import Matrix

_MAY_BE_EMPTY = (
    "PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime StudyID AccessionNumber "
    "ReferringPhysicianName SeriesNumber InstanceNumber"
).split()
"""Attributes of type 2, which every result has, though files in practice lack them."""
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")


@dataclass(frozen=True, eq=False)
class Source:
    """The reference series as the scanner wrote it, with the heat map in the order of its slices."""

    slices: tuple[tuple[Dataset, int | None], ...]
    """Headers of each slice's file, without pixels, and its frame from 1 where the file has several."""
    others: tuple[Dataset, ...]
    """Headers of the files of the other series that were used."""
    heat: npt.NDArray[np.float32]
    """Heat map [slice, row, column] on the images' own grid, 0 to 1."""
    lps_from_voxel: Matrix
    """Affine, 4 x 4, from voxel (column, row, slice) to LPS mm."""

    @property
    def images(self) -> tuple[Dataset, ...]:
        """Headers of each file once, in the order of the slices: an enhanced file has many."""
        return tuple({dataset.SOPInstanceUID: dataset for dataset, _ in self.slices}.values())

    @property
    def first(self) -> Dataset:
        """Image whose patient and study the results belong to."""
        return self.slices[0][0]

    @property
    def hottest(self) -> tuple[Dataset, int | None]:
        """Image in which the heat map has its maximum, and its frame from 1 where the file has several."""
        return self.slices[int(np.unravel_index(int(self.heat.argmax()), self.heat.shape)[0])]

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel, in cubic mm."""
        return float(abs(np.linalg.det(self.lps_from_voxel[:3, :3])))


def source_of(prediction: Prediction, study: Study) -> Source:
    """Return the images that the answer is filed beside.

    Args:
        prediction: the answer, with its heat map.
        study: the study that was sent.

    Raises:
        NotFiledError: GLIO-4112 where the study is not DICOM, is not the one that was sent or not whole, its reference
            series cannot be read here, or its files lack a UID that every result refers to.
        TypeError: an argument is of another kind.
    """
    if not isinstance(prediction, Prediction):
        raise TypeError(f"the answer of predict comes first, then the study; not {type(prediction).__name__}")
    checked_study(study)
    if not isinstance(study, DicomStudy):
        raise not_filed("A study of volumes has no patient and no images that a result could refer to")
    heatmap = prediction.heatmap
    if heatmap is None:
        raise not_filed("The answer has no heat map; ask with heatmap=True")
    anatomy = reference_anatomy(study, prediction)
    if anatomy.placed is None:
        raise not_filed(str(anatomy.problem).rstrip("."))
    with quiet("pydicom"):
        volume = anatomy.placed.volume
        affine = volume.geometry.lps_from_voxel
        heat = onto_grid(heatmap.voxels, heatmap.lps_from_voxel, volume.voxels.shape, affine)
        assert heat is not None  # the images lie on the heat map's grid, so it lies on theirs
        frames = without_copies(anatomy.placed.stack.frames)
        images = {id(frame.dataset): frame.dataset for frame in frames}
        _check(list(images.values()))
        others = tuple(_complete(dataset) for dataset in _others(prediction, study, list(images.values())))
        complete = {key: _complete(dataset) for key, dataset in images.items()}
        slices = tuple((complete[id(f.dataset)], f.index + 1 if is_multiframe(f.dataset) else None) for f in frames)
        return Source(slices, others, np.ascontiguousarray(heat), affine)


def not_filed(problem: str) -> GlioserveError:
    """Return GLIO-4112 with the reason why there are no results."""
    return GlioserveError(ErrorCode.NOT_FILED, f"{problem}.")


def _complete(dataset: Dataset) -> Dataset:
    """Return a copy that has every attribute of :data:`_MAY_BE_EMPTY`, empty where the file lacks it."""
    complete = copy(dataset)
    for keyword in _MAY_BE_EMPTY:
        if keyword not in complete:
            setattr(complete, keyword, None)
    return complete


def _check(images: Sequence[Dataset]) -> None:
    missing = sorted({keyword for image in images for keyword in _NEEDED if not text_of(image, keyword)})
    if missing:
        raise not_filed(f"Images of the reference series lack {', '.join(missing)}")
    if len({text_of(image, "StudyInstanceUID") for image in images}) > 1:
        raise not_filed("The reference series' images belong to several studies")


def _others(prediction: Prediction, study: DicomStudy, images: Sequence[Dataset]) -> tuple[Dataset, ...]:
    """Return the images of the other series that were used, as far as they are of the same study.

    Raises:
        NotFiledError: the study has no image of a series that was used: a report would not say what it rests on.
    """
    there = {file.series_instance_uid for file in study.files}
    for record in prediction.report.preprocess.series:
        if prediction.original_series_uids.get(record.series_instance_uid, "") not in {"", *there}:
            raise not_filed(f"The study has no image of the {record.modality} series that was sent")
    used = {prediction.original_series_uids.get(s.series_instance_uid) for s in prediction.report.preprocess.series}
    seen = {text_of(image, "SOPInstanceUID") for image in images}
    found = (f.instance.dataset for f in study.files if not f.reason_not_sent and f.series_instance_uid in used)
    of_study = text_of(images[0], "StudyInstanceUID")
    return tuple(
        dataset
        for dataset in found
        if text_of(dataset, "StudyInstanceUID") == of_study and text_of(dataset, "SOPInstanceUID") not in seen
    )
