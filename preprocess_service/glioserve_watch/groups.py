"""Subgroups of studies: the caller's label and the scanner, each of a small set of values."""

from __future__ import annotations

from glioserve_contract.records.studies.study import StudyRecord

_WEAKEST_T, _STRONGEST_T = 0.1, 20.0


def groups_of(study: StudyRecord) -> dict[str, str]:
    """Return the study's subgroups by name: ``caller``, ``manufacturer``, ``field_strength`` (``1.5 T``).

    What is not known of a study is left out.
    """
    groups = {"caller": study.caller} if study.caller else {}
    if study.features is not None:
        manufacturer = study.features.categories.get("manufacturer", "unknown")
        if manufacturer != "unknown":
            groups["manufacturer"] = manufacturer
        tesla = study.features.numbers.get("field_strength_tesla", 0.0)
        if _WEAKEST_T < tesla < _STRONGEST_T:
            groups["field_strength"] = f"{round(tesla, 1):g} T"
    return groups
