"""Studies in an audit log, found by their request id."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError, SchemaError, from_dict
from glioserve_contract.records.studies.study import StudyRecord
from glioserve_watch.audit.files import AUDIT_FOLDER, files_of
from glioserve_watch.audit.lines import STUDY
from glioserve_watch.parts import parts_of


def find_answer(study_log: Path, request_id: str) -> StudyRecord | None:
    """Return the last answer to a request, by any server of the study log; None where there is none.

    Raises:
        GlioserveError: GLIO-5134 where the study log cannot be read.
    """
    answers = (record for record in _studies(study_log, request_id) if record.model is not None)
    return max(answers, key=lambda record: record.record_id, default=None)


def _studies(study_log: Path, request_id: str) -> Iterator[StudyRecord]:
    spelled = json.dumps(request_id).encode()
    for part in parts_of(study_log):
        folder = part / AUDIT_FOLDER
        for file in files_of(folder) if folder.is_dir() else ():
            try:
                with file.path.open("rb") as lines:
                    yield from (_study(file.path, line) for line in lines if _may_be(line, spelled))
            except OSError as error:
                raise _unfit(file.path, str(error.strerror)) from error


def _may_be(line: bytes, spelled: bytes) -> bool:
    """Return whether the line has the request; most lines are not worth parsing."""
    return b'"request_id":' + spelled in line


def _study(path: Path, line: bytes) -> StudyRecord:
    try:
        return from_dict(StudyRecord, json.loads(line)[STUDY], ignore_unknown=True)
    except (ValueError, KeyError, SchemaError) as error:
        raise _unfit(path, "a line is damaged; `glioserve audit verify` names it") from error


def _unfit(path: Path, why: str) -> GlioserveError:
    return GlioserveError(ErrorCode.INVALID_STUDY_LOG, f"{path}: {why}.")
