"""A Python model's part of the study log: a record in the spool for every study that ends in it."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from glioserve_contract import CONTRACT_VERSION, ErrorCode
from glioserve_contract import metrics as m
from glioserve_contract.records.preprocess import PreprocessRecord
from glioserve_contract.records.report import Report, untimed_digest
from glioserve_contract.records.studies.study import StudyRecord, plain_request_id
from glioserve_contract.tensors import PREPROCESS
from glioserve_triton.adapters.backend_api import BackendUtils, Request
from glioserve_triton.adapters.metrics import Metrics, caller_of
from glioserve_watch.features import features_of
from glioserve_watch.inputs import KEPT_INPUTS, REPLAYED, KeptInput, input_file, leave_input
from glioserve_watch.shadow.images import SHADOW_IMAGES, Image, leave
from glioserve_watch.spool import SPOOL_FOLDER, STUDY_LOG, Spool
from glioserve_watch.times import utc_now


def keeps_log() -> bool:
    """Return whether a study log is kept beyond the run, and inputs are known by their digest."""
    return bool(os.environ.get(STUDY_LOG))


def leave_for_candidate(record: PreprocessRecord, image: Image) -> None:
    """Leave the network's input [C, D, H, W] where a candidate runs beside the server."""
    folder = os.environ.get(SHADOW_IMAGES)
    if folder and record.provenance is not None:
        leave(Path(folder), record.provenance.image_sha256, image)


def keep_input(metrics: Metrics, record: PreprocessRecord, kept: KeptInput) -> None:
    """Leave the network's input for the supervisor to keep, where the operator asks for it."""
    folder, provenance = os.environ.get(KEPT_INPUTS), record.provenance
    if folder and provenance is not None:
        name = input_file(provenance.image_sha256, record.input_digest)
        if not leave_input(Path(folder), name, kept):
            metrics.input_lost()


def take_mark(preprocess: bytes | str) -> tuple[dict[str, Any], bool]:
    """Return the JSON object of PREPROCESS, and whether a replay sent it, which is not to be counted or recorded."""
    fields: dict[str, Any] = json.loads(preprocess)
    return fields, fields.pop(REPLAYED, False) is True


def is_replayed(pb_utils: BackendUtils, request: Request) -> bool:
    """Return whether a request that failed came from a replay."""
    tensor = pb_utils.get_input_tensor_by_name(request, PREPROCESS.name)
    with suppress(ValueError, AttributeError, IndexError):  # what it has instead is a failure of a study
        return tensor is not None and take_mark(tensor.as_numpy()[0])[1]
    return False


class Studies:
    """Writer of the records of one process of ``model``; it does nothing where no supervisor takes them."""

    def __init__(self, model: str, metrics: Metrics) -> None:
        folder = os.environ.get(SPOOL_FOLDER)
        self._spool = Spool(Path(folder)) if folder else None
        self._model, self._metrics = model, metrics

    def answered(self, request: Request, report: Report) -> None:
        """Count and record an answer."""
        self._metrics.reported(report, caller_of(request))
        if self._spool is None:
            return
        provenance = report.preprocess.provenance
        ended = self._ended(self._spool, request, m.ANSWERED if report.label else m.ABSTAINED)
        record = replace(
            ended,
            input_digest=report.preprocess.input_digest,
            preprocessing_digest=report.preprocess.preprocessing_digest,
            image_digest=provenance.image_sha256 if provenance else None,
            model=report.model,
            score=report.score,
            label=report.label,
            abstained_because=report.abstained_because,
            report_digest=untimed_digest(report),
            timings_s=report.timings_s,
            features=features_of(report.preprocess),
        )
        self._put(self._spool, record)

    def failed(self, request: Request, code: ErrorCode, input_digest: str | None = None) -> None:
        """Count and record a study that got an error instead of an answer."""
        self._metrics.count(m.outcome_of(code), code.token, caller_of(request))
        if self._spool is not None:
            ended = self._ended(self._spool, request, m.outcome_of(code), code.token)
            self._put(self._spool, replace(ended, input_digest=input_digest))

    def _ended(self, spool: Spool, request: Request, outcome: str, code: str = "") -> StudyRecord:
        caller = caller_of(request)
        return StudyRecord(
            record_id=spool.new_record_id(),
            ended_at=utc_now(),
            request_id=plain_request_id(request.request_id()),
            outcome=outcome,
            code=code,
            ended_by=self._model,
            contract_version=CONTRACT_VERSION,
            caller="" if caller == m.OTHER_CALLER else caller,
        )

    def _put(self, spool: Spool, record: StudyRecord) -> None:
        if not spool.put(record):
            self._metrics.record_lost()
