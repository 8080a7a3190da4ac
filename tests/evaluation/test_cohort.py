"""``cohort.csv``: what is read, and that every mistake is told by row and column without a patient's name."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_evaluation.runs.cohort import MAX_FILE_BYTES, load_cohort
from support.results.evaluation import cohort_table

NAME = "DOE^JANE"


def table(folder: Path, *rows: str, header: str = "study,label") -> Path:
    """A table whose studies, ``DOE^JANE 0`` and so on to 3, are there."""
    for index in range(4):
        (folder / f"{NAME} {index}").mkdir(exist_ok=True)
    path = folder / "cohort.csv"
    path.write_text("\n".join([header, *(r.replace("#", f"{NAME} ") for r in rows)]) + "\n", encoding="utf-8")
    return path


def test_a_table_becomes_cases(tmp_path: Path) -> None:
    cohort = load_cohort(table(tmp_path, "#0,necrosis,site A,p1", "#1,recurrence,,p2", header="study,label,group,case"))
    first, second = cohort.cases
    assert (first.case, first.label, first.group, first.folder) == ("p1", "necrosis", "site A", tmp_path / f"{NAME} 0")
    assert (second.case, second.label, second.group) == ("p2", "recurrence", "")


def test_columns_may_stand_in_any_order_and_cases_are_numbered(tmp_path: Path) -> None:
    cohort = load_cohort(table(tmp_path, "recurrence , #0", "necrosis,#1", header="label,study"))
    assert [(c.case, c.label) for c in cohort.cases] == [("1", "recurrence"), ("2", "necrosis")]


def test_an_archive_is_a_study_too_and_absolute_paths_and_quotes_and_marks_are_read(tmp_path: Path) -> None:
    (tmp_path / "a,b.zip").write_bytes(b"PK")
    (tmp_path / "other").mkdir()
    path = tmp_path / "cohort.csv"
    path.write_bytes(
        b'\xef\xbb\xbfstudy,label\r\n"a,b.zip",necrosis\r\n\r\n' + f"{tmp_path}/other,recurrence\r\n,\r\n".encode()
    )
    assert [c.folder.name for c in load_cohort(path).cases] == ["a,b.zip", "other"]


def test_the_digest_is_of_the_labels_by_case_and_not_of_names_or_order(tmp_path: Path) -> None:
    labels = ["necrosis", "recurrence", "recurrence"]
    first = load_cohort(cohort_table(tmp_path / "a", labels))
    other_names = load_cohort(cohort_table(tmp_path / "b", labels, name="X"))
    lines = (tmp_path / "a" / "cohort.csv").read_text().splitlines()
    body = lines[1:]
    random.Random(1).shuffle(body)
    (tmp_path / "a" / "cohort.csv").write_text("\n".join([lines[0], *body]))
    shuffled = load_cohort(tmp_path / "a" / "cohort.csv")
    assert first.digest == other_names.digest == shuffled.digest
    assert first.studies_digest == shuffled.studies_digest != other_names.studies_digest
    changed = load_cohort(cohort_table(tmp_path / "c", ["necrosis", "necrosis", "recurrence"]))
    assert changed.digest != first.digest


@pytest.mark.parametrize(
    ("rows", "header", "told"),
    [
        ((), "", "The table is empty"),
        ((), "study,label", "has no studies"),
        (("#0,necrosis",), "study,diagnosis", "Row 1 (the header) has no column label"),
        (("#0;necrosis",), "study;label", "no column study; commas separate"),
        (("#0,necrosis,x",), "study,label,sceanner", "column 3 is none of study, label, group, case"),
        (("#0,necrosis,x",), "study,label,label", "names the column label twice"),
        (("#0,necrosis", "#1,recurrence,more"), "study,label", "Row 3 has 3 cells, the header 2"),
        (("#0,necrosis", "#1,Recurrence"), "study,label", "Row 3, column label: it must be necrosis or recurrence"),
        (("#0,necrosis", ",recurrence"), "study,label", "Row 3, column study: it is empty"),
        (("#0,necrosis", "#9,recurrence"), "study,label", "Row 3, column study: there is no such folder"),
        (("#0,necrosis", "x" * 300 + ",recurrence"), "study,label", "Row 3, column study: there is no such folder"),
        (("#0,necrosis", "./#0,recurrence"), "study,label", "Row 3, column study: it is that of row 2 again"),
        (("#0,necrosis,a", "#1,recurrence,a"), "study,label,case", "Row 3, column case: it is that of row 2 again"),
        (("#0,necrosis,a", "#1,recurrence,"), "study,label,case", "Row 3, column case: 1 to 64"),
        (("#0,necrosis,=1+1", "#1,recurrence,b"), "study,label,case", "Row 2, column case: 1 to 64"),
        (("#0,necrosis,=1+1", "#1,recurrence,b"), "study,label,group", "Row 2, column group: 1 to 64"),
        (("#0,necrosis,a\u200bb", "#1,recurrence,b"), "study,label,group", "Row 2, column group: 1 to 64"),
        (("#0,necrosis", "#1,necrosis"), "study,label", "Column label: no study is recurrence"),
        (("#0,necrosis", '"#1,recurrence'), "study,label", "Row 3: unexpected end of data"),
        (("#0,necrosis", "#1,rec\0"), "study,label", "zero bytes"),
    ],
)
def test_what_is_wrong_is_told_and_no_name(tmp_path: Path, rows: tuple[str, ...], header: str, told: str) -> None:
    with pytest.raises(GlioserveError) as caught:
        load_cohort(table(tmp_path, *rows, header=header))
    assert caught.value.code is ErrorCode.INVALID_COHORT
    assert told in str(caught.value)
    assert "DOE" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_another_encoding_is_told_by_its_row(tmp_path: Path) -> None:
    path = table(tmp_path, "#0,necrosis")
    path.write_bytes(path.read_bytes() + "Müller,recurrence\n".encode("latin-1"))
    with pytest.raises(GlioserveError, match="Row 3 is not UTF-8"):
        load_cohort(path)


def test_a_table_that_is_not_there_or_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(GlioserveError, match="No such file"):
        load_cohort(tmp_path / "cohort.csv")
    with pytest.raises(GlioserveError, match="cannot be read"):
        load_cohort(tmp_path)
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(GlioserveError, match="is over 16 MB"):
        load_cohort(tmp_path / "huge.csv")
