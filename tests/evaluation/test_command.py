"""``glioserve evaluate`` as its user calls it, offline: what it asks, keeps, tells and never tells."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.conftest import PATIENT, Evaluated, PhantomCohort, evaluate
from glioserve_cli.models import evaluate as command
from glioserve_evaluation.reports.report import load_report
from glioserve_evaluation.runs import sources
from glioserve_evaluation.runs.prediction import CasePrediction
from glioserve_evaluation.runs.predictors import OfflinePredictor
from glioserve_evaluation.runs.results import RESULTS_FILE
from glioserve_preprocess.files import load_recipe
from glioserve_registry.demo_model import demo_model_dir
from glioserve_triton.served.versions import load_manifest
from support.models.recipes import fake_export
from support.results.evaluation import cohort_table, drawn_outcomes

COHORT_OF_12 = [("necrosis", "recurrence", "recurrence")[i % 3] for i in range(12)]


def folder_with(out: Path, source: Evaluated) -> Path:
    """Results to go on with."""
    out.mkdir()
    shutil.copy(source.out / RESULTS_FILE, out)
    return out


WITHOUT_TORCH = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "monai", "onnx", "onnxscript", "safetensors", "fsspec"}:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Absent())
from glioserve_cli.main import main
sys.exit(main(sys.argv[1:]))
"""
"""Packages that ``pip install '.[evaluate]'`` leaves out are hidden."""


class Scripted:
    """Stand-in for the pipeline: scores by the number that a study's folder ends in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> None:
        self.scores = scores
        self.asked: list[int] = []
        self.interrupted_at: int | None = None
        script = self

        def predict(self: OfflinePredictor, study: Path) -> CasePrediction:
            number = int(study.name.split()[-1])
            if number == script.interrupted_at:
                raise KeyboardInterrupt
            script.asked.append(number)
            return CasePrediction(script.scores[number], 0, "ok", self.model)

        monkeypatch.setattr(OfflinePredictor, "__call__", predict)


@pytest.fixture
def version(tmp_path: Path) -> Path:
    return fake_export(tmp_path / "version")


@pytest.fixture
def overlapping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A validation cohort of 60 that teaches something: overconfident scores that overlap."""
    outcomes = drawn_outcomes(4, 20, 40, temperature=3.0)
    Scripted(monkeypatch, [o.score for o in outcomes if o.score is not None])
    return cohort_table(tmp_path / "cohort", [o.label for o in outcomes])


def test_a_cohort_is_evaluated_and_the_broken_study_is_a_row(offline_run: Evaluated) -> None:
    assert offline_run.code == 0, offline_run.aside
    cases = offline_run.cases
    assert list(cases) == ["a", "b", "c"]
    assert (cases["a"]["predicted"], cases["b"]["predicted"]) == ("necrosis", "recurrence")
    assert float(cases["a"]["score"]) < 0.1 < 0.9 < float(cases["b"]["score"])
    assert (cases["c"]["score"], cases["c"]["error"]) == ("", "GLIO-1303")
    assert re.fullmatch(r"The \w+ series has \d+ slices; the recipe needs 32\.", cases["c"]["detail"])
    report = load_report(offline_run.out / "evaluation.json")
    assert (report.counts.studies, report.counts.answered, report.counts.errors) == (3, 2, {"GLIO-1303": 1})
    assert [(g.group, g.counts.failed) for g in report.subgroups] == [("site A", 0), ("site B", 1)]
    assert report.model.weights_digest == load_manifest(demo_model_dir()).weights_digest
    assert "3 studies (2 necrosis, 1 recurrence): 2 answered, 0 abstained, 1 failed (1 x GLIO-1303)" in offline_run.told
    assert "0 of 3 studies are done" in offline_run.aside


def test_nothing_that_an_evaluation_leaves_names_a_patient(offline_run: Evaluated, phantoms: PhantomCohort) -> None:
    texts = [offline_run.told, offline_run.aside, *(p.read_text(encoding="utf-8") for p in offline_run.out.iterdir())]
    assert len(texts) == 6
    for text in texts:
        assert PATIENT.split("^")[0] not in text
        assert "Fictitious" not in text, "the phantoms' PatientName"
        assert str(phantoms.table.parent) not in text
        assert not re.search(r"\b[012](\.\d+){5,}", text), "a UID"


def test_a_second_run_asks_nobody_and_reports_the_same(
    offline_run: Evaluated, phantoms: PhantomCohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OfflinePredictor, "__call__", lambda *_: pytest.fail("asked again"))
    again = evaluate(folder_with(tmp_path / "out", offline_run), phantoms.table, demo_model_dir())
    assert (again.code, again.told.splitlines()[:-1]) == (0, offline_run.told.splitlines()[:-1])
    first, second = (load_report(run.out / "evaluation.json") for run in (offline_run, again))
    assert replace(second, created=first.created) == first
    assert (again.out / "cases.csv").read_bytes() == (offline_run.out / "cases.csv").read_bytes()


