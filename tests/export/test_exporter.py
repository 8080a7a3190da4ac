"""Export of an artifact to a published version, by function and by command; nothing is left where it fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from glioserve_cli.main import main
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.brain_model import BRAIN_MODELS_VARIABLE
from glioserve_contract.records.manifest import digest_of_model_id
from glioserve_export.exporter import export_model
from glioserve_export.graphs.onnx_export import export_onnx
from glioserve_networks import Artifact
from glioserve_registry.export import export
from glioserve_registry.layout.repository import add_version, checked_export, version_folder, versions
from glioserve_triton.served.versions import load_manifest
from support.models.brain_models import SYNTHSTRIP_LIKE, distance_network, write_brain_model
from support.models.networks import tiny_artifact
from support.models.recipes import fake_export, tiny_recipe


def silent(_: str) -> None:
    """Progress that is not shown."""


def names_below(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in sorted(folder.rglob("*"))]


def test_an_export_is_published_with_its_figures(artifact_folder: Path, artifact: Artifact, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    steps: list[str] = []
    published = export(artifact_folder, repository, progress=steps.append)
    assert (published.version, versions(repository)) == (1, (1,))
    manifest = load_manifest(version_folder(repository, 1), verify_files=True)
    assert manifest.recipe == artifact.recipe
    assert manifest.weights_digest == artifact.weights_digest == published.exported.weights_digest
    assert manifest.cam_grid == (4, 4, 4)
    assert (manifest.cam_start_voxels, manifest.cam_step_voxels) == artifact.network().cam_lattice
    assert manifest.parity == published.exported.parity.record()
    assert manifest.parity.model_id_equal
    for output in ("LOGITS", "CAM"):
        figure = manifest.parity.figure(output)
        assert figure is not None
        assert 0 <= figure.difference <= figure.tolerance
    assert {"contract", "glioserve", "torch", "onnx", "onnxruntime"} <= set(manifest.versions)
    assert manifest.created.endswith("+00:00")
    assert any("tracing" in step for step in steps)
    assert any("parity" in step for step in steps)


def test_the_published_graph_answers_with_its_own_name(artifact_folder: Path, tmp_path: Path) -> None:
    export(artifact_folder, tmp_path / "repository", 7, progress=silent)
    folder = version_folder(tmp_path / "repository", 7)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (words,) = session.run(["MODEL_ID"], {"IMAGE": np.zeros((1, 3, 16, 16, 16), dtype=np.float32)})[0]
    assert digest_of_model_id(tuple(words.tolist())) == load_manifest(folder).weights_digest


@pytest.mark.long
def test_two_trainings_of_one_recipe_are_two_versions(artifact_folder: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    export(artifact_folder, repository, progress=silent)
    configuration = (repository / "classifier" / "config.pbtxt").read_bytes()
    tiny_artifact(tmp_path / "second", seed=1)
    assert export(tmp_path / "second", repository, progress=silent).version == 2
    digests = {load_manifest(version_folder(repository, v)).weights_digest for v in versions(repository)}
    assert len(digests) == 2
    assert (repository / "classifier" / "config.pbtxt").read_bytes() == configuration


@pytest.mark.long
@pytest.mark.parametrize("begun", [False, True], ids=["a new repository", "one with a version"])
def test_a_graph_without_parity_leaves_nothing_behind(
    artifact_folder: Path, artifact: Artifact, tmp_path: Path, begun: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def corrupting(*arguments: object) -> bytes:
        proto = onnx.load_from_string(export_onnx(*arguments))  # type: ignore[arg-type]
        node = next(node for node in proto.graph.node if node.op_type == "Gemm")
        weight = next(t for t in proto.graph.initializer if t.name == node.input[1])
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight)[::-1].copy(), weight.name))
        return proto.SerializeToString()

    monkeypatch.setattr("glioserve_export.exporter.export_onnx", corrupting)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    if begun:
        add_version(tmp_path / "repository", fake_export(tmp_path / "model"))
    before = names_below(tmp_path)
    attempts: tuple[Callable[[], object], ...] = (
        lambda: export(artifact_folder, tmp_path / "repository", progress=silent),
        lambda: export_model(artifact, tmp_path / "model", progress=silent),
    )
    for attempt in attempts:
        with pytest.raises(GlioserveError, match="LOGITS") as caught:
            attempt()
        assert caught.value.code is ErrorCode.PARITY_FAILED
    assert names_below(tmp_path) == before


def test_what_the_repository_would_refuse_is_refused_before_the_work(
    artifact_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_version(tmp_path / "repository", fake_export(tmp_path / "other"))
    monkeypatch.setattr("glioserve_export.exporter.export_onnx", lambda *_: pytest.fail("the work was begun"))
    with pytest.raises(GlioserveError) as caught:
        export(artifact_folder, tmp_path / "repository", 1, progress=silent)
    assert caught.value.code is ErrorCode.VERSION_EXISTS


def test_a_brain_model_that_is_another_is_refused_before_the_work_and_one_that_is_missing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site = tmp_path / "site"
    extraction = write_brain_model(site, "strip.onnx", distance_network(), SYNTHSTRIP_LIKE)
    tiny_artifact(tmp_path / "artifact", replace(tiny_recipe(), brain_extraction=extraction))
    command = ["export", str(tmp_path / "artifact"), "--model-only", str(tmp_path / "model")]
    monkeypatch.setenv(BRAIN_MODELS_VARIABLE, str(site))
    (site / "strip.json").write_text("{}")
    with monkeypatch.context() as patched:
        patched.setattr("glioserve_export.exporter.export_onnx", lambda *_: pytest.fail("the work was begun"))
        assert main(command) == 1
        assert ErrorCode.BRAIN_MODEL_MISMATCH.token in capsys.readouterr().err
        with pytest.raises(GlioserveError, match=r"strip\.onnx"):
            export(tmp_path / "artifact", tmp_path / "repository", progress=silent, brain_models=site)
    (site / "strip.onnx").unlink()
    assert main(command) == 0
    assert "note: The package has no strip.onnx" in capsys.readouterr().out
    assert checked_export(tmp_path / "model").recipe.brain_extraction == extraction


def test_a_model_alone_replaces_its_own_files_and_no_others(artifact: Artifact, tmp_path: Path) -> None:
    folder = fake_export(tmp_path / "model")
    (folder / "README.md").write_text("what this is")
    export_model(artifact, folder, progress=silent)
    assert names_below(folder) == ["README.md", "manifest.json", "model.onnx", "recipe.json", "vectors.npz"]
    assert checked_export(folder).weights_digest == artifact.weights_digest


def test_the_command_shows_progress_and_figures(
    artifact_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = tmp_path / "repository"
    command = ["export", str(artifact_folder), "--repository", str(repository)]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert f"exported tiny as version 1 of {repository}" in told
    for word in ("tracing resnet10", "LOGITS", "CAM", "MODEL_ID    equal", "tolerance", "MB"):
        assert word in told
    assert main([*command, "--version", "1"]) == 1
    assert ErrorCode.VERSION_EXISTS.token in capsys.readouterr().err
    assert main(["export", str(artifact_folder), "--model-only", str(tmp_path / "model")]) == 0
    assert checked_export(tmp_path / "model").recipe.name == "tiny"
    assert main(["export", str(tmp_path / "nothing"), "--repository", str(repository)]) == 1
    assert ErrorCode.INVALID_ARTIFACT.token in capsys.readouterr().err
