"""The reference case at import and at export: swapped classes, channels and strides are caught, and nothing is left."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from glioserve_cli.main import main
from glioserve_contract import ErrorCode, GlioserveError, sha256_digest, to_dict
from glioserve_contract.records.facts.provenance import ProvenanceRecord
from glioserve_contract.records.recipe import Architecture, Recipe
from glioserve_contract.records.reference_case import REFERENCE_CASE_FILE
from glioserve_export.exporter import export_model
from glioserve_export.graphs.onnx_export import export_onnx
from glioserve_export.graphs.parity import compare
from glioserve_export.importer import import_checkpoint
from glioserve_networks import load_artifact, save_artifact
from glioserve_networks.reference_case import load_case
from glioserve_preprocess.files import file_digest, load_recipe, save_recipe
from glioserve_registry.export import export
from glioserve_registry.layout.serving import version_folder
from glioserve_registry.publishing.publication import checked_export
from glioserve_triton.served.versions import load_manifest
from support.models.checkpoints import bundle_folder, in_memory
from support.models.networks import random_network
from support.models.recipes import TINY, tiny_recipe
from support.models.reference_cases import LOGIT, artifact_with_case, decided_network, made_image, with_made_case

RECIPE = tiny_recipe()
T1, T1CE, T2 = RECIPE.channels
SCORE = 1 / (1 + np.exp(-LOGIT))


def silent(_: str) -> None:
    """Progress that is not shown."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict from elsewhere, its case beside it."""
    folder = tmp_path_factory.mktemp("source")
    torch.save(decided_network(RECIPE).state_dict(), folder / "weights.pt")
    with_made_case(RECIPE, folder)
    return folder


def imported(source: Path, out: Path, *arguments: str, recipe: Recipe = RECIPE) -> int:
    save_recipe(recipe, out.parent / "recipe.json")
    command = ["import", str(source / "weights.pt"), "--recipe", str(out.parent / "recipe.json"), "--out", str(out)]
    return main([*command, *arguments])


def case_arguments(source: Path, score: float = SCORE) -> list[str]:
    return ["--reference-case", str(source / REFERENCE_CASE_FILE), "--reference-score", f"{score:.4f}"]


