"""Read the lines of an audit log in their order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_watch.audit.files import files_of
from glioserve_watch.audit.lines import Line, read_line


def lines_in(folder: Path) -> Iterator[tuple[str, Line]]:
    """Yield each line as text and parsed; GLIO-5134 at the first damaged one."""
    for file in files_of(folder):
        with file.path.open("rb") as texts:
            for number, text in enumerate(texts, 1):
                try:
                    line = read_line(text)
                except ValueError as error:
                    place = f"{file.path}, line {number}"
                    raise GlioserveError(ErrorCode.INVALID_STUDY_LOG, f"{place}: {error}.") from error
                yield text.decode().rstrip("\n"), line
