"""JSON Schemas (draft 2020-12) of the contract's records, for callers in other languages.

The schemas follow the rules of ``glioserve_contract.codec``: a field that may be None is left out by writers and may
be null for readers; a file's record refuses unknown keys; a message of the wire may carry keys of a later minor
version. The docstring under a field becomes its description.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
import textwrap
import types
import typing
from collections.abc import Callable
from enum import Enum
from functools import cache

from glioserve_contract import CONTRACT_VERSION, to_dict
from glioserve_contract.codec import Hint
from glioserve_contract.records.manifest import Manifest
from glioserve_contract.records.plan import PlanRecord
from glioserve_contract.records.preprocess import PreprocessRecord
from glioserve_contract.records.promotion import Promotion
from glioserve_contract.records.recipe import Recipe
from glioserve_contract.records.report import Report

Schema = dict[str, object]

SCALARS = {str: "string", float: "number", int: "integer", bool: "boolean", types.NoneType: "null"}
FOLDER = "docs/schema"
FILES: dict[str, type] = {"recipe": Recipe, "manifest": Manifest, "promotion": Promotion, "plan": PlanRecord}
"""Records of files, by the name of their schema."""
MESSAGES: dict[str, type] = {"report": Report, "preprocess": PreprocessRecord}
"""Records of the wire, by the name of their schema."""


def schema_files() -> dict[str, Callable[[], str]]:
    """Return the path of each schema in the source tree and the function that makes its text."""
    return {f"{FOLDER}/{name}.json": _maker(name) for name in (*MESSAGES, *FILES)}


def schema_of(name: str) -> Schema:
    """Return the schema called ``name``, whole: each record that it uses is among its definitions."""
    record = {**MESSAGES, **FILES}[name]
    definitions: dict[str, Schema] = {}
    _define(record, definitions, closed=name in FILES)
    own = definitions.pop(record.__name__)
    head: Schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"{name}.json"}
    head["$comment"] = f"Written by `make docs` from the records of contract {CONTRACT_VERSION}."
    return {**head, "title": record.__name__, **own, "$defs": dict(sorted(definitions.items()))}


def _maker(name: str) -> Callable[[], str]:
    return lambda: json.dumps(schema_of(name), indent=2, ensure_ascii=False) + "\n"


def _define(cls: type, definitions: dict[str, Schema], *, closed: bool) -> Schema:
    """Add the definitions of ``cls`` and of all that it uses, and return a reference to it."""
    if cls.__name__ not in definitions:
        definitions[cls.__name__] = {}  # a place in case it refers to itself
        hints = typing.get_type_hints(cls, include_extras=True)
        words = _field_docstrings(cls)
        properties: dict[str, Schema] = {}
        required = []
        for field in dataclasses.fields(cls):
            value = {**_value(hints[field.name], definitions, closed), "description": words[field.name]}
            if field.default not in (dataclasses.MISSING, None):
                value["default"] = to_dict(field.default)
            properties[field.name] = value
            optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
            if not optional and types.NoneType not in typing.get_args(hints[field.name]):
                required.append(field.name)
        definitions[cls.__name__] = {
            "description": _plain(inspect.getdoc(cls) or ""),
            "type": "object",
            "properties": properties,
            "required": required,
            **({"additionalProperties": False} if closed else {}),
        }
    return {"$ref": f"#/$defs/{cls.__name__}"}


def _value(hint: Hint, definitions: dict[str, Schema], closed: bool) -> Schema:
    """Return the schema of one type."""
    origin: object = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin is typing.Annotated:
        return {"type": "string", "pattern": arguments[1]}
    if origin in (typing.Union, types.UnionType):
        if all(argument in SCALARS for argument in arguments):
            return {"type": [SCALARS[argument] for argument in arguments]}
        return {"anyOf": [_value(argument, definitions, closed) for argument in arguments]}
    if origin is typing.Literal:
        return {"const": arguments[0]} if len(arguments) == 1 else {"enum": list(arguments)}
    if origin is tuple:
        if arguments[1:] == (Ellipsis,):
            return {"type": "array", "items": _value(arguments[0], definitions, closed)}
        if len(set(arguments)) != 1:
            raise TypeError(f"{hint}: items of different types have no schema here")
        size = len(arguments)
        return {
            "type": "array", "items": _value(arguments[0], definitions, closed), "minItems": size, "maxItems": size,
        }  # fmt: skip
    if origin is dict:
        return {"type": "object", "additionalProperties": _value(arguments[1], definitions, closed)}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _define(hint, definitions, closed=closed)
    if hint is object:
        return {}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [member.value for member in hint]}
    return {"type": SCALARS[hint]}


@cache
def _field_docstrings(cls: type) -> dict[str, str]:
    """Return the docstring under each field, those of base classes included; KeyError names a field without one."""
    words: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(tree, ast.ClassDef)
        for before, after in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name) and _is_text(after):
                words[before.target.id] = _plain(ast.literal_eval(after.value))  # type: ignore[attr-defined]
    missing = [field.name for field in dataclasses.fields(cls) if field.name not in words]
    if missing:
        raise KeyError(f"{cls.__name__} has no docstring under {', '.join(missing)}")
    return words


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _plain(docstring: str) -> str:
    """Return a docstring's text in one line, without the markup of the documentation."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", docstring).replace("``", "`")
    return " ".join(text.split())
