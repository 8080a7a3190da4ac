"""A recipe that names a network, through the whole pipeline and the offline command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from glioserve_cli.main import main
from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.records.brain_model import BRAIN_MODELS_VARIABLE
from glioserve_contract.records.recipe import BrainExtraction, Recipe, preprocessing_digest
from glioserve_dicom.volumes.geometry import SequenceVolume
from glioserve_preprocess.brain.extraction import find_brain
from glioserve_preprocess.files import save_recipe
from glioserve_preprocess.itk import to_sitk
from glioserve_preprocess.pipeline import preprocess_volumes
from support.models.brain_models import SYNTHSTRIP_LIKE, solid_network, write_brain_model

THRESHOLD = 0.2
"""Threshold of the network's own measure: somewhat more than 0.3 of the brightness, on average over 5 cm."""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "site"


@pytest.fixture
def extraction(site: Path) -> BrainExtraction:
    return write_brain_model(site, "solid.onnx", solid_network(), SYNTHSTRIP_LIKE, threshold=THRESHOLD)


def test_the_networks_mask_shapes_the_input(
    phantom_volumes: Mapping[Modality, SequenceVolume], recipe: Recipe, extraction: BrainExtraction, site: Path
) -> None:
    named = replace(recipe, channels=(Modality.T1CE,), brain_extraction=extraction)
    done = preprocess_volumes(phantom_volumes, named, threads=2, brain_models=site)
    reference = done.volumes[Modality.T1CE]
    np.testing.assert_array_equal(done.native_mask, find_brain(reference, (), {}, extraction, site).mask)
    classical = find_brain(reference, (), {}, BrainExtraction("classical")).mask
    overlap = 2 * (done.native_mask & classical).sum() / (done.native_mask.sum() + classical.sum())
    assert 0.5 < overlap < 0.99  # the same head, by another method
    assert not done.image[:, done.brain_mask == 0].any()
    assert done.record.preprocessing_digest == preprocessing_digest(named) != preprocessing_digest(recipe)
    alone = preprocess_volumes(phantom_volumes, named, threads=1, brain_models=site)
    np.testing.assert_array_equal(done.image, alone.image)


def test_without_the_folder_it_is_the_set_up_that_is_at_fault(
    phantom_volumes: Mapping[Modality, SequenceVolume], recipe: Recipe, extraction: BrainExtraction
) -> None:
    named = replace(recipe, channels=(Modality.T1CE,), brain_extraction=extraction)
    with pytest.raises(GlioserveError) as caught:
        preprocess_volumes(phantom_volumes, named)
    assert caught.value.code is ErrorCode.BRAIN_MODEL_MISSING


def test_the_offline_command_takes_the_folder_from_its_environment(
    phantom_volumes: Mapping[Modality, SequenceVolume],
    recipe: Recipe,
    extraction: BrainExtraction,
    site: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = replace(recipe, channels=(Modality.T1CE,), brain_extraction=extraction)
    save_recipe(named, tmp_path / "recipe.json")
    volume = phantom_volumes[Modality.T1CE]
    sitk.WriteImage(to_sitk(volume.voxels, volume.geometry), tmp_path / "t1ce.nii.gz")
    command = ["preprocess", "--volume", f"t1ce={tmp_path / 't1ce.nii.gz'}", "--recipe", str(tmp_path / "recipe.json")]
    command += ["--out", str(tmp_path / "out")]
    monkeypatch.delenv(BRAIN_MODELS_VARIABLE, raising=False)
    assert main(command) == 1
    assert "GLIO-5113" in capsys.readouterr().err
    monkeypatch.setenv(BRAIN_MODELS_VARIABLE, str(site))
    assert main(command) == 0
    record = json.loads((tmp_path / "out" / "preprocess.json").read_text())
    assert record["preprocessing_digest"] == preprocessing_digest(named)
