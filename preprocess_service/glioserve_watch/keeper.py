"""The keeper takes the records of studies out of the spool, in order, and gives them to all that is made from them.

It works in a thread of its own: a slow disk must not delay the supervisor, whose probes depend on its loop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from glioserve_contract.records.studies.study import StudyRecord
from glioserve_watch.spool import waiting

INTERVAL_S = 0.5
MOST_AT_ONCE = 256
_DAMAGED = ".damaged"


class Sink(Protocol):
    """Taker of records: the audit log, the drift monitor, the shadow's comparison."""

    def take(self, records: Sequence[StudyRecord]) -> None:
        """Take records, oldest first, durably where the taker is durable.

        A record may come twice, after a kill: a taker that counts tells it by its ``record_id``. OSError says that
        nothing was taken; all of them come again.
        """


class Keeper:
    """Takes records from :meth:`start` to :meth:`close`."""

    def __init__(
        self,
        spool: Path,
        sinks: Sequence[Sink],
        on_failure: Callable[[OSError | None], None],
        each_round: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the spool and the sinks.

        ``on_failure`` is called with each failure of a sink, and with None once all sinks take records again;
        ``each_round`` is called after each look, in the same thread, and may raise OSError as well.
        """
        self._spool, self._sinks, self._on_failure, self._each_round = spool, tuple(sinks), on_failure, each_round
        self._taken = 0
        """Sinks that already took the records that wait first: they are not asked again."""
        self._batch: list[tuple[Path, StudyRecord]] = []
        self._failed = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="studies", daemon=True)

    def start(self) -> Keeper:
        """Begin to take records."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Take what the server left, and end."""
        self._stop.set()
        self._thread.join()
        self.look()

    def _work(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            self.look()

    def look(self) -> None:
        """Take all records that wait, until one sink fails."""
        try:
            while self._batch or self._fill():
                records = [record for _, record in self._batch]
                for sink in self._sinks[self._taken :]:
                    sink.take(records)
                    self._taken += 1
                for path, _ in self._batch:
                    path.unlink(missing_ok=True)
                self._batch, self._taken = [], 0
            self._each_round()
        except OSError as error:
            self._failed = True
            self._on_failure(error)
            return
        if self._failed:
            self._failed = False
            self._on_failure(None)

    def _fill(self) -> bool:
        for path, record in waiting(self._spool, MOST_AT_ONCE):
            if record is None:
                path.replace(path.with_suffix(_DAMAGED))
            else:
                self._batch.append((path, record))
        return bool(self._batch)