def test_the_command_imports_and_says_what_it_took_on_trust(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert imported(source, tmp_path / "artifact") == 0
    told = capsys.readouterr().out
    for part in (
        f"imported tiny as {tmp_path / 'artifact'}",
        "PyTorch state dict",
        '"conv1_t_stride": 2',
        '"stage_strides": [1, 2, 1, 1]',
        "t1, t1ce, t2, in this order",
        "necrosis, recurrence, in this order",
        "16 x 16 x 16 voxels of 8 x 8 x 8 mm",
        "minmax",
        "reference case: none",
        "--reference-case FILE.npz --reference-score P",
    ):
        assert part in told
    artifact = load_artifact(tmp_path / "artifact")
    provenance = artifact.recipe.provenance.imported
    assert provenance is not None
    assert provenance.source_digest == file_digest(source / "weights.pt")
    assert provenance.format == "PyTorch state dict"
    assert provenance.date.endswith("+00:00")
    assert set(provenance.versions) == {"glioserve", "torch", "monai", "safetensors"}
    assert str(tmp_path) not in json.dumps(to_dict(provenance))
    assert "weights.pt" not in json.dumps(to_dict(provenance))
    assert replace(artifact.recipe, provenance=ProvenanceRecord()) == RECIPE
    study = torch.from_numpy(made_image(RECIPE))[None]
    with torch.no_grad():
        torch.testing.assert_close(artifact.network()(study), decided_network(RECIPE)(study), rtol=0, atol=0)


def test_a_case_is_checked_and_kept(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert imported(source, tmp_path / "artifact", *case_arguments(source), "--reference-tolerance", "0.005") == 0
    told = capsys.readouterr().out
    assert f"reference case: score {SCORE:.4f}, expected {SCORE:.4f} (within 0.005)" in told
    assert "note: " not in told
    artifact = load_artifact(tmp_path / "artifact")
    case = artifact.recipe.reference_case
    assert case is not None
    assert (case.score, case.tolerance) == (round(SCORE, 4), 0.005)
    assert case.digest == file_digest(source / REFERENCE_CASE_FILE)
    # The recipe now has it, so the next import finds it beside the recipe, and needs no flags.
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / REFERENCE_CASE_FILE).write_bytes((source / REFERENCE_CASE_FILE).read_bytes())
    assert imported(source, tmp_path / "again" / "artifact", recipe=replace(RECIPE, reference_case=case)) == 0
    assert load_artifact(tmp_path / "again" / "artifact").weights_digest == artifact.weights_digest


SWAPS = {
    "classes": (replace(RECIPE, classes=("recurrence", "necrosis")), "classes in the other order"),
    "channels": (replace(RECIPE, channels=(T1CE, T1, T2)), "channels in the order t1, t1ce, t2"),
    "channels, cyclically": (replace(RECIPE, channels=(T2, T1, T1CE)), "channels in the order t1, t1ce, t2"),
    "a stride": (
        replace(RECIPE, architecture=Architecture("resnet10", {**TINY.options, "stage_strides": [1, 2, 2, 1]})),
        "not 0.8455",
    ),
    "the pool": (
        replace(RECIPE, architecture=Architecture("resnet10", {**TINY.options, "no_max_pool": False})),
        "not 0.8455",
    ),
}


@pytest.mark.parametrize("swap", SWAPS)
def test_what_no_shape_shows_is_caught_at_import(
    source: Path, swap: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, says = SWAPS[swap]
    assert imported(source, tmp_path / "artifact", recipe=recipe) == 0  # everything fits
    assert imported(source, tmp_path / "checked", *case_arguments(source), recipe=recipe) == 1
    told = capsys.readouterr().err
    assert ErrorCode.REFERENCE_CASE_FAILED.token in told
    assert says in told
    assert not (tmp_path / "checked").exists()


def test_a_case_that_would_not_notice_a_swap_says_so(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alike = np.repeat(made_image(RECIPE)[:1], 3, axis=0)
    with torch.no_grad():
        score = float(decided_network(RECIPE)(torch.from_numpy(alike)[None]).softmax(1)[0, 1])
    np.savez(tmp_path / "alike.npz", image=alike)
    arguments = ["--reference-case", str(tmp_path / "alike.npz"), "--reference-score", str(score)]
    assert imported(source, tmp_path / "artifact", *arguments) == 0
    told = capsys.readouterr().out
    assert "t1 and t1ce could be swapped" in told
    assert "t1ce and t2 could be swapped" in told
    assert "does not name its channels" in told


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--reference-case", "CASE"], ErrorCode.INVALID_RECIPE, "--reference-score"),
        (["--reference-score", "0.9"], ErrorCode.INVALID_ARTIFACT, "is missing"),
        (["--reference-case", "CASE", "--reference-score", "1.2"], ErrorCode.INVALID_RECIPE, "must be 0 to 1"),
        (["--reference-case", "CASE", "--reference-score", "0.5"], ErrorCode.INVALID_RECIPE, "so near to 0.5"),
        (["--reference-case", "WEIGHTS", "--reference-score", "0.9"], ErrorCode.INVALID_ARTIFACT, "not just 'image'"),
    ],
)
def test_a_case_half_given_is_refused(
    source: Path, tmp_path: Path, arguments: list[str], code: ErrorCode, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"CASE": str(source / REFERENCE_CASE_FILE), "WEIGHTS": str(tmp_path / "small.npz")}
    np.savez(tmp_path / "small.npz", weights=np.zeros(3))
    assert imported(source, tmp_path / "artifact", *(files.get(a, a) for a in arguments)) == 1
    told = capsys.readouterr().err
    assert code.token in told
    assert says in told
    assert not (tmp_path / "artifact").exists()


def test_a_recipe_and_the_flags_must_mean_one_case(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, _ = with_made_case(RECIPE, tmp_path / "own")
    assert imported(source, tmp_path / "artifact", *case_arguments(source, 0.7), recipe=recipe) == 1
    assert "already" in capsys.readouterr().err
    np.savez(tmp_path / "other.npz", image=made_image(RECIPE))
    assert imported(source, tmp_path / "artifact", "--reference-case", str(tmp_path / "other.npz"), recipe=recipe) == 1
    assert "is not the recipe's" in capsys.readouterr().err
    with pytest.raises(GlioserveError, match="both its file and its expected score"):
        import_checkpoint(source / "weights.pt", recipe, tmp_path / "artifact")


def test_a_bundle_is_imported(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metadata = {"network_data_format": {"inputs": {"image": {"num_channels": 3}}}}
    content = in_memory(decided_network(RECIPE).state_dict())
    folder = bundle_folder(tmp_path / "bundle", content, metadata=metadata)
    save_recipe(RECIPE, tmp_path / "recipe.json")
    command = ["import", str(folder), "--recipe", str(tmp_path / "recipe.json"), "--out", str(tmp_path / "artifact")]
    assert main(command) == 0
    assert "the bundle's number of channels is the recipe's: 3" in capsys.readouterr().out
    provenance = load_artifact(tmp_path / "artifact").recipe.provenance.imported
    assert provenance.format == "MONAI bundle, PyTorch state dict"
    assert provenance is not None
    assert provenance.source_digest == sha256_digest(content)


def test_a_failed_import_leaves_an_earlier_artifact_alone(source: Path, tmp_path: Path) -> None:
    assert imported(source, tmp_path / "artifact") == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "artifact").iterdir()}
    assert imported(source, tmp_path / "artifact", recipe=replace(RECIPE, channels=(T1,))) == 1
    assert imported(source, tmp_path / "artifact", *case_arguments(source, 0.2)) == 1
    assert {p.name: p.read_bytes() for p in (tmp_path / "artifact").iterdir()} == before


def test_a_grid_that_the_network_cannot_take_is_told(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny_recipe(architecture=Architecture("vgg11", {"widen_factor": 0.0625, "hidden": 16}))
    torch.save(random_network(recipe).state_dict(), tmp_path / "weights.pt")
    assert imported(tmp_path, tmp_path / "artifact", recipe=recipe) == 1
    told = capsys.readouterr().err
    assert ErrorCode.INVALID_RECIPE.token in told
    assert "(16, 16, 16)" in told


# Export


@pytest.fixture(scope="module")
def artifact_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts") / "with-case"
    artifact_with_case(folder, RECIPE)
    return folder


@pytest.mark.long
def test_an_export_checks_the_case_and_carries_it(
    artifact_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = tmp_path / "repository"
    assert main(["export", str(artifact_folder), "--repository", str(repository)]) == 0
    assert f"reference case: network {SCORE:.4f}, graph {SCORE:.4f}, expected {SCORE:.4f}" in capsys.readouterr().out
    folder = version_folder(repository, 1)
    manifest = load_manifest(folder, verify_files=True)
    assert REFERENCE_CASE_FILE in manifest.files
    recipe = load_artifact(artifact_folder).recipe
    assert recipe.reference_case is not None
    assert manifest.recipe == recipe
    assert manifest.files[REFERENCE_CASE_FILE] == recipe.reference_case.digest
    figures = manifest.parity.reference_case
    assert figures is not None
    assert figures.expected == recipe.reference_case.score
    assert figures.pytorch == pytest.approx(SCORE, abs=1e-4)
    assert figures.onnx == pytest.approx(figures.pytorch, abs=1e-5)
    assert figures.difference <= figures.tolerance == 0.01
    np.testing.assert_array_equal(load_case(folder / REFERENCE_CASE_FILE, recipe).image, made_image(RECIPE))
    # A later export without a case leaves none behind in the folder that it replaces.
    alone = tmp_path / "model"
    export_model(load_artifact(artifact_folder), alone, progress=silent)
    assert REFERENCE_CASE_FILE in checked_export(alone).files
    save_artifact(tmp_path / "plain", RECIPE, decided_network(RECIPE).state_dict())
    export_model(load_artifact(tmp_path / "plain"), alone, progress=silent)
    assert REFERENCE_CASE_FILE not in checked_export(alone).files
    assert not (alone / REFERENCE_CASE_FILE).exists()


@pytest.mark.parametrize("swap", ["classes", "channels", "a stride"])
def test_what_no_shape_shows_is_caught_at_export(
    artifact_folder: Path, swap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed, says = SWAPS[swap]
    artifact = load_artifact(artifact_folder)
    assert artifact.reference_case is not None
    recipe = replace(changed, reference_case=artifact.recipe.reference_case)
    save_artifact(tmp_path / "swapped", recipe, artifact.state_dict, artifact.reference_case.content)
    monkeypatch.setattr("glioserve_export.exporter.export_onnx", lambda *_: pytest.fail("the work was begun"))
    for attempt in (
        lambda: export(tmp_path / "swapped", tmp_path / "repository", progress=silent),
        lambda: export_model(load_artifact(tmp_path / "swapped"), tmp_path / "model", progress=silent),
    ):
        refused(attempt, says)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["swapped"]


def refused(attempt: Callable[[], object], says: str) -> None:
    with pytest.raises(GlioserveError) as caught:
        attempt()
    assert caught.value.code is ErrorCode.REFERENCE_CASE_FAILED
    assert says in caught.value.detail


def test_a_graph_that_answers_otherwise_is_caught_too(
    artifact_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swapping(*arguments: object) -> bytes:
        proto = onnx.load_from_string(export_onnx(*arguments))  # type: ignore[arg-type]
        node = next(node for node in proto.graph.node if node.op_type == "Gemm")
        for name in node.input[1:]:
            tensor = next(t for t in proto.graph.initializer if t.name == name)
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[::-1].copy(), name))
        return proto.SerializeToString()

    monkeypatch.setattr("glioserve_export.exporter.export_onnx", swapping)
    monkeypatch.setattr("glioserve_export.exporter.check_parity", compare)  # parity would see it first
    refused(lambda: export(artifact_folder, tmp_path / "repository", progress=silent), "the exported graph gives")
    assert list(tmp_path.iterdir()) == []
    assert load_recipe(artifact_folder / "recipe.json").reference_case is not None
