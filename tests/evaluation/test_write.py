"""The files of an evaluation: what is in them, what never is, and that a page needs nothing but itself."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from glioserve_contract import NOT_FOR_CLINICAL_USE
from glioserve_evaluation.figures.assess import assess
from glioserve_evaluation.reports.html import as_html
from glioserve_evaluation.reports.report import EvaluationReport, Settings, report_bytes
from glioserve_evaluation.reports.write import cases_csv, summary_lines, write_evaluation
from glioserve_evaluation.runs.results import Outcome
from support.results.evaluation import MODEL, drawn_outcomes, outcome

DATA_URL = "data:image/svg+xml;base64,"
FAILED = replace(outcome("FAILED-CASE", "necrosis", None, error="GLIO-1303"), detail="The t1 series has 17 slices.")
PUBLISHED_SCORES = [*[0.11] * 7, *[0.9] * 2, *[0.92] * 46, *[0.3] * 3]
"""7 of 9 necroses and 46 of 49 recurrences on their side, as in the published table."""
OUTCOMES = [*drawn_outcomes(1, 12, 30), FAILED, outcome("odd", "recurrence", None, error="unknown")]


def report_of(outcomes: list[Outcome] = OUTCOMES, **settings: object) -> EvaluationReport:
    report = assess(outcomes, MODEL, "sha256:" + "c" * 64, Settings(resamples=200, **settings))  # type: ignore[arg-type]
    return replace(report, created="2031-05-06T07:08:09+00:00")


class Page(HTMLParser):
    """A page's tables by their cells' texts, its images, and whatever it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.sources: dict[str, str] = {}
        self.fetched: list[str] = []
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")
            self._in_cell = True
        elif tag == "img":
            self.sources[values["alt"] or ""] = values["src"] or ""
        self.fetched += [value or "" for name, value in attrs if name in {"src", "href", "action", "data"}]
        self.fetched += [tag] if tag in {"script", "link", "iframe", "object", "form", "base"} else []

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in {"td", "th"}

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data

    def row(self, first: str) -> list[str]:
        """The one row whose first cell this is; no other begins with it."""
        rows = [[cell.strip() for cell in row] for row in self.rows]
        (found,) = [row for row in rows if row[0] == first]
        return found


def svg(source: str) -> ET.Element:
    return ET.fromstring(base64.b64decode(source.removeprefix(DATA_URL)))


def lines_of(plot: ET.Element) -> list[int]:
    """Return the number of corners of each drawn line."""
    paths = plot.iter("{http://www.w3.org/2000/svg}path")
    return [len(re.findall("[ML] ", p.get("d", ""))) for p in paths if "clip-path" in p.attrib and "Z" not in p.attrib]


def test_the_three_files_are_written_and_told(tmp_path: Path) -> None:
    report = report_of()
    paths = write_evaluation(report, OUTCOMES, tmp_path / "new" / "out")
    assert [p.name for p in paths] == ["evaluation.json", "evaluation.html", "cases.csv"]
    assert sorted(p.name for p in (tmp_path / "new" / "out").iterdir()) == sorted(p.name for p in paths)
    assert json.loads(paths[0].read_bytes())["counts"]["studies"] == 44
    assert paths[1].read_text(encoding="utf-8") == as_html(report)
    assert paths[2].read_text() == cases_csv(OUTCOMES)


def test_equal_reports_give_equal_pages_and_others_other_ones() -> None:
    assert as_html(report_of()) == as_html(report_of())
    assert as_html(report_of()) != as_html(report_of(drawn_outcomes(2, 12, 30)))


def test_the_page_holds_its_plots_and_fetches_nothing() -> None:
    page = Page(as_html(report_of(wanted_sensitivity=0.9)))
    assert list(page.sources) == ["ROC curve", "Calibration: studies by bin", "Confusion matrix"]
    assert page.fetched == list(page.sources.values())
    for source in page.sources.values():
        assert source.startswith(DATA_URL)
        plot = svg(source)
        assert plot.tag.endswith("}svg")
        for element in plot.iter():  # what is referred to lies in the image itself
            for name, value in element.attrib.items():
                assert not name.endswith("href") or value.startswith(("#", "data:"))


def test_the_page_has_no_address_but_names_of_schemas() -> None:
    text = as_html(report_of())
    assert "http" not in text
    for source in Page(text).sources.values():
        assert set(re.findall(r"https?://[^\s\"'<>]+", base64.b64decode(source.removeprefix(DATA_URL)).decode())) <= {
            "http://www.w3.org/2000/svg",
            "http://www.w3.org/1999/xlink",
            "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
            "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd",
            "http://creativecommons.org/ns#",
            "http://purl.org/dc/elements/1.1/",
            "http://purl.org/dc/dcmitype/StillImage",
        }


