"""Errors of the product are caught by their own class and by their family's, wherever they arise."""

import json
from pathlib import Path

import numpy as np
import pytest

from glioserve_client import DicomStudy, GlioserveError, errors
from glioserve_dicom.read import read
from glioserve_networks.artifact import load_artifact
from glioserve_preprocess.files import load_recipe
from glioserve_registry.layout import static_models
from glioserve_registry.layout.repository import add_version
from glioserve_registry.promoting.promotion import promote, rollback
from glioserve_triton.served.versions import load_manifest
from support.models.promotable import promotable_repository, quick_models
from support.models.recipes import fake_export
from support.studies.scans import T1_HEADER, oblique, part10, series


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three versions, of which the first serves, behind a gate that none of them passes."""
    folder = quick_models(tmp_path / "static models")
    for name in ("_PACKAGED", "_CHECKOUT"):
        monkeypatch.setattr(static_models, name, folder)
    made = promotable_repository(tmp_path / "repository", (1.0, 2.0, 3.0))
    (made / "gate.json").write_text(json.dumps({"schema": "glioserve/gate/1", "min_auc": 0.8}))
    return made


def test_a_refused_promotion(repository: Path) -> None:
    with pytest.raises(errors.GateRefusedError, match="evaluation: none"):
        promote(repository, 2)
    with pytest.raises(errors.SetUpError):
        promote(repository, 2)


def test_a_version_that_is_missing_or_there_already(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.VersionNotFoundError):
        promote(repository, 9)
    with pytest.raises(errors.VersionNotFoundError):
        rollback(tmp_path / "empty")
    with pytest.raises(errors.VersionExistsError):
        add_version(repository, fake_export(tmp_path / "export"), 1)


def test_a_broken_repository(repository: Path) -> None:
    (repository / "gate.json").write_text("{}")
    with pytest.raises(errors.InvalidRepositoryError, match=r"gate\.schema"):
        promote(repository, 2)


def test_a_manifest_that_is_missing_or_broken(tmp_path: Path) -> None:
    for text in (None, "{", "{}"):
        if text is not None:
            (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(errors.InvalidManifestError):
            load_manifest(tmp_path)


def test_a_recipe_and_an_artifact(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidRecipeError):
        load_recipe(tmp_path / "recipe.json")
    with pytest.raises(errors.InvalidArtifactError):
        load_artifact(tmp_path)


@pytest.mark.parametrize(
    ("files", "leaf", "family"),
    [
        ([], errors.EmptyStudyError, errors.RequestError),
        ([b"text" * 64], errors.NotDicomError, errors.DicomFileError),
        ([b"PK\x03\x04" + b"\xff" * 64], errors.InvalidArchiveError, errors.StudyError),
    ],
)
def test_a_study_that_cannot_be_read(
    files: list[bytes], leaf: type[GlioserveError], family: type[GlioserveError]
) -> None:
    for expected in (leaf, family, GlioserveError):
        with pytest.raises(expected) as caught:
            read(files, accept_identified=False)
        assert type(caught.value) is leaf


def test_both_readers_raise_the_same_classes(tmp_path: Path) -> None:
    for code in (errors.EmptyStudyError, errors.StudyError):
        with pytest.raises(code):
            DicomStudy.from_directory(tmp_path)


def test_identified_files() -> None:
    stored = np.random.default_rng(0).integers(0, 4000, (3, 6, 5))
    datasets = series(stored, oblique((5, 6, 3), (1.0, 1.0, 4.0)), **T1_HEADER)
    datasets[0].PatientName = "Doe^John"
    with pytest.raises(errors.IdentifiedDicomError) as caught:
        read([part10(dataset) for dataset in datasets], accept_identified=False)
    assert isinstance(caught.value, errors.DicomFileError)
    assert caught.value.request_id == ""
