"""The card: everything of the manifest that people need, as Markdown and HTML, and nothing that it should not say."""

from __future__ import annotations

import html.parser
import re
from dataclasses import replace
from pathlib import Path

import pytest

from glioserve_contract import NOT_FOR_CLINICAL_USE
from glioserve_contract.records.facts.parity import ParityRecord
from glioserve_contract.records.facts.provenance import ProvenanceRecord
from glioserve_contract.records.facts.variants import ComparisonRecord, VariantRecord
from glioserve_contract.records.manifest import Manifest
from glioserve_contract.records.recipe import ReferenceCase
from glioserve_evaluation.reports.report import read_summary, summary_for_manifest
from glioserve_registry.demo_model import demo_model_dir
from glioserve_registry.layout.repository import add_version
from glioserve_registry.layout.serving import version_folder
from glioserve_registry.publishing.model_card import card_files
from glioserve_registry.publishing.publication import Terms
from glioserve_triton.served.versions import load_manifest
from support.models.promotable import promotable
from support.models.recipes import fake_export, tiny_recipe
from support.results.evaluations import report_for, write_evaluation

SECTIONS = [
    "What it is",
    "Intended use",
    "Recipe",
    "Training",
    "Parity",
    "Variants",
    "Evaluation",
    "Publication",
    "Lineage",
    "Limits",
]


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Return a manifest with something in every field."""
    source = promotable(tmp_path / "exported", 1.0)
    add_version(
        tmp_path / "r",
        source,
        terms=Terms(read_summary(write_evaluation(tmp_path / "e.json", load_manifest(source)))),
    )
    published = load_manifest(version_folder(tmp_path / "r", 1))
    recipe = replace(
        tiny_recipe(),
        temperature=1.37,
        reference_case=ReferenceCase("sha256:" + "1" * 64, 0.92),
        provenance=ProvenanceRecord(data="234 patients", settings={"learning_rate": 1e-5, "epochs": 300}),
    )
    figures = ComparisonRecord(8, 0.0012, 0, 0.99, 0.999, 1.0)
    variants = {"fp16": VariantRecord("model_fp16.onnx", "onnxruntime, CPU", figures, recipe.variant_limits)}
    return replace(published, recipe=recipe, variants=variants)


class _Page(html.parser.HTMLParser):
    """Texts by tag, and that every tag is closed by its own."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.tags: set[str] = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, _attributes: object) -> None:
        self.tags.add(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.texts.setdefault(self.open[-1], []).append(data)


def test_it_has_every_section_in_both_forms(manifest: Manifest) -> None:
    cards = card_files(manifest)
    assert list(cards) == ["model_card.md", "model_card.html"]
    assert re.findall(r"^## (.+)$", cards["model_card.md"], re.MULTILINE) == SECTIONS
    page = _Page(cards["model_card.html"])
    assert page.texts["h2"] == SECTIONS
    assert page.texts["h1"] == ["tiny: model card"]


def test_it_says_what_the_manifest_knows(manifest: Manifest) -> None:
    assert manifest.evaluation is not None
    assert manifest.publication is not None
    cards = card_files(manifest)
    page = _Page(cards["model_card.html"])
    html_text = " ".join(text for texts in page.texts.values() for text in texts)
    markdown = re.sub(r"\\(.)", r"\1", cards["model_card.md"])
    for text in (markdown, html_text):
        for wanted in (
            NOT_FOR_CLINICAL_USE,
            "t1, t1ce and t2 MRI",
            "16 x 16 x 16 voxels of 8 x 8 x 8 mm",
            "recurrence where its probability is at least 0.5",
            "1.37",
            "0.92 ± 0.01 before the temperature",
            "234 patients",
            "settings.learning_rate",
            "1e-05",
            "5.0e-06",
            "onnxruntime, CPU",
            "model_fp16.onnx",
            "0.0012",
            "AUC",
            "0.730 to 0.930",
            "Sensitivity, failures and abstentions wrong",
            "parity of LOGITS",
            f"Its weights are {manifest.weights_digest[7:19]}.",
            manifest.weights_digest,
            manifest.preprocessing_digest,
            manifest.files["model.onnx"],
            manifest.evaluation.digest,
            manifest.publication.source_manifest,
            manifest.publication.at,
        ):
            assert wanted in text, wanted


def test_what_is_not_known_is_said_to_be_unknown(tmp_path: Path) -> None:
    bare = load_manifest(fake_export(tmp_path / "bare", parity=ParityRecord(), cam_method="none"))
    card = card_files(bare)["model_card.md"]
    for words in (
        "Nothing is known of its training",
        "It was never shown that the exported graph answers",
        "None: the 32-bit graph alone",
        "It was never evaluated on a cohort",
        "It gives no heat map",
    ):
        assert words in card
    assert "## Publication" not in card


def test_counts_stand_beside_their_shares(manifest: Manifest) -> None:
    for card in card_files(manifest).values():
        assert "0.778 (7 of 9)" in card
        assert "0.939 (46 of 49)" in card


def test_a_reference_case_that_is_missing_is_among_the_limits(manifest: Manifest) -> None:
    without = replace(manifest, recipe=replace(manifest.recipe, reference_case=None))
    words = "It has no reference case"
    assert [words in card_files(m)["model_card.md"] for m in (manifest, without)] == [False, True]


def test_an_override_stands_out_on_the_page(manifest: Manifest) -> None:
    assert manifest.publication is not None
    overridden = replace(manifest, publication=replace(manifest.publication, override="no cohort yet"))
    marked = [
        re.findall('<p class="notice">(.*?)</p>', card_files(m)["model_card.html"]) for m in (manifest, overridden)
    ]
    assert marked[0] == [NOT_FOR_CLINICAL_USE]
    assert marked[1] == [NOT_FOR_CLINICAL_USE, "The gate refused it, and was overridden: no cohort yet"]


def test_the_demo_models_card_says_that_it_knows_phantoms_alone() -> None:
    card = card_files(load_manifest(demo_model_dir()))["model_card.md"]
    assert "It was trained on synthetic phantoms: its answers about patients mean nothing." in card


@pytest.mark.parametrize(
    "path",
    [
        "/home/wilhelmina/cohort",
        "~/data/x.csv",
        "file:///mnt/pacs",
        r"C:\Users\w\x",
        "../shared/cohort",
        "at /srv/x/y",
        "//srv/x",
    ],
)
def test_a_training_machines_folders_are_left_out(tmp_path: Path, path: str) -> None:
    recipe = replace(tiny_recipe(), provenance=ProvenanceRecord(data=f"cohort {path}", notes={"out": path}))
    for text in card_files(load_manifest(fake_export(tmp_path / "e", recipe))).values():
        for part in ("wilhelmina", "pacs", "Users", "x.csv", "shared/cohort", "srv"):
            assert part not in text
        assert "path" in text


def test_what_is_no_path_stays(tmp_path: Path) -> None:
    words = "T1/T1ce/T2 at 1.5/3 T, lr 1e-5, see https://example.org/doi"
    recipe = replace(tiny_recipe(), provenance=ProvenanceRecord(data=words))
    assert words in card_files(load_manifest(fake_export(tmp_path / "e", recipe)))["model_card.html"]


def test_free_text_stays_text(tmp_path: Path) -> None:
    """A provenance is anybody's words, and the card is opened in a browser."""
    words = "<script>alert(1)</script> | **bold** [a](b)\n# heading"
    evil = ProvenanceRecord(data=words, notes={'"><img src=x onerror=y>': "k"})
    cards = card_files(load_manifest(fake_export(tmp_path / "e", replace(tiny_recipe(), provenance=evil))))
    page = _Page(cards["model_card.html"])
    assert {"script", "img", "a"} & page.tags == set()
    assert "<script" not in cards["model_card.md"].replace(r"\<script", "")
    assert re.findall(r"^#+ .*heading", cards["model_card.md"], re.MULTILINE) == []
    rows = [line for line in cards["model_card.md"].splitlines() if "alert" in line]
    assert len(rows) == 1
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 3, "the row still has two cells"


def test_the_same_manifest_gives_the_same_card(manifest: Manifest) -> None:
    assert card_files(manifest) == card_files(manifest)


def test_an_evaluation_without_a_class_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    exported = load_manifest(fake_export(tmp_path / "e"))
    summary = summary_for_manifest(report_for(exported))
    summary = replace(summary, metrics=replace(summary.metrics, auc=None))
    card = card_files(replace(exported, evaluation=summary))["model_card.md"]
    assert "AUC" not in card
    assert "Specificity" in card
