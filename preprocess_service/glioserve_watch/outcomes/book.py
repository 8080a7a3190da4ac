"""The book of outcomes: one file of JSON lines beside the study log, to which lines are only added."""

from __future__ import annotations

from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.studies.outcome import OutcomeRecord, Source, Truth
from glioserve_contract.records.studies.study import StudyRecord
from glioserve_watch.groups import groups_of
from glioserve_watch.record_file import RecordFile
from glioserve_watch.times import utc_now

OUTCOMES_FILE = "outcomes.jsonl"


def outcome_of(study: StudyRecord, truth: Truth, source: Source, *, corrects: bool = False) -> OutcomeRecord:
    """Return the record of the truth about an answered study, with what was answered.

    Raises:
        GlioserveError: GLIO-5136 where the study got no answer.
    """
    if study.model is None or study.score is None:
        raise GlioserveError(
            ErrorCode.INVALID_OUTCOME, f"The study {study.request_id} was not answered ({study.outcome})."
        )
    return OutcomeRecord(
        recorded_at=utc_now(),
        request_id=study.request_id,
        truth=truth,
        source=source,
        answered_at=study.ended_at,
        version=study.model.version,
        digest=study.model.digest,
        score=study.score,
        label=study.label,
        groups=groups_of(study),
        corrects=corrects,
    )


class OutcomeBook:
    """The outcomes in a folder."""

    def __init__(self, folder: Path) -> None:
        self._records = RecordFile(folder / OUTCOMES_FILE, OutcomeRecord)

    @property
    def file(self) -> Path:
        """The file; it is made with the first outcome."""
        return self._records.path

    def add(self, outcome: OutcomeRecord) -> bool:
        """Add a line, durably; return False where the book says the same already.

        Raises:
            GlioserveError: GLIO-5136 where the book has another truth of the request and ``outcome`` does not correct
                it; GLIO-5134 where the file cannot be read or written.
        """
        return self._records.append_if(outcome, lambda earlier: _is_news(outcome, earlier))

    def read(self) -> tuple[OutcomeRecord, ...]:
        """Return the outcomes that hold, one for each request, in the order in which requests first got one.

        Raises:
            GlioserveError: GLIO-5134 where the file cannot be read or a line is damaged.
        """
        return tuple({outcome.request_id: outcome for outcome in self._records.read()}.values())


def _is_news(outcome: OutcomeRecord, earlier: list[OutcomeRecord]) -> bool:
    known = next((o for o in reversed(earlier) if o.request_id == outcome.request_id), None)
    if known is None:
        if outcome.corrects:
            raise GlioserveError(ErrorCode.INVALID_OUTCOME, f"{outcome.request_id} has no outcome to correct.")
        return True
    if (known.truth, known.source) == (outcome.truth, outcome.source):
        return False
    if not outcome.corrects:
        raise GlioserveError(
            ErrorCode.INVALID_OUTCOME,
            f"{outcome.request_id} is {known.truth} by {known.source} since {known.recorded_at}.",
        )
    return True
