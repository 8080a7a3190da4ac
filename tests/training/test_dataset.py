"""Training tensors: made as serving makes them, kept whole, refused when they are another recipe's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.records.recipe import Recipe
from glioserve_dicom.volumes.geometry import Geometry, apply, network_geometry
from glioserve_networks.dataset import Patient, index_of, load_dataset, save_index, save_patient
from glioserve_preprocess.tensor.grid import sample, sample_mask
from glioserve_preprocess.tensor.normalise import normalise
from glioserve_training import phantom_dataset
from glioserve_training.masks import MAX_LITRES, MIN_LITRES, damaged, registration_error
from glioserve_training.phantom_dataset import FIRST_TRAINING_SEED, coarse_phantom, make_dataset, phantom_patient
from glioserve_training.settings import DEMO_RECIPE
from support.models.recipes import tiny_recipe

SEED = FIRST_TRAINING_SEED + 77


@pytest.fixture(scope="module")
def patient() -> Patient:
    return phantom_patient(SEED, DEMO_RECIPE, draws=2)


def test_a_patient_has_both_diagnoses_with_the_same_errors(patient: Patient) -> None:
    assert patient.images.shape == (4, 3, 48, 48, 48)
    assert patient.images.dtype == np.float16
    assert patient.labels.tolist() == [0, 0, 1, 1]
    assert patient.images.min() == 0
    assert patient.images.max() == 1
    assert patient.lesions is not None
    for draw in (0, 1):
        assert not np.array_equal(patient.images[draw], patient.images[draw + 2])
    damaged_pair = (patient.images[0] > 0).any(axis=0) == (patient.images[2] > 0).any(axis=0)
    assert damaged_pair.mean() > 0.98  # the mask is the same, or the serving code's of the same head
    t1ce = DEMO_RECIPE.channels.index(Modality.T1CE)
    for ring, solid in ((0, 2), (1, 3)):
        lesion = ndimage.binary_erosion(patient.lesions[ring])
        assert patient.images[ring, t1ce][lesion].mean() < patient.images[solid, t1ce][lesion].mean()


def test_without_errors_the_tensor_is_the_serving_codes_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phantom_dataset, "EXTRACTED_SHARE", 0.0)
    monkeypatch.setattr(phantom_dataset, "damaged", lambda _rng, mask, _geometry: mask)
    monkeypatch.setattr(phantom_dataset, "registration_error", lambda _rng, _centre: np.eye(4))
    made = phantom_patient(SEED, DEMO_RECIPE, draws=1)
    phantom = coarse_phantom(SEED).with_diagnosis("recurrence")
    t1ce, t2 = phantom.volume(Modality.T1CE), phantom.volume(Modality.T2)
    native = phantom.brain_mask(Modality.T1CE, t1ce.geometry)
    centre = apply(t1ce.geometry.lps_from_voxel, np.argwhere(native)[:, ::-1].astype(float)).mean(axis=0)
    target = network_geometry(DEMO_RECIPE.grid, centre)
    mask = sample_mask(native, t1ce.geometry, target)
    matrix = phantom.moving_lps_from_reference_lps(Modality.T2, Modality.T1CE)
    expected = normalise(
        sample(t2.voxels, t2.geometry, target, matrix, outside=np.nan), mask, DEMO_RECIPE.intensity, "The t2 sequence"
    )
    got = made.images[1, DEMO_RECIPE.channels.index(Modality.T2)].astype(np.float32)
    # The stage picks at most 20000 mask voxels for the centre: a fraction of a millimetre apart.
    assert np.corrcoef(got.ravel(), expected.ravel())[0, 1] > 0.995


def ball(radius_mm: float = 68.0) -> tuple[np.ndarray, Geometry]:
    affine = np.diag([3.0, 3.0, 4.0, 1.0])
    geometry = Geometry((64, 64, 48), affine)
    z, y, x = np.ogrid[:48, :64, :64]
    inside = ((x - 31.5) * 3) ** 2 + ((y - 31.5) * 3) ** 2 + ((z - 23.5) * 4) ** 2 < radius_mm**2
    return inside.astype(np.uint8), geometry


def test_damaged_masks_are_wrong_and_still_a_brain() -> None:
    mask, geometry = ball()
    shares, litres = [], []
    for seed in range(24):
        worse = damaged(np.random.default_rng(seed), mask, geometry)
        shares.append(2 * (mask & worse).sum() / (mask.sum() + worse.sum()))
        litres.append(worse.sum() * 36 / 1e6)
    assert MIN_LITRES <= min(litres) < mask.sum() * 36 / 1e6 < max(litres) <= MAX_LITRES
    assert 0.75 < min(shares) < 0.95
    assert 0.9 < np.median(shares) < 0.995
    again = damaged(np.random.default_rng(3), mask, geometry)
    np.testing.assert_array_equal(again, damaged(np.random.default_rng(3), mask, geometry))


def test_registration_errors_are_small_motions_about_the_brain() -> None:
    centre = np.array([10.0, -20.0, 300.0])
    moved = []
    for seed in range(300):
        error = registration_error(np.random.default_rng(seed), centre)
        np.testing.assert_allclose(error[:3, :3] @ error[:3, :3].T, np.eye(3), atol=1e-12)
        moved.append(np.linalg.norm(apply(error, centre[None]) - centre))
    assert 0.3 < np.median(moved) < 1.0
    assert max(moved) > 2.5


def small_patients(folder: Path, recipe: Recipe, count: int = 5, lesions: bool = True) -> None:
    save_index(index_of(recipe, "test"), folder)
    shape = (len(recipe.channels), *recipe.grid.shape)
    for i in range(count):
        images = np.full((2, *shape), (i + 1) / 10, dtype=np.float16)
        marks = np.zeros((2, *recipe.grid.shape), dtype=np.uint8) if lesions else None
        save_patient(Patient(images, np.array([0, 1]), marks), folder / f"p{i}.npz")


def test_the_split_keeps_patients_whole(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    small_patients(tmp_path, recipe)
    training, validation = load_dataset(tmp_path, recipe, 0.4, seed=1)
    assert (len(training.labels), len(validation.labels)) == (6, 4)
    assert training.lesions is not None
    patients = [set(np.unique(s.images)) for s in (training, validation)]
    assert not patients[0] & patients[1]
    again = load_dataset(tmp_path, recipe, 0.4, seed=1)[1]
    np.testing.assert_array_equal(again.images, validation.images)
    assert {path.suffix for path in tmp_path.iterdir()} == {".npz", ".json"}


def test_lesions_are_optional(tmp_path: Path) -> None:
    small_patients(tmp_path, tiny_recipe(), lesions=False)
    assert load_dataset(tmp_path, tiny_recipe(), 0.2, seed=0)[0].lesions is None


def test_another_recipes_dataset_is_refused(tmp_path: Path) -> None:
    small_patients(tmp_path, tiny_recipe())
    with pytest.raises(GlioserveError) as caught:
        load_dataset(tmp_path, replace(tiny_recipe(), min_slices=20), 0.2, seed=0)
    assert caught.value.code is ErrorCode.PREPROCESSING_MISMATCH
    with pytest.raises(GlioserveError, match="classes"):
        load_dataset(tmp_path, tiny_recipe(classes=("recurrence", "necrosis")), 0.2, seed=0)


@pytest.mark.parametrize("fault", ["no index", "one patient", "not npz", "shape"])
def test_a_broken_dataset_says_what_is_wrong(tmp_path: Path, fault: str) -> None:
    recipe = tiny_recipe()
    small_patients(tmp_path, recipe, count=1 if fault == "one patient" else 3)
    if fault == "no index":
        (tmp_path / "dataset.json").unlink()
    elif fault == "not npz":
        (tmp_path / "p1.npz").write_bytes(b"no")
    elif fault == "shape":
        save_patient(Patient(np.zeros((1, 1, 4, 4, 4), np.float16), np.array([0]), None), tmp_path / "p1.npz")
    named = {"no index": "dataset.json", "one patient": "1 patients", "not npz": "p1.npz", "shape": "p1.npz"}[fault]
    with pytest.raises(GlioserveError, match=named) as caught:
        load_dataset(tmp_path, recipe, 0.3, seed=0)
    assert caught.value.code is ErrorCode.INVALID_ARTIFACT


def test_made_files_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def fake(seed: int, recipe: Recipe) -> Patient:
        made.append(seed)
        return Patient(np.zeros((2, 3, *recipe.grid.shape), np.float16), np.array([0, 1]), None)

    monkeypatch.setattr(phantom_dataset, "phantom_patient", fake)
    recipe = tiny_recipe()
    folder = make_dataset(recipe, 3, tmp_path, workers=0)
    assert made == [FIRST_TRAINING_SEED + i for i in range(3)]
    assert make_dataset(recipe, 4, tmp_path, workers=0) == folder
    assert made[3:] == [FIRST_TRAINING_SEED + 3]
    other = make_dataset(replace(recipe, min_slices=20), 1, tmp_path, workers=0)
    assert other != folder
