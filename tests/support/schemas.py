"""The JSON Schemas of docs/schema, and a watch that holds to them every record that a test reads or writes.

The watch stands between the records and all their users: :func:`watch` is called before any other module takes
``to_dict`` and ``from_dict`` from the contract, so answers of a server, manifests, recipes, promotion records and plan
records all pass it.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from jsonschema import Draft202012Validator

import glioserve_contract
from glioserve_contract import codec

T = TypeVar("T")

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "schema"
NAMES = {
    "Report": "report",
    "PreprocessRecord": "preprocess",
    "Recipe": "recipe",
    "Manifest": "manifest",
    "Promotion": "promotion",
    "PlanRecord": "plan",
}
"""Schema by the name of its record."""


@cache
def validator(name: str, *, closed: bool = False) -> Draft202012Validator:
    """The validator of a schema; ``closed`` refuses unknown keys also where a later minor version may add some."""
    schema = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    if closed:
        for record in (schema, *schema["$defs"].values()):
            record["additionalProperties"] = False
    return Draft202012Validator(schema)


def problems(cls: type, value: object, *, closed: bool) -> list[str]:
    """Return what the schema of the record ``cls`` says against plain values; nothing for a class without a schema."""
    name = NAMES.get(cls.__name__) if cls.__module__.startswith("glioserve_contract.") else None
    if name is None:
        return []
    return [f"{name}: {e.json_path}: {e.message}" for e in validator(name, closed=closed).iter_errors(value)]


def _hold(found: list[str]) -> None:
    if found:
        raise AssertionError("; ".join(found))


def watch() -> None:
    """Put the check around the contract's codec, for this process."""
    write, read = codec.to_dict, codec.from_dict

    def to_dict(value: object) -> Any:
        plain = write(value)
        _hold(problems(type(value), plain, closed=True))
        return plain

    def from_dict(cls: type[T], value: object, path: str | None = None, *, ignore_unknown: bool = False) -> T:
        record = read(cls, value, path, ignore_unknown=ignore_unknown)
        _hold(problems(cls, value, closed=False))
        return record

    for module in (codec, glioserve_contract):
        module.to_dict = to_dict  # type: ignore[attr-defined]
        module.from_dict = from_dict  # type: ignore[attr-defined]
