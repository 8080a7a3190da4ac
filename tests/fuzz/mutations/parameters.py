"""Parameters of a request as a caller may write them: series and modalities named by junk."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np

from fuzz import entries
from fuzz.mutations import volumes
from fuzz.sources import MARKER, PAIR, classic, uid
from glioserve_preprocess.pipeline import Preprocessed

Random = np.random.Generator
_TEXTS = (
    "",
    " ",
    "null",
    "[]",
    "{}",
    "{",
    "0",
    "true",
    '"x"',
    "{'t1': 1}",
    "[" * 3000,
    '{"a":' * 900,
    "\x00",
    "NaN",
    MARKER,
)


def attempt(rng: Random) -> tuple[Callable[[], Preprocessed], str]:
    """A sound study with such parameters, as DICOM or as volumes."""
    parameters = _parameters(rng)
    if rng.random() < 0.3:
        return (lambda: volumes.with_parameters(parameters)), f"volumes with {parameters[:200]}"
    source = classic("explicit little endian")
    return (lambda: entries.with_parameters(source.files, PAIR, parameters)), f"DICOM with {parameters[:200]}"


def _parameters(rng: Random) -> str:
    if rng.random() < 0.2:
        return _TEXTS[rng.integers(len(_TEXTS))]
    found = {}
    if rng.random() < 0.8:
        found["series"] = _outer(rng, {_name(rng): _value(rng) for _ in range(rng.integers(0, 4))})
    if rng.random() < 0.5:
        found["modalities"] = _outer(rng, {_name(rng): _name(rng) for _ in range(rng.integers(0, 4))})
    if rng.random() < 0.2:
        found[_junk(rng) if rng.random() < 0.5 else "priority"] = _value(rng)
    return json.dumps(found, default=str)


def _outer(rng: Random, inner: dict[str, object]) -> object:
    kind = rng.integers(10)
    if kind == 0:
        return inner
    if kind == 1:
        return _value(rng)
    text = json.dumps(inner)
    return text if kind < 8 else text[: int(rng.integers(len(text)))] + _junk(rng) if kind == 8 else text * 300


def _name(rng: Random) -> str:
    names = ("t1", "t1ce", "t2", "flair", "T1", "T1CE", "FLAIR", "t1 ", "", "t3", MARKER)
    return names[min(int(rng.integers(18)) % len(names), len(names) - 1)]


def _value(rng: Random) -> object:
    values: tuple[object, ...] = (
        *(
            uid("t1"),
            uid("t1ce"),
            uid("localiser"),
            uid("t1") + "#",
            uid("t1ce") + "#echo 2",
            uid("localiser") + "#plane 1",
        ),
        *(
            "1.2.3",
            "#",
            "##",
            "1.2#" + "x" * 100,
            "1" * 65,
            MARKER,
            None,
            3,
            1e308,
            True,
            [],
            {},
            [uid("t1")],
            "\ud800",
        ),
    )
    return values[rng.integers(len(values))]


def _junk(rng: Random) -> str:
    return "".join(chr(int(c)) for c in rng.integers(1, 1000, int(rng.integers(0, 30))))
