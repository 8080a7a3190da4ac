"""The figures that a variant is judged by, against answers whose difference is known."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from glioserve_contract import ErrorCode, GlioserveError, to_dict
from glioserve_contract.records.recipe import Recipe, VariantLimits
from glioserve_export.variants.compare import compare, scores
from support.models.recipes import tiny_recipe

STUDIES = 6
RECIPE = tiny_recipe()


def answers(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random LOGITS [n, 2] and CAM [n, 2, 3, 4, 5]."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (STUDIES, 2)).astype(np.float32)
    return logits, rng.random((STUDIES, 2, 3, 4, 5), dtype=np.float32)


def explained(recipe: Recipe, logits: np.ndarray) -> list[int]:
    """Return which of CAM's two maps is the predicted class's."""
    labels = scores(recipe, logits) >= recipe.threshold
    return [recipe.classes.index("recurrence" if label else "necrosis") for label in labels]


def test_the_same_answers_are_the_same() -> None:
    logits, cam = answers()
    found = compare(RECIPE, logits, cam, logits.copy(), cam.copy())
    assert (found.studies, found.max_probability_drift, found.label_flips, found.same_peak) == (STUDIES, 0, 0, 1)
    assert found.min_heatmap_correlation == pytest.approx(1)
    assert found.problems(VariantLimits(0, 0, 1, 1)) == []


@pytest.mark.parametrize("steps", [-4, -1, 1, 4])
def test_ideal_figures_meet_ideal_limits_whatever_rounding_did(steps: int) -> None:
    logits, cam = answers()
    one = 1 + steps * np.spacing(1.0)
    ideal = compare(RECIPE, logits, cam, logits, cam)
    rounded = replace(ideal, min_heatmap_correlation=one, same_peak=one, max_probability_drift=abs(steps) * 1e-17)
    assert rounded.problems(VariantLimits(0, 0, 1, 1)) == []


@pytest.mark.parametrize("classes", [("necrosis", "recurrence"), ("recurrence", "necrosis")])
def test_a_score_is_recurrence_s_after_the_temperature(classes: tuple[str, str]) -> None:
    recipe = replace(tiny_recipe(classes=classes), temperature=2.0)
    logits = np.array([[0.0, 2 * math.log(3)]], dtype=np.float32)  # odds of 3 after the temperature
    score = 0.75 if classes[1] == "recurrence" else 0.25
    assert scores(recipe, logits) == pytest.approx([score])
    assert scores(recipe, np.array([[-1000, 1000], [1000, -1000]], dtype=np.float32)) == pytest.approx(
        [float(score > 0.5), float(score < 0.5)]
    )


def test_drift_and_flips_are_of_the_score_at_the_threshold() -> None:
    recipe = replace(RECIPE, threshold=0.7)
    cam = answers()[1][:3]
    wanted = np.log(np.array([[0.31, 0.69], [0.29, 0.71], [0.9, 0.1]], dtype=np.float32))
    moved = np.log(np.array([[0.29, 0.71], [0.28, 0.72], [0.86, 0.14]], dtype=np.float32))
    found = compare(recipe, wanted, cam, moved, cam)
    assert found.label_flips == 1
    assert found.max_probability_drift == pytest.approx(0.04, abs=1e-6)
    assert compare(replace(recipe, threshold=0.5), wanted, cam, moved, cam).label_flips == 0


def test_maps_are_compared_for_the_class_that_the_reference_predicts() -> None:
    logits, cam = answers()
    spoilt, other = cam.copy(), cam.copy()
    for study, shown in enumerate(explained(RECIPE, logits)):
        other[study, 1 - shown] = 0
        spoilt[study, shown] = cam[study, shown][::-1, ::-1, ::-1]
    unseen = compare(RECIPE, logits, cam, logits, other)
    assert (unseen.min_heatmap_correlation, unseen.same_peak) == (pytest.approx(1), 1)
    assert compare(RECIPE, logits, cam, logits, spoilt).same_peak == 0


def test_correlation_is_pearson_s_and_knows_neither_scale_nor_offset() -> None:
    logits, cam = answers()
    rng = np.random.default_rng(1)
    noisy = (cam + 0.3 * rng.random(cam.shape)).astype(np.float32)
    wanted = sorted(
        np.corrcoef(cam[i, c].ravel(), noisy[i, c].ravel())[0, 1] for i, c in enumerate(explained(RECIPE, logits))
    )
    for scale, offset in ((1, 0), (1e-4, 0), (50, 0.2)):
        found = compare(RECIPE, logits, cam, logits, (scale * noisy + offset).astype(np.float32))
        assert found.min_heatmap_correlation == pytest.approx(wanted[0], abs=1e-5)
        assert found.median_heatmap_correlation == pytest.approx(np.median(wanted), abs=1e-5)


def one(reference: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """(correlation, same peak) of one study whose predicted map is given; the other class's map has a scale of 1."""
    logits = np.array([[1, 0]], dtype=np.float32)
    rest = np.ones_like(reference)
    result = compare(RECIPE, logits, np.stack([reference, rest])[None], logits, np.stack([found, rest])[None])
    return result.min_heatmap_correlation, result.same_peak


