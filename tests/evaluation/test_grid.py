"""The grid of networks and sequences: one split, one recipe a cell, nothing done twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.conftest import PhantomCohort
from glioserve_cli.main import main
from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.records.recipe import Recipe
from glioserve_evaluation.grid import cells as grid
from glioserve_evaluation.grid import tables as train_grid
from glioserve_evaluation.grid.cells import Cell, CellResult, GridPlan, run_grid, split
from glioserve_networks import load_artifact
from glioserve_networks.dataset import Patient, index_of, save_index, save_patient
from glioserve_preprocess.files import save_recipe
from glioserve_training import cohort_dataset
from glioserve_training.cohort_dataset import CohortDataset, Excluded, LabelledStudy, make_cohort_dataset
from glioserve_training.settings import PRESETS
from support.models.recipes import SMALL, tiny_recipe

SETTINGS = replace(PRESETS["demo"], epochs=2, batch=4, augment=False, bf16=False, localisation=0.0)
STUDIES = [LabelledStudy(f"{i}", Path(f"{i}"), ("necrosis", "recurrence")[i % 3 > 0]) for i in range(18)]
ONE, TWO = (Modality.T1CE,), (Modality.T1CE, Modality.T2)


def plan_of(*cells: Cell, base: Recipe | None = None) -> GridPlan:
    options = {name: dict(architecture.options) for name, architecture in SMALL.items()}
    return GridPlan(base or tiny_recipe(size_voxels=(32, 32, 32)), cells, SETTINGS, options)


@pytest.fixture
def bright_is_recurrence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors without DICOM: a recurrence is brighter. Case 5 has no T2."""

    def make(studies: Sequence[LabelledStudy], recipe: Recipe, cache: Path, _workers: int) -> CohortDataset:
        folder = cache / "+".join(recipe.channels)
        save_index(index_of(recipe, "cohort"), folder)
        files, excluded = {}, []
        for study in studies:
            if study.case == "5" and Modality.T2 in recipe.channels:
                excluded.append(Excluded("5", ErrorCode.MISSING_SEQUENCE.token, "No t2."))
                continue
            rng = np.random.default_rng(int(study.case))
            image = rng.random((1, len(recipe.channels), *recipe.grid.shape))
            image *= 1.0 if study.label == "recurrence" else 0.3
            files[study.case] = folder / f"{study.case}.npz"
            label = np.array([recipe.classes.index(study.label)])
            save_patient(Patient(image.astype(np.float16), label, None), files[study.case])
        return CohortDataset(folder, files, tuple(excluded))

    monkeypatch.setattr(grid, "make_cohort_dataset", make)


@pytest.mark.long
@pytest.mark.usefixtures("bright_is_recurrence")
def test_every_cell_sees_the_same_cases_and_is_an_artifact_of_its_own(tmp_path: Path) -> None:
    plan = plan_of(*(Cell(network, channels) for network in ("resnet10", "vgg11") for channels in (ONE, TWO)))
    results, datasets = run_grid(plan, STUDIES, tmp_path)
    assert [r.cell for r in results] == list(plan.cells)
    assert len({r.cases for r in results}) == 1
    assert "5" not in results[0].cases
    assert [e.case for e in datasets["t1ce+t2"].excluded] == ["5"]
    for result in results:
        assert set(result.labels) == {"necrosis", "recurrence"}
        recipe = load_artifact(tmp_path / "cells" / result.cell.name / "artifact").recipe
        assert (recipe.architecture.name, recipe.channels) == (result.cell.network, result.cell.channels)
        assert recipe.provenance.data == "cohort"
        assert all(0 <= score <= 1 for score in result.scores)


@pytest.mark.usefixtures("bright_is_recurrence")
def test_a_second_run_trains_nothing_and_another_setting_all_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(Cell("resnet10", ONE))
    (first,), _ = run_grid(plan, STUDIES, tmp_path)
    trained: list[object] = []
    honest = grid.train

    def counted(*args: object, **options: object) -> object:
        trained.append(args)
        return honest(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(grid, "train", counted)
    assert run_grid(plan, STUDIES, tmp_path)[0] == [first]
    assert trained == []
    (tmp_path / "cells" / plan.cells[0].name / "result.json").write_text('{"half":')
    assert run_grid(plan, STUDIES, tmp_path)[0] == [first]
    (again,), _ = run_grid(replace(plan, settings=replace(SETTINGS, seed=7)), STUDIES, tmp_path)
    assert len(trained) == 2
    assert again.run != first.run


def test_the_split_is_the_studys_and_keeps_every_label_on_every_side() -> None:
    many = [LabelledStudy(f"{i}", Path(), "necrosis" if i < 36 else "recurrence") for i in range(234)]
    sides = split(many, seed=0, validation_share=0.2)
    assert len(sides.test) == 58, "of 234, as published"
    assert len({*sides.training, *sides.validation, *sides.test}) == 234
    labels = {s.case: s.label for s in many}
    for side in (sides.training, sides.validation, sides.test):
        share = np.mean([labels[case] == "necrosis" for case in side])
        assert share == pytest.approx(36 / 234, abs=0.03)
    assert split(many, seed=0, validation_share=0.2) == sides
    assert split(many, seed=1, validation_share=0.2) != sides


def test_too_few_cases_of_a_label_are_told() -> None:
    few = [*STUDIES[:3], LabelledStudy("x", Path(), "recurrence")]
    with pytest.raises(GlioserveError, match="1 usable studies are necrosis") as caught:
        split(few, 0, 0.2)
    assert caught.value.code is ErrorCode.INVALID_COHORT


def test_a_result_that_is_no_result_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"cell": 1}))
    assert grid._load(tmp_path / "result.json") is None
    assert grid._load(tmp_path / "absent.json") is None