def test_the_plots_draw_the_reports_points() -> None:
    report = report_of()
    page = Page(as_html(report))
    assert len(report.roc) in lines_of(svg(page.sources["ROC curve"]))
    filled = sum(b.n > 0 for b in report.calibration)
    assert filled in lines_of(svg(page.sources["Calibration: studies by bin"]))
    other = replace(
        report, answered=replace(report.answered, confusion=replace(report.answered.confusion, true_positive=1))
    )
    changed = Page(as_html(other)).sources
    assert changed["ROC curve"] == page.sources["ROC curve"]
    assert changed["Confusion matrix"] != page.sources["Confusion matrix"]


def test_the_page_names_no_case_and_no_detail() -> None:
    """Only cases.csv says which studies they were."""
    for text in (as_html(report_of()), report_bytes(report_of()).decode()):
        assert "FAILED-CASE" not in text
        assert "17 slices" not in text
        assert not re.search(r"\bc\d{1,2}\b", re.sub(r"base64,[^\"]+", "", text))


def test_the_page_says_what_the_report_says() -> None:
    outcomes = [outcome(f"c{i}", "necrosis" if i < 9 else "recurrence", s) for i, s in enumerate(PUBLISHED_SCORES)]
    page = Page(as_html(report_of([*outcomes, FAILED])))
    assert page.row("sensitivity")[1:] == [
        "0.778 (0.402 to 0.961), 7 of 9",
        "0.778 (0.402 to 0.961), 7 of 9",
        "0.700 (0.354 to 0.919), 7 of 10",
    ]
    assert page.row("specificity")[1] == "0.939 (0.821 to 0.984), 46 of 49"
    assert page.row("AUC (DeLong)")[3] == "–"
    assert page.row("GLIO-1303") == ["GLIO-1303", "1", "A sequence has fewer slices than the recipe's min_slices."]
    assert page.row("recurrence")[1] == "49"
    text = as_html(report_of([*outcomes, FAILED]))
    assert NOT_FOR_CLINICAL_USE in text
    assert "Wilson&#39;s with continuity correction" in text


@pytest.mark.parametrize(
    ("outcomes", "plots"),
    [
        ([outcome("a", "necrosis", 0.2), outcome("b", "recurrence", None, error="GLIO-1303")], 2),
        ([outcome("a", "necrosis", 0.2, abstained=1), outcome("b", "recurrence", None, error="GLIO-1303")], 0),
    ],
    ids=["one diagnosis", "no answer"],
)
def test_a_page_of_few_answers_leaves_out_what_cannot_be_drawn(outcomes: list[Outcome], plots: int) -> None:
    page = Page(as_html(report_of(outcomes)))
    assert len(page.sources) == plots
    assert page.row("AUC (DeLong)")[1] == "needs both diagnoses"
    assert page.row("specificity")[1] == "no studies"
    assert page.row("all")[1] == "fewer than two, or all equal"


def test_a_groups_name_is_text_on_the_page() -> None:
    name = "site <b>&\"'</b>"
    outcomes = [replace(o, group=name if i % 2 else "") for i, o in enumerate(drawn_outcomes(1, 12, 30))]
    text = as_html(report_of(outcomes))
    assert "<b>" not in text
    page = Page(text)
    assert page.row(name)[1] == "21"
    assert page.row("(none)")[1] == "21"


def test_a_case_is_a_row_of_the_table() -> None:
    rows = list(csv.DictReader(io.StringIO(cases_csv(OUTCOMES))))
    assert [r["case"] for r in rows] == [o.case for o in OUTCOMES]
    first, failed = rows[0], rows[42]
    assert (float(first["score"]), first["predicted"]) == (OUTCOMES[0].score, OUTCOMES[0].predicted)
    assert (first["label"], first["group"], first["error"]) == ("necrosis", "A", "")
    assert (failed["score"], failed["predicted"]) == ("", "")
    assert (failed["error"], failed["detail"]) == ("GLIO-1303", "The t1 series has 17 slices.")


def test_a_terminal_gets_the_main_figures_and_every_warning() -> None:
    outcomes = [outcome(f"c{i}", "necrosis" if i < 9 else "recurrence", s) for i, s in enumerate(PUBLISHED_SCORES)]
    report = report_of([*outcomes, FAILED], wanted_sensitivity=0.7)
    lines = list(summary_lines(report))
    assert "59 studies (10 necrosis, 49 recurrence): 58 answered, 0 abstained, 1 failed (1 x GLIO-1303)" in lines
    assert "sensitivity           7/9 0.78 (0.40-0.96)        7/10 0.70 (0.35-0.92)" in lines
    assert "specificity           46/49 0.94 (0.82-0.98)      46/49 0.94 (0.82-0.98)" in lines
    assert any(
        line.startswith("sensitivity 0.7 wanted: threshold 0.205 gives 0.778, specificity 1.000") for line in lines
    )
    assert [line for line in lines if line.startswith("warning: ")] == [f"warning: {w}" for w in report.warnings]
