"""States of the studies in SQLite: every transition is one transaction, so that a kill leaves the one or the other.

The audit lines of a transition are in the same transaction; :mod:`glioserve_pacs.records.audit` writes them to the log
afterwards. The database holds UIDs, which the bridge needs to ask the PACS, and no other identity.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_pacs.archives import Image
from glioserve_pacs.records.schema import SCHEMA, VERSION
from glioserve_pacs.records.study import UNDER_WAY, Answer, NewAnswer, Phase, Report, Study

IN_MEMORY = ":memory:"


class State:
    """The database. Any number of threads may use one instance; one process may use the file."""

    def __init__(
        self,
        path: Path | str,
        subject: Callable[[str], str],
        *,
        clock: Callable[[], float] = time.time,
        copy_of: Path | None = None,
    ) -> None:
        """Open or make the database.

        Args:
            path: the file, or :data:`IN_MEMORY`.
            subject: the pseudonym of a StudyInstanceUID in audit lines.
            clock: seconds since 1970.
            copy_of: a database whose content is copied into this one first, and which stays as it is.

        Raises:
            GlioserveError: GLIO-5139 where the file is not such a database.
        """
        self._subject, self._clock = subject, clock
        self._lock = threading.RLock()
        try:
            self._db = sqlite3.connect(str(path), isolation_level=None, check_same_thread=False, timeout=10)
            if copy_of is not None and copy_of.is_file():
                with sqlite3.connect(f"{copy_of.resolve().as_uri()}?mode=ro", uri=True) as other:
                    other.backup(self._db)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version not in (0, VERSION):
                raise _unusable("its database is of another version of glioserve")
            self._db.executescript(SCHEMA)
        except sqlite3.Error as error:
            raise _unusable(f"its database cannot be used ({type(error).__name__})") from error

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    @contextmanager
    def transition(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection inside one transaction: all of the block is written, or nothing."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                except BaseException:
                    if self._db.in_transaction:  # a full disk may have ended it
                        self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                raise _unusable(f"its database cannot be written ({error})") from error

    # What is there

    def study(self, study_instance_uid: str) -> Study | None:
        """Return a study, or None where the bridge has never seen it."""
        return next(iter(self._studies("WHERE study_uid = ?", study_instance_uid)), None)

    def known(self, phases: Collection[Phase] = tuple(Phase)) -> list[Study]:
        """Return the studies in these phases, the one that changed first before the others."""
        marks = ",".join("?" * len(phases))
        return self._studies(f"WHERE phase IN ({marks}) ORDER BY changed_at", *(p.value for p in phases))

    def due(self, stable_s: float, phases: Collection[Phase] = UNDER_WAY) -> Study | None:
        """Return the study to work on next: results to store first, then answers, then studies that are stable."""
        now = self._clock()
        marks = ",".join("?" * len(phases))
        found = self._studies(
            f"WHERE not_before <= ? AND phase IN ({marks}) AND (phase <> 'waiting' OR changed_at <= ?) "
            "ORDER BY CASE phase WHEN 'answered' THEN 0 WHEN 'ready' THEN 1 ELSE 2 END, not_before, changed_at LIMIT 1",
            now,
            *(phase.value for phase in phases),
            now - stable_s,
        )
        return found[0] if found else None

    def counts(self) -> dict[Phase, int]:
        """Return the number of studies in each phase."""
        rows = dict(self._rows("SELECT phase, count(*) FROM study GROUP BY phase"))
        return {phase: rows.get(phase.value, 0) for phase in Phase}

    def last_answer(self, study_instance_uid: str, *, stored: bool) -> Answer | None:
        """Return the newest answer to a study that is stored, or that is still to be stored."""
        rows = self._rows(
            "SELECT id, study_uid, content, choice, model_version, report_class, report_series, report_uid, supersedes "
            "FROM answer WHERE study_uid = ? AND (stored_at IS NOT NULL) = ? ORDER BY id DESC LIMIT 1",
            study_instance_uid,
            stored,
        )
        if not rows:
            return None
        number, uid, content, choice, version, *report, supersedes = rows[0]
        found = self._rows("SELECT sop_uid FROM result WHERE answer = ? ORDER BY sop_uid", number)
        results = tuple(row[0] for row in found)
        return Answer(number, uid, content, choice, version, Report(*report), results, supersedes)

    def is_answered(self, study_instance_uid: str, choice: str, model_version: str) -> bool:
        """Return whether these series were answered by this version, and the results stored."""
        return bool(
            self._rows(
                "SELECT 1 FROM answer WHERE study_uid = ? AND choice = ? AND model_version = ? AND stored_at NOT NULL",
                study_instance_uid,
                choice,
                model_version,
            )
        )

    def own_results(self, study_instance_uid: str) -> frozenset[str]:
        """Return the SOPInstanceUIDs of all results that were made for a study."""
        found = self._rows(
            "SELECT sop_uid FROM result JOIN answer ON answer.id = answer WHERE study_uid = ?", study_instance_uid
        )
        return frozenset(row[0] for row in found)

    # Transitions

    def seen(self, study_instance_uid: str, content: str, instances: int | None, *, images: int) -> bool:
        """Note what a study holds now; return whether that is new. New content makes a study wait anew.

        Results that are already made are stored first: the study waits when they are.
        """
        with self.transition() as db:
            known = self.study(study_instance_uid)
            now = self._clock()
            if known is not None and known.content == content:
                db.execute("UPDATE study SET instances = ? WHERE study_uid = ?", (instances, study_instance_uid))
                return False
            if known is None:
                db.execute(
                    "INSERT INTO study (study_uid, phase, content, instances, changed_at) VALUES (?, ?, ?, ?, ?)",
                    (study_instance_uid, Phase.WAITING.value, content, instances, now),
                )
            else:
                phase = Phase.ANSWERED if known.phase is Phase.ANSWERED else Phase.WAITING
                db.execute(
                    "UPDATE study SET content = ?, instances = ?, changed_at = ?, phase = ?, attempts = 0, "
                    "not_before = 0, code = '' WHERE study_uid = ?",
                    (content, instances, now, phase.value, study_instance_uid),
                )
            self._note(db, "images seen", study_instance_uid, images=images)
            return True

    def wait(self, study: Study) -> None:
        """Have a study looked at anew, without images having come."""
        with self.transition() as db:
            self._move(db, study, Phase.WAITING)

    def ready(self, study: Study, choice: str) -> None:
        """Record that a study is complete and stable, by the digest of what the recipe chose."""
        with self.transition() as db:
            if self._move(db, study, Phase.READY):
                db.execute("UPDATE study SET choice = ? WHERE study_uid = ?", (choice, study.study_instance_uid))
                self._note(db, "complete", study.study_instance_uid)

    def incomplete(self, study: Study, code: str) -> None:
        """Record that a stable study lacks what the recipe needs."""
        with self.transition() as db:
            if self._move(db, study, Phase.INCOMPLETE, code):
                self._note(db, "incomplete", study.study_instance_uid, code=code)

    def answered(self, study: Study, answer: NewAnswer) -> bool:
        """Record an answer whose results are on the disk; return False where the study has changed meanwhile."""
        with self.transition() as db:
            if not self._move(db, study, Phase.ANSWERED):
                return False
            report = answer.report
            cursor = db.execute(
                "INSERT INTO answer (study_uid, content, choice, model_version, model_digest, report_class, "
                "report_series, report_uid, supersedes, made_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(study.study_instance_uid, study.content, study.choice),
                    *(answer.model_version, answer.model_digest),
                    *(report.sop_class_uid, report.series_instance_uid, report.sop_instance_uid),
                    *(answer.supersedes, self._clock()),
                ),
            )
            db.executemany("INSERT INTO result VALUES (?, ?)", [(uid, cursor.lastrowid) for uid in answer.results])
            fields = {"model_version": answer.model_version, "model_digest": answer.model_digest}
            superseding = answer.supersedes is not None
            self._note(db, "answered", study.study_instance_uid, **fields, superseding=superseding)
            return True

    def stored(self, answer: Answer) -> None:
        """Record that the results are in the PACS; a study whose content changed meanwhile waits anew."""
        with self.transition() as db:
            study = self.study(answer.study_instance_uid)
            assert study is not None
            same = study.content == answer.content
            self._move(db, study, Phase.STORED if same else Phase.WAITING)
            db.execute("UPDATE answer SET stored_at = ? WHERE id = ?", (self._clock(), answer.number))
            self._note(db, "stored", answer.study_instance_uid, results=len(answer.results))

    def stored_in_part(self, answer: Answer, missing: int, code: str) -> None:
        """Record that the PACS has the report and not all of the other results, which it does not take."""
        with self.transition() as db:
            study = self.study(answer.study_instance_uid)
            assert study is not None
            same = study.content == answer.content
            self._move(db, study, Phase.REFUSED if same else Phase.WAITING, code if same else "")
            db.execute("UPDATE answer SET stored_at = ? WHERE id = ?", (self._clock(), answer.number))
            there = len(answer.results) - missing
            self._note(db, "stored in part", answer.study_instance_uid, results=there, missing=missing, code=code)

    def settled(self, study: Study, event: str, **fields: object) -> None:
        """Record that there is nothing to do for a study, and why: the stored answer still stands, say."""
        with self.transition() as db:
            if self._move(db, study, Phase.STORED):
                self._note(db, event, study.study_instance_uid, **fields)

    def refused(self, study: Study, code: str) -> None:
        """Record that a study cannot be answered, or its results not stored, as they are."""
        with self.transition() as db:
            if self._move(db, study, Phase.REFUSED, code):
                self._drop_unstored(db, study)
                self._note(db, "refused", study.study_instance_uid, code=code)

    def lost(self, study: Study) -> None:
        """Have a study answered anew whose results are not on the disk any more."""
        with self.transition() as db:
            if self._move(db, study, Phase.WAITING):
                self._drop_unstored(db, study)
                self._note(db, "results lost", study.study_instance_uid)

    def postponed(self, study: Study, code: str, pause_s: float) -> None:
        """Record a failure that time or an operator mends, and when the study is due again."""
        with self.transition() as db:
            db.execute(
                "UPDATE study SET attempts = attempts + 1, not_before = ?, code = ? WHERE study_uid = ?",
                (self._clock() + pause_s, code, study.study_instance_uid),
            )
            self._note(db, "postponed", study.study_instance_uid, code=code)

    def agree_with_clock(self, longest_pause_s: float) -> None:
        """Take no time as known that has not come yet: the clock was set back, and a study would wait until then.

        Args:
            longest_pause_s: longest time for which a study is postponed.
        """
        now = self._clock()
        with self.transition() as db:
            db.execute("UPDATE study SET changed_at = ? WHERE changed_at > ?", (now, now))
            db.execute("UPDATE study SET not_before = ? WHERE not_before > ?", (now, now + longest_pause_s))

    def pacs_is_back(self) -> None:
        """Have every study that could not reach the PACS tried again at once."""
        with self.transition() as db:
            db.execute("UPDATE study SET not_before = 0 WHERE code = ?", (ErrorCode.PACS_UNREACHABLE.token,))
            self._note(db, "pacs reachable", "")

    def received(self, study_instance_uid: str, image: Image) -> bool:
        """Note an image that was sent to the bridge's own port; return whether it is new."""
        with self.transition() as db:
            row = (study_instance_uid, image.series_instance_uid, image.sop_instance_uid)
            return db.execute("INSERT OR IGNORE INTO received VALUES (?, ?, ?)", row).rowcount == 1

    def received_images(self, study_instance_uid: str) -> frozenset[Image]:
        """Return the images of a study that were sent to the bridge's own port."""
        rows = self._rows("SELECT series_uid, sop_uid FROM received WHERE study_uid = ?", study_instance_uid)
        return frozenset(Image(*row) for row in rows)

    def received_studies(self) -> list[tuple[str, int]]:
        """Return each study of which images were sent, with their number."""
        return [(uid, n) for uid, n in self._rows("SELECT study_uid, count(*) FROM received GROUP BY study_uid")]

    def forget_received(self, study_instance_uid: str) -> None:
        """Forget the images of a study that were sent, whose files are removed."""
        with self.transition() as db:
            db.execute("DELETE FROM received WHERE study_uid = ?", (study_instance_uid,))

    # Audit lines on their way to the log

    def note(self, event: str, **fields: object) -> None:
        """Record an event that concerns no single study."""
        with self.transition() as db:
            self._note(db, event, "", **fields)

    def unwritten(self, after: int) -> list[tuple[int, str]]:
        """Return the audit lines with a higher number, in order."""
        return [(n, line) for n, line in self._rows("SELECT id, line FROM audit WHERE id > ? ORDER BY id", after)]

    def written(self, up_to: int) -> None:
        """Drop audit lines that are in the log."""
        with self.transition() as db:
            db.execute("DELETE FROM audit WHERE id <= ?", (up_to,))

    def _note(self, db: sqlite3.Connection, event: str, study_instance_uid: str, **fields: object) -> None:
        subject = {"subject": self._subject(study_instance_uid)} if study_instance_uid else {}
        moment = datetime.fromtimestamp(self._clock(), timezone.utc).isoformat(timespec="milliseconds")
        line = {"time": moment, "event": event, **subject, **fields}
        db.execute("INSERT INTO audit (line) VALUES (?)", (json.dumps(line),))

    def _move(self, db: sqlite3.Connection, study: Study, phase: Phase, code: str = "") -> bool:
        """Move a study that is still as the caller knows it; return False where it has changed meanwhile."""
        moved = db.execute(
            "UPDATE study SET phase = ?, code = ?, attempts = 0, not_before = 0 "
            "WHERE study_uid = ? AND phase = ? AND content = ?",
            (phase.value, code, study.study_instance_uid, study.phase.value, study.content),
        )
        return moved.rowcount == 1

    def _drop_unstored(self, db: sqlite3.Connection, study: Study) -> None:
        unstored = "SELECT id FROM answer WHERE study_uid = ? AND stored_at IS NULL"
        db.execute(f"DELETE FROM result WHERE answer IN ({unstored})", (study.study_instance_uid,))  # noqa: S608
        db.execute("DELETE FROM answer WHERE study_uid = ? AND stored_at IS NULL", (study.study_instance_uid,))

    def _studies(self, where: str, *values: object) -> list[Study]:
        columns = "study_uid, phase, content, instances, changed_at, choice, attempts, not_before, code"
        rows = self._rows(f"SELECT {columns} FROM study {where}", *values)  # noqa: S608 - by the methods above alone
        return [Study(uid, Phase(phase), *rest) for uid, phase, *rest in rows]

    def _rows(self, query: str, *values: object) -> list[Any]:
        with self._lock:
            try:
                return self._db.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise _unusable(f"its database cannot be read ({type(error).__name__})") from error


def _unusable(problem: str) -> GlioserveError:
    return GlioserveError(ErrorCode.BRIDGE_STATE, f"The state folder cannot be used: {problem}.")
