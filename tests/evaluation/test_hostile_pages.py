"""Text from outside stays text on each of the three HTML pages: the answer's, the model card's, the evaluation's."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from enum import Enum
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from glioserve_client import Prediction
from glioserve_client.outputs import page
from glioserve_client.outputs.anatomy import Anatomy
from glioserve_client.outputs.page import draw_page
from glioserve_client.outputs.viewer import make_viewer
from glioserve_contract.records.facts.publication import GateRule, GateVerdict, PublicationRecord
from glioserve_evaluation.figures.figures import CalibrationBin, RocPoint
from glioserve_evaluation.reports import html
from glioserve_evaluation.reports.html import as_html
from glioserve_evaluation.reports.report import Subgroup
from glioserve_registry.publishing import model_card
from glioserve_registry.publishing.model_card import card_files
from glioserve_triton.served.versions import load_manifest
from support.models.recipes import fake_export, tiny_recipe
from support.results.answers import small_answer
from support.results.evaluations import report_for

HOSTILE = """'"></td></style><script>alert(1)</script>&lt;&<img src=x onerror=alert(1)>"""
LOOKED_UP = {"recurrence", "necrosis", "wilsoncc", "GLIO-1301", "shown", "exact"}
"""Values by which the pages' code finds something; no free text reaches them."""
TAGS = set(
    "html head meta title style body main section h1 h2 p span div ul li table thead tbody tr th td img figure "
    "figcaption code br h3 details summary svg defs lineargradient stop rect line circle text".split()
)


class Page(HTMLParser):
    """The tags, the texts and the attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.attributes: dict[str, list[str]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def hostile(value: Any, name: str = "") -> Any:
    """The same record with every text, and every key of a mapping, made hostile; each says which field it was."""
    if isinstance(value, str) and not isinstance(value, Enum):
        return value if value in LOOKED_UP else f"{name}{HOSTILE}"
    if isinstance(value, dict):
        return {hostile(key, f"key of {name} {key}"): hostile(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(hostile(item, name) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: hostile(getattr(value, f.name), f"{name}.{f.name}") for f in fields(value)})
    return value


def check(page: Page, plain: Page, at_least: int, tags: set[str] = TAGS) -> None:
    """Hostile or not, the page has the same elements; what is hostile stands in it as it was written."""
    assert set(page.tags) <= tags
    assert {name for name in page.attributes if name.startswith("on")} == set()
    assert [page.tags.count(tag) for tag in ("img", "script")] == [plain.tags.count(tag) for tag in ("img", "script")]
    assert all(source.startswith("data:") for source in page.attributes.get("src", []))
    assert sum(HOSTILE in text for text in page.texts) >= at_least


VIEWER_TAGS = set("script canvas button input label output fieldset legend strong kbd".split())


def answer() -> Prediction:
    tensors = small_answer(warnings=("a warning",), notice="a notice")
    return Prediction.from_outputs(tensors, heatmap=True, request_id="r1", client_warnings=("left out",))


def test_the_answers_page() -> None:
    prediction = answer()
    changed = replace(
        prediction,
        report=hostile(prediction.report),
        request_id=HOSTILE,
        client_warnings=(HOSTILE,),
        client_timings_s={HOSTILE: 1.0},
    )
    check(Page(draw_page(changed, b"png")), Page(draw_page(prediction, b"png")), 14)
    viewer = make_viewer(prediction, None, Anatomy(None))
    with_images = Page(draw_page(changed, b"jpeg", viewer))
    check(with_images, Page(draw_page(prediction, b"jpeg", viewer)), 14, TAGS | VIEWER_TAGS)
    assert not any(HOSTILE in value for name in with_images.attributes for value in with_images.attributes[name])
    no_label = replace(changed, report=replace(changed.report, label="", abstained_because=(HOSTILE,)))
    check(Page(draw_page(no_label, None)), Page(draw_page(no_label, None)), 14)


@pytest.mark.parametrize("published", [False, True])
def test_the_model_card(published: bool, tmp_path: Path) -> None:
    provenance = {"data": "a cohort", "settings": {"epochs": "many"}}
    manifest = load_manifest(fake_export(tmp_path / "exported", replace(tiny_recipe(), provenance=provenance)))
    if published:
        gate = GateVerdict(passed=False, rules=(GateRule("auc", passed=False, found="none", limit="0.8"),))
        publication = PublicationRecord("now", "1", "2", "sha256:0", gate, override="a reason")
        manifest = replace(manifest, publication=publication)
    recipe = hostile(manifest.recipe)
    changed = replace(manifest, recipe=recipe, versions=hostile(manifest.versions), created=HOSTILE)
    changed = replace(changed, publication=hostile(manifest.publication))
    plain = Page(card_files(manifest)["model_card.html"])
    check(Page(card_files(changed)["model_card.html"]), plain, 8)


def test_the_evaluations_page(tmp_path: Path) -> None:
    report = report_for(load_manifest(fake_export(tmp_path / "exported")))
    report = replace(
        report,
        warnings=("a warning",),
        versions={"glioserve": "1"},
        calibration=(CalibrationBin(0, 1, 58, 0.2, 0.2),),
        roc=(RocPoint(0, 0, None), RocPoint(1, 1, 0.9)),
        subgroups=(Subgroup("a site", report.counts, report.answered, report.every_study),),
    )
    check(Page(as_html(hostile(report))), Page(as_html(report)), 10)


@pytest.mark.parametrize("module", [page, model_card, html], ids=lambda m: m.__name__.rpartition(".")[2])
def test_every_page_is_made_with_escaping_on(module: Any) -> None:
    assert module._template().environment.autoescape is True
