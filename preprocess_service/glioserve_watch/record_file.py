"""A file of records, one in a line of JSON, to which lines are only added, by any number of processes at once."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from glioserve_contract import ErrorCode, GlioserveError, SchemaError, from_dict, to_dict

T = TypeVar("T")


class RecordFile(Generic[T]):
    """The records of one type in ``path``, which need not be there yet."""

    def __init__(self, path: Path, record_type: type[T]) -> None:
        self.path, self._type = path, record_type

    def read(self) -> list[T]:
        """Return all records, oldest first.

        Raises:
            GlioserveError: GLIO-5134 where the file cannot be read or a line is damaged.
        """
        try:
            return self._parse(self.path.read_bytes())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unfit(str(error.strerror)) from error

    def append(self, *records: T) -> None:
        """Add lines, durably. GLIO-5134 where the file cannot be written."""
        with self._locked() as descriptor:
            self._write(descriptor, records)

    def append_if(self, record: T, fits: Callable[[list[T]], bool]) -> bool:
        """Add a line where ``fits`` says so of all earlier ones; no other process adds one meanwhile.

        Raises:
            GlioserveError: GLIO-5134 as for :meth:`read` and :meth:`append`, and whatever ``fits`` raises.
        """
        with self._locked() as descriptor:
            wanted = fits(self._parse(_text(descriptor)))
            if wanted:
                self._write(descriptor, (record,))
        return wanted

    def _write(self, descriptor: int, records: tuple[T, ...]) -> None:
        os.write(descriptor, "".join(json.dumps(to_dict(record)) + "\n" for record in records).encode())
        os.fsync(descriptor)

    def _parse(self, text: bytes) -> list[T]:
        """Return the records; the last line counts only with its end, which a kill may have cut off."""
        whole, _, _ = text.rpartition(b"\n")
        records = []
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                records.append(from_dict(self._type, json.loads(line), ignore_unknown=True))
            except (ValueError, SchemaError) as error:
                raise self._unfit(f"line {number} is damaged") from error
        return records

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Open the file for one writer, without a last line that was cut off."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                whole, end, _ = _text(descriptor).rpartition(b"\n")
                os.ftruncate(descriptor, len(whole) + len(end))
                yield descriptor
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._unfit(str(error.strerror)) from error

    def _unfit(self, why: str) -> GlioserveError:
        return GlioserveError(ErrorCode.INVALID_STUDY_LOG, f"{self.path}: {why}.")


def _text(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
