"""Verification finds one flipped byte of any file, and all that does not fit together; every problem, not the first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from glioserve_contract import ErrorCode, GlioserveError, to_dict
from glioserve_contract.records.plan import PLAN_SCHEMA, EngineKey, PlanRecord
from glioserve_export.files import exclusive
from glioserve_export.version_files import OPTIONAL_FILES
from glioserve_preprocess.files import file_digest
from glioserve_registry.layout.repository import MARKER, add_version
from glioserve_registry.layout.serving import classifier_folder, version_folder
from glioserve_registry.layout.verify import verify
from glioserve_registry.promoting.promotion import promote
from glioserve_triton.served.versions import load_manifest, save_manifest
from support.models.promotable import promotable
from support.models.recipes import fake_export, tiny_recipe


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """One version with every file that a version can have, and a TensorRT plan beside them."""
    source = promotable(tmp_path / "exported", 1.0)
    manifest = load_manifest(source)
    files = dict(manifest.files)
    for name in OPTIONAL_FILES:
        if not name.startswith("model_card"):
            (source / name).write_bytes(f"what {name} holds".encode())
            files[name] = file_digest(source / name)
    save_manifest(replace(manifest, files=files), source)
    repository = tmp_path / "repository"
    add_version(repository, source)
    _add_plan(version_folder(repository, 1))
    (repository / "gate.json").write_text(json.dumps({"schema": "glioserve/gate/1", "min_auc": 0.8}))
    assert verify(repository).problems == ()
    return repository


def _add_plan(folder: Path) -> None:
    (folder / "model.plan").write_bytes(b"a plan")
    key = EngineKey(file_digest(folder / "model_fp16.onnx"), "10.16.1.11", "NVIDIA L4", "8.9", ("fp16",))
    record = PlanRecord(PLAN_SCHEMA, key, "model_fp16.onnx", file_digest(folder / "model.plan"), "tensorrt")
    (folder / "plan.json").write_text(json.dumps(to_dict(record)))


def problems(repository: Path) -> str:
    return "\n".join(verify(repository).problems)


def test_a_whole_repository_has_no_problem(repository: Path) -> None:
    found = verify(repository)
    assert (found.versions, found.problems) == ((1, 2, 3), ())
    assert found.files == 3 * 4, "graph, recipe and the two cards of each"


def test_one_flipped_byte_of_any_file_is_found(full: Path) -> None:
    """The last byte but one, the first, and one in the middle; plan.json and gate.json by what they must fit."""
    files = [p for p in sorted(full.rglob("*")) if p.is_file() and p.name != MARKER]
    names = {p.name for p in files}
    assert {"manifest.json", "promotion.json", "model.plan", "config.pbtxt", "model.py", *OPTIONAL_FILES} <= names
    for path in files:
        whole = path.read_bytes()
        places = (0, len(whole) // 2, len(whole) - 2)
        if path.name in ("plan.json", "gate.json"):
            places = (0,)  # sites write these: they are held to their schema and to what they are of
        for place in places:
            for bit in (0x01, 0x80):
                flipped = bytearray(whole)
                flipped[place] ^= bit
                path.write_bytes(bytes(flipped))
                told = problems(full)
                assert path.name in told or path.parent.name in told, (path, place)
        path.write_bytes(whole)
    assert verify(full).problems == ()


def test_every_byte_of_the_manifest_and_the_record_counts(repository: Path) -> None:
    for path in (version_folder(repository, 2) / "manifest.json", classifier_folder(repository) / "promotion.json"):
        whole = path.read_bytes()
        for place in range(0, len(whole), 37):
            flipped = bytearray(whole)
            flipped[place] ^= 0x02
            path.write_bytes(bytes(flipped))
            assert path.name in problems(repository), place
        path.write_bytes(whole)


def _unlink(name: str) -> Callable[[Path], None]:
    return lambda repository: (repository / name).unlink()


def _write(name: str, content: str = "?") -> Callable[[Path], None]:
    def change(repository: Path) -> None:
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text(content)

    return change


def _other_preprocessing(repository: Path) -> None:
    fake_export(repository / "classifier" / "4", tiny_recipe(min_slices=20), cam_grid=(4, 4, 4))


def _plan_of_another_graph(repository: Path) -> None:
    path = repository / "classifier" / "1" / "plan.json"
    record = json.loads(path.read_text())
    record["key"]["onnx_digest"] = "sha256:" + "0" * 64
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_unlink("classifier/1/model.onnx"), "1/model.onnx: is missing"),
        (_unlink("classifier/1/manifest.json"), "1/manifest.json: is missing"),
        (_unlink("classifier/1/model_card.md"), "1/model_card.md: is missing"),
        (_unlink("classifier/1/model.plan"), "1/plan.json: lies there without model.plan"),
        (_unlink("classifier/1/plan.json"), "1/model.plan: lies there without plan.json"),
        (_plan_of_another_graph, "1/model.plan: was built from another model_fp16.onnx"),
        (_write("classifier/1/plan.json", "{}"), "1/plan.json: does not fit its schema"),
        (_write("classifier/1/notes.txt"), "1/notes.txt: no manifest names it"),
        (_write("classifier/4.partial/x"), "classifier/4.partial: Triton takes it for a version"),
        (_write("classifier/07/x"), "classifier/07: Triton takes it for a version"),
        (_unlink("classifier/config.pbtxt"), "classifier/config.pbtxt: is missing"),
        (_unlink("classifier/configs/onnxruntime-cpu.pbtxt"), "configs/onnxruntime-cpu.pbtxt: is missing"),
        (_write("classifier/config.pbtxt"), "`glioserve repository promote 1` writes it anew"),
        (_unlink("report/1/model.py"), "report/1/model.py: is not this glioserve's"),
        (_write("report/1/helper.py"), "report/1/helper.py: is not this glioserve's"),
        (_write("gate.json", '{"schema": "glioserve/gate/1", "min_acu": 1}'), "gate.json: gate.min_acu: unknown key"),
        (_other_preprocessing, "4/manifest.json: Its channels, grid"),
    ],
)
def test_what_does_not_fit_is_named(full: Path, change: Callable[[Path], None], told: str) -> None:
    change(full)
    assert told in problems(full)


def test_all_problems_are_told(full: Path) -> None:
    (version_folder(full, 1) / "recipe.json").write_text("{")
    (version_folder(full, 1) / "vectors.npz").unlink()
    (classifier_folder(full) / "config.pbtxt").unlink()
    told = problems(full)
    for name in ("1/recipe.json", "1/vectors.npz", "classifier/config.pbtxt"):
        assert name in told


def test_a_version_said_to_serve_that_is_gone(repository: Path) -> None:
    promote(repository, 2)
    shutil.rmtree(version_folder(repository, 2))
    assert "version 2, recorded as serving, is not there" in problems(repository)
    shutil.rmtree(version_folder(repository, 1))
    assert "version 1, recorded as the one before, is not there" in problems(repository)


def test_one_version_alone(repository: Path) -> None:
    (version_folder(repository, 3) / "model.onnx").write_bytes(b"?")
    assert verify(repository, 2).problems == ()
    assert verify(repository, 3).problems == ("3/model.onnx: is not the file that the manifest names",)
    with pytest.raises(GlioserveError) as caught:
        verify(repository, 9)
    assert caught.value.code is ErrorCode.VERSION_NOT_FOUND


def test_no_repository_at_all(tmp_path: Path) -> None:
    with pytest.raises(GlioserveError, match="is not a model repository"):
        verify(tmp_path / "none")


def test_a_promotion_at_work_is_waited_for_and_not_taken_for_a_dead_one(repository: Path) -> None:
    with exclusive(repository / MARKER, 1), pytest.raises(GlioserveError) as caught:
        verify(repository, lock_timeout_s=0.1)
    assert caught.value.code is ErrorCode.REPOSITORY_BUSY


def test_what_a_repository_of_an_earlier_glioserve_lacks_is_told(repository: Path) -> None:
    (classifier_folder(repository) / "promotion.json").unlink()
    assert "config.pbtxt: is not what serves version 3" in problems(repository)
