"""Refusals before a server starts, and the message that names each."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from glioserve_contract import CONTRACT_VERSION, ErrorCode, GlioserveError, sha256_digest
from glioserve_contract.records.facts.variants import ComparisonRecord, VariantRecord
from glioserve_preprocess.files import file_digest
from glioserve_triton.served.repository import check_contract, check_repository, profiles
from glioserve_triton.served.versions import load_manifest, save_manifest
from support.models.recipes import fake_export, tiny_recipe


def _spoil_graph(repository: Path) -> None:
    (repository / "classifier" / "1" / "model.onnx").write_bytes(b"other")


def _spoil_recipe(repository: Path) -> None:
    """Another recipe, to which the manifest's digest is true but not its own recipe."""
    folder = repository / "classifier" / "1"
    shutil.rmtree(folder)
    fake_export(folder)
    recipe = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps({**recipe, "threshold": 0.7}))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["recipe.json"] = file_digest(folder / "recipe.json")
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _remove(*names: str) -> Callable[[Path], None]:
    def change(repository: Path) -> None:
        for name in names:
            path = repository / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def _add_other_preprocessing(repository: Path) -> None:
    fake_export(repository / "classifier" / "2", tiny_recipe(min_slices=20))


def test_a_whole_one_gives_its_versions_oldest_first(repository: Path) -> None:
    for version in ("10", "9"):
        fake_export(repository / "classifier" / version)
    checked = check_repository(repository, "batching")
    assert [served.version for served in checked.versions] == ["1", "9", "10"]
    assert checked.serving == checked.versions[-1], "made before there was a record: the newest serves"
    assert profiles(repository) == ("batching", "onnxruntime-cpu")


@pytest.mark.parametrize(
    ("change", "code", "complaint"),
    [
        (_remove("report"), ErrorCode.INVALID_REPOSITORY, "lacks the model report"),
        (_remove("glioma/1"), ErrorCode.INVALID_REPOSITORY, r"lacks any glioma version folder \(1/\)"),
        (_remove("preprocess/config.pbtxt"), ErrorCode.INVALID_REPOSITORY, "lacks preprocess/config.pbtxt"),
        (_remove("report/1/model.py"), ErrorCode.INVALID_REPOSITORY, "lacks report/1/model.py"),
        (_remove("classifier/1"), ErrorCode.INVALID_REPOSITORY, "any classifier version with a manifest.json"),
        (
            _remove("classifier/1/manifest.json", "glioma"),
            ErrorCode.INVALID_REPOSITORY,
            "lacks the model glioma, any classifier version",
        ),
        (_remove("classifier/1/model.onnx"), ErrorCode.INVALID_MANIFEST, "classifier/1: model.onnx is not the file"),
        (_spoil_graph, ErrorCode.INVALID_MANIFEST, "classifier/1: model.onnx is not the file"),
        (_spoil_recipe, ErrorCode.INVALID_MANIFEST, "classifier/1: recipe.json is not the manifest's"),
        (
            _add_other_preprocessing,
            ErrorCode.PREPROCESSING_MISMATCH,
            "versions 1 and 2 differ",
        ),
    ],
)
def test_what_is_wrong_is_named(
    repository: Path, change: Callable[[Path], None], code: ErrorCode, complaint: str
) -> None:
    check_repository(repository)
    change(repository)
    with pytest.raises(GlioserveError, match=complaint) as caught:
        check_repository(repository)
    assert caught.value.code is code


def test_an_unknown_profile_would_silently_serve_the_default(repository: Path) -> None:
    with pytest.raises(GlioserveError, match=r"lacks the profile tpu \(there: batching, onnxruntime-cpu\)"):
        check_repository(repository, "tpu")


OPENVINO_BF16 = """
name: "classifier" backend: "openvino" default_model_filename: "model.onnx" max_batch_size: 1  # HINT_BF16
parameters { key: "HINT_BF16" value: { string_value: "YES" } }
"""
INT8 = 'backend: "openvino"\ndefault_model_filename: "model_int8.onnx"'
PLAN = 'backend: "tensorrt"\ndefault_model_filename: "model.plan"'


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (INT8, "classifier/1 has no model_int8.onnx, which the profile own runs: export it with --variant int8"),
        (PLAN, "classifier/1 has no model.plan, which the profile own runs: build it with `glioserve engine build`"),
        (OPENVINO_BF16, "classifier/1 was never shown to answer alike in bf16, as the profile own runs"),
    ],
)
def test_a_version_without_what_the_profile_runs_is_named(repository: Path, config: str, complaint: str) -> None:
    (repository / "classifier" / "configs" / "own.pbtxt").write_text(config)
    check_repository(repository, "onnxruntime-cpu")
    with pytest.raises(GlioserveError, match=complaint) as caught:
        check_repository(repository, "own")
    assert caught.value.code is ErrorCode.INVALID_REPOSITORY


@pytest.mark.parametrize("config", ["backend: openvino", 'backend: "openvino', "\x00", 'max_batch_size: "many"'])
def test_a_profile_that_is_no_configuration_is_named(repository: Path, config: str) -> None:
    (repository / "classifier" / "configs" / "own.pbtxt").write_text(config)
    with pytest.raises(GlioserveError, match=r"classifier/own\.pbtxt is not a model configuration") as caught:
        check_repository(repository, "own")
    assert caught.value.code is ErrorCode.INVALID_REPOSITORY


def test_a_field_of_a_newer_triton_is_passed_over(repository: Path) -> None:
    config = 'backend: "onnxruntime" default_model_filename: "model.onnx"\nnot_yet_known { deep: [1, 2] }'
    (repository / "classifier" / "configs" / "own.pbtxt").write_text(config)
    check_repository(repository, "own")


def test_a_version_with_what_the_profile_runs(repository: Path) -> None:
    folder = repository / "classifier" / "1"
    for name, config in (("bf16", OPENVINO_BF16), ("int8", INT8), ("plan", PLAN)):
        (repository / "classifier" / "configs" / f"{name}.pbtxt").write_text(config)
    (folder / "model_int8.onnx").write_bytes(b"put there by hand")
    with pytest.raises(GlioserveError, match="has no model_int8"):  # no manifest vouches for it
        check_repository(repository, "int8")
    (folder / "model.plan").write_bytes(b"plan")
    check_repository(repository, "plan")
    manifest = load_manifest(folder)
    files = {**manifest.files, "model_int8.onnx": sha256_digest(b"put there by hand")}
    figures = ComparisonRecord(8, 0.001, 0, 0.99, 0.999, 1.0)
    gated = VariantRecord("model.onnx", "OpenVINO, CPU", figures, manifest.recipe.variant_limits)
    save_manifest(replace(manifest, variants={"bf16": gated}, files=files), folder)
    check_repository(repository, "int8")
    check_repository(repository, "bf16")


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(GlioserveError, match="is not a folder") as caught:
        check_repository(tmp_path / "none")
    assert caught.value.code is ErrorCode.INVALID_REPOSITORY


@pytest.mark.parametrize("version", ["0.9.0", "1.3.0", "3.0.0", None])
def test_a_configuration_of_another_contract_is_refused(version: str | None) -> None:
    parameters = {} if version is None else {"contract_version": {"string_value": version}}
    with pytest.raises(GlioserveError) as caught:
        check_contract(json.dumps({"parameters": parameters}))
    assert caught.value.code is ErrorCode.CONTRACT_MISMATCH
    check_contract(json.dumps({"parameters": {"contract_version": {"string_value": CONTRACT_VERSION}}}))
