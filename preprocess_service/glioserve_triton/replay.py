"""Ask a version of the classifier again about studies whose inputs were kept, through a running server.

The classifier and the report are asked as the ensemble asks them, one study at a time, and nothing of it is counted or
recorded. Preprocessing is not repeated: versions of one repository share it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from glioserve_client.status import error_from_status
from glioserve_contract import ErrorCode, GlioserveError, from_dict
from glioserve_contract import tensors as t
from glioserve_contract.records.report import Report, untimed_digest
from glioserve_contract.records.studies.study import StudyRecord
from glioserve_watch.inputs import REPLAYED, KeptInput, find_input

TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Replayed:
    """The answer that a study got, and the one that the version gives."""

    ended_at: str
    request_id: str
    record_id: str
    version: str
    """Version that answered then."""
    score: float
    label: str
    new_version: str
    new_score: float
    new_label: str
    same_version: bool
    """True where the version is the one that answered then: by name, number and weights."""
    same_report: bool
    """True where the whole report but its times is equal, to the byte."""

    @property
    def flipped(self) -> bool:
        """True where the answer is another: the other label, an abstention in place of a label, or a label of one."""
        return self.label != self.new_label


def replay(
    client: triton.InferenceServerClient,
    version: int,
    records: Iterable[StudyRecord],
    inputs: Path,
    headers: dict[str, str] | None = None,
) -> Iterator[Replayed | StudyRecord]:
    """Yield what ``version`` answers to each of the answered studies; the record itself where its input is not kept.

    Args:
        client: a connection to a server that has loaded the version.
        version: number of the classifier's version.
        records: studies of the audit log.
        inputs: folder of the kept inputs.
        headers: gRPC metadata of every call.

    Raises:
        GlioserveError: GLIO-5134 where an input is damaged; GLIO-4103 where the server does not serve the version;
            another of a call's codes where it does not answer.
    """
    _check_served(client, str(version), headers)
    for record in records:
        if record.model is None or record.image_digest is None or record.score is None:
            continue
        kept = find_input(inputs, record.image_digest, record.input_digest)
        if kept is None:
            yield record
            continue
        try:
            report, same = _asked(client, str(version), kept, record, headers)
        except InferenceServerException as error:
            raise error_from_status(error.status(), error.message()) from error
        yield Replayed(
            record.ended_at,
            record.request_id,
            record.record_id,
            record.model.version,
            record.score,
            record.label,
            report.model.version,
            report.score,
            report.label,
            report.model == record.model,
            same,
        )


def _check_served(client: triton.InferenceServerClient, version: str, headers: dict[str, str] | None) -> None:
    try:
        served = client.is_model_ready(t.CLASSIFIER_MODEL.name, version, headers=headers, client_timeout=TIMEOUT_S)
    except InferenceServerException as error:
        raise error_from_status(error.status(), error.message()) from error
    if not served:
        raise GlioserveError(
            ErrorCode.NOT_SERVED,
            f"The server does not serve version {version} of the classifier.",
            "Name the repository in place of the server (--repository): one that serves the version is then started.",
        )


def _asked(
    client: triton.InferenceServerClient,
    version: str,
    kept: KeptInput,
    record: StudyRecord,
    headers: dict[str, str] | None,
) -> tuple[Report, bool]:
    answer = client.infer(
        t.CLASSIFIER_MODEL.name,
        [_tensor(t.IMAGE, kept.image[None])],
        model_version=version,
        client_timeout=TIMEOUT_S,
        headers=headers,
    )
    marked = json.dumps({REPLAYED: True, **json.loads(kept.preprocess)})
    given = [_tensor(tensor, answer.as_numpy(tensor.name)) for tensor in (t.LOGITS, t.CAM, t.MODEL_ID)]
    given += [_tensor(t.BRAIN_MASK, kept.brain_mask), _tensor(t.PREPROCESS, np.array([marked], dtype=object))]
    # The record does not say whether its caller asked for a heat map, which the report speaks of.
    for outputs in ((t.REPORT, t.HEATMAP), (t.REPORT,)):
        wanted = [triton.InferRequestedOutput(tensor.name) for tensor in outputs]
        told = client.infer(
            t.REPORT_MODEL.name, given, outputs=wanted, client_timeout=TIMEOUT_S, headers=headers
        ).as_numpy(t.REPORT.name)
        assert told is not None
        report = from_dict(Report, json.loads(told[0]))
        if untimed_digest(report) == record.report_digest:
            return report, True
        if report.model != record.model:
            break
    return report, False


def _tensor(tensor: t.Tensor, value: npt.NDArray[np.generic] | None) -> triton.InferInput:
    assert value is not None
    made = triton.InferInput(tensor.name, list(value.shape), tensor.dtype)
    made.set_data_from_numpy(np.ascontiguousarray(value))
    return made
