"""The trainer: it learns, it resumes to the bit, it weighs classes, and its metrics are right."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glioserve_cli.training.train import add_arguments, run
from glioserve_contract import GlioserveError
from glioserve_networks import build, load_artifact
from glioserve_networks.calibration import fit_temperature
from glioserve_networks.dataset import DatasetSplit, Patient, index_of, save_index, save_patient
from glioserve_training.augment import MAX_SHIFT_VOXELS, augment
from glioserve_training.learner import USUAL_CELLS, Learner, kernels_fit
from glioserve_training.metrics import auc, peak_distance_mm
from glioserve_training.settings import DEMO_RECIPE, PRESETS
from glioserve_training.trainer import EpochResult, localisation_loss, train
from support.models.recipes import tiny_recipe

RECIPE = tiny_recipe()
QUICK = replace(PRESETS["demo"], epochs=4, batch=4, bf16=False, learning_rate=1e-2)


def toy(seed: int, n: int = 24, positives: int | None = None) -> DatasetSplit:
    """Bright cubes at random places: hollow ones are class 0, full ones class 1."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(0.0, 0.2, (n, 3, 16, 16, 16)).astype(np.float16)
    labels = (np.arange(n) < (n // 2 if positives is None else positives)).astype(np.int64)
    lesions = np.zeros((n, 16, 16, 16), dtype=np.uint8)
    for i in range(n):
        z, y, x = rng.integers(1, 9, 3)
        images[i, :, z : z + 6, y : y + 6, x : x + 6] = 1
        if not labels[i]:
            images[i, :, z + 1 : z + 5, y + 1 : y + 5, x + 1 : x + 5] = 0.1
        lesions[i, z : z + 6, y : y + 6, x : x + 6] = 1
    return DatasetSplit(images, labels, lesions)


def test_it_learns_rings_from_solids() -> None:
    seen: list[EpochResult] = []
    trained = train(RECIPE, replace(QUICK, epochs=12), toy(0, 48), toy(1), on_epoch=seen.append)
    assert [r.epoch for r in seen] == list(range(12))
    assert trained.best.auc > 0.9
    assert trained.best == max(seen, key=lambda r: (r.auc, -r.loss))
    assert seen[-1].train_loss < seen[0].train_loss
    assert trained.best.hits > 0.5


def test_equal_seeds_train_equal_networks() -> None:
    first, again, other = (
        train(RECIPE, replace(QUICK, epochs=1, seed=s), toy(0), toy(1)).state_dict for s in (0, 0, 1)
    )
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not all(torch.equal(first[k], other[k]) for k in first)


def test_a_resumed_run_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    class Interrupted(Exception):  # noqa: N818
        pass

    def stop(result: EpochResult) -> None:
        if result.epoch == 2:
            raise Interrupted

    checkpoint = tmp_path / "run.pt"
    whole = train(RECIPE, QUICK, toy(0), toy(1))
    with pytest.raises(Interrupted):
        train(RECIPE, QUICK, toy(0), toy(1), checkpoint=checkpoint, on_epoch=stop)
    epochs: list[int] = []
    resumed = train(RECIPE, QUICK, toy(0), toy(1), checkpoint=checkpoint, on_epoch=lambda r: epochs.append(r.epoch))
    assert epochs == [2, 3]
    assert resumed.best.epoch == whole.best.epoch
    assert all(torch.equal(whole.state_dict[k], resumed.state_dict[k]) for k in whole.state_dict)
    with pytest.raises(GlioserveError, match="--resume"):
        train(RECIPE, replace(QUICK, learning_rate=0.5), toy(0), toy(1), checkpoint=checkpoint)


def test_one_class_alone_cannot_be_trained() -> None:
    with pytest.raises(GlioserveError, match="one class"):
        train(RECIPE, QUICK, toy(0, positives=0), toy(1))


def test_a_rare_class_weighs_as_much() -> None:
    """4 of 40, and signal that cannot be learned: the answer must not drift to the common class."""
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (40, 3, 16, 16, 16)).astype(np.float16)
    split = DatasetSplit(images, (np.arange(40) < 4).astype(np.int64), None)
    settings_ = replace(QUICK, epochs=3, learning_rate=1e-3, augment=False)
    trained = train(RECIPE, settings_, split, split)
    # With equal weights the best constant answer costs ln 2; the unweighted optimum's weighted loss is 1.2.
    assert trained.best.loss < 1.0


def test_the_paper_preset_is_the_papers() -> None:
    paper = PRESETS["paper"]
    assert (paper.learning_rate, paper.batch, paper.epochs) == (1e-5, 2, 300)
    assert (1 - paper.validation_share) / paper.validation_share == pytest.approx(3.03)
    result = train(RECIPE, replace(paper, epochs=1), toy(0, 6), toy(1, 4)).best
    assert np.isfinite(result.train_loss)


def test_the_demo_recipe_is_valid() -> None:
    DEMO_RECIPE.check("recipe")
    assert DEMO_RECIPE.grid.shape == (48, 48, 48)


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=30))
@settings(deadline=None)
def test_auc_counts_pairs(cases: list[tuple[int, bool]]) -> None:
    scores = np.array([s for s, _ in cases], dtype=float)
    positive = np.array([p for _, p in cases])
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[positive] for b in scores[~positive]]
    expected = np.mean(pairs) if pairs else np.nan
    np.testing.assert_allclose(auc(scores, positive), expected)