@pytest.mark.long
def test_studies_become_tensors_by_the_serving_pipeline_and_only_once(
    phantoms: PhantomCohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "studies" / "empty").mkdir(parents=True)
    studies = [
        LabelledStudy("first", phantoms.folder_study, "necrosis"),
        LabelledStudy("second", tmp_path / "studies" / "empty", "recurrence"),
    ]
    recipe = tiny_recipe(ONE, (24, 24, 24))
    dataset = make_cohort_dataset(studies, recipe, tmp_path / "cache", workers=1)
    assert list(dataset.files) == ["first"]
    assert [(e.case, e.code) for e in dataset.excluded] == [("second", ErrorCode.EMPTY_STUDY.token)]
    assert phantoms.folder_study.name not in dataset.files["first"].name
    with np.load(dataset.files["first"]) as arrays:
        assert arrays["images"].shape == (1, 1, 24, 24, 24)
        assert arrays["images"].max() > 0.5
        assert arrays["labels"].tolist() == [recipe.classes.index("necrosis")]
    monkeypatch.setattr(cohort_dataset, "preprocess_dicom", lambda *_, **__: pytest.fail("made again"))
    assert make_cohort_dataset(studies, recipe, tmp_path / "cache", workers=1).files == dataset.files


def test_results_survive_json() -> None:
    from glioserve_contract import from_dict, to_dict

    result = CellResult(Cell("vgg11", TWO), "r", "d", ("a",), ("necrosis",), (0.25,), 1, 0.5, 10)
    assert from_dict(CellResult, json.loads(json.dumps(to_dict(result)))) == result


def test_a_row_of_the_table_has_the_evaluations_figures() -> None:
    labels = ("necrosis",) * 9 + ("recurrence",) * 49
    scores = (0.1,) * 7 + (0.9,) * 2 + (0.8,) * 46 + (0.2,) * 3
    result = CellResult(Cell("vgg11", TWO), "r", "d", tuple(map(str, range(58))), labels, scores, 3, 0.9, 100)
    row = train_grid.row_of(result, threshold=0.5)
    line = train_grid.table([row])[2]
    for figure in ("t1ce+t2", "vgg11", "58", "0.78 (0.40 to 0.96)", "0.94 (0.82 to 0.98)", "0.91 ("):
        assert figure in line


def test_the_command_runs_the_grid_and_writes_its_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bright_is_recurrence: None
) -> None:
    lines = ["case,study,label"]
    for study in STUDIES:
        (tmp_path / "cohort" / study.case).mkdir(parents=True)
        lines.append(f"{study.case},{study.case},{study.label}")
    (tmp_path / "cohort" / "cohort.csv").write_text("\n".join(lines))
    save_recipe(tiny_recipe(size_voxels=(32, 32, 32)), tmp_path / "recipe.json")
    (tmp_path / "options.json").write_text(json.dumps({"resnet10": SMALL["resnet10"].options}))
    command = ["train-grid", "--cohort", str(tmp_path / "cohort" / "cohort.csv"), "--out", str(tmp_path / "out")]
    command += ["--networks", "resnet10", "--sequences", "t1ce", "t1ce+t2", "--preset", "demo", "--epochs", "1"]
    command += ["--recipe", str(tmp_path / "recipe.json"), "--options", str(tmp_path / "options.json")]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "left out of every cell: 5 (GLIO-1301 for t1ce+t2)" in printed
    record = json.loads((tmp_path / "out" / "grid.json").read_text())
    assert [row["sequences"] for row in record["rows"]] == ["t1ce", "t1ce+t2"]
    assert record["excluded"]["t1ce+t2"][0]["code"] == "GLIO-1301"
    assert (tmp_path / "out" / "grid.csv").read_text().count("sensitivity") == 2


@pytest.mark.parametrize(
    ("option", "value", "code"),
    [
        ("--sequences", "t1+t1", "GLIO-5101"),
        ("--sequences", "pd", "GLIO-5101"),
        ("--networks", "alexnet", "GLIO-5106"),
    ],
)
def test_a_wrong_grid_is_refused_before_any_study_is_read(
    option: str, value: str, code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train-grid", "--cohort", str(tmp_path / "none.csv"), "--out", str(tmp_path), option, value]
    assert main(command) == 1
    assert code in capsys.readouterr().err
