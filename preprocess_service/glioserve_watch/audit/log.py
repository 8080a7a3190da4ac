"""The audit log of a server: the taker of the keeper's records that appends them to the chain, once each.

A record comes again after a kill between the writing and the end of its file in the spool: the numbers of the last
records are remembered, and read back from the log at the start. A record whose line a kill cut off is still in the
spool, because a file ends only after the log is synced.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path

from glioserve_contract import to_dict
from glioserve_contract.records.studies.study import StudyRecord
from glioserve_watch.audit.chain import Chain, Told
from glioserve_watch.audit.lines import ENDS, STUDY
from glioserve_watch.spool import MOST_FILES

LEAST_KEEP_DAYS = 183
"""Days that a file is kept at least: six months, as the EU's AI Act has it for logs (articles 19 and 26)."""
REMEMBERED = 2 * MOST_FILES
"""Records that are known again: more than can wait in the spool at once."""


class AuditLog(Chain):
    """An open audit log. It is used by one thread at a time."""

    def __init__(
        self,
        folder: Path,
        keep_days: int | None = None,
        told: Told = lambda _what, _head: None,
        software: str = "",
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        """Open or begin the log, as :class:`Chain` does, and remember its last records.

        Raises:
            GlioserveError: GLIO-5134 where the folder cannot be used, or the last file was changed by something else.
        """
        super().__init__(folder, keep_days, told, software, now)
        self.records_written = 0
        self._ends: dict[tuple[str, str], int] = {}
        self._recent: deque[str] = deque(maxlen=REMEMBERED)
        self._known: set[str] = set()
        last = [line.body.get("record_id", "") for line in islice(self.newest_first(STUDY), REMEMBERED)]
        self._remember(reversed(last))

    def take(self, records: Sequence[StudyRecord]) -> None:
        """Append the records that are not in the log yet, and sync; OSError where nothing was taken."""
        new = [record for record in records if record.record_id not in self._known]
        if new:
            self.append([(STUDY, to_dict(record)) for record in new])
            self._remember(record.record_id for record in new)
            self.records_written += len(new)

    def take_ends(self, totals: Mapping[tuple[str, str], int]) -> None:
        """Append what has grown of the studies that Triton itself ended, by outcome and code since the start."""
        grown = {end: total - self._ends.get(end, 0) for end, total in totals.items()}
        lines = [(ENDS, {"outcome": o, "code": c, "studies": n}) for (o, c), n in grown.items() if n > 0]
        if lines:
            self.append(lines)
            self._ends = {**self._ends, **{end: totals[end] for end, n in grown.items() if n > 0}}

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