def test_another_figure_of_the_same_answers_asks_nobody_either(
    offline_run: Evaluated, phantoms: PhantomCohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OfflinePredictor, "__call__", lambda *_: pytest.fail("asked again"))
    out = folder_with(tmp_path / "out", offline_run)
    options = ["--interval", "exact", "--bins", 5, "--bootstrap", 100, "--seed", 3, "--wanted-sensitivity", 0.9]
    run = evaluate(out, phantoms.table, demo_model_dir(), *options)
    settings = load_report(out / "evaluation.json").settings
    assert (settings.interval_method, settings.bins, settings.resamples, settings.seed) == ("exact", 5, 100, 3)
    assert "sensitivity 0.9 wanted: threshold" in run.told


def test_an_interrupted_run_keeps_what_is_done_and_asks_for_the_rest_alone(
    tmp_path: Path, version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, out = cohort_table(tmp_path / "cohort", COHORT_OF_12), tmp_path / "out"
    script = Scripted(monkeypatch, list(np.linspace(0.05, 0.95, 12)))
    script.interrupted_at = 5
    stopped = evaluate(out, table, version)
    assert stopped.code == 130
    assert "interrupted: 5 outcomes are kept; the same command goes on from there" in stopped.aside
    assert not (out / "evaluation.json").exists()
    script.interrupted_at = None
    script.asked.clear()
    resumed = evaluate(out, table, version)
    assert (resumed.code, script.asked) == (0, [5, 6, 7, 8, 9, 10, 11])
    assert "5 of 12 studies are done" in resumed.aside
    whole = evaluate(tmp_path / "at once", table, version)
    assert {c: r["score"] for c, r in resumed.cases.items()} == {c: r["score"] for c, r in whole.cases.items()}


def test_begun_anew_everything_is_asked_again(tmp_path: Path, version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, out = cohort_table(tmp_path / "cohort", COHORT_OF_12[:3]), tmp_path / "out"
    script = Scripted(monkeypatch, [0.1, 0.9, 0.8])
    evaluate(out, table, version)
    script.scores = [0.2, 0.9, 0.8]
    assert evaluate(out, table, version, "--no-resume").cases["c0"]["score"] == "0.2"
    assert script.asked == [0, 1, 2] * 2


@pytest.mark.long
def test_several_workers_give_the_same_rows(offline_run: Evaluated, phantoms: PhantomCohort, tmp_path: Path) -> None:
    run = evaluate(tmp_path / "out", phantoms.table, demo_model_dir(), "--workers", 2)
    assert run.code == 0, run.aside
    assert list(run.cases) == ["a", "b", "c"]
    for case, row in offline_run.cases.items():
        other = run.cases[case]
        assert {**other, "seconds": "", "score": ""} == {**row, "seconds": "", "score": ""}
        if row["score"]:
            assert float(other["score"]) == pytest.approx(float(row["score"]), abs=1e-6)


def test_where_no_study_is_answered_there_is_no_report(tmp_path: Path) -> None:
    """Empty folders: the real pipeline refuses them at once."""
    run = evaluate(tmp_path / "out", cohort_table(tmp_path / "cohort", COHORT_OF_12[:3]), demo_model_dir())
    assert run.code == 1
    assert "[GLIO-5121] Not one of 3 studies was answered (GLIO-1103: The folder holds no DICOM file" in run.aside
    assert [p.name for p in (tmp_path / "out").iterdir()] == [RESULTS_FILE]
    assert "DOE" not in run.aside + (tmp_path / "out" / RESULTS_FILE).read_text()


def test_a_fitted_copy_has_what_the_cohort_taught_and_needs_an_evaluation_of_its_own(
    tmp_path: Path, version: Path, overlapping: Path
) -> None:
    fitted = tmp_path / "fitted"
    fits = ["--fit-temperature", fitted, "--fit-threshold", fitted, "--wanted-sensitivity", 0.9]
    run = evaluate(tmp_path / "out", overlapping, version, *fits)
    assert run.code == 0, run.aside
    recipe = load_recipe(fitted / "recipe.json")
    assert 2 < recipe.temperature < 5
    told = f"{fitted}: temperature {recipe.temperature:g}, threshold {recipe.threshold:.4g}; judge it on another cohort"
    assert told in run.told
    report = load_report(tmp_path / "out" / "evaluation.json")
    assert recipe.provenance.calibrations[-1].cohort_digest == report.cohort_digest
    assert report.model.temperature == 1.0, "the report is of the network as it was"
    refused = evaluate(tmp_path / "out", overlapping, fitted)
    assert (refused.code, "one network at a time" in refused.aside) == (1, True)
    assert evaluate(tmp_path / "another", overlapping, fitted).code == 0
    after = load_report(tmp_path / "another" / "evaluation.json").model
    assert (after.temperature, after.threshold) == (recipe.temperature, recipe.threshold)


def test_a_fit_that_is_refused_leaves_the_report_and_no_copy(
    tmp_path: Path, version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Scripted(monkeypatch, [0.1, 0.9, 0.8])
    table = cohort_table(tmp_path / "cohort", COHORT_OF_12[:3])
    run = evaluate(tmp_path / "out", table, version, "--fit-temperature", tmp_path / "fitted")
    assert run.code == 1
    assert "[GLIO-5121] Cannot fit a temperature" in run.aside
    assert (tmp_path / "out" / "evaluation.html").is_file()
    assert not (tmp_path / "fitted").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "say what to evaluate"),
        (["{version}", "--url", "localhost:1"], "say what to evaluate"),
        (["--url", "localhost:1", "--fit-temperature", "{new}"], "not a running server's"),
        (["{version}", "--fit-threshold", "{new}"], "--fit-threshold needs --wanted-sensitivity"),
        (
            ["{version}", "--fit-threshold", "{new}", "--fit-temperature", "{new}2", "--wanted-sensitivity", "0.9"],
            "must name one folder",
        ),
        (["{version}", "--fit-temperature", "{version}"], "exists already"),
    ],
)
def test_a_wrong_use_is_told_before_any_study_is_read(
    tmp_path: Path, version: Path, arguments: list[str], problem: str
) -> None:
    filled = [a.format(version=version, new=tmp_path / "new") for a in arguments]
    run = evaluate(tmp_path / "out", tmp_path / "no such cohort.csv", *filled)
    assert (run.code, problem in run.aside) == (2, True), run.aside
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--interval", "agresti"],
        ["--workers", "0"],
        ["--bins", "-1"],
        ["--wanted-sensitivity", "1.2"],
        ["--wanted-sensitivity", "nan"],
        ["--timeout-s", "inf"],
    ],
)
def test_a_number_that_cannot_be_is_refused(tmp_path: Path, version: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        evaluate(tmp_path / "out", tmp_path / "cohort.csv", version, *arguments)
    assert caught.value.code == 2


def test_a_server_that_is_not_there_is_no_failed_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "READY_TIMEOUT_S", 0.3)
    table = cohort_table(tmp_path / "cohort", COHORT_OF_12[:3])
    run = evaluate(tmp_path / "out", table, "--url", "127.0.0.1:1")
    assert (run.code, "GLIO-41" in run.aside) == (1, True), run.aside
    lines = (tmp_path / "out" / RESULTS_FILE).read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["cohort"]


