"""Reads what contract 1 wrote: recipes, manifests and promotion records of schema 1 as plain values of schema 2.

A repository that has served since contract 1 goes on serving: its files stay as they are, byte for byte under their
seals, and are converted where they are read. What is written anew is of schema 2. A value that is not of schema 1 is
returned as it is; the schema of its record judges it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

JsonObject: TypeAlias = "dict[str, object]"

_SCALARS = {"data": str, "created": str, "torch": str, "best_epoch": int, "min_slices_overridden_from": int}
_IMPORT_KEYS = {"format", "source_digest", "date", "changes", "versions"}
_FIT_KEYS = {"cohort_digest", "studies", "necrosis", "created"}


def recipe_of_1(value: object) -> object:
    """Return a recipe's JSON values with its free provenance sorted into the fields of schema 2."""
    if not isinstance(value, dict) or value.get("schema") != "glioserve/recipe/1":
        return value
    return {**value, "schema": "glioserve/recipe/2", "provenance": _provenance(_object(value, "provenance"))}


def manifest_of_1(value: object) -> object:
    """Return a manifest's JSON values with parity, evaluation and publication as schema 2 has them."""
    if not isinstance(value, dict) or value.get("schema") != "glioserve/manifest/1":
        return value
    evaluation, publication = _object(value, "evaluation"), _object(value, "publication")
    return {
        **value,
        "schema": "glioserve/manifest/2",
        "recipe": recipe_of_1(value.get("recipe")),
        "parity": _parity(_object(value, "parity")),
        # Publication had checked that the evaluation was of these weights.
        "evaluation": {"weights_digest": value.get("weights_digest"), **evaluation} if evaluation else None,
        "publication": {**publication, "gate": _verdict(_object(publication, "gate"))} if publication else None,
    }


def promotion_of_1(value: object) -> object:
    """Return a promotion record's JSON values with the verdicts of its history as schema 2 has them."""
    if not isinstance(value, dict) or value.get("schema") != "glioserve/promotion/1":
        return value
    history = value.get("history", [])
    if not isinstance(history, list):
        return value
    changes = [{**c, "gate": _verdict(_object(c, "gate"))} if isinstance(c, dict) else c for c in history]
    return {**value, "schema": "glioserve/promotion/2", "history": changes}


def _object(value: Mapping[str, object], key: str) -> JsonObject:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _verdict(gate: JsonObject) -> JsonObject | None:
    rules = [{"name": name, **rule} for name, rule in _object(gate, "rules").items() if isinstance(rule, dict)]
    return {"passed": gate.get("passed"), "rules": rules} if gate else None


def _parity(parity: JsonObject) -> JsonObject:
    figures = [
        {"output": output, **figure}
        for output, figure in parity.items()
        if output != "reference_case" and isinstance(figure, dict) and {"difference", "tolerance"} <= figure.keys()
    ]
    case = _object(parity, "reference_case")
    return {
        "figures": figures,
        "model_id_equal": _object(parity, "MODEL_ID").get("equal") is True,
        "inputs": parity.get("inputs", []),
        "batches": parity.get("batches", []),
        "runtime": parity.get("runtime", ""),
        "reference_case": {k: case.get(k) for k in ("expected", "tolerance", "pytorch", "onnx")} if case else None,
    }


def _provenance(old: JsonObject) -> JsonObject:
    """Return the fields that schema 2 knows, and all else as flat notes."""
    known: JsonObject = {k: old[k] for k, kind in _SCALARS.items() if k in old and type(old[k]) is kind}
    if isinstance(old.get("validation_auc"), float):
        known["validation_auc"] = old["validation_auc"]
    settings = old.get("settings")
    if isinstance(settings, dict):
        known["settings"] = dict(_flat(settings))
    if _object(old, "import").keys() == _IMPORT_KEYS:
        known["imported"] = old["import"]
    calibrations = _calibrations(old.get("calibration"))
    if calibrations is not None:
        known["calibrations"] = calibrations
    moved = {{"imported": "import", "calibrations": "calibration"}.get(key, key) for key in known}
    return {**known, "notes": dict(_flat({k: v for k, v in old.items() if k not in moved}))}


def _calibrations(newest: object) -> list[JsonObject] | None:
    """Return the chain of ``before`` as a list, oldest first; None where an entry is not one that a fit wrote."""
    entries: list[JsonObject] = []
    while newest is not None:
        if not isinstance(newest, dict) or not newest.keys() >= _FIT_KEYS:
            return None
        entry: JsonObject = {key: newest[key] for key in sorted(_FIT_KEYS)}
        temperature, threshold = _object(newest, "temperature"), _object(newest, "threshold")
        if temperature:
            entry["temperature"] = _renamed(temperature, {"from": "before", "to": "after"})
        if threshold:
            entry["threshold"] = _renamed(threshold, {"from": "before"})
        entries.insert(0, entry)
        newest = newest.get("before")
    return entries or None


def _renamed(value: JsonObject, names: Mapping[str, str]) -> JsonObject:
    return {names.get(key, key): item for key, item in value.items()}


def _flat(value: JsonObject, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield nested values as ``key.key`` and a scalar; the items of an array are joined by commas."""
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", ", ".join(map(str, item)) if isinstance(item, list) else item
