"""Files that a grid or a dataset leaves behind name no patient, as an evaluation's results do not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from evaluation.conftest import PhantomCohort
from glioserve_cli.main import main
from glioserve_contract import ErrorCode
from glioserve_evaluation.grid import cells as grid
from glioserve_evaluation.grid.cells import CellResult, GridPlan
from glioserve_networks.dataset import load_studies
from glioserve_preprocess.files import save_recipe
from glioserve_training.cohort_dataset import CohortDataset, LabelledStudy, make_cohort_dataset
from support.models.recipes import tiny_recipe
from support.results.evaluation import cohort_table


def test_a_study_that_is_left_out_is_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Empty folders named as patients: the refusal quotes no folder."""

    def preprocess_alone(
        plan: GridPlan, studies: list[LabelledStudy], out: Path, **_: object
    ) -> tuple[list[CellResult], dict[str, CohortDataset]]:
        return [], {"t1": make_cohort_dataset(studies, plan.base, out / "tensors", workers=1)}

    monkeypatch.setattr(grid, "run_grid", preprocess_alone)
    table = cohort_table(tmp_path / "cohort", ["necrosis", "recurrence"])
    save_recipe(tiny_recipe(), tmp_path / "recipe.json")
    out = tmp_path / "out"
    assert (
        main(["train-grid", "--cohort", str(table), "--out", str(out), "--recipe", str(tmp_path / "recipe.json")]) == 0
    )
    excluded = json.loads((out / "grid.json").read_text())["excluded"]["t1"]
    assert [(e["case"], e["code"]) for e in excluded] == [("c0", ErrorCode.EMPTY_STUDY.token), ("c1", "GLIO-1103")]
    assert excluded[0]["detail"] == "The folder holds no DICOM file (0 others, hidden ones apart)."
    for text in ((out / "grid.json").read_text(), capsys.readouterr().out):
        assert "DOE" not in text
        assert str(table.parent) not in text


def test_a_cohort_becomes_a_dataset_to_hold_variants_to(
    phantoms: PhantomCohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = cohort_table(tmp_path / "cohort", ["necrosis", "recurrence"])
    recipe = tiny_recipe(size_voxels=(24, 24, 24))
    save_recipe(recipe, tmp_path / "recipe.json")
    options = ["--recipe", str(tmp_path / "recipe.json"), "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main(["dataset", "--cohort", str(table), *options]) == 1
    assert "GLIO-5121" in capsys.readouterr().err
    shutil.copytree(phantoms.folder_study, tmp_path / "cohort" / "DOE^JOHN 0", dirs_exist_ok=True)
    assert main(["dataset", "--cohort", str(table), *options]) == 0
    told = capsys.readouterr().out
    assert "left out: c1 (GLIO-1103): The folder holds no DICOM file" in told
    assert "1 of 2 studies" in told
    assert "DOE" not in told
    (folder,) = (tmp_path / "out").iterdir()
    images, labels = load_studies(folder, recipe, 8)
    assert images.shape == (1, 3, 24, 24, 24)
    assert labels.tolist() == [recipe.classes.index("necrosis")]
