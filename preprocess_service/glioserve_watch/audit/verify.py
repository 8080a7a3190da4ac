"""Verify an audit log: every byte of every line, the chain from line to line and from file to file, and its ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from glioserve_watch.audit.files import AUDIT_FOLDER, AuditFile, files_of
from glioserve_watch.audit.lines import ENDS, EVENT, REMOVED, STUDY, Head, Line, read_line

MOST_PROBLEMS = 100
"""Problems of one log that are reported; a log that was replaced has one for every line."""


@dataclass
class Verified:
    """Findings about one audit log."""

    folder: Path
    files: int = 0
    lines: int = 0
    studies: int = 0
    """Studies with a record."""
    counted: int = 0
    """Studies that Triton ended itself, which have a number and no record."""
    events: int = 0
    """Steps of a bridge to a PACS."""
    first: Head | None = None
    """The line before the first that is there: 0 where the chain is there from its beginning."""
    head: Head = field(default_factory=Head)
    """The last line."""
    problems: list[str] = field(default_factory=list)


def verify(folder: Path, expected: Head | None = None) -> Verified:
    """Return what is wrong with the audit log in ``folder``, and where it begins and ends.

    Args:
        folder: the folder with the files.
        expected: a head that was reported before, and must still be in the log.

    Raises:
        OSError: a file cannot be read.
    """
    found = Verified(folder)
    removed: set[Head] = set()
    seen = False
    files = files_of(folder)
    strangers = {path.name for path in folder.iterdir()} - {file.path.name for file in files}
    found.problems += [f"{name}: it is not a file of the log" for name in sorted(strangers)]
    for file in files:
        found.files += 1
        for place, text, begins in _texts(file):
            try:
                line = read_line(text)
            except ValueError as error:
                _tell(found, f"{place}: {error}")
                continue
            _follow(found, line, place)
            if begins and line.head.seq != file.first_seq:
                _tell(found, f"{place}: it is line {line.head.seq}, not the one that the file's name says")
            if line.at[:10] != file.day.isoformat():
                _tell(found, f"{place}: it was not written on the day of the file's name")
            if line.kind == REMOVED:
                removed.add(Head(line.body.get("seq", -1), line.body.get("hash", "")))
            found.studies += line.kind == STUDY
            found.events += line.kind == EVENT
            found.counted += line.body.get("studies", 0) if line.kind == ENDS else 0
            seen = seen or line.head == expected
    _check_beginning(found, removed)
    if expected is not None and not (seen or expected in (found.first, Head())):
        _tell(found, _missing(found, expected))
    return found


def logs_in(folder: Path) -> list[Path]:
    """Return the audit logs that a folder means: its own, that of a study log, or those of several servers' logs."""
    if files_of(folder):
        return [folder]
    if (folder / AUDIT_FOLDER).is_dir():
        return [folder / AUDIT_FOLDER]
    return sorted(path for path in folder.glob(f"*/{AUDIT_FOLDER}") if path.is_dir())


def _texts(file: AuditFile) -> Iterator[tuple[str, bytes, bool]]:
    """Yield each line with its place; True comes with the first."""
    number = 0
    with file.path.open("rb") as texts:
        for number, text in enumerate(texts, 1):
            yield f"{file.path.name}, line {number}", text, number == 1
    if not number:
        yield f"{file.path.name}, line 1", b"", True


def _follow(found: Verified, line: Line, place: str) -> None:
    if found.first is None:
        found.first = found.head = Head(line.head.seq - 1, line.previous)
    if (line.head.seq, line.previous) != (found.head.seq + 1, found.head.hash):
        _tell(found, f"{place}: line {line.head.seq} does not follow line {found.head.seq}")
    found.lines += 1
    found.head = line.head


def _check_beginning(found: Verified, removed: set[Head]) -> None:
    first = found.first
    if first is None:
        _tell(found, "there is not one whole line")
    elif first != Head() and first not in removed:
        _tell(found, f"the chain begins after line {first.seq}, and no later line says that those before were removed")


def _missing(found: Verified, expected: Head) -> str:
    if found.first is not None and expected.seq < found.first.seq:
        return f"line {expected.seq} was removed for its age, so that its hash cannot be compared"
    if expected.seq > found.head.seq:
        return f"line {expected.seq} is missing: the log ends with line {found.head.seq}"
    return f"line {expected.seq} has another hash than the one that was given"


def _tell(found: Verified, problem: str) -> None:
    if len(found.problems) < MOST_PROBLEMS:
        found.problems.append(problem)
