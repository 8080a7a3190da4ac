"""A line of the audit log: canonical JSON with its number, the hash of the line before it, and its own.

Every line is spelled in the one canonical way and its hash covers all of it, so that no byte can change unnoticed. A
chain without a key does not stop a writer who computes all later hashes anew: that is found with a :class:`Head` that
was kept elsewhere.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from glioserve_contract import canonical_json, sha256_digest
from glioserve_watch.times import utc

NO_HASH = "sha256:" + "0" * 64
"""``previous`` of the first line of a chain."""
STUDY, ENDS, EVENT, STARTED, REMOVED = "study", "ends", "event", "started", "removed"
"""Kinds of lines. ``study``: the record of one. ``ends``: a number of studies that Triton ended itself. ``event``: a
step of a bridge to a PACS. ``started``: a server or bridge took up the log. ``removed``: an old file's last line,
written before the file is removed."""
KINDS = (STUDY, ENDS, EVENT, STARTED, REMOVED)
_HEAD = re.compile(r"(0|[1-9][0-9]{0,17}):(sha256:[0-9a-f]{64})")


@dataclass(frozen=True)
class Head:
    """A place in the chain: the number of a line and its hash; 0 and :data:`NO_HASH` before the first."""

    seq: int = 0
    hash: str = NO_HASH

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


def parse_head(text: str) -> Head:
    """Return the head that ``SEQ:sha256:HEX`` names; ValueError where it is not of that form."""
    match = _HEAD.fullmatch(text)
    if match is None:
        raise ValueError("must be SEQ:sha256:HEX as the server's log has it, a line's number and its hash")
    return Head(int(match[1]), match[2])


@dataclass(frozen=True)
class Line:
    """A line that was read and fits its own hash."""

    head: Head
    previous: str
    at: str
    """Time of writing, UTC (``2026-01-31T23:59:59.000Z``)."""
    kind: str
    """One of :data:`KINDS`."""
    body: dict[str, Any]
    """Content of the line, under the key ``kind``."""


def make_line(before: Head, at: datetime, kind: str, body: object) -> tuple[bytes, Head]:
    """Return the line that follows ``before``, with its line break, and the new head."""
    fields = {"seq": before.seq + 1, "previous": before.hash, "at": utc(at), kind: body}
    own = _hash_of(fields)
    return canonical_json({**fields, "hash": own}).encode() + b"\n", Head(before.seq + 1, own)


def read_line(text: bytes) -> Line:
    """Return the line, which comes with its break; ValueError, with what is wrong, where a byte of it was changed."""
    if not text.endswith(b"\n"):
        raise ValueError("its end is cut off")
    try:
        fields = json.loads(text)
        canonical = canonical_json(fields).encode() + b"\n"
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON as the log writes it") from None
    if canonical != text or not isinstance(fields, dict):
        raise ValueError("it is not spelled as the log writes it")
    own = fields.pop("hash", None)
    if own != _hash_of(fields):
        raise ValueError("it does not fit its own hash")
    seq, previous, at = (fields.pop(name, None) for name in ("seq", "previous", "at"))
    kind = next(iter(fields), "")
    if type(seq) is not int or not isinstance(previous, str) or not isinstance(at, str) or len(fields) != 1:
        raise ValueError("it has not the fields of a line")
    if kind not in KINDS or not isinstance(fields[kind], dict):
        raise ValueError(f"its kind {kind!r} is unknown; a newer glioserve may have written it")
    return Line(Head(seq, own), previous, at, kind, fields[kind])


def _hash_of(fields: dict[str, Any]) -> str:
    return sha256_digest(canonical_json(fields).encode())
