"""The gate of a repository: what a version must show before it may serve, and the verdict on one.

``<repository>/gate.json`` has a site's limits. Without it the gate is parity and what must hold in any case: files
that are the manifest's, the repository's preprocessing and CAM grid. Those no reason can override.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.codec import SchemaError, from_dict
from glioserve_contract.records.facts.evaluation import Counting, EvaluationFigure, EvaluationSummary
from glioserve_contract.records.facts.parity import ParityRecord
from glioserve_contract.records.facts.publication import GateRule, GateVerdict
from glioserve_contract.records.manifest import Manifest
from glioserve_contract.rounding import at_least, at_most
from glioserve_contract.tensors import LOGITS, MODEL_ID
from glioserve_watch.shadow.comparison import CandidateStanding, Comparison

GATE_FILE = "gate.json"
MAX_REASON_LENGTH = 500
LEAST_OF_A_SUBGROUP = 20
"""Studies from which on a subgroup's flips are held to the limit on their own."""


@dataclass(frozen=True)
class Gate:
    """A site's limits on the evaluation; those that are not set are not asked for. Necrosis is the positive class."""

    schema: Literal["glioserve/gate/1"] = "glioserve/gate/1"
    require_evaluation: bool = False
    """True where a version without an evaluation is refused; any limit below implies it."""
    min_cases: int | None = None
    """Studies that the evaluation must have answered."""
    min_auc: float | None = None
    min_sensitivity: float | None = None
    min_specificity: float | None = None
    min_accuracy: float | None = None
    max_calibration_error: float | None = None
    """Largest expected calibration error."""
    min_shadow_studies: int | None = None
    """Live studies that a version must have been compared on, as a candidate beside the one that serves, before it is
    promoted."""
    max_shadow_flips: float | None = None
    """Largest share of those studies with another label than was given, in every subgroup of 20 or more too."""
    failures_are_wrong: bool = False
    """True where the rates (sensitivity, specificity, accuracy) are those of every study, one that failed or abstained
    being wrong, instead of those of the answered ones."""
    bound: Literal["point", "lower"] = "point"
    """Figure that is held to ``min_…``: the estimate, or the lower end of its 95% interval."""

    def check(self, path: str) -> None:
        """Raise SchemaError for a share that is not 0 to 1, or a number of cases that is not positive."""
        for name in (
            "min_auc",
            "min_sensitivity",
            "min_specificity",
            "min_accuracy",
            "max_calibration_error",
            "max_shadow_flips",
        ):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise SchemaError(f"{path}.{name}", f"must be 0 to 1, not {value}")
        for name in ("min_cases", "min_shadow_studies"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise SchemaError(f"{path}.{name}", f"must be 1 or more, not {number}")

    @property
    def wants_evaluation(self) -> bool:
        """True where a version needs an evaluation to pass."""
        limits = (self.min_cases, self.min_auc, self.min_sensitivity, self.min_specificity, self.min_accuracy)
        return self.require_evaluation or any(v is not None for v in (*limits, self.max_calibration_error))


def require_passed(verdict: GateVerdict, override: str | None) -> str | None:
    """Return the reason ``override`` where it was needed, to be recorded.

    GLIO-5122 with every rule that failed, unless there is a reason to override them. What cannot be overridden passed
    before there was a verdict.
    """
    reason = checked_reason(override)
    if verdict.passed:
        return None
    if reason is None:
        failed = "; ".join(map(str, verdict.failed))
        raise GlioserveError(ErrorCode.GATE_REFUSED, f"{failed}.")
    return reason


def checked_reason(override: str | None) -> str | None:
    """Return the reason as one line of printable text; GLIO-5122 for an empty one."""
    if override is None:
        return None
    reason = override.strip()
    if not reason or len(reason) > MAX_REASON_LENGTH or not reason.isprintable():
        raise GlioserveError(
            ErrorCode.GATE_REFUSED, f"An override needs a reason: one line of 1 to {MAX_REASON_LENGTH} characters."
        )
    return reason


def load_gate(repository: Path) -> Gate:
    """Return the repository's gate, the default where it has none; GLIO-5108 names the key that is wrong."""
    try:
        return parse_gate((repository / GATE_FILE).read_bytes())
    except FileNotFoundError:
        return Gate()
    except OSError as error:
        raise GlioserveError(ErrorCode.INVALID_REPOSITORY, f"{GATE_FILE} cannot be read: {error.strerror}.") from error


def parse_gate(text: bytes) -> Gate:
    """Return a gate from its file's bytes (GLIO-5108). It must name its schema: a typing error is not a gate."""
    try:
        value = json.loads(text)
        if not isinstance(value, dict) or "schema" not in value:
            raise SchemaError("gate.schema", "is missing")
        return from_dict(Gate, value)
    except (UnicodeDecodeError, json.JSONDecodeError, SchemaError) as error:
        raise GlioserveError(ErrorCode.INVALID_REPOSITORY, f"{GATE_FILE}: {error}.") from error


def check_same_interface(other: int, theirs: Manifest, ours: Manifest) -> None:
    """Raise GLIO-5104, never overridden, for versions that one preprocessor and one configuration cannot serve."""
    if theirs.preprocessing_digest != ours.preprocessing_digest:
        raise preprocessing_mismatch(other)
    if theirs.cam_grid != ours.cam_grid:
        raise GlioserveError(
            ErrorCode.PREPROCESSING_MISMATCH,
            f"Its CAM has the grid {ours.cam_grid}, that of version {other} {theirs.cam_grid}: "
            "one configuration cannot serve both.",
        )


def preprocessing_mismatch(other: int) -> GlioserveError:
    """Return GLIO-5104 against version ``other``."""
    return GlioserveError(
        ErrorCode.PREPROCESSING_MISMATCH,
        f"Its channels, grid, slice rule, intensities or brain extraction are not those of version {other}.",
    )


def judge(gate: Gate, manifest: Manifest) -> GateVerdict:
    """Return the verdict on a version whose files and interface were found right."""
    rules = (
        GateRule("files", True, f"{len(manifest.files)} as in the manifest", "all"),
        GateRule("preprocessing and CAM grid", True, "the repository's", "equal"),
        *_parity(manifest.parity),
        *_evaluation(gate, manifest.evaluation),
    )
    return GateVerdict(all(rule.passed for rule in rules), rules)


def shadow_rules(gate: Gate, standing: CandidateStanding | None) -> tuple[GateRule, ...]:
    """Return what the gate says of a candidate's live studies; ``standing`` is None where it had none."""
    rules: list[GateRule] = []
    over_all = standing.over_all if standing else None
    if gate.min_shadow_studies is not None:
        studies = over_all.studies if over_all else 0
        enough = studies >= gate.min_shadow_studies
        rules.append(GateRule("shadow studies", enough, str(studies), f"at least {gate.min_shadow_studies}"))
    if gate.max_shadow_flips is not None:
        groups = standing.subgroups.items() if standing else ()
        judged = [("", over_all), *((f" of {g}", c) for g, c in groups if c.studies >= LEAST_OF_A_SUBGROUP)]
        rules += [_flips(f"shadow flips{of}", comparison, gate.max_shadow_flips) for of, comparison in judged]
    return tuple(rules)


def _flips(name: str, comparison: Comparison | None, limit: float) -> GateRule:
    share = comparison.flip_share if comparison else None
    if comparison is None or share is None:
        return GateRule(name, False, "no live study", f"at most {limit:g}")
    found = f"{comparison.flips} of {comparison.studies}"
    return GateRule(name, at_most(share, limit), found, f"at most {limit:g}")


def _parity(parity: ParityRecord) -> Iterator[GateRule]:
    """Yield a rule an output, as the export recorded it; at least the logits and the identity must have been shown."""
    for figure in parity.figures:
        yield _within(figure.output, figure.difference, figure.tolerance)
    case = parity.reference_case
    if case is not None:
        yield _within("reference_case", case.difference, case.tolerance)
    if parity.figure(LOGITS.name) is None:
        yield GateRule(f"parity of {LOGITS.name}", False, "never shown", "a figure")
    equal = parity.model_id_equal
    yield GateRule(f"parity of {MODEL_ID.name}", equal, "equal" if equal else "not shown to be equal", "equal")


def _within(output: str, difference: float, tolerance: float) -> GateRule:
    return GateRule(f"parity of {output}", difference <= tolerance, f"{difference:.1e}", f"at most {tolerance:.1e}")


def _evaluation(gate: Gate, evaluation: EvaluationSummary | None) -> Iterator[GateRule]:
    if gate.wants_evaluation:
        yield GateRule("evaluation", evaluation is not None, "there" if evaluation else "none", "required")
    if evaluation is None:
        return
    if gate.min_cases is not None:
        cases = evaluation.cases
        yield GateRule("cases", cases >= gate.min_cases, str(cases), f"at least {gate.min_cases}")
    for name in ("auc", "sensitivity", "specificity", "accuracy"):
        limit: float | None = getattr(gate, f"min_{name}")
        if limit is not None:
            counting: Counting = "every_study" if gate.failures_are_wrong and name != "auc" else "metrics"
            yield _at_least(name, evaluation.figure(name, counting), limit, gate.bound)
    if gate.max_calibration_error is not None:
        error = evaluation.metrics.calibration_error
        passed = error is not None and at_most(error.value, gate.max_calibration_error)
        found = "not in the evaluation" if error is None else f"{error.value:.3f}"
        yield GateRule("calibration error", passed, found, f"at most {gate.max_calibration_error:g}")


def _at_least(name: str, found: EvaluationFigure | None, limit: float, bound: str) -> GateRule:
    value = None if found is None else found.value if bound == "point" else found.lower
    what = f"at least {limit:g}" if bound == "point" else f"lower bound at least {limit:g}"
    if found is None or value is None:
        return GateRule(name, False, "not in the evaluation" if found is None else f"{found} without an interval", what)
    return GateRule(name, at_least(value, limit), str(found), what)
