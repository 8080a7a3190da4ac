"""The taker of records that asks the candidate about each answered study and writes down both answers."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from glioserve_contract import GlioserveError
from glioserve_contract.records.manifest import ServedVersion
from glioserve_contract.records.studies.shadow import ShadowAnswer, ShadowRecord
from glioserve_contract.records.studies.study import StudyRecord
from glioserve_triton.shadow.candidate import CandidateProcess
from glioserve_watch.groups import groups_of
from glioserve_watch.shadow.comparison import shadow_file
from glioserve_watch.shadow.images import sweep, take
from glioserve_watch.times import utc_now

MOST_WAITING = 256
"""Studies that wait for the candidate; further ones are skipped, for it must never hold anything up."""
SKIPPED, FAILED = "skipped", "failed"
Told = Callable[[str, ShadowRecord | None], None]
"""Function that is called with the end of a study: its result, and the record where there is one."""


class ShadowRunner:
    """A sink of the keeper. Its thread ends with :meth:`close`, whatever waits then is skipped."""

    def __init__(self, candidate: ServedVersion, repository: Path, images: Path, study_log: Path, told: Told) -> None:
        self._candidate, self._images, self._told = candidate, images, told
        self._process = CandidateProcess(candidate, repository)
        self._file = shadow_file(study_log)
        self._waiting: queue.Queue[StudyRecord | None] = queue.Queue(MOST_WAITING)
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
        self._thread.start()

    def take(self, records: Sequence[StudyRecord]) -> None:
        """Have the candidate asked about each study that was answered."""
        for record in records:
            if record.model is None or record.image_digest is None:
                continue
            try:
                self._waiting.put_nowait(record)
            except queue.Full:
                take(self._images, record.image_digest)
                self._told(SKIPPED, None)

    def close(self) -> None:
        """End the candidate's process and the thread."""
        self._closing = True
        self._process.close()
        with suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join()

    def _work(self) -> None:
        while (study := self._waiting.get()) is not None and not self._closing:
            result, record = self._ask(study)
            self._told(result, record)
            if self._waiting.empty():
                sweep(self._images)

    def _ask(self, study: StudyRecord) -> tuple[str, ShadowRecord | None]:
        assert study.model is not None
        assert study.image_digest is not None
        assert study.score is not None
        image = take(self._images, study.image_digest)
        if image is None:
            return SKIPPED, None
        score = self._process.score(image)
        if score is None:
            return FAILED, None
        manifest = self._candidate.manifest
        label = "recurrence" if score >= manifest.recipe.threshold else "necrosis"
        record = ShadowRecord(
            at=utc_now(),
            request_id=study.request_id,
            image_digest=study.image_digest,
            served=ShadowAnswer(study.model.version, study.model.digest, study.score, study.label),
            candidate=ShadowAnswer(
                self._candidate.version, manifest.weights_digest, score, "" if study.abstained_because else label
            ),
            groups=groups_of(study),
        )
        try:
            self._file.append(record)
        except GlioserveError:
            return FAILED, None
        return record.result, record
