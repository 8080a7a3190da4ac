"""The bridge: it looks for studies, and moves each by one step at a time until its results are stored.

Every step begins and ends in a state that is on the disk. A step that a kill cuts off is done again: missing images are
fetched, the server is asked once more, and of results only those are stored that the PACS does not have. Results of the
same answer have the same UIDs, so none is stored twice.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

from glioserve_client.errors import PacsError, ServerError, StudyError, TransportError
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.limits import MAX_INSTANCES
from glioserve_pacs.archives import FoundStudy, Image, Query, digest_of
from glioserve_pacs.parts import Parts, Settings
from glioserve_pacs.records.study import UNDER_WAY, NewAnswer, Phase, Study

MOST_SERVER_FAILURES = 6
"""Failures of the server at one study in a row after which the study is refused: it may be what brings it down."""
MOST_REFUSALS = 12
"""Attempts to store results of which the PACS does not take, or does not list, all; then it has what it has. With
pauses that grow to :data:`LONGEST_PAUSE_S` they last more than an hour."""
LONGEST_PAUSE_S = 600.0
_WAIT_S = 0.2
_OPERATORS = (ErrorCode.PREPROCESSING_MISMATCH, ErrorCode.INVALID_BRIDGE)
"""Failures that are not the study's fault, and that an operator mends while the study waits."""


