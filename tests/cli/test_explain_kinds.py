"""``glioserve explain`` on the kinds of studies in which a series is easily taken for what it is not.

For each sequence the table has the series, why, how sure, who else, and what the voxels say. The studies are those of
``benchmarks/series/cases.py``, from the project's phantom.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from glioserve_cli.main import main
from glioserve_phantom.clinical.series import files_of
from glioserve_preprocess.files import save_recipe

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))  # its modules are scripts, no package
from series.answers import recipe
from series.cases import AGENT_TEXTS, CASES


@dataclass(frozen=True)
class Said:
    """Return what the table has to say of one study."""

    chosen: dict[str, str] = field(default_factory=dict)
    """SeriesNumber by sequence, with its part after a comma; empty where the choice is refused."""
    why: dict[str, str] = field(default_factory=dict)
    """Part of the reasons, by sequence."""
    beside: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Parts of the reasons against the runners-up of a sequence, in their order."""
    stacks: dict[str, str] = field(default_factory=dict)
    """Part of the reasons of further stacks, by SeriesNumber, with the part after a comma."""
    code: str = ""
    """Code of the refusal."""
    unread: str = ""
    """SeriesNumber of a chosen series that is refused because it cannot be a volume."""


REST = {"t2": "3", "flair": "4"}
OTHER = "another reconstruction of the same acquisition was taken"
SILENT = "nothing said of a contrast agent"
TABLE = {
    "one acquisition saved twice, no agent: without t1ce": Said(
        {"t1": "6", **REST}, {"t1": SILENT}, {"t1": (f"{OTHER}: it is not normalised for the coil",)}
    ),
    "one acquisition saved twice, no agent: four sequences": Said(code="GLIO-1302", stacks={"5": SILENT, "6": SILENT}),
    "no agent, inflow: with reformat": Said(
        code="GLIO-1302", stacks={"5": SILENT, "11": SILENT, "13": "derived image"}
    ),
    "agent not given: English 'off'": Said(code="GLIO-1301", stacks={"2": "no contrast agent given"}),
    "scout: 'AAHScout'": Said(
        {"t1": "5", "t1ce": "9", **REST},
        {"t1": "acquired before the series with contrast agent", "t1ce": "contrast agent given"},
        stacks={"1": "a localiser (described as scout)"},
    ),
    "saved twice: t1ce": Said(
        {"t1": "2", "t1ce": "9", **REST},
        {"t1ce": "contrast agent given"},
        {"t1ce": (f"{OTHER}: it is not normalised",)},
    ),
    "minus: 'T1 -Gd' and +Gd": Said({"t1": "2", "t1ce": "9"}, {"t1": "described as -c", "t1ce": "described as +c"}),
    "multi-echo: one series": Said(
        {"t1": "31", "t1ce": "9", **REST}, {"t1": "described as"}, {"t1": ("combines its echoes",) * 4}
    ),
    "derived T1: words": Said({"t1": "2", **REST}, {"t1": "derived image"}),
    "Dixon: one series": Said(
        {"t1": "30, type 2", "t1ce": "9", **REST},
        {"t1": "acquired before the series with contrast agent"},
        {"t1": (f"{OTHER}: it is the water image",)},
        {"30, type 1": "a fat or opposed-phase image", "30, type 3": "a fat or opposed-phase image"},
    ),
    "image types: IP and OP": Said(
        {"t1": "2, type 1", "t1ce": "9", **REST}, stacks={"2, type 2": "a fat or opposed-phase image"}
    ),
    "places: uneven by 15%": Said({"t1": "2", "t1ce": "9", **REST}, code="GLIO-1405", unread="2"),
    "field map: with T1": Said({"t1": "2", **REST}, stacks={"30, echo 1": "a field map", "30, echo 2": "a field map"}),
    "functional groups: one item": Said({"t1": "2", "t1ce": "9", **REST}, {"t1ce": "contrast agent given"}),
    "mosaic: UIH": Said({"t1": "2", "t1ce": "9", **REST}, code="GLIO-1211", unread="2"),
    "anonymised: one UID a file": Said({"t1": "2", "t1ce": "9", **REST}, {"t1ce": "contrast agent given"}),
}
AT_ONCE = ("scout: 'AAHScout'", "no agent, inflow: with reformat", "Dixon: one series")


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in AT_ONCE else pytest.mark.long) for n in TABLE])
def test_the_table_says_why_how_sure_who_else_and_what_the_voxels_say(name, tmp_path, capsys):
    case, said = {**CASES, **AGENT_TEXTS}[name](), TABLE[name]
    study = tmp_path / "study"
    study.mkdir()
    for number, content in enumerate(files_of(case.name, case.series)[0]):
        (study / str(number)).write_bytes(content)
    save_recipe(recipe(case.channels), tmp_path / "recipe.json")
    arguments = ["explain", str(study), "--recipe", str(tmp_path / "recipe.json")]
    assert main([*arguments, "--json"]) == (1 if said.code else 0)
    found = json.loads(capsys.readouterr().out)
    main(arguments)
    text = " ".join(capsys.readouterr().out.split())

    assert (found["code"] or "") == said.code, found["detail"]
    rows = {row["modality"]: row for row in found["sequences"]}
    assert {m: _named(row) for m, row in rows.items()} == said.chosen
    for modality, row in rows.items():
        assert 0.4 < row["confidence"] <= 1
        assert row["reasons"]
        assert said.why.get(modality, "") in "; ".join(row["reasons"])
        beside = said.beside.get(modality, ())
        assert all(part in r["why_not"] for r, part in zip(row["runners_up"], beside, strict=True)), row["runners_up"]
        part = f"{row['part']}, " if row["part"] else ""
        assert f"{modality} series {row['series_number']}, {part}{row['slices']} slice" in text
        assert f"sure to {row['confidence']:.2f}" in text
        if modality in ("t1", "t1ce") and row["series_number"] != said.unread:
            assert row["pixels"]["likeliest"]
            assert f"voxels: {row['pixels']['likeliest']} {row['pixels']['confidence']:.2f}" in text
    stacks = {_named(stack): stack for stack in found["stacks"]}
    for stack, why in said.stacks.items():
        assert why in "; ".join(stacks[stack]["reasons"]), stacks[stack]
        assert why in text
    unread = {n: s["problem"] for n, s in stacks.items() if s["problem"]}
    assert unread == ({said.unread: said.code} if said.unread else {})
    assert (f"but: cannot be read ({said.code})" in text) is bool(said.unread)


def _named(stack):
    """Return SeriesNumber, and the part after a comma; parts that were joined from several series have no name here."""
    part = stack["part"]
    return stack["series_number"] + (f", {part}" if part and not part.startswith("joined") else "")
