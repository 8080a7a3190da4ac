"""The writer of a hash-chained log: lines that are appended, synced and bound to those before, in files by day.

What a kill has cut off at the end of the last file is removed at the next start. What the lines are about is the
matter of those that write them: of studies a server has answered (:mod:`glioserve_watch.audit.log`), or of a bridge.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_watch.audit.files import AuditFile, file_name, files_of, last_line, sync_folder
from glioserve_watch.audit.lines import REMOVED, STARTED, Head, Line, make_line, read_line

MOST_BYTES = 16 << 20
"""Size from which a file is followed by a new one; a day ends it too."""

Told = Callable[[str, Head], None]
"""Taker of the log's head, with what has happened: it starts, goes on in a new file, or ends."""


class Chain:
    """An open log. It is used by one thread at a time."""

    def __init__(
        self,
        folder: Path,
        keep_days: int | None = None,
        told: Told = lambda _what, _head: None,
        software: str = "",
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        code: ErrorCode = ErrorCode.INVALID_STUDY_LOG,
    ) -> None:
        """Open or begin the log in ``folder``, and write that its writer has started.

        Args:
            folder: its folder, made where it is missing.
            keep_days: files whose day is more days ago are removed; None keeps all.
            told: is handed the head at the start, with each new file and at the end, so that it is kept elsewhere too.
            software: name and version of what writes.
            now: the clock.
            code: error of a folder that cannot be used.

        Raises:
            GlioserveError: ``code`` where the folder cannot be used, or the last file was changed by something else.
        """
        self._folder, self._keep_days, self._told, self._now, self._code = folder, keep_days, told, now, code
        self.head = Head()
        self.cut_bytes = 0
        """Bytes at the end of the last file that a kill had left half written; they were removed."""
        self._descriptor, self._size, self._file = -1, 0, AuditFile(0, now().date(), folder)
        self._looked_on = now().date()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._take_up()
            self.append([(STARTED, {"software": software, "cut_bytes": self.cut_bytes})])
            self._remove_old()
        except OSError as error:
            raise GlioserveError(code, f"{folder}: {error.strerror}.") from error
        told("audit log goes on", self.head)

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
        """Find the head, and repair a cut end."""
        files = files_of(self._folder)
        while files and not self._open_last(files[-1]):
            files.pop().path.unlink()  # a kill came between the file and its first line

    def _open_last(self, file: AuditFile) -> bool:
        """Open the last file where it has a whole line."""
        content = file.path.read_bytes()
        whole = content.rpartition(b"\n")[0]
        self.cut_bytes += len(content) - len(whole) - bool(whole)
        if not whole:
            return False
        head: Head | None = None
        for number, text in enumerate((whole + b"\n").splitlines(keepends=True), 1):
            head = self._follow(head, text, f"{file.path.name}, line {number}").head
        assert head is not None
        self.head, self._size, self._file = head, len(whole) + 1, file
        self._descriptor = os.open(file.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._cut()
        return True

    def append(self, entries: Sequence[tuple[str, Any]]) -> list[bytes]:
        """Append a line for each kind and body, sync, and return the lines; OSError where nothing was written."""
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
        return lines

    def newest_first(self, kind: str) -> Iterator[Line]:
        """Yield the lines of one kind, the last before the others; a damaged one is for ``audit verify`` to find.

        Raises:
            GlioserveError: a file cannot be read.
        """
        try:
            for file in reversed(files_of(self._folder)):
                yield from reversed(list(_lines_of_kind(file, kind)))
        except OSError as error:
            raise GlioserveError(self._code, f"{self._folder}: {error.strerror}.") from error

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
            self.append(bodies)
        for file in old:
            file.path.unlink()
        if old:
            sync_folder(self._folder)

    def _follow(self, before: Head | None, text: bytes, place: str) -> Line:
        try:
            line = read_line(text)
            if before is not None and (line.head.seq, line.previous) != (before.seq + 1, before.hash):
                raise ValueError("it does not follow the line before it")
        except ValueError as error:
            raise GlioserveError(
                self._code,
                f"{place}: {error}.",
                "Put the folder away as it is; `glioserve audit verify` examines it. Then start with a new one.",
            ) from error
        return line


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
