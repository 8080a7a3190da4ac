"""The answer as objects that a hospital files beside the study's own images.

They are made here, where the original headers are, so that no identity travels to the server::

    results = make_results(prediction, study)
    results.write("out")

Needs the extra ``dicom`` (highdicom).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset

from glioserve_client.filing.source import not_filed, source_of
from glioserve_client.outputs import overlay_of
from glioserve_client.prediction import Prediction
from glioserve_client.study import Study
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.install import client_advice
from glioserve_dicom.files.quiet import quiet
from glioserve_dicom.files.replacing import folder_for, replacing

try:
    import highdicom  # noqa: F401
except ImportError as missing:
    raise GlioserveError(
        ErrorCode.MISSING_LIBRARY, f"DICOM results need highdicom: {client_advice('dicom')}."
    ) from missing

from glioserve_client.filing.identity import equipment_of
from glioserve_client.filing.images import HOT_THRESHOLD, capture, parametric_map, segmentation
from glioserve_client.filing.report import structured_report

if TYPE_CHECKING:
    from highdicom.base import SOPClass
    from highdicom.pm import ParametricMap
    from highdicom.sc import SCImage
    from highdicom.seg import Segmentation
    from highdicom.sr import Comprehensive3DSR

__all__ = ["HOT_THRESHOLD", "DicomResults", "make_results"]


@dataclass(frozen=True, eq=False)
class DicomResults:
    """Results of one answer: of the study and the patient of its images, each a series of its own.

    The same answer to the same images has the same UIDs whenever it is made, so that a PACS stores it once.
    """

    report: Comprehensive3DSR
    """Structured report by TID 1500, with references to the images and to ``segmentation``."""
    parametric_map: ParametricMap
    """Heat map, 0 to 1, on the reference series' slices."""
    segmentation: Segmentation | None
    """Region at or above :data:`HOT_THRESHOLD` of the heat map; None where the heat map is empty."""
    capture: SCImage
    """Overlay as a colour picture."""

    @property
    def by_name(self) -> dict[str, SOPClass]:
        """Results by the name of the file that :meth:`write` makes."""
        made: dict[str, SOPClass | None] = {
            "report.dcm": self.report,
            "heatmap.dcm": self.parametric_map,
            "hot_region.dcm": self.segmentation,
            "overlay.dcm": self.capture,
        }
        return {name: dataset for name, dataset in made.items() if dataset is not None}

    def write(self, directory: str | os.PathLike[str]) -> tuple[Path, ...]:
        """Write each result as a file into ``directory``, which is made if need be, and return the paths.

        Raises:
            OSError: the folder cannot be written.
            ValueError: the folder's name is empty.
        """
        folder = folder_for(directory)
        for name, dataset in self.by_name.items():
            with replacing(folder / name) as beside:
                dataset.save_as(beside, enforce_file_format=True)
        return tuple(folder / name for name in self.by_name)


def make_results(prediction: Prediction, study: Study, supersedes: Sequence[Dataset] = ()) -> DicomResults:
    """Return the DICOM results of an answer.

    Args:
        prediction: the answer, with its heat map.
        study: the study that was sent; its own headers give the results their patient and their references.
        supersedes: earlier reports of the same study, whose place the new one takes (its predecessors).

    Raises:
        NotFiledError: GLIO-4112 where the study does not allow it; the message says why.
        TypeError: an argument is of another kind.
    """
    source = source_of(prediction, study)
    equipment = equipment_of(prediction, source)
    overlay, _ = overlay_of(prediction, study)
    with quiet("pydicom"), quiet("highdicom"):
        try:
            hot_region = segmentation(prediction, source, equipment)
            return DicomResults(
                structured_report(prediction, source, equipment, hot_region, supersedes),
                parametric_map(prediction, source, equipment),
                hot_region,
                capture(overlay.image, prediction, source, equipment),
            )
        except (AttributeError, TypeError, ValueError, KeyError) as error:
            raise not_filed(f"A header of the study does not fit a result ({type(error).__name__})") from error
