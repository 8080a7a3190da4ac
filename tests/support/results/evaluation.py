"""Cohorts, outcomes and predictors for evaluations that run no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from glioserve_evaluation.runs.cohort import Cohort, load_cohort
from glioserve_evaluation.runs.prediction import CasePrediction, ModelFacts, facts_of
from glioserve_evaluation.runs.results import Outcome
from support.models.recipes import tiny_recipe

WEIGHTS = "sha256:" + "5a" * 32
MODEL = facts_of(tiny_recipe(), WEIGHTS, "exported version", "3")


def facts(**changes: object) -> ModelFacts:
    """:data:`MODEL` with other fields."""
    return replace(MODEL, **changes)  # type: ignore[arg-type]


def prediction(score: float, *, abstained: int = 0, model: ModelFacts = MODEL) -> CasePrediction:
    """An answer of :data:`MODEL`."""
    return CasePrediction(score, abstained, "review" if abstained else "ok", model)


def outcome(
    case: str, label: str, score: float | None, *, group: str = "", abstained: int = 0, error: str = ""
) -> Outcome:
    """A case's outcome at the threshold of one half."""
    predicted = "" if score is None else "recurrence" if score >= 0.5 else "necrosis"
    return Outcome(
        case, label, group, 1.5, score, predicted, abstained,  # type: ignore[arg-type]
        "" if score is None else "ok", error, "detail." if error else "", "3", WEIGHTS,
    )  # fmt: skip


def drawn_outcomes(seed: int, necroses: int, recurrences: int, *, temperature: float = 1.0) -> list[Outcome]:
    """Overlapping scores, overconfident by ``temperature``."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(necroses + recurrences):
        label = "necrosis" if index < necroses else "recurrence"
        margin = rng.normal(-1.2 if label == "necrosis" else 1.2, 1.5) * temperature
        found.append(outcome(f"c{index}", label, float(1 / (1 + np.exp(-margin))), group="AB"[index % 2]))
    return found


def cohort_table(folder: Path, labels: Sequence[str], name: str = "DOE^JOHN") -> Path:
    """``cohort.csv`` and an empty study folder per label, named as a patient."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["study,label,case"]
    for index, label in enumerate(labels):
        (folder / f"{name} {index}").mkdir(exist_ok=True)
        lines.append(f"{name} {index},{label},c{index}")
    table = folder / "cohort.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


def small_cohort(folder: Path, size: int = 6) -> Cohort:
    """Cases c0, c1, …: necrosis and recurrence in turn."""
    return load_cohort(cohort_table(folder, [("necrosis", "recurrence")[i % 2] for i in range(size)]))
