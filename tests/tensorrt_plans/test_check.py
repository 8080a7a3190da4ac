"""The check of a plan's answers, profile by profile, against a toolkit that answers what it is told to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.manifest import Manifest, model_id
from glioserve_contract.records.recipe import VariantLimits
from glioserve_export.graphs.vectors import Vectors, load_vectors
from glioserve_export.shape_profiles import BATCHES
from glioserve_tensorrt.check import ProfileFigures, check
from glioserve_tensorrt.toolkit import BuildRequest, PlanAnswers, RunRequest
from glioserve_triton.served.versions import load_manifest
from support.tensorrt.engines import engine_version

Change = Callable[[PlanAnswers], PlanAnswers]


@dataclass
class Scripted:
    """Answers as ``vectors`` say, but as ``changes`` has it for a profile."""

    vectors: Vectors
    manifest: Manifest
    changes: dict[int, Change] = field(default_factory=dict)
    asked: list[RunRequest] = field(default_factory=list)
    name: Literal["trtexec"] = "trtexec"
    version: str = "10.16.1.11"

    def build(self, request: BuildRequest) -> None:
        raise AssertionError("nothing is built here")

    def run(self, request: RunRequest) -> tuple[PlanAnswers, ...]:
        self.asked.append(request)
        ids = np.tile(np.array(model_id(self.manifest.weights_digest), np.int32), (len(request.images), 1))
        right = [PlanAnswers(self.vectors.logits.copy(), self.vectors.cam.copy(), ids.copy()) for _ in request.batches]
        return tuple(self.changes.get(i, lambda a: a)(answers) for i, answers in enumerate(right))


@pytest.fixture
def scripted(tmp_path: Path) -> Scripted:
    folder = engine_version(tmp_path / "1")
    manifest = load_manifest(folder)
    return Scripted(load_vectors(folder, manifest.recipe), manifest)


def checked(toolkit: Scripted) -> ProfileFigures:
    return check(Path("plan"), toolkit.vectors, toolkit.manifest, toolkit, Path("work"), 12.0)


def refused(toolkit: Scripted, said: str) -> None:
    with pytest.raises(GlioserveError, match=said) as error:
        checked(toolkit)
    assert error.value.code is ErrorCode.ENGINE_MISMATCH


def test_every_profile_answers_every_stored_study(scripted: Scripted) -> None:
    figures = checked(scripted)
    assert list(figures) == ["batch 8", "batch 4", "batch 1"]
    assert all(f.studies == 8 and f.max_probability_drift == 0.0 for f in figures.values())
    (request,) = scripted.asked
    np.testing.assert_array_equal(request.images, scripted.vectors.images)
    assert (request.batches, request.timeout_s, request.plan) == (BATCHES, 12.0, Path("plan"))


@pytest.mark.parametrize("profile", range(len(BATCHES)))
def test_any_profile_that_answers_otherwise_is_enough(scripted: Scripted, profile: int) -> None:
    scripted.changes[profile] = lambda a: replace(a, logits=a.logits[:, ::-1])
    refused(scripted, rf"otherwise than ONNX by its profile for batch {BATCHES[profile]}, over 8 studies: SCORE drifts")


def test_one_studys_map_that_moved_is_seen(scripted: Scripted) -> None:
    def moved(answers: PlanAnswers) -> PlanAnswers:
        answers.cam[5] = answers.cam[5, :, ::-1]
        return answers

    scripted.changes[1] = moved
    refused(scripted, r"batch 4, over 8 studies: the worst heat map correlates at .*; 87\.5% of heat maps keep")


def test_one_row_of_another_network_is_seen(scripted: Scripted) -> None:
    """A batch that was padded, or whose rows were mixed up with another's, would answer so."""

    def other(answers: PlanAnswers) -> PlanAnswers:
        answers.model_id[3, 7] ^= 1
        return answers

    scripted.changes[2] = other
    refused(scripted, r"MODEL_ID \(batch 1\) is not that of the version's weights")


def test_answers_to_fewer_studies_or_of_another_map_size_are_no_answers(scripted: Scripted) -> None:
    scripted.changes[0] = lambda a: PlanAnswers(a.logits[:7], a.cam[:7], a.model_id[:7])
    refused(scripted, r"profile for batch 8: LOGITS \(7, 2\) and CAM .* where fp32 gives \(8, 2\)")
    scripted.changes[0] = lambda a: replace(a, cam=a.cam[..., :2])
    refused(scripted, r"profile for batch 8: .*CAM \(8, 2, 4, 4, 2\)")


def test_a_nan_anywhere_is_no_answer(scripted: Scripted) -> None:
    def spoilt(answers: PlanAnswers) -> PlanAnswers:
        answers.cam[0, 0, 0, 0, 0] = np.nan
        return answers

    scripted.changes[1] = spoilt
    refused(scripted, "1 of 8 studies have answers that are not finite")


def test_the_limits_are_the_recipes(scripted: Scripted) -> None:
    scripted.changes[2] = lambda a: replace(a, logits=a.logits + np.float32([[0.4, 0]]))
    refused(scripted, r"SCORE drifts by 0\.0\d+ \(at most 0\.02\)")
    wide = VariantLimits(max_probability_drift=0.2, max_label_flips=1)
    recipe = replace(scripted.manifest.recipe, variant_limits=wide)
    scripted.manifest = replace(scripted.manifest, recipe=recipe)
    figures = checked(scripted)
    assert figures["batch 8"].max_probability_drift == 0.0
    assert 0.02 < figures["batch 1"].max_probability_drift < 0.2
