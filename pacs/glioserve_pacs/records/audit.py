"""The audit log: one JSON object a line, only ever appended to, with a keyed pseudonym in place of the study.

Each line has a number and the SHA-256 of the line before, so that a line that was removed or changed shows. The lines
come out of the database's transactions, and each reaches the log exactly once, whenever the process was killed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_pacs.records.state import State

KEY_FILE, LOG_FILE = "audit.key", "audit.jsonl"
KEY_BYTES = 32
PSEUDONYM_DIGITS = 24
_LONGEST_LINE = 1 << 16


def pseudonyms(folder: Path) -> Callable[[str], str]:
    """Return the function that makes a UID's pseudonym: the start of its HMAC-SHA-256 by the folder's key.

    The key is made where there is none. Who has it can find the lines of a study whose UID is known; the log alone
    leads to no study.

    Raises:
        GlioserveError: GLIO-5139 where the key is damaged.
    """
    file = folder / KEY_FILE
    if not file.exists():
        made = folder / f".{KEY_FILE}.{secrets.token_hex(8)}"
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as handle:
            handle.write(secrets.token_hex(KEY_BYTES))
            handle.flush()
            os.fsync(handle.fileno())
        made.replace(file)
    try:
        key = bytes.fromhex(file.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise GlioserveError(ErrorCode.BRIDGE_STATE, f"The state folder's {KEY_FILE} cannot be read.") from error
    if len(key) != KEY_BYTES:
        raise GlioserveError(ErrorCode.BRIDGE_STATE, f"The state folder's {KEY_FILE} is damaged.")
    return lambda uid: hmac.new(key, uid.encode(), hashlib.sha256).hexdigest()[:PSEUDONYM_DIGITS]


class AuditLog:
    """The file of a state folder; None as the folder writes nothing and only tells each line."""

    def __init__(self, folder: Path | None, tell: Callable[[str], object] = lambda _: None) -> None:
        """Open the log and drop a last line that a kill cut off; the database has it still.

        Args:
            folder: the state folder.
            tell: called with each line, after it is on the disk.
        """
        self._file, self._tell = folder and folder / LOG_FILE, tell
        self._last, self._previous = 0, ""
        if self._file is None or not self._file.exists():
            return
        with self._file.open("r+b") as handle:
            handle.seek(max(0, handle.seek(0, os.SEEK_END) - _LONGEST_LINE))
            start, tail = handle.tell(), handle.read()
            whole = tail[: tail.rfind(b"\n") + 1]
            if len(whole) < len(tail):
                handle.truncate(start + len(whole))
        if whole:
            line = whole.rstrip(b"\n").rpartition(b"\n")[2]
            try:
                self._last = int(json.loads(line)["number"])
            except (ValueError, KeyError, TypeError) as error:
                raise GlioserveError(ErrorCode.BRIDGE_STATE, f"The last line of {LOG_FILE} is damaged.") from error
            self._previous = hashlib.sha256(line).hexdigest()

    def write(self, state: State) -> None:
        """Append what the database has for the log, and tell it."""
        lines = []
        for number, line in state.unwritten(self._last):
            text = json.dumps({"number": number, **json.loads(line), "previous": self._previous})
            self._previous, self._last = hashlib.sha256(text.encode()).hexdigest(), number
            lines.append(text)
        if not lines:
            return
        if self._file is not None:
            descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "a", encoding="ascii") as handle:
                handle.write("".join(f"{line}\n" for line in lines))
                handle.flush()
                os.fsync(handle.fileno())
            state.written(self._last)
        for line in lines:
            self._tell(line)
