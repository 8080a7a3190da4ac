"""``cohort.csv``: the studies to be evaluated and their known diagnoses.

Folders' names may carry patients' names, so results know a study by its ``case`` alone, and no message quotes a cell.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from glioserve_contract import ErrorCode, GlioserveError, canonical_json, sha256_digest
from glioserve_contract.records.recipe import CLASSES

CohortLabel = Literal["necrosis", "recurrence"]

COLUMNS = ("study", "label", "group", "case")
REQUIRED = ("study", "label")
MAX_FILE_BYTES = 16 << 20
"""Largest size of a table in bytes, far above any cohort's: a larger file is not a table."""
_CASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_GROUP = re.compile(r"[^\W_][^\x00-\x1f\x7f]{0,63}")
"""Form of a group, which the formulas of spreadsheets do not have."""


@dataclass(frozen=True)
class CohortCase:
    """One study of the cohort."""

    case: str
    """Name of the study in results; never a patient's name."""
    folder: Path
    """Folder or zip archive of the DICOM files; not for results."""
    label: CohortLabel
    group: str = ""
    """Row of a subgroup table: a scanner, a site, a treatment. Empty for none."""


@dataclass(frozen=True)
class Cohort:
    """The cases in the table's order; at least one of each label."""

    cases: tuple[CohortCase, ...]
    digest: str
    """Digest of the table of labels and groups by case, in any order of its rows; it identifies a figure's cohort."""
    studies_digest: str
    """Digest of each case's folder, by its name in the table; it guards an unfinished run and is not in reports."""


def load_cohort(path: Path) -> Cohort:
    """Read and check the table. ``study`` is relative to the table's own folder.

    GLIO-5121 names the row (as a spreadsheet counts: the header is row 1) and the column of what is wrong.
    """
    rows = _rows(path)
    header = _header(rows)
    cases: list[CohortCase] = []
    names: dict[str, int] = {}
    folders: dict[Path, int] = {}
    studies: list[tuple[str, str]] = []
    for number, row in rows:
        cells = _cells(number, row, header)
        case = _case(number, cells, len(cases) + 1, path.parent)
        _once(names, case.case, number, "case")
        _once(folders, case.folder.resolve(), number, "study")
        cases.append(case)
        studies.append((case.case, cells["study"]))
    if not cases:
        raise _wrong("The table has no studies")
    missing = set(CLASSES) - {c.label for c in cases}
    if missing:
        raise _wrong(f"Column label: no study is {missing.pop()}, and an evaluation needs both diagnoses")
    table = sorted((c.case, c.label, c.group) for c in cases)
    return Cohort(tuple(cases), _digest(table), _digest(sorted(studies)))


_Rows = list[tuple[int, list[str]]]


def _rows(path: Path) -> _Rows:
    """Read the rows and number them from 1; rows without text, which spreadsheets leave at the end, are skipped."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise _wrong(f"The cohort's table cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise _wrong(f"The cohort's table is over {MAX_FILE_BYTES >> 20} MB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _wrong(f"Row {line} is not UTF-8: save the table as CSV in UTF-8") from None
    if "\0" in text:
        raise _wrong("The table holds zero bytes: it is not CSV")
    rows: _Rows = []
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return rows
        except csv.Error as error:
            raise _wrong(f"Row {len(rows) + 1}: {error}") from None
        rows.append((len(rows) + 1, [cell.strip() for cell in row]))


def _header(rows: _Rows) -> tuple[str, ...]:
    """Remove the header and empty rows from ``rows``, and return the header."""
    rows[:] = [(number, row) for number, row in rows if any(row)]
    if not rows:
        raise _wrong("The table is empty")
    number, header = rows.pop(0)
    for column in REQUIRED:
        if column not in header:
            raise _wrong(
                f"Row {number} (the header) has no column {column}; commas separate {', '.join(REQUIRED)} and, "
                "where wanted, group, case"
            )
    for index, column in enumerate(header, start=1):
        if column not in COLUMNS:
            raise _wrong(f"Row {number} (the header): column {index} is none of {', '.join(COLUMNS)}")
        if column in header[: index - 1]:
            raise _wrong(f"Row {number} (the header) names the column {column} twice")
    return tuple(header)


def _cells(number: int, row: list[str], header: tuple[str, ...]) -> dict[str, str]:
    if len(row) != len(header):
        raise _wrong(f"Row {number} has {len(row)} cells, the header {len(header)}")
    return dict(zip(header, row, strict=True))


def _case(number: int, cells: dict[str, str], running: int, folder: Path) -> CohortCase:
    label = cells["label"]
    if label not in CLASSES:
        raise _wrong(f"Row {number}, column label: it must be {' or '.join(CLASSES)}")
    if not cells["study"]:
        raise _wrong(f"Row {number}, column study: it is empty")
    study = folder / cells["study"]
    try:
        there = study.is_dir() or study.is_file()
    except OSError:  # a name that no file can have
        there = False
    if not there:
        raise _wrong(f"Row {number}, column study: there is no such folder or zip archive beside the table")
    case = cells.get("case", "")
    if "case" in cells and not _CASE.fullmatch(case):
        raise _wrong(f"Row {number}, column case: 1 to 64 letters, digits, '.', '_' or '-', a letter or digit first")
    group = cells.get("group", "")
    if group and not (_GROUP.fullmatch(group) and group.isprintable()):
        raise _wrong(f"Row {number}, column group: 1 to 64 printable characters, a letter or digit first")
    return CohortCase(case or str(running), study, cast(CohortLabel, label), group)


def _once(seen: dict[str, int] | dict[Path, int], value: str | Path, number: int, column: str) -> None:
    first = seen.setdefault(value, number)  # type: ignore[arg-type]  # each dict with its own kind of key
    if first != number:
        raise _wrong(f"Row {number}, column {column}: it is that of row {first} again")


def _digest(table: object) -> str:
    return sha256_digest(canonical_json(table).encode())


def _wrong(problem: str) -> GlioserveError:
    return GlioserveError(ErrorCode.INVALID_COHORT, f"{problem}.")