def test_peak_distance_is_on_the_lattice_in_mm() -> None:
    lesion = np.zeros((48, 48, 48), np.uint8)
    lesion[20, 8, 30] = 1
    cam = np.zeros((12, 12, 12))
    cam[5, 2, 6] = 1  # voxel (20, 8, 24)
    assert peak_distance_mm(cam, lesion, (4.0, 2.0, 2.0), (0.0, 4.0)) == pytest.approx(24)
    lesion[20, 8, 24] = 1
    assert peak_distance_mm(cam, lesion, (4.0, 2.0, 2.0), (0.0, 4.0)) == 0
    assert np.isnan(peak_distance_mm(cam, lesion * 0, (4.0, 2.0, 2.0), (0.0, 4.0)))


def lesion_case() -> tuple[torch.Tensor, torch.Tensor]:
    """No evidence anywhere, and one lesion that cell (5, 2, 6) of the map lies on."""
    lesion = torch.zeros(1, 48, 48, 48, dtype=torch.uint8)
    lesion[:, 20, 8, 24] = 1
    return torch.zeros(1, 2, 12, 12, 12), lesion


def located(maps: torch.Tensor, label: int, lesion: torch.Tensor) -> float:
    return localisation_loss(maps, torch.tensor([label]), lesion, (0.0, 4.0)).item()


def test_localisation_loss_without_evidence_is_chance() -> None:
    maps, lesion = lesion_case()
    assert located(maps, 1, lesion) == pytest.approx(np.log(2 * 12**3))


def test_localisation_loss_wants_the_lesion_and_the_true_class() -> None:
    maps, lesion = lesion_case()
    maps[0, 1, 5, 2, 6] = 20.0
    assert located(maps, 1, lesion) == pytest.approx(0, abs=1e-3)
    assert located(maps, 0, lesion) > 15  # the other class
    elsewhere, _ = lesion_case()
    elsewhere[0, 1, 9, 9, 9] = 20.0
    assert located(elsewhere, 1, lesion) > 15


def test_localisation_loss_counts_what_strays_off_the_lesion() -> None:
    maps, lesion = lesion_case()
    maps[0, 1, 5, 2, 6] = 20.0
    clean = located(maps, 1, lesion)
    maps[0, :, 1, 1, 1] = 3.0  # both classes alike: nothing for the answer
    assert located(maps, 1, lesion) == pytest.approx(clean, abs=1e-3)
    maps[0, 0, 1, 1, 1] = 5.0
    maps[0, 0, 2, 2, 2] = -5.0  # would cancel in a sum
    assert located(maps, 1, lesion) == pytest.approx(clean + (2 + 5) / USUAL_CELLS, abs=1e-3)


def test_localisation_loss_survives_a_lesion_that_is_not_there() -> None:
    maps, lesion = lesion_case()
    maps.requires_grad_()
    loss = localisation_loss(maps, torch.tensor([1]), lesion * 0, (0.0, 4.0))
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(maps.grad).all()


