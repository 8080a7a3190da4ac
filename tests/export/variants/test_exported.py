"""Variants in an export: what is in the folder, what the manifest says of it, and what is left of a refusal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glioserve_cli import main
from glioserve_contract.records.recipe import Recipe, VariantLimits
from glioserve_export.exporter import export_model
from glioserve_export.variants.build import WantedVariants
from glioserve_networks.dataset import Patient, index_of, save_index, save_patient
from glioserve_triton.served.versions import load_manifest
from support.models.networks import tiny_artifact
from support.models.recipes import tiny_recipe
from support.models.variant_limits import LAX, STRICT

PATIENTS = 4


def dataset(folder: Path, recipe: Recipe) -> Path:
    """Two studies, one of each class, of each of four patients."""
    save_index(index_of(recipe, "random"), folder)
    rng = np.random.default_rng(0)
    for patient in range(PATIENTS):
        images = rng.random((2, len(recipe.channels), *recipe.grid.shape)).astype(np.float16)
        save_patient(Patient(images, np.array([0, 1]), None), folder / f"{patient}.npz")
    return folder


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    return dataset(tmp_path / "dataset", tiny_recipe())


def artifact(folder: Path, limits: VariantLimits) -> Path:
    tiny_artifact(folder, replace(tiny_recipe(), variant_limits=limits))
    return folder


def test_the_command_exports_them_and_says_how_they_did(
    tmp_path: Path, calibration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = artifact(tmp_path / "artifact", LAX)
    command = ["export", str(source), "--repository", str(tmp_path / "repository"), "--calibration", str(calibration)]
    assert main.main([*command, "--variant", "fp16"]) == 0
    text = capsys.readouterr().out
    assert "variant fp16: SCORE within" in text
    assert "8 studies" in text
    manifest = load_manifest(tmp_path / "repository" / "classifier" / "1", verify_files=True)
    assert list(manifest.variants) == ["fp16"]
    assert manifest.files["model_fp16.onnx"].startswith("sha256:")
    assert manifest.variants["fp16"].figures.studies == 2 * PATIENTS


@pytest.mark.long
def test_a_refusal_fails_the_export_and_leaves_nothing(
    tmp_path: Path, calibration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = artifact(tmp_path / "artifact", STRICT)
    target = tmp_path / "repository"
    command = ["export", str(source), "--repository", str(target), "--calibration", str(calibration)]
    assert main.main([*command, "--variant", "fp16"]) == 1
    assert "[GLIO-5118] fp16, over 8 studies: SCORE drifts by" in capsys.readouterr().err
    assert not list(target.glob("classifier/*/model*.onnx"))
    assert main.main([*command, "--variant", "fp16", "--variants-optional"]) == 0
    assert "left out: fp16" in capsys.readouterr().out
    manifest = load_manifest(target / "classifier" / "1", verify_files=True)
    assert (manifest.variants, "model_fp16.onnx" in manifest.files) == ({}, False)


def test_without_a_calibration_set_nothing_is_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = artifact(tmp_path / "artifact", LAX)
    assert main.main(["export", str(source), "--model-only", str(tmp_path / "out"), "--variant", "int8"]) == 1
    assert "[GLIO-5118] int8: a variant needs a calibration set (--calibration DIR)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_later_export_takes_an_earlier_one_s_variant_away(tmp_path: Path, calibration: Path) -> None:
    loaded = tiny_artifact(tmp_path / "artifact", replace(tiny_recipe(), variant_limits=LAX))
    folder = tmp_path / "out"
    export_model(loaded, folder, progress=str, calibration=calibration, wanted=WantedVariants(("fp16",)))
    assert (folder / "model_fp16.onnx").is_file()
    export_model(loaded, folder, progress=str, calibration=calibration)
    assert not (folder / "model_fp16.onnx").exists()
    assert load_manifest(folder, verify_files=True).variants == {}
