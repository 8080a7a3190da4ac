"""The audit log of a bridge: events on the hash-chained log of servers, with a keyed pseudonym in place of the study.

The events come out of the database's transactions, and each reaches the log exactly once, whenever the process was
killed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_pacs.records.state import State
from glioserve_watch.audit.chain import Chain
from glioserve_watch.audit.files import AUDIT_FOLDER
from glioserve_watch.audit.lines import EVENT

KEY_FILE = "audit.key"
KEY_BYTES = 32
PSEUDONYM_DIGITS = 24


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
    """The chain in the folder ``audit`` of a state folder. It is used by one thread at a time."""

    def __init__(self, folder: Path, tell: Callable[[str], object] = lambda _: None) -> None:
        """Open or begin the log, and drop a last line that a kill cut off; the database has it still.

        Args:
            folder: the state folder.
            tell: called with each line, after it is on the disk.

        Raises:
            GlioserveError: GLIO-5139 where the folder cannot be used, or the last file was changed by something else.
        """
        software = f"glioserve {version('glioserve')}"
        self._chain = Chain(folder / AUDIT_FOLDER, software=software, code=ErrorCode.BRIDGE_STATE)
        self._tell = tell
        last = next(self._chain.newest_first(EVENT), None)
        self._number = 0 if last is None else int(last.body["number"])

    def write(self, state: State) -> None:
        """Append what the database has for the log, and tell it; OSError where nothing was written."""
        new = state.unwritten(self._number)
        if new:
            lines = self._chain.append([(EVENT, {"number": number, **json.loads(line)}) for number, line in new])
            self._number = new[-1][0]
            state.written(self._number)
            for line in lines:
                self._tell(line.decode().rstrip("\n"))

    def close(self) -> None:
        """Close the file."""
        self._chain.close()
