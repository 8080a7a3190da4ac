"""The text of an error: how it is composed, and how it is read back from a server of any version.

``[GLIO-1303] The t1 series has 26 slices. What to do: Acquire thinner slices …``: the token, what was found, and what
to do behind a mark. An ensemble prefixes a step's message and a proxy may wrap it, so the token is searched for, never
expected at the start. Servers before contract 2.0 set no mark.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from glioserve_contract.errors.table import ErrorCode

ACTION_MARK = "What to do:"
"""Text between a finding and the action; a finding contains it only where it quotes another error whole."""

DEAD_STAGE = re.compile(r"[Ss]tub process\b.*\bis not healthy|Failed to obtain the health mutex")
"""Triton's words, behind status INTERNAL, for a request that a dead or stopped process of a Python model had."""
NO_SHARED_MEMORY = re.compile(r"Failed to (?:increase the shared memory pool|create new mapped region for the grown)")
"""Triton's words, behind status INTERNAL, for a request for which /dev/shm had no room."""

_BY_TOKEN = {code.token: code for code in ErrorCode}
_TOKEN = re.compile(r"GLIO-\d{4}(?!\d)")
_BRACKETED = re.compile(rf"\[({_TOKEN.pattern})\]")


class Message(NamedTuple):
    """Parts of a message: ``code`` is None for an unknown token, ``action`` empty where ``detail`` has it still."""

    token: str
    code: ErrorCode | None
    detail: str
    action: str


def compose(token: str, detail: str, action: str) -> str:
    """Return the one line that carries token, finding and, unless it is empty, the action."""
    return f"[{token}] {detail} {ACTION_MARK} {action}" if action else f"[{token}] {detail}"


def find_code(message: str) -> ErrorCode | None:
    """Return the first known code whose token stands anywhere in ``message``, or None."""
    return next((_BY_TOKEN[t] for t in _TOKEN.findall(message) if t in _BY_TOKEN), None)


def read_message(text: str) -> Message | None:
    """Return the parts of the first error that ``text`` carries, or None; what a proxy put around them is left out.

    An action that is this table's own is recognised without a mark. Any other text of a server that sets none cannot
    be split, so it stays whole.
    """
    head = _BRACKETED.search(text) or _TOKEN.search(text)
    if head is None:
        return None
    token = head[head.lastindex or 0]
    code = _BY_TOKEN.get(token)
    rest = text[head.end() :].strip()
    ours = code.row.action if code else ""
    detail, mark, action = rest.rpartition(ACTION_MARK)
    if ours and ours in (action if mark else rest):
        detail, action = detail if mark else rest.rpartition(ours)[0], ours
    elif not mark:
        detail, action = rest, ""
    return Message(token, code, detail.strip(), action.strip())