EMPTY = np.zeros((2, 3, 4), dtype=np.float32)
FLAT = np.full((2, 3, 4), 0.5, dtype=np.float32)
SPOT = EMPTY.copy()
SPOT[1, 2, 3] = 1


@pytest.mark.parametrize(
    ("reference", "found", "agreement"),
    [
        (EMPTY, EMPTY, 1),
        (EMPTY, 1e-8 * SPOT, 1),  # rounding of a map of the size of the other class's
        (FLAT, 3 * FLAT, 1),
        (EMPTY, SPOT, 0),
        (EMPTY, 1e-4 * SPOT, 0),  # small, but shown as a full heat map: its own maximum is its scale
        (SPOT, EMPTY, 0),
        (SPOT, FLAT, 0),
        (FLAT, EMPTY, 0),
    ],
)
def test_maps_that_show_nothing_or_no_place(reference: np.ndarray, found: np.ndarray, agreement: int) -> None:
    assert one(reference, found.astype(np.float32)) == (agreement, agreement)


def test_a_tied_peak_may_go_either_way_but_a_lower_voxel_may_not_win() -> None:
    tied, near = SPOT.copy(), SPOT.copy()
    tied[0, 0, 0] = 1 - 1e-6
    near[0, 0, 0] = 0.99
    won = SPOT.copy()
    won[0, 0, 0] = 1.001
    assert one(tied, won)[1] == 1
    assert one(near, won)[1] == 0


def test_answers_that_are_not_finite_are_never_within_limits() -> None:
    logits, cam = answers()
    bad_logits, bad_cam = logits.copy(), cam.copy()
    bad_logits[1, 0], bad_cam[2, 0, 0, 0, 0] = np.nan, np.inf
    found = compare(RECIPE, logits, cam, bad_logits, bad_cam)
    assert (found.not_finite, found.label_flips, found.min_heatmap_correlation) == (2, 2, 0)
    assert found.same_peak == pytest.approx(4 / 6)
    assert "2 of 6 studies" in found.problems(VariantLimits(1, STUDIES, 0, 0))[0]
    assert found.record().max_probability_drift is None
    assert json.dumps(to_dict(found.record()), allow_nan=False)


def test_each_limit_refuses_alone_and_the_error_has_the_figures() -> None:
    logits, cam = answers()
    found = compare(RECIPE, logits, cam, -logits, cam[:, :, ::-1])
    lax = VariantLimits(1, STUDIES, 0, 0)
    assert found.min_heatmap_correlation < 0.98
    assert len(found.problems(replace(lax, max_probability_drift=0.1))) == 1
    assert len(found.problems(replace(lax, max_label_flips=STUDIES - 1))) == 1
    assert len(found.problems(replace(lax, min_same_peak=0.9))) == 1
    with pytest.raises(GlioserveError, match=rf"int8, over 6 studies: .*{STUDIES} labels flip \(at most 0\)") as raised:
        found.check("int8", VariantLimits())
    assert raised.value.code is ErrorCode.VARIANT_REFUSED


def test_other_shapes_are_refused_and_a_bad_reference_is_the_caller_s_fault() -> None:
    logits, cam = answers()
    with pytest.raises(GlioserveError, match=r"CAM \(6, 2, 3, 4, 4\)") as raised:
        compare(RECIPE, logits, cam, logits, cam[..., :4])
    assert raised.value.code is ErrorCode.VARIANT_REFUSED
    with pytest.raises(ValueError, match="not finite"):
        compare(RECIPE, logits * np.nan, cam, logits, cam)
    with pytest.raises(ValueError, match="no studies"):
        compare(RECIPE, logits[:0], cam[:0], logits[:0], cam[:0])


def test_it_needs_numpy_alone() -> None:
    code = "import sys, glioserve_export.variants.compare; sys.exit(any(m in sys.modules for m in ('torch', 'onnx')))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