@pytest.mark.parametrize("amplify", [True, False])
def test_what_is_handed_over_answers_as_what_was_trained(amplify: bool) -> None:
    torch.manual_seed(0)
    learner = Learner(build(RECIPE.architecture, 3), amplify=amplify, bf16=False)
    images = torch.from_numpy(toy(2, 8).images.astype(np.float32))
    for _ in range(3):
        learner(images)  # moves the centre and the batch statistics
    learner.eval()
    network = build(RECIPE.architecture, 3).eval()
    network.load_state_dict(learner.network_state())
    with torch.no_grad():
        logits, evidence = learner(images)
        torch.testing.assert_close(network(images), logits, rtol=1e-4, atol=1e-4)
        maps = torch.einsum("nkdhw,ck->ncdhw", network.features(images), network.head.weight)
    gain = float(learner.gain)
    torch.testing.assert_close(maps, evidence * gain, rtol=1e-4, atol=1e-4)
    assert (gain > 1) is (amplify and evidence[0, 0].numel() > USUAL_CELLS)


def test_augmentation_moves_image_and_lesion_together() -> None:
    split = toy(3, 6)
    images, lesions = torch.from_numpy(split.images.astype(np.float32)), torch.from_numpy(split.lesions)
    images = images * (lesions.unsqueeze(1) > 0)
    moved, marks = augment(images, lesions, torch.Generator().manual_seed(5))
    assert marks is not None
    assert moved.shape == images.shape
    assert not torch.equal(marks, lesions.float())
    outside = moved * (marks.unsqueeze(1) == 0)
    assert outside.abs().max() == 0
    assert (moved[:, 0] * marks).sum() > 0
    again, _ = augment(images, lesions, torch.Generator().manual_seed(5))
    torch.testing.assert_close(moved, again)
    assert augment(images, None, torch.Generator())[1] is None
    shift = (marks.sum((2, 3))[:, :].argmax(1) - lesions.float().sum((2, 3)).argmax(1)).abs()
    assert shift.max() <= 16 + MAX_SHIFT_VOXELS


def test_command_trains_a_dataset_into_an_artifact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from glioserve_preprocess.files import save_recipe

    data = tmp_path / "data"
    save_index(index_of(RECIPE, "toys"), data)
    for i in range(5):
        split = toy(i, 4)
        save_patient(Patient(split.images, split.labels, split.lesions), data / f"p{i}.npz")
    save_recipe(RECIPE, tmp_path / "recipe.json")
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = f"--recipe {tmp_path}/recipe.json --dataset {data} --epochs 2 --out {tmp_path}/artifact".split()
    assert run(parser.parse_args(words)) == 0
    assert "AUC" in capsys.readouterr().out
    artifact = load_artifact(tmp_path / "artifact")
    assert artifact.recipe.channels == RECIPE.channels
    assert artifact.recipe.provenance.settings["preset"] == "demo"
    assert run(parser.parse_args([*words, "--resume"])) == 0
    assert load_artifact(tmp_path / "artifact").weights_digest == artifact.weights_digest


@pytest.mark.parametrize("true", [0.2, 1.0, 5.0])
def test_a_fitted_temperature_undoes_a_scale(true):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 2))
    chance = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    labels = (rng.random(len(logits)) < chance).astype(np.int64)
    assert fit_temperature(logits * true, labels) == pytest.approx(true, rel=0.1)


@pytest.mark.parametrize(("side", "fits"), [(2, False), (3, True), (8, True)])
def test_bf16_is_for_maps_that_hold_the_kernel(side: int, fits: bool) -> None:
    net = torch.nn.Sequential(torch.nn.Conv3d(1, 4, 3, padding=1), torch.nn.Conv3d(4, 4, 1)).train()
    assert kernels_fit(net, torch.zeros(1, 1, side, 8, 8)) is fits
    assert net.training
    assert not net[0]._forward_pre_hooks


def test_gradients_of_small_maps_are_those_of_single_precision() -> None:
    """The processor's bfloat16 kernels would take them from memory that nothing has written."""
    torch.manual_seed(0)
    net = build(RECIPE.architecture, 3)
    images = torch.rand(2, 3, 8, 8, 8)
    gradients = []
    for bf16 in (True, False):
        learner = Learner(net, amplify=False, bf16=bf16).train()
        learner.zero_grad()
        learner(images)[0].square().sum().backward()
        gradients.append([p.grad.clone() for p in net.parameters() if p.grad is not None])
    assert not kernels_fit(net, images)
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