def test_a_table_that_is_wrong_ends_it_before_the_network_is_opened(tmp_path: Path, version: Path) -> None:
    table = cohort_table(tmp_path / "cohort", COHORT_OF_12[:3])
    rows = list(csv.reader(table.read_text().splitlines()))
    rows[2][1] = "radionecrosis"
    table.write_text("\n".join(",".join(row) for row in rows))
    run = evaluate(tmp_path / "out", table, version)
    assert run.code == 1
    assert run.aside.startswith("[GLIO-5121] Row 3, column label: it must be necrosis or recurrence.")


@pytest.mark.parametrize("what", ["an artifact", "a fit"])
def test_without_pytorch_what_needs_it_is_told_first(
    tmp_path: Path, version: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "torch" else pytest.fail(name))
    arguments = [version, "--fit-temperature", tmp_path / "fitted"]
    if what == "an artifact":
        arguments = [tmp_path / "artifact"]
        (tmp_path / "artifact").mkdir()
        (tmp_path / "artifact" / "weights.safetensors").touch()
    run = evaluate(tmp_path / "out", tmp_path / "no such cohort.csv", *arguments)
    assert (run.code, "pip install '.[evaluate,export]' in a checkout" in run.aside) == (1, True), run.aside


def test_an_exported_version_is_evaluated_where_there_is_no_pytorch(
    offline_run: Evaluated, phantoms: PhantomCohort, tmp_path: Path
) -> None:
    out = folder_with(tmp_path / "out", offline_run)
    lines = (out / RESULTS_FILE).read_bytes().splitlines(keepends=True)
    (out / RESULTS_FILE).write_bytes(b"".join(line for line in lines if b'"case": "c"' not in line))
    arguments = ["evaluate", str(demo_model_dir()), "--cohort", str(phantoms.table), "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "2 of 3 studies are done" in done.stderr
    assert Evaluated(out, 0, "", "").cases["c"]["error"] == "GLIO-1303"
