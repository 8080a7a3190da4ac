"""A recipe that names a site's brain model, in the real server: loaded with it, or refused at load with a code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.brain_model import BRAIN_MODELS_VARIABLE
from glioserve_contract.records.recipe import preprocessing_digest
from glioserve_preprocess.files import file_digest, save_recipe
from glioserve_registry.demo_model import demo_model_dir
from glioserve_registry.layout.repository import add_version
from glioserve_triton.process.server import TritonServer
from glioserve_triton.served.versions import load_manifest, save_manifest
from support.models.brain_models import SYNTHSTRIP_LIKE, distance_network, write_brain_model
from support.server.triton import running_server

pytestmark = pytest.mark.triton


@pytest.mark.slow
def test_the_recipes_brain_model_is_loaded_with_the_server_or_the_server_says_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    extraction = write_brain_model(site, "strip.onnx", distance_network(), SYNTHSTRIP_LIKE)
    manifest = load_manifest(demo_model_dir())
    recipe = replace(manifest.recipe, brain_extraction=extraction)
    version = tmp_path / "version"
    version.mkdir()
    (version / "model.onnx").write_bytes((demo_model_dir() / "model.onnx").read_bytes())
    save_recipe(recipe, version / "recipe.json")
    files = {name: file_digest(version / name) for name in manifest.files}
    digest = preprocessing_digest(recipe)
    save_manifest(replace(manifest, recipe=recipe, preprocessing_digest=digest, files=files), version)
    repository = tmp_path / "repository"
    add_version(repository, version)

    monkeypatch.delenv(BRAIN_MODELS_VARIABLE, raising=False)
    refused = refusal(repository)
    assert "[GLIO-5113] The package has no strip.onnx" in refused
    assert "GLIOSERVE_BRAIN_MODELS" in refused

    monkeypatch.setenv(BRAIN_MODELS_VARIABLE, str(site))
    with running_server(repository):
        pass  # it is ready: the model was found, held to its digest and run

    (site / "strip.json").write_text("{}")
    assert "[GLIO-5114] strip.onnx" in refusal(repository)


def refusal(repository: Path) -> str:
    """The end of the log of a server that does not start."""
    server = TritonServer(repository)
    with pytest.raises(GlioserveError) as caught:
        server.start()
    assert caught.value.code is ErrorCode.SERVER_FAILED
    return caught.value.detail
