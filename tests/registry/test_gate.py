"""The gate: which rule a version fails, by which figure, and what a reason may and may not override."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.facts.evaluation import EvaluationFigure, EvaluationMetrics
from glioserve_contract.records.facts.parity import ParityFigure, ParityRecord, ReferenceCaseParity
from glioserve_contract.records.facts.publication import GateRule, GateVerdict
from glioserve_contract.records.manifest import Manifest
from glioserve_evaluation.reports.report import summary_for_manifest
from glioserve_registry.publishing.gate import (
    Gate,
    checked_reason,
    judge,
    load_gate,
    parse_gate,
    require_passed,
)
from glioserve_triton.served.versions import load_manifest
from support.models.recipes import HELD_PARITY, fake_export
from support.results.evaluations import report_for


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return load_manifest(fake_export(tmp_path / "exported"))


@pytest.fixture
def evaluated(manifest: Manifest) -> Manifest:
    """AUC 0.83 (0.73 to 0.93), sensitivity 7/9 = 0.778 (0.40 to 0.96), of every study 7/10."""
    return replace(manifest, evaluation=summary_for_manifest(report_for(manifest)))


def held_but(figure: ParityFigure) -> ParityRecord:
    """Parity that holds but for this figure."""
    kept = tuple(figure if f.output == figure.output else f for f in HELD_PARITY.figures)
    return replace(HELD_PARITY, figures=kept)


def failed(verdict: GateVerdict) -> list[str]:
    return [str(rule) for rule in verdict.failed]


def test_the_default_asks_for_parity_and_no_evaluation(manifest: Manifest, evaluated: Manifest) -> None:
    for one in (manifest, evaluated):
        verdict = judge(Gate(), one)
        assert verdict.failed == ()
        assert [rule.name for rule in verdict.rules] == [
            "files",
            "preprocessing and CAM grid",
            "parity of LOGITS",
            "parity of CAM",
            "parity of MODEL_ID",
        ]
        assert require_passed(verdict, None) is None


@pytest.mark.parametrize(
    ("parity", "told"),
    [
        (
            ParityRecord(),
            ["parity of LOGITS: never shown (a figure)", "parity of MODEL_ID: not shown to be equal (equal)"],
        ),
        (held_but(ParityFigure("CAM", 2e-4, 1e-4)), ["parity of CAM: 2.0e-04 (at most 1.0e-04)"]),
        (held_but(ParityFigure("LOGITS", math.inf, 1e-4)), ["parity of LOGITS: inf (at most 1.0e-04)"]),
        (held_but(ParityFigure("LOGITS", math.nan, 1e-4)), ["parity of LOGITS: nan (at most 1.0e-04)"]),
        (
            replace(HELD_PARITY, reference_case=ReferenceCaseParity(0.9, 0.01, 0.9, 0.88)),
            ["parity of reference_case: 2.0e-02 (at most 1.0e-02)"],
        ),
        (replace(HELD_PARITY, model_id_equal=False), ["parity of MODEL_ID: not shown to be equal (equal)"]),
    ],
)
def test_parity_that_does_not_hold_is_refused(manifest: Manifest, parity: ParityRecord, told: list[str]) -> None:
    assert failed(judge(Gate(), replace(manifest, parity=parity))) == told


@pytest.mark.parametrize(
    ("gate", "told"),
    [
        (Gate(min_auc=0.83), []),
        (Gate(min_auc=0.84), ["auc: 0.830 (0.730 to 0.930) (at least 0.84)"]),
        (Gate(min_auc=0.73, bound="lower"), []),
        (Gate(min_auc=0.74, bound="lower"), ["auc: 0.830 (0.730 to 0.930) (lower bound at least 0.74)"]),
        (Gate(min_sensitivity=0.77, min_specificity=0.93, min_accuracy=0.91), []),
        (
            Gate(min_sensitivity=0.77, failures_are_wrong=True),
            ["sensitivity: 0.700 (0.350 to 0.920) (at least 0.77)"],
        ),
        (Gate(min_auc=0.8, failures_are_wrong=True), []),
        (
            Gate(min_sensitivity=0.8, min_accuracy=0.95),
            ["sensitivity: 0.778 (0.400 to 0.960) (at least 0.8)", "accuracy: 0.914 (0.800 to 0.970) (at least 0.95)"],
        ),
        (Gate(min_cases=58), []),
        (Gate(min_cases=59), ["cases: 58 (at least 59)"]),
        (Gate(max_calibration_error=0.05), []),
        (Gate(max_calibration_error=0.04), ["calibration error: 0.050 (at most 0.04)"]),
        (Gate(require_evaluation=True), []),
    ],
)
def test_limits_on_the_evaluation(evaluated: Manifest, gate: Gate, told: list[str]) -> None:
    assert failed(judge(gate, evaluated)) == told


@pytest.mark.parametrize("steps", [-4, -1, 0, 1, 4])
def test_perfect_figures_pass_a_gate_of_one_whatever_rounding_did(evaluated: Manifest, steps: int) -> None:
    assert evaluated.evaluation is not None
    one, none = 1 + steps * 2.2e-16, abs(steps) * 1e-17
    metrics = replace(
        evaluated.evaluation.metrics,
        auc=EvaluationFigure(one, one, one),
        accuracy=EvaluationFigure(one, one, one),
        calibration_error=EvaluationFigure(none),
    )
    perfect = replace(evaluated, evaluation=replace(evaluated.evaluation, metrics=metrics))
    for bound in ("point", "lower"):
        gate = Gate(min_auc=1, min_accuracy=1, max_calibration_error=0, bound=bound)  # type: ignore[arg-type]
        assert failed(judge(gate, perfect)) == []


@pytest.mark.parametrize("gate", [Gate(require_evaluation=True), Gate(min_auc=0.5), Gate(min_cases=1)])
def test_any_limit_asks_for_an_evaluation(manifest: Manifest, gate: Gate) -> None:
    verdict = judge(gate, manifest)
    assert failed(verdict) == ["evaluation: none (required)"]
    with pytest.raises(GlioserveError, match=r"evaluation: none \(required\)") as caught:
        require_passed(verdict, None)
    assert caught.value.code is ErrorCode.GATE_REFUSED
    assert require_passed(verdict, " the cohort is being collected ") == "the cohort is being collected"


def test_a_figure_that_the_evaluation_lacks_is_not_met(evaluated: Manifest) -> None:
    """A cohort of one class alone has no AUC, and an estimate without an interval no lower bound."""
    assert evaluated.evaluation is not None
    no_auc = replace(evaluated.evaluation, metrics=EvaluationMetrics(accuracy=EvaluationFigure(1.0)))
    one = replace(evaluated, evaluation=no_auc)
    assert failed(judge(Gate(min_auc=0.1, max_calibration_error=0.5), one)) == [
        "auc: not in the evaluation (at least 0.1)",
        "calibration error: not in the evaluation (at most 0.5)",
    ]
    assert failed(judge(Gate(min_accuracy=0.1, bound="lower"), one)) == [
        "accuracy: 1.000 without an interval (lower bound at least 0.1)"
    ]


def test_every_rule_that_failed_is_in_the_refusal_and_the_record(evaluated: Manifest) -> None:
    verdict = judge(Gate(min_auc=0.9, min_sensitivity=0.9), replace(evaluated, parity=ParityRecord()))
    with pytest.raises(GlioserveError) as caught:
        require_passed(verdict, None)
    for name in ("auc", "sensitivity", "parity of LOGITS", "parity of MODEL_ID"):
        assert f"{name}: " in caught.value.detail
        assert name in {rule.name for rule in verdict.failed}
    assert verdict.passed is False
    assert verdict.rules[0] == GateRule("files", True, "2 as in the manifest", "all")


@pytest.mark.parametrize("reason", ["", "   ", "two\nlines", "x" * 501, "a\x1b[31mtrick"])
def test_a_reason_must_say_something_in_one_line(reason: str) -> None:
    with pytest.raises(GlioserveError, match="one line of 1 to 500 characters"):
        checked_reason(reason)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "Expecting"),
        ("[]", "gate.schema: is missing"),
        ('{"min_auc": 0.8}', "gate.schema: is missing"),
        ('{"schema": "glioserve/gate/2"}', "glioserve/gate/1"),
        ('{"schema": "glioserve/gate/1", "min_acu": 0.8}', "gate.min_acu: unknown key"),
        ('{"schema": "glioserve/gate/1", "min_auc": 80}', "must be 0 to 1, not 80"),
        ('{"schema": "glioserve/gate/1", "min_cases": 0}', "must be 1 or more"),
        ('{"schema": "glioserve/gate/1", "bound": "upper"}', "'point', 'lower'"),
    ],
)
def test_a_gate_that_says_nonsense_is_no_gate(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "gate.json").write_text(content)
    with pytest.raises(GlioserveError, match=complaint) as caught:
        load_gate(tmp_path)
    assert caught.value.code is ErrorCode.INVALID_REPOSITORY


def test_a_gate_is_read_and_its_absence_is_the_default(tmp_path: Path) -> None:
    assert load_gate(tmp_path) == Gate()
    content = {"schema": "glioserve/gate/1", "min_auc": 1, "bound": "lower"}
    assert parse_gate(json.dumps(content).encode()) == Gate(min_auc=1.0, bound="lower")
