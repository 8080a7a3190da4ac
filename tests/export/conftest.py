"""One small artifact and its graph, for every test that needs a network."""

from __future__ import annotations

from pathlib import Path

import pytest

from glioserve_export.graphs.onnx_export import export_onnx
from glioserve_networks import Artifact
from support.models.networks import tiny_artifact


@pytest.fixture(scope="session")
def artifact_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved artifact."""
    folder = tmp_path_factory.mktemp("artifacts") / "tiny"
    tiny_artifact(folder)
    return folder


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The same, loaded."""
    return tiny_artifact(tmp_path_factory.mktemp("artifacts") / "loaded")


@pytest.fixture(scope="session")
def model(artifact: Artifact) -> bytes:
    """Its graph."""
    return export_onnx(artifact.network(), artifact.recipe, artifact.weights_digest)
