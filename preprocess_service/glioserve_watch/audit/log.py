"""The writer of an audit log: the taker of the keeper's records that appends them, synced, once each.

A record comes again after a kill between the writing and the end of its file in the spool: the numbers of the last
records are remembered, and read back from the log at the start. What a kill has cut off at the end of the last file is
removed at the next start; its record is still in the spool, because a file ends only after the log is synced.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from glioserve_contract import ErrorCode, GlioserveError, to_dict
from glioserve_contract.records.studies.study import StudyRecord
from glioserve_watch.audit.files import AuditFile, file_name, files_of, last_line, sync_folder
from glioserve_watch.audit.lines import ENDS, REMOVED, STARTED, STUDY, Head, Line, make_line, read_line
from glioserve_watch.spool import MOST_FILES

MOST_BYTES = 16 << 20
"""Size from which a file is followed by a new one; a day ends it too."""
LEAST_KEEP_DAYS = 183
"""Days that a file is kept at least: six months, as the EU's AI Act has it for logs (articles 19 and 26)."""
REMEMBERED = 2 * MOST_FILES
"""Records that are known again: more than can wait in the spool at once."""

Told = Callable[[str, Head], None]
"""Taker of the log's head, with what has happened: it starts, goes on in a new file, or ends."""


class AuditLog:
    """An open audit log. It is used by one thread at a time."""

    def __init__(
        self,
        folder: Path,
        keep_days: int | None = None,
        told: Told = lambda _what, _head: None,
        software: str = "",
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        """Open or begin the log in ``folder``, and write that a server has started.

        Args:
            folder: its folder, made where it is missing.
            keep_days: files whose day is more days ago are removed; None keeps all.
            told: is handed the head at the start, with each new file and at the end, so that it is kept elsewhere too.
            software: name and version of what writes.
            now: the clock.

        Raises:
            GlioserveError: GLIO-5134 where the folder cannot be used, or the last file was changed by something else.
        """
        self._folder, self._keep_days, self._told, self._now = folder, keep_days, told, now
        self.head = Head()
        self.cut_bytes = 0
        """Bytes at the end of the last file that a kill had left half written; they were removed."""
        self.records_written = 0
        self._recent: deque[str] = deque(maxlen=REMEMBERED)
        self._known: set[str] = set()
        self._ends: dict[tuple[str, str], int] = {}
        self._descriptor, self._size, self._file = -1, 0, AuditFile(0, now().date(), folder)
        self._looked_on = now().date()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._take_up()
            self._append([(STARTED, {"software": software, "cut_bytes": self.cut_bytes})])
            self._remove_old()
        except OSError as error:
            raise GlioserveError(ErrorCode.INVALID_STUDY_LOG, f"{folder}: {error.strerror}.") from error
        told("audit log goes on", self.head)

    def take(self, records: Sequence[StudyRecord]) -> None:
        """Append the records that are not in the log yet, and sync; OSError where nothing was taken."""
        new = [record for record in records if record.record_id not in self._known]
        if new:
            self._append([(STUDY, to_dict(record)) for record in new])
            self._remember(record.record_id for record in new)
            self.records_written += len(new)

    def take_ends(self, totals: Mapping[tuple[str, str], int]) -> None:
        """Append what has grown of the studies that Triton itself ended, by outcome and code since the start."""
        grown = {end: total - self._ends.get(end, 0) for end, total in totals.items()}
        lines = [(ENDS, {"outcome": o, "code": c, "studies": n}) for (o, c), n in grown.items() if n > 0]
        if lines:
            self._append(lines)
            self._ends = {**self._ends, **{end: totals[end] for end, n in grown.items() if n > 0}}

    def look(self) -> None:
        """Remove files that are too old, once a day."""
        if self._looked_on != (today := self._now().date()):
            self._remove_old()
            self._looked_on = today

    def close(self) -> None:
        """End the log and tell its head; safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._told("audit log ends", self.head)

    def _take_up(self) -> None:
        """Find the head, repair a cut end, and remember the last records."""
        files = files_of(self._folder)
        while files and not self._open_last(files[-1]):
            files.pop().path.unlink()  # a kill came between the file and its first line
        self._remember(_last_records(files))

    def _open_last(self, file: AuditFile) -> bool:
        """Open the last file where it has a whole line."""
        content = file.path.read_bytes()
        whole = content.rpartition(b"\n")[0]
        self.cut_bytes += len(content) - len(whole) - bool(whole)
        if not whole:
            return False
        head: Head | None = None
        for number, text in enumerate((whole + b"\n").splitlines(keepends=True), 1):
            head = _follow(head, text, f"{file.path.name}, line {number}").head
        assert head is not None
        self.head, self._size, self._file = head, len(whole) + 1, file
        self._descriptor = os.open(file.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._cut()
        return True

    def _append(self, entries: Sequence[tuple[str, Any]]) -> None:
        now = self._now()
        if self._descriptor < 0 or self._file.day != now.date() or self._size >= MOST_BYTES:
            self._open_next(now)
        head, lines = self.head, []
        for kind, body in entries:
            line, head = make_line(head, now, kind, body)
            lines.append(line)
        text = b"".join(lines)
        self._cut()
        try:
            _write_all(self._descriptor, text)
            os.fsync(self._descriptor)
        except OSError:
            with suppress(OSError):  # else it is done before the next line
                self._cut()
            raise
        self.head, self._size = head, self._size + len(text)

    def _cut(self) -> None:
        """Remove what is behind the last line that was synced."""
        if os.fstat(self._descriptor).st_size != self._size:
            os.ftruncate(self._descriptor, self._size)

    def _open_next(self, now: datetime) -> None:
        path = self._folder / file_name(self.head.seq + 1, now.date())
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            sync_folder(self._folder)
        except OSError:
            os.close(descriptor)
            raise
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._told("audit log goes on in a new file", self.head)
        self._descriptor, self._size, self._file = descriptor, 0, AuditFile(self.head.seq + 1, now.date(), path)

    def _remove_old(self) -> None:
        """Remove whole files that are too old; the chain says first which line was their last.

        A damaged file stays, and those after it: it is evidence.
        """
        files = files_of(self._folder)
        today = self._now().date()
        told = {line.body.get("seq") for line in _lines_of_kind(files[-1], REMOVED)}
        old: list[AuditFile] = []
        bodies = []
        for file in files[:-1]:
            if self._keep_days is None or (today - file.day).days <= self._keep_days:
                break
            try:
                head = read_line(last_line(file.path)).head
            except ValueError:
                break
            old.append(file)
            if head.seq not in told:
                bodies.append((REMOVED, {"file": file.path.name, "seq": head.seq, "hash": head.hash}))
        if bodies:
            self._append(bodies)
        for file in old:
            file.path.unlink()
        if old:
            sync_folder(self._folder)

    def _remember(self, record_ids: Iterable[str]) -> None:
        for record_id in record_ids:
            if len(self._recent) == REMEMBERED:
                self._known.discard(self._recent[0])
            self._recent.append(record_id)
            self._known.add(record_id)


def keep_days(text: str) -> int | None:
    """Return the days that files are kept, None for ever; ValueError for fewer than :data:`LEAST_KEEP_DAYS` but 0."""
    if not text.isdecimal() or 0 < int(text) < LEAST_KEEP_DAYS:
        raise ValueError(f"must be 0, which keeps all, or {LEAST_KEEP_DAYS} days (six months) or more, not {text!r}")
    return int(text) or None


def _follow(before: Head | None, text: bytes, place: str) -> Line:
    try:
        line = read_line(text)
        if before is not None and (line.head.seq, line.previous) != (before.seq + 1, before.hash):
            raise ValueError("it does not follow the line before it")
    except ValueError as error:
        raise GlioserveError(
            ErrorCode.INVALID_STUDY_LOG,
            f"{place}: {error}.",
            "Put the folder away as it is; `glioserve audit verify` examines it. Then start with a new one.",
        ) from error
    return line


def _last_records(files: Sequence[AuditFile]) -> list[str]:
    """Return the numbers of the last :data:`REMEMBERED` records, oldest first."""
    found: list[str] = []
    for file in reversed(files):
        own = [line.body.get("record_id", "") for line in _lines_of_kind(file, STUDY)]
        found = own + found
        if len(found) >= REMEMBERED:
            break
    return found[-REMEMBERED:]


def _lines_of_kind(file: AuditFile, kind: str) -> Iterator[Line]:
    """Yield the whole lines of one kind; a damaged one is for ``audit verify`` to find."""
    with file.path.open("rb") as texts:
        for text in texts:
            with suppress(ValueError):
                line = read_line(text)
                if line.kind == kind:
                    yield line


def _write_all(descriptor: int, text: bytes) -> None:
    while text:
        text = text[os.write(descriptor, text) :]
