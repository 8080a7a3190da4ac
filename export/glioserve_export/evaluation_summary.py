"""What a manifest keeps of an evaluation: read for publication, for the gate and for the card."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glioserve_contract import ErrorCode, GlioserveError, sha256_digest

EVALUATION_SCHEMA = "glioserve/evaluation/1"


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95% interval, where it has one."""

    value: float
    lower: float | None = None
    upper: float | None = None

    def __str__(self) -> str:
        interval = (
            f" ({self.lower:.3f} to {self.upper:.3f})" if self.lower is not None and self.upper is not None else ""
        )
        return f"{self.value:.3f}{interval}"


def read_evaluation(path: Path, weights_digest: str) -> dict[str, Any]:
    """The manifest's summary of a report of ``glioserve evaluate``.

    GLIO-5121 where the file is no such report, or is of other weights: an evaluation is of one network.
    """
    try:
        content = path.read_bytes()
        report = json.loads(content)
        schema = report["schema"]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise _invalid(f"{path.name} is no evaluation: {type(error).__name__}") from error
    if schema != EVALUATION_SCHEMA:
        raise _invalid(f"{path.name} has the schema {schema!r}, not {EVALUATION_SCHEMA}")
    found = report.get("model", {}).get("weights_digest")
    if found != weights_digest:
        raise _invalid(f"{path.name} is of the weights {str(found)[:19]}…, this version has {weights_digest[:19]}…")
    raise NotImplementedError(sha256_digest(content))


def estimate(evaluation: dict[str, Any], name: str) -> Estimate | None:
    """A figure of a manifest's evaluation; None where it is not there or undefined (no case of a class)."""
    figure = evaluation.get("metrics", {}).get(name)
    if not isinstance(figure, dict) or not isinstance(figure.get("value"), (int, float)):
        return None
    return Estimate(float(figure["value"]), figure.get("lower"), figure.get("upper"))


def number_of_cases(evaluation: dict[str, Any]) -> int:
    """Studies that were counted."""
    return int(evaluation.get("cases", 0))


def evaluation_rows(evaluation: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(name, value, interval) for people."""
    yield "studies", str(number_of_cases(evaluation)), ""
    for name in evaluation.get("metrics", {}):
        found = estimate(evaluation, name)
        if found is not None:
            interval = "" if found.lower is None else f"{found.lower:.3f} to {found.upper:.3f}"
            yield name.replace("_", " "), f"{found.value:.3f}", interval


def _invalid(problem: str) -> GlioserveError:
    return GlioserveError(ErrorCode.INVALID_COHORT, f"{problem}.")