class Bridge:
    """One bridge over one state folder."""

    def __init__(self, parts: Parts, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._parts, self._settings, self._clock = parts, settings, clock
        self._state, self._files, self._metrics = parts.state, parts.files, parts.metrics
        self._in_this_run: set[str] = set()
        self._deferred: list[tuple[FoundStudy, bool]] = []
        self._failed_polls = 0
        self._polled = self._not_addressable = False

    def run(self, stop: Callable[[], bool]) -> None:
        """Work until ``stop``; with ``once``, until every study is settled or has failed.

        Raises:
            GlioserveError: as :meth:`poll`; GLIO-5139 where the state folder cannot be written.
        """
        self.clean_up()
        next_poll = time.monotonic()
        while not stop():
            try:
                if time.monotonic() >= next_poll and not (self._settings.once and self._polled):
                    next_poll = time.monotonic() + self.poll()
                worked = self.step()
                self.report()
                ended = self._settings.once and not worked and not self._open() and not self._take_deferred()
            except BrokenPipeError:  # of the output, whose reader has gone
                raise
            except OSError as error:
                detail = f"The state folder cannot be written: {error.strerror or type(error).__name__}."
                raise GlioserveError(ErrorCode.BRIDGE_STATE, detail) from error
            if ended:
                return
            if not worked:
                time.sleep(_WAIT_S)

    def clean_up(self) -> None:
        """Remove the files that a kill left behind; images that can be fetched again are not trusted."""
        images_of = {uid for uid, _ in self._state.received_studies()} if self._parts.source_is_own else set()
        results_of = {study.study_instance_uid for study in self._state.known((Phase.ANSWERED,))}
        self._files.drop_all_but(images_of, results_of)

    def poll(self) -> float:
        """Look at the PACS once, and return the seconds until the next look.

        Raises:
            GlioserveError: it fails for a reason that does not pass, or at all with ``once``. A PACS that answered
                before may refuse for a while.
        """
        self._state.agree_with_clock(LONGEST_PAUSE_S)
        self._deferred = []
        try:
            seen = {uid for query in self._queries() for uid in self._look_for(query)}
            for study in self._state.known((Phase.WAITING,)):
                if study.study_instance_uid not in seen:
                    self._notice(FoundStudy(study.study_instance_uid))
        except GlioserveError as error:
            may_pass = isinstance(error, PacsError) and (self._polled or error.retryable)
            if self._settings.once or not may_pass:
                raise
            self._unreachable(error)
            self._failed_polls += 1
            return self._pause_s(self._failed_polls - 1)
        if self._failed_polls:
            self._state.pacs_is_back()
        self._metrics.reachable(True)
        self._polled, self._failed_polls = True, 0
        if self._parts.source_is_own:
            self._forget_old()
        return self._settings.poll_s

    def step(self) -> bool:
        """Move the study that is due by one step; return False where none is due."""
        pacs_is_down = self._failed_polls and not self._settings.once
        study = self._state.due(self._settings.stable_s, (Phase.READY,) if pacs_is_down else UNDER_WAY)
        if study is None:
            return False
        steps = {Phase.WAITING: self._look, Phase.READY: self._answer, Phase.ANSWERED: self._store}
        try:
            steps[study.phase](study)
        except GlioserveError as error:
            if error.code is ErrorCode.BRIDGE_STATE:
                raise
            self._failed(study, error)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - a study that brings a fault to light must not keep others waiting
            self._state.note("fault", kind=type(error).__name__, place=_place_of(error))
            self._failed(study, GlioserveError(ErrorCode.INTERNAL, "The bridge met an error that it does not know."))
        return True

    def report(self) -> None:
        """Write the audit log and the gauges."""
        self._parts.audit.write(self._state)
        self._metrics.count(self._state.counts())

    def outcomes(self) -> list[Study]:
        """Return the studies of this run as they are now."""
        return [study for study in self._state.known() if study.study_instance_uid in self._in_this_run]

    # Looking for studies

    def _queries(self) -> tuple[Query, ...]:
        today = datetime.fromtimestamp(self._clock(), timezone.utc).astimezone().date()
        return self._settings.queries or (Query(since=today - timedelta(days=self._settings.window_days)),)

    def _look_for(self, query: Query) -> list[str]:
        found = self._parts.source.find(query)
        named = bool(self._settings.queries) and not self._polled
        if named and not found:
            raise GlioserveError(ErrorCode.STUDY_NOT_FOUND)
        if any(not study.study_instance_uid for study in found):
            self._metrics.failed(ErrorCode.PACS_ANSWER_MALFORMED.token)
            if not self._not_addressable:
                self._not_addressable = True
                self._state.note("study without a uid", code=ErrorCode.PACS_ANSWER_MALFORMED.token)
        asked_for = [study for study in found if study.study_instance_uid]
        for study in asked_for:
            self._notice(study, named=named)
        return [study.study_instance_uid for study in asked_for]

    def _notice(self, found: FoundStudy, *, named: bool = False) -> None:
        """Note a study, and its images where they may have changed."""
        uid = found.study_instance_uid
        known = self._state.study(uid)
        same = known is not None and found.instances is not None and known.instances == found.instances
        under_way = known is not None and known.phase in UNDER_WAY
        if not under_way and (named or not same) and self._is_full():
            self._metrics.deferred.inc()
            self._deferred.append((found, named))
            return
        if under_way or named or not same:
            self._in_this_run.add(uid)
        if not same:
            try:
                images = self._images(uid)
            except GlioserveError as error:
                if error.code is not ErrorCode.PACS_ANSWER_MALFORMED:
                    raise
                self._waits_unread(uid, known)
                return
            self._state.seen(uid, digest_of(images), found.instances, images=len(images))
        known = self._state.study(uid)
        if named and known is not None and known.phase not in UNDER_WAY:
            self._state.wait(known)

    def _take_deferred(self) -> bool:
        """Note studies that were too many for the queue; return False where there are none, or still no room."""
        if not self._deferred or self._is_full():
            return False
        deferred, self._deferred = self._deferred, []
        for found, named in deferred:
            self._notice(found, named=named)
        return True

    def _waits_unread(self, uid: str, known: Study | None) -> None:
        """Have a study wait whose images are listed as what is not DICOM: the step that looks at it fails for it."""
        if known is None:
            self._state.seen(uid, digest_of(()), None, images=0)
        elif known.phase not in UNDER_WAY:
            self._state.wait(known)

    def _images(self, study_instance_uid: str) -> frozenset[Image]:
        """Return the study's images, never one of the bridge's own results."""
        own = self._state.own_results(study_instance_uid)
        images = self._parts.source.images(study_instance_uid)
        return frozenset(image for image in images if image.sop_instance_uid not in own)

    def _is_full(self) -> bool:
        counts = self._state.counts()
        return sum(counts[phase] for phase in UNDER_WAY) >= self._settings.most_under_way

    # Steps

    def _look(self, study: Study) -> None:
        """Fetch a stable study and ask the recipe whether it is complete."""
        uid = study.study_instance_uid
        images = self._images(uid)
        if digest_of(images) != study.content:
            self._state.seen(uid, digest_of(images), study.instances, images=len(images))
            return
        if not images:
            self._state.incomplete(study, ErrorCode.STUDY_NOT_FOUND.token)
            return
        if len(images) > MAX_INSTANCES:
            self._state.refused(study, ErrorCode.STUDY_TOO_LARGE.token)
            return
        self._fetch(uid, images)
        try:
            choice = self._parts.choose(self._files.images_of(uid))
        except StudyError as error:
            self._metrics.failed(error.token)
            self._state.incomplete(study, error.token)
            self._drop_images(uid)
        else:
            self._state.ready(study, choice)

    def _fetch(self, uid: str, images: frozenset[Image]) -> None:
        missing = self._files.missing(uid, images)
        if missing:
            self._parts.source.fetch(uid, missing, partial(self._files.add_image, uid))
            missing = self._files.missing(uid, images)
        if missing:
            detail = f"{len(missing)} of {len(images)} images that the PACS lists did not come."
            raise GlioserveError(ErrorCode.PACS_ANSWER_MALFORMED, detail)
        self._files.keep_only(uid, images)

    def _answer(self, study: Study) -> None:
        """Have a complete study answered, unless the same series were answered by the same version."""
        uid, state = study.study_instance_uid, self._state
        last = state.last_answer(uid, stored=True)
        if self._settings.dry_run:
            stands = last is not None and last.choice == study.choice
            state.settled(study, "answer still stands" if stands else "would be answered")
            return
        if state.is_answered(uid, study.choice, self._parts.answers.version()):
            state.settled(study, "answer still stands")
            self._drop_images(uid)
            return
        folder = self._files.images_of(uid)
        if not folder.is_dir():
            state.wait(study)
            return
        made = self._parts.answers.answer(folder, None if last is None else last.report, uid)
        model = made.prediction.model
        if state.is_answered(uid, study.choice, model.version):  # the version changed between the two calls
            state.settled(study, "answer still stands")
            self._drop_images(uid)
            return
        self._files.put_results(uid, made.datasets, self._parts.texts(made))
        results = tuple(str(dataset.SOPInstanceUID) for dataset in made.datasets)
        new = NewAnswer(model.version, model.digest, made.report, results, None if last is None else last.number)
        if state.answered(study, new):
            self._drop_images(uid)

    def _store(self, study: Study) -> None:
        """Store what the PACS does not have of an answer's results, and see that it has them all."""
        uid, state, destination = study.study_instance_uid, self._state, self._parts.destination
        if self._settings.dry_run:
            state.settled(study, "would be stored")
            return
        answer = state.last_answer(uid, stored=False)
        assert answer is not None, "an answered study has an answer that is not stored"
        files = self._files.results_of(uid)
        if not set(answer.results) <= {file.stem for file in files}:
            state.lost(study)
            return
        refusals: tuple[str, ...] = ()
        missing = destination.missing(uid, answer.results)
        wanted = [file for file in files if file.stem in missing or file.suffix != ".dcm"]
        if wanted:
            refusals = destination.store(wanted)
            missing = destination.missing(uid, answer.results)
        if missing:
            error = _not_all_stored(len(missing), len(answer.results), refusals)
            last = study.attempts + 1 >= MOST_REFUSALS
            if not last:
                raise error
            self._metrics.failed(error.token)
            if answer.report.sop_instance_uid in missing:
                state.refused(study, error.token)
            else:
                state.stored_in_part(answer, len(missing), error.token)
            self._files.drop_results(uid)
            return
        state.stored(answer)
        self._metrics.stored(superseding=answer.supersedes is not None, wait_s=self._clock() - study.changed_at)
        self._files.drop_results(uid)

    # Failures

    def _failed(self, study: Study, error: GlioserveError) -> None:
        """Postpone a study for what is not its fault; refuse it for what is."""
        self._metrics.failed(error.token)
        if error.code is ErrorCode.PACS_UNREACHABLE:
            self._unreachable(error)
            self._failed_polls = max(1, self._failed_polls)  # the next look tells when it is back
        not_its_fault = error.retryable or isinstance(error, TransportError) or error.code in _OPERATORS
        worn_out = isinstance(error, ServerError) and study.attempts + 1 >= MOST_SERVER_FAILURES
        if error.code is ErrorCode.NOT_FILED or not not_its_fault or worn_out:
            self._state.refused(study, error.token)
            self._drop_images(study.study_instance_uid)
            self._files.drop_results(study.study_instance_uid)
        else:
            self._state.postponed(study, error.token, self._pause_s(study.attempts))

    def _unreachable(self, error: GlioserveError) -> None:
        if not self._failed_polls:
            self._state.note("pacs failed", code=error.token, detail=error.detail)
        self._metrics.reachable(False)

    def _pause_s(self, failures: int) -> float:
        return min(LONGEST_PAUSE_S, self._settings.poll_s * 2.0 ** min(failures, 30))

    # Files

    def _drop_images(self, uid: str) -> None:
        if not self._parts.source_is_own:
            self._files.drop_images(uid)

    def _forget_old(self) -> None:
        """Remove images that were sent long ago and whose study is settled."""
        for uid, _ in self._state.received_studies():
            study = self._state.study(uid)
            if study is None or study.phase in UNDER_WAY:
                continue
            if self._clock() - study.changed_at > self._settings.keep_received_s:
                self._state.forget_received(uid)
                self._files.drop_images(uid)

    def _open(self) -> bool:
        """Return whether a study is under way that has not failed in this run."""
        return any(study.attempts == 0 for study in self._state.known(UNDER_WAY))


def _not_all_stored(missing: int, results: int, refusals: tuple[str, ...]) -> GlioserveError:
    if refusals:
        reasons = ", ".join(sorted(set(refusals)))
        return GlioserveError(
            ErrorCode.PACS_REFUSED, f"The PACS did not take {len(refusals)} of {results} results ({reasons})."
        )
    detail = f"{missing} of {results} results that the PACS took are not listed."
    return GlioserveError(ErrorCode.PACS_ANSWER_MALFORMED, detail)


def _place_of(error: BaseException) -> str:
    """Return module and line where an error arose; its text is left out, since it may quote a study."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"
