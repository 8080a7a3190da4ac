"""The spool: each process of a Python model leaves a file for every study that it ends, the supervisor takes them.

A file is written beside its place and renamed, so that a reader never sees a part of one. It is removed only when all
that is made from it has been written, so that a kill at any moment loses no record; what was written twice is told
apart by the record's number. Where the disk is full or no supervisor takes the files, the record is lost and counted: a
study never fails for its record.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError, SchemaError, from_dict, to_dict
from glioserve_contract.records.studies.study import StudyRecord

SPOOL_FOLDER = "GLIOSERVE_STUDY_SPOOL"
"""Environment variable of the server's processes: the folder of the records that wait; none is kept without it."""
STUDY_LOG = "GLIOSERVE_STUDY_LOG"
"""Environment variable of the server's processes: the folder of the study log, where one is kept beyond the run."""
MOST_FILES = 10_000
"""Records that wait at most; beyond them something is wrong with the reader, and new ones are lost and counted."""
_SUFFIX = ".json"
_CHECK_EVERY = 64
"""Records of one process between two looks at how many wait."""


class Spool:
    """Writer of one process."""

    def __init__(self, folder: Path) -> None:
        """Take the folder, which exists."""
        self._folder = folder
        self._numbers = count()
        self._is_full = False

    def new_record_id(self) -> str:
        """Return a number of a record: nanoseconds since 1970, the process, and a count."""
        return f"{time.time_ns():020d}-{os.getpid()}-{next(self._numbers)}"

    def put(self, record: StudyRecord) -> bool:
        """Leave the record for the reader; return False where it was lost."""
        if self._full(record):
            return False
        place = self._folder / f"{record.record_id}{_SUFFIX}"
        part = place.with_suffix(f".{os.getpid()}")
        try:
            part.write_text(json.dumps(to_dict(record)), encoding="utf-8")
            part.rename(place)
        except OSError:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            return False
        return True

    def _full(self, record: StudyRecord) -> bool:
        if self._is_full or int(record.record_id.rpartition("-")[2]) % _CHECK_EVERY == 0:
            try:
                with os.scandir(self._folder) as entries:
                    self._is_full = sum(1 for _ in entries) >= MOST_FILES
            except OSError:
                return True
        return self._is_full


def make_spool(folder: Path) -> None:
    """Make the folder where it is missing.

    Raises:
        GlioserveError: GLIO-5134 where it cannot be made or written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = folder / f"probe.{os.getpid()}"
        probe.write_bytes(b"probe")
        probe.unlink()
    except OSError as error:
        raise GlioserveError(ErrorCode.INVALID_STUDY_LOG, f"{folder}: {error.strerror}.") from error


def oldest_waiting_s(folder: Path) -> float:
    """Return the age of the record that has waited longest, in seconds; 0 where none waits."""
    with suppress(OSError, ValueError), os.scandir(folder) as entries:
        oldest = min((entry.name for entry in entries if entry.name.endswith(_SUFFIX)), default="")
        return max(0.0, time.time() - int(oldest.partition("-")[0]) / 1e9) if oldest else 0.0
    return 0.0


def waiting(folder: Path, most: int) -> Iterator[tuple[Path, StudyRecord | None]]:
    """Yield the files that wait, oldest first and at most ``most``, with their records; None where one is damaged."""
    for path in sorted(folder.glob(f"*{_SUFFIX}"))[:most]:
        try:
            yield path, from_dict(StudyRecord, json.loads(path.read_bytes()))
        except (OSError, ValueError, SchemaError):
            yield path, None
