"""The JSON Schemas for callers in other languages: they take what we write and refuse what our reader refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glioserve_contract import from_dict, to_dict
from glioserve_contract.records.preprocess import PreprocessRecord
from glioserve_contract.records.report import Report
from glioserve_contract.version import same_major
from support.results.answers import small_answer
from support.schemas import NAMES, SCHEMAS, validator

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "examples" / "demo_model"


def report() -> dict[str, Any]:
    """The plain values of an answer's report."""
    value: dict[str, Any] = json.loads(small_answer()["REPORT"][0])
    return value


def plain(name: str) -> dict[str, Any]:
    """A value of each schema that is right."""
    if name in ("report", "preprocess"):
        found = report() if name == "report" else report()["preprocess"]
    elif name in ("recipe", "manifest"):
        found = json.loads((DEMO / f"{name}.json").read_text())
    elif name == "promotion":
        found = {"schema": "glioserve/promotion/2", "serving": 1}
    else:
        key = {"tensorrt_version": "10.16.1.11", "gpu_name": "GPU", "compute_capability": "8.0", "flags": ["noTF32"]}
        key["onnx_digest"] = "sha256:" + "1" * 64
        found = {"schema": "glioserve/plan/1", "key": key, "onnx_file": "model.onnx", "builder": "trtexec"}
        found["plan_digest"] = "sha256:" + "2" * 64
    return found  # type: ignore[no-any-return]


def test_there_is_one_schema_a_record_and_nothing_else() -> None:
    assert sorted(p.stem for p in SCHEMAS.iterdir()) == sorted(NAMES.values())


@pytest.mark.parametrize("name", NAMES.values())
def test_what_we_write_is_valid(name: str) -> None:
    assert list(validator(name, closed=True).iter_errors(plain(name))) == []


def test_the_example_is_valid_and_of_this_contract() -> None:
    example = json.loads((ROOT / "docs/examples/report.json").read_text(encoding="utf-8"))
    assert list(validator("report", closed=True).iter_errors(example)) == []
    assert same_major(example["contract_version"])
    assert to_dict(from_dict(Report, example)) == example


@pytest.mark.parametrize("name", NAMES.values())
def test_every_field_is_described(name: str) -> None:
    schema = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    for title, record in {name: schema, **schema["$defs"]}.items():
        assert len(record["description"]) > 20, title
        for field, value in record["properties"].items():
            assert len(value["description"]) > 5, f"{title}.{field}"
            assert ":`" not in value["description"], "markup that only our documentation knows"


def _set(*path: str | int, value: object) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


def _drop(*path: str | int) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        del content[path[-1]]

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("report", _set("score", value="high")),
        ("report", _set("label", value="benign")),
        ("report", _drop("preprocess")),
        ("report", _set("preprocess", "reference", value="t9")),
        ("report", _set("preprocess", "reference_grid", "size_voxels", value=[4, 5])),
        ("report", _set("model", "digest", value="sha256:12")),
        ("report", _set("warnings", value="none")),
        ("preprocess", _set("series", 0, "slices", value=1.5)),
        ("preprocess", _set("quality", "verdict", value="good")),
        ("recipe", _set("schema", value="glioserve/recipe/1")),
        ("recipe", _set("colour", value=1)),
        ("recipe", _set("provenance", "notes", value={"a": {"b": 1}})),
        ("manifest", _set("parity", "figures", 0, "difference", value=None)),
        ("manifest", _set("files", "model.onnx", value="1234")),
        ("manifest", _set("evaluation", value={})),
        ("promotion", _set("serving", value=True)),
        ("promotion", _set("begun", value={"action": "demote"})),
        ("plan", _set("builder", value="hand")),
        ("plan", _drop("key", "gpu_name")),
    ],
)
def test_what_is_wrong_is_refused(name: str, change: Callable[[Any], None]) -> None:
    value = plain(name)
    change(value)
    assert list(validator(name).iter_errors(value)) != []


@pytest.mark.parametrize(("name", "room"), [("report", True), ("preprocess", True), ("manifest", False)])
def test_a_later_minor_version_may_say_more_in_a_message_and_not_in_a_file(name: str, room: bool) -> None:
    assert validator(name).is_valid({**plain(name), "later": 1}) is room


def _fields(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every key of every object."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key)
            yield from _fields(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _fields(item, (*path, number))


def test_schema_and_reader_agree_on_what_may_be_missing() -> None:
    for path in _fields(report()):
        value = report()
        _drop(*path)(value)
        try:
            from_dict(Report, value)
        except ValueError:
            read = False
        else:
            read = True
        if path == ("recipe", "brain_extraction", "model") or path == ("recipe", "brain_extraction", "digest"):
            continue  # one of a pair: the record's own check, which no schema states
        assert validator("report").is_valid(value) is read, path


def test_the_watch_sees_a_record_that_leaves_its_schema() -> None:
    record = from_dict(PreprocessRecord, report()["preprocess"])
    assert to_dict(record)["reference"] == "t1ce"
    with pytest.raises(AssertionError, match=r"preprocess: \$\.preprocessing_digest"):
        to_dict(replace(record, preprocessing_digest="sha256:short"))
