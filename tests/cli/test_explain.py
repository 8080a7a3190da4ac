"""``glioserve explain``: the choice with its evidence, without preprocessing, also where it is refused."""

import json

import numpy as np
import pytest

from glioserve_cli.diagnosis import explain
from glioserve_cli.main import main
from glioserve_contract import Modality
from glioserve_contract.records.recipe import RECIPE_SCHEMA, Architecture, Grid, Recipe
from glioserve_contract.sequences import PixelKind
from glioserve_dicom.volumes.geometry import Geometry
from glioserve_preprocess.files import save_recipe
from glioserve_preprocess.opinion.network import PixelOpinion
from support.studies.scans import FLAIR_HEADER, T1_HEADER, T1CE_HEADER, T2_HEADER, part10, series

SLICES = 34


def scan(header, number, **attributes):
    affine = np.diag([1.0, 1.0, 4.0, 1.0])
    stored = np.full((SLICES, 4, 4), number)
    return series(stored, Geometry((4, 4, SLICES), affine), SeriesNumber=number, **{**header, **attributes})


@pytest.fixture
def write(tmp_path):
    """Write series into a folder, and return it with their SeriesInstanceUIDs by number."""

    def written(*parts):
        folder = tmp_path / "study"
        folder.mkdir()
        datasets = [d for part in parts for d in part]
        for number, dataset in enumerate(datasets):
            (folder / str(number)).write_bytes(part10(dataset))
        return folder, {str(d.SeriesNumber): d.SeriesInstanceUID for d in datasets}

    return written


def whole_study():
    return (
        scan(T1_HEADER, 2, AcquisitionTime="000100"),
        scan(T1_HEADER, 3, AcquisitionTime="000200", ScanOptions="FS"),
        scan(T1CE_HEADER, 9, AcquisitionTime="002000"),
        scan(T2_HEADER, 4),
        scan(FLAIR_HEADER, 5),
        scan({"SeriesDescription": "ep2d_diff"}, 6, ScanningSequence="EP"),
    )


def test_each_sequence_has_its_series_its_reasons_and_its_runners_up(write, capsys):
    folder, uids = write(*whole_study())
    assert main(["explain", str(folder)]) == 0
    said = capsys.readouterr().out
    block = said[said.index("t1      series 2, 34 slices, sure to 0.9") : said.index("t1ce    series 9")]
    assert uids["2"] in block
    assert "described as t1" in block
    assert "acquired before the series with contrast agent" in " ".join(block.split())
    assert "beside: series 3, 34 slices" in block
    assert "its fat is suppressed" in block
    others = said[said.index("other stacks") :]
    assert "series 6, 34 slices: none of the sequences" in others
    assert "diffusion" in others
    assert "series 3" not in others


def test_the_same_as_json(write, capsys):
    folder, uids = write(*whole_study())
    assert main(["explain", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["code"] is None
    chosen = {s["modality"]: s for s in found["sequences"]}
    assert {m: s["series_number"] for m, s in chosen.items()} == {"t1": "2", "t1ce": "9", "t2": "4", "flair": "5"}
    (other,) = chosen["t1"]["runners_up"]
    assert other["series_instance_uid"] == uids["3"]
    assert "its fat is suppressed" in other["why_not"]
    assert chosen["t1ce"]["confidence"] > 0.9
    stacks = {s["series_number"]: s for s in found["stacks"]}
    assert list(stacks) == ["2", "3", "4", "5", "6", "9"]
    assert stacks["6"]["excluded"].startswith("diffusion")
    assert stacks["4"]["scores"]["t2"] > 0.9


def test_where_the_choice_is_refused_every_stack_is_shown_with_its_evidence(write, capsys):
    folder, uids = write(scan(T1_HEADER, 2), scan(T2_HEADER, 4), scan(FLAIR_HEADER, 5))
    assert main(["explain", str(folder)]) == 1
    out, err = capsys.readouterr()
    assert "GLIO-1301" in err
    assert out.startswith("all stacks")
    for number, uid in uids.items():
        assert f"series {number}, 34 slices" in out
        assert uid in out
    assert "nothing said of a contrast agent" in out


def test_a_refusal_as_json_has_its_code(write, capsys):
    folder, _ = write(scan(T1_HEADER, 2), scan(T2_HEADER, 4))
    assert main(["explain", str(folder), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["code"] == "GLIO-1301"
    assert "No t1ce series" in found["detail"]
    assert found["sequences"] == []
    assert len(found["stacks"]) == 2


def test_a_recipe_says_which_sequences_and_how_many_slices(write, tmp_path, capsys):
    folder, _ = write(scan(T1_HEADER, 2), scan(T2_HEADER, 4))
    recipe = Recipe(
        schema=RECIPE_SCHEMA,
        name="test",
        architecture=Architecture("resnet10"),
        channels=(Modality.T1, Modality.T2),
        classes=("necrosis", "recurrence"),
        grid=Grid((48, 48, 48), (4.0, 4.0, 4.0)),
    )
    save_recipe(recipe, tmp_path / "recipe.json")
    assert main(["explain", str(folder), "--recipe", str(tmp_path / "recipe.json")]) == 0
    save_recipe(recipe.with_min_slices(40), tmp_path / "recipe.json")
    assert main(["explain", str(folder), "--recipe", str(tmp_path / "recipe.json")]) == 1
    assert "GLIO-1303" in capsys.readouterr().err


def test_a_series_that_the_caller_names_is_taken(write, capsys):
    folder, uids = write(*whole_study())
    assert main(["explain", str(folder), "--series", f"t1={uids['3']}"]) == 0
    said = capsys.readouterr().out
    assert "t1      series 3" in said
    assert "named by the caller" in said


@pytest.mark.parametrize(
    ("share", "said"), [(0.97, "voxels: T1 0.97"), (0.6, "below the threshold of 0.90: undecided")]
)
def test_what_the_voxels_say_is_shown_for_the_chosen_and_for_all_stacks_of_a_refusal(
    write, capsys, monkeypatch, share, said
):
    rest = (1 - share) / (len(PixelKind) - 1)
    shares = {kind: share if kind is PixelKind.T1 else rest for kind in PixelKind}
    opinion = PixelOpinion(shares, dict.fromkeys(PixelKind, 0.9))
    monkeypatch.setattr(explain, "looked_at", lambda stack: opinion)
    folder, _ = write(scan(T1_HEADER, 2), scan({"SeriesDescription": "ep2d_diff"}, 6, ScanningSequence="EP"))
    assert main(["explain", str(folder)]) == 1
    assert capsys.readouterr().out.count(said) == 1
    assert main(["explain", str(folder), "--json"]) == 1
    looked, not_possible = json.loads(capsys.readouterr().out)["stacks"]
    assert looked["pixels"]["confidence"] == pytest.approx(share)
    assert looked["pixels"].get("kind") == ("T1" if share > 0.9 else None)
    assert not_possible["pixels"] is None
