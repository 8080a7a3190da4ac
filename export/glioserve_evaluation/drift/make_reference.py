"""The drift reference of a network: its cohort's studies preprocessed and answered as the server does it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError, SchemaError, to_dict
from glioserve_contract.records.recipe import Recipe
from glioserve_contract.records.studies.drift import (
    DRIFT_REFERENCE_FILE,
    MIN_REFERENCE_STUDIES,
    DriftReference,
)
from glioserve_dicom.files.replacing import replacing
from glioserve_evaluation.runs.cohort import CohortCase
from glioserve_evaluation.runs.predictors import OfflinePredictor
from glioserve_export.version_files import MANIFEST_FILE
from glioserve_preprocess.files import file_digest
from glioserve_registry.publishing.publication import checked_export
from glioserve_triton.served.versions import load_manifest, save_manifest
from glioserve_watch.drift.reference import make_reference
from glioserve_watch.drift.values import StudyValues, values_of
from glioserve_watch.features import features_of


def check_open(network: Path) -> None:
    """Raise GLIO-5103 for a published version: its manifest is sealed, and a file more would break the seal."""
    if (network / MANIFEST_FILE).is_file() and checked_export(network).publication is not None:
        raise GlioserveError(
            ErrorCode.INVALID_MANIFEST,
            "The version is published, and its manifest is sealed.",
            "Make the reference in its artifact or in the exported folder, then export and publish a new version.",
        )


def values_of_cohort(
    cases: Sequence[CohortCase],
    predictor: OfflinePredictor,
    executor: Executor | None,
    left_out: Callable[[str, GlioserveError], None],
) -> Iterator[StudyValues]:
    """Yield the values of each study, in order; ``left_out`` is called with each case without an answer, and why."""
    folders = [case.folder for case in cases]
    answers = map(Asked(predictor), folders) if executor is None else executor.map(Asked(predictor), folders)
    for case, answer in zip(cases, answers, strict=True):
        if isinstance(answer, GlioserveError):
            left_out(case.case, answer)
        else:
            yield answer


class Asked:
    """Function from a study's folder to its values, or to the error that it ended with; picklable."""

    def __init__(self, predictor: OfflinePredictor) -> None:
        self._predictor = predictor

    def __call__(self, study: Path) -> StudyValues | GlioserveError:
        """Preprocess and answer a study."""
        try:
            report = self._predictor.report(study)
        except GlioserveError as error:
            return error
        return values_of(features_of(report.preprocess), report.score)


def reference_of(studies: Sequence[StudyValues], recipe: Recipe, weights_digest: str, source: str) -> DriftReference:
    """Return the reference of a cohort's studies (GLIO-5121 where they are too few)."""
    try:
        return make_reference(studies, recipe, weights_digest, source)
    except SchemaError as error:
        raise GlioserveError(
            ErrorCode.INVALID_COHORT,
            f"{len(studies)} studies were answered; a drift reference needs {MIN_REFERENCE_STUDIES}.",
        ) from error


def write_reference(reference: DriftReference, network: Path) -> Path:
    """Write the reference beside the weights, and into the manifest of an exported version; return its file."""
    check_open(network)
    file = network / DRIFT_REFERENCE_FILE
    with replacing(file) as beside:
        beside.write_text(json.dumps(to_dict(reference), separators=(",", ":")) + "\n", encoding="utf-8")
    if (network / MANIFEST_FILE).is_file():
        manifest = load_manifest(network)
        files = {**manifest.files, DRIFT_REFERENCE_FILE: file_digest(file)}
        save_manifest(replace(manifest, files=files), network)
    return file
