"""Convert frozen dataclasses to plain JSON values and back; an error names the JSON path of what is wrong.

It covers what the contract's records use (nested dataclasses, tuples, dicts, enums, optionals, literals, scalars), so
that the contract needs no package (docs/adr/0015-stdlib-codec.md).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from enum import Enum
from functools import cache
from typing import Annotated, Any, TypeAlias, TypeVar

T = TypeVar("T")
Scalar: TypeAlias = str | int | float | bool | None
"""A JSON value that is neither an object nor an array."""
DIGEST_PATTERN = "^sha256:[0-9a-f]{64}$"
"""Regular expression of a digest; the JSON Schemas carry it."""
Digest: TypeAlias = Annotated[str, DIGEST_PATTERN]
"""A SHA-256 in text form: ``sha256:`` and 64 hex digits in lower case."""
Hint: TypeAlias = Any
"""A field's type as :func:`typing.get_type_hints` gives it: a class, a union, a literal or a generic alias."""


class SchemaError(ValueError):
    """A value that does not fit its schema. ``path`` is its JSON path (``recipe.grid.spacing_mm[1]``)."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


def to_dict(value: object) -> Any:
    """Return the plain JSON values of a dataclass tree; fields whose value is None are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: to_dict(item) for name, item in pairs if item is not None}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(to_dict(key)): to_dict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_dict(item) for item in value]
    return value


def from_dict(cls: type[T], value: object, path: str | None = None, *, ignore_unknown: bool = False) -> T:
    """Build ``cls`` from JSON values.

    Args:
        cls: a dataclass. It may define ``check(path: str) -> None`` to judge its own values.
        value: plain JSON values.
        path: name of the whole in messages; the class's name in lower case where none is given.
        ignore_unknown: drop unknown keys, for a reader of what a peer of a later minor version wrote.

    Raises:
        SchemaError: a key is unknown, missing or mistyped, or a value is out of its bounds.
    """
    return typing.cast(T, _build(cls, value, path or cls.__name__.lower(), ignore_unknown))


@cache
def _hints(cls: type) -> dict[str, Hint]:
    return typing.get_type_hints(cls, include_extras=True)


def _build(hint: Hint, value: object, path: str, ignore_unknown: bool) -> object:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build_dataclass(hint, value, path, ignore_unknown)
    origin: object = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin is Annotated:  # Digest is the one annotated type of the records
        text = _build(arguments[0], value, path, ignore_unknown)
        if not is_sha256_digest(str(text)):
            raise SchemaError(path, "must be 'sha256:' and 64 hex digits")
        return text
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        alternatives = [a for a in arguments if a is not type(None)]
        if len(alternatives) > 1:
            return _build_alternative(alternatives, value, path)
        return _build(alternatives[0], value, path, ignore_unknown)
    if origin is typing.Literal:
        if value not in arguments:
            raise SchemaError(path, f"must be one of {', '.join(map(repr, arguments))}, not {value!r}")
        return value
    if origin is tuple:
        return _build_tuple(arguments, value, path, ignore_unknown)
    if origin is dict:
        if not isinstance(value, dict):
            raise SchemaError(path, f"must be an object, not {type(value).__name__}")
        key_hint, item_hint = arguments
        return {
            _build(key_hint, k, f"{path} key", ignore_unknown): _build(item_hint, v, f"{path}.{k}", ignore_unknown)
            for k, v in value.items()
        }
    return _build_scalar(hint, value, path)


def _build_dataclass(cls: type, value: object, path: str, ignore_unknown: bool) -> object:
    if not isinstance(value, dict):
        raise SchemaError(path, f"must be an object, not {type(value).__name__}")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in value:
        if key not in fields and not ignore_unknown:
            raise SchemaError(f"{path}.{key}", f"unknown key; known are {', '.join(fields)}")
    hints = _hints(cls)
    built = {}
    for name, field in fields.items():
        if name in value:
            built[name] = _build(hints[name], value[name], f"{path}.{name}", ignore_unknown)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            if not _takes_none(hints[name]):
                raise SchemaError(f"{path}.{name}", "is missing")
            built[name] = None  # as to_dict left it out
    result = cls(**built)
    if hasattr(result, "check"):
        result.check(path)
    return result


def _takes_none(hint: Hint) -> bool:
    return type(None) in typing.get_args(hint)


def _build_tuple(arguments: tuple[Hint, ...], value: object, path: str, ignore_unknown: bool) -> tuple[object, ...]:
    if not isinstance(value, (list, tuple)):
        raise SchemaError(path, f"must be an array, not {type(value).__name__}")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(arguments) != len(value):
        raise SchemaError(path, f"must have {len(arguments)} items, not {len(value)}")
    pairs = enumerate(zip(arguments, value, strict=True))
    return tuple(_build(a, v, f"{path}[{i}]", ignore_unknown) for i, (a, v) in pairs)


def _build_alternative(types_: list[type], value: object, path: str) -> object:
    if type(value) not in types_:
        raise SchemaError(path, f"must be one of {', '.join(t.__name__ for t in types_)}, not {type(value).__name__}")
    return _build_scalar(type(value), value, path)


def _build_scalar(hint: Hint, value: object, path: str) -> object:
    if hint is object:
        return value
    if isinstance(hint, type) and issubclass(hint, Enum):
        try:
            return hint(value)
        except ValueError:
            known = ", ".join(repr(m.value) for m in hint)
            raise SchemaError(path, f"must be one of {known}, not {value!r}") from None
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise SchemaError(path, f"must be {hint.__name__}, not {type(value).__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise SchemaError(path, "must be finite")
    return value


def canonical_json(value: object) -> str:
    """Return the one spelling of equal values that digests are made of: sorted keys, no spaces, ASCII.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(to_dict(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256_digest(content: bytes) -> str:
    """Return ``sha256:<64 hex digits>`` of ``content``."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def is_sha256_digest(text: str) -> bool:
    """Return whether ``text`` is ``sha256:`` and 64 hex digits in lower case."""
    head, _, digits = text.partition(":")
    return head == "sha256" and len(digits) == 64 and set(digits) <= set("0123456789abcdef")
