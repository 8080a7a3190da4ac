"""Have a study answered by the server, and make the answer into DICOM results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from pydicom.dataset import Dataset

from glioserve_client.client import GliomaClient
from glioserve_client.filing import make_results
from glioserve_client.prediction import Prediction
from glioserve_client.study import DicomStudy
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.recipe import Recipe, preprocessing_digest
from glioserve_contract.tensors import CLASSIFIER_MODEL
from glioserve_pacs.records.study import Report


@dataclass(frozen=True)
class Made:
    """An answer with its results, the report first."""

    prediction: Prediction
    datasets: tuple[Dataset, ...]

    @property
    def report(self) -> Report:
        """UIDs of the structured report."""
        first = self.datasets[0]
        return Report(str(first.SOPClassUID), str(first.SeriesInstanceUID), str(first.SOPInstanceUID))


class Answering:
    """A glioserve server, asked by the typed client; use it as a context manager."""

    def __init__(self, url: str, recipe: Recipe, **options: Any) -> None:
        """Connect when the first study is sent.

        Args:
            url: the server's gRPC address.
            recipe: the recipe by which the bridge tells that a study is complete; the server's must equal it.
            options: further arguments of :class:`glioserve_client.GliomaClient`.
        """
        self._preprocessing = preprocessing_digest(recipe)
        self._client = GliomaClient(url, **options)
        self._classifier = GliomaClient(url, **{**options, "model_name": CLASSIFIER_MODEL.name})

    def __enter__(self) -> Answering:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        self._classifier.close()

    def version(self) -> str:
        """Return the version of the network that serves now. Raises GlioserveError as the client does."""
        return ",".join(self._classifier.server_info().model_versions)

    def answer(self, folder: Path, predecessor: Report | None, study_instance_uid: str) -> Made:
        """Have the study in ``folder`` answered.

        Args:
            folder: its images.
            predecessor: the report whose place the new one takes.
            study_instance_uid: the study.

        Raises:
            GlioserveError: what the client raises; GLIO-4112 where there can be no results; GLIO-5104 where the
                server's recipe is another than the bridge's.
        """
        study = DicomStudy.from_directory(folder)
        prediction = self._client.predict(study)
        if prediction.report.preprocess.preprocessing_digest != self._preprocessing:
            detail = "The server's recipe is another than the one that the bridge was given (--recipe)."
            raise GlioserveError(ErrorCode.PREPROCESSING_MISMATCH, detail, "Give the recipe of the model that serves.")
        earlier = [] if predecessor is None else [_header_of(predecessor, study_instance_uid)]
        return Made(prediction, tuple(make_results(prediction, study, earlier).by_name.values()))


def _header_of(report: Report, study_instance_uid: str) -> Dataset:
    """Return what a later report needs of its predecessor."""
    header = Dataset()
    header.StudyInstanceUID = study_instance_uid
    header.SOPClassUID = report.sop_class_uid
    header.SeriesInstanceUID = report.series_instance_uid
    header.SOPInstanceUID = report.sop_instance_uid
    return header
