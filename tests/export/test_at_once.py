"""Two processes that make the same folder at once: neither takes the other's half-made one for anything else.

The other process's work is put exactly between two looks of the first (:mod:`support.looks`), one test for each look.
"""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fsspec.implementations.local import LocalFileSystem

import glioserve_phantom.dicom
import glioserve_registry.demo_model
from glioserve_cli.training.phantom import COHORT_FILE, write_cohort
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_export.files import exclusive, is_foreign
from glioserve_networks import load_artifact, save_artifact
from glioserve_networks.dataset import Patient, index_of, load_patient, save_index, save_patient
from glioserve_registry.demo_model import demo_model_dir, demo_repository
from glioserve_registry.layout.repository import MARKER, add_version, assemble, check_can_join, versions
from glioserve_registry.store import CLAIM_FILE, Store
from glioserve_tensorrt.overlay import served_copy
from glioserve_triton.served.versions import load_manifest
from support.looks import Looks
from support.models.networks import random_network
from support.models.recipes import fake_export, tiny_recipe

TIMEOUT_S = 60
LOOKS = range(1, 7)
"""More than any of these functions takes before it holds a lock."""


def unless_locked(act: Callable[[], object]) -> Callable[[], None]:
    """``act`` without an error where the first process holds the lock already: then nothing can come between."""

    def acting() -> None:
        try:
            act()
        except GlioserveError as error:
            if error.code is not ErrorCode.REPOSITORY_BUSY:
                raise

    return acting


# A served repository


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("look", LOOKS)
def test_a_new_repository_that_another_assembles_meanwhile_is_ours(
    look: int, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``there``: the other has made the folder already, and nothing in it."""
    repository, source = tmp_path / "repository", fake_export(tmp_path / "exported")
    if there:
        repository.mkdir()
    Looks(monkeypatch, repository, look, unless_locked(lambda: assemble(repository, lock_timeout_s=0.1)))
    assert add_version(repository, source) == 1
    assert versions(repository) == (1,)


@pytest.mark.parametrize("look", LOOKS)
def test_an_empty_folder_that_another_fills_meanwhile_is_ours(
    look: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    digest = load_manifest(fake_export(tmp_path / "exported")).preprocessing_digest
    Looks(monkeypatch, repository, look, lambda: assemble(repository, lock_timeout_s=0.1))
    check_can_join(repository, digest, 1)


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "classifier"])
def test_a_folder_of_something_else_is_still_foreign(name: str, tmp_path: Path) -> None:
    assert not is_foreign(tmp_path / "new", MARKER)
    assert not is_foreign(tmp_path, MARKER)
    (tmp_path / "lost+found").mkdir()
    assert not is_foreign(tmp_path, MARKER, ["lost+found"])
    assert is_foreign(tmp_path, MARKER)
    (tmp_path / name).touch()
    assert is_foreign(tmp_path, MARKER, ["lost+found"])
    assert is_foreign(tmp_path / name, MARKER)
    assert not is_foreign(tmp_path / name / "below a file", MARKER)
    (tmp_path / MARKER).touch()
    assert not is_foreign(tmp_path, MARKER)


def test_the_marker_stays_when_the_lock_is_freed(tmp_path: Path) -> None:
    with exclusive(tmp_path / MARKER):
        pass
    assert (tmp_path / MARKER).is_file()


# A copy to serve from


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("look", LOOKS)
def test_a_copy_that_another_makes_meanwhile_is_ours(
    look: int, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, target = tmp_path / "repository", tmp_path / "served"
    if there:
        target.mkdir()
    add_version(repository, fake_export(tmp_path / "exported"))
    monkeypatch.setattr("glioserve_tensorrt.overlay.exclusive", lambda file: exclusive(file, 0.1))
    Looks(monkeypatch, target, look, unless_locked(lambda: served_copy(repository, target)))
    assert served_copy(repository, target) == target / "classifier" / "1"
    assert load_manifest(target / "classifier" / "1", verify_files=True)


# The demo's repository


def test_demos_of_two_models_at_once_get_repositories_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second begins, and would end, while the first has seen that no repository is there."""
    made: dict[str, Path] = {}
    second = threading.Thread(target=lambda: made.update(second=demo_repository(tmp_path, min_slices=20)))
    seen = glioserve_registry.demo_model.serving_version

    def and_then_the_second(repository: Path) -> int | None:
        version = seen(repository)
        if not second.ident:
            second.start()
            second.join(2)
        return version

    monkeypatch.setattr(glioserve_registry.demo_model, "serving_version", and_then_the_second)
    made["first"] = demo_repository(tmp_path)
    second.join(TIMEOUT_S)
    slices = {name: load_manifest(folder / "classifier" / "1").recipe.min_slices for name, folder in made.items()}
    assert slices == {"first": load_manifest(demo_model_dir()).recipe.min_slices, "second": 20}
    assert made["first"] != made["second"]


# A store in a local folder


def test_of_two_uploads_at_once_one_has_the_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have seen that the claim is not there before either writes it."""
    store, both, exists = Store(f"file://{tmp_path}/store"), threading.Barrier(2), LocalFileSystem.exists
    refusal = GlioserveError(ErrorCode.VERSION_EXISTS)

    def exists_for_both(self: LocalFileSystem, path: str, **options: Any) -> Any:
        found = exists(self, path, **options)
        with suppress(threading.BrokenBarrierError):
            both.wait(2)
        return found

    monkeypatch.setattr(LocalFileSystem, "exists", exists_for_both)
    won: list[bytes] = []

    def upload(content: bytes) -> None:
        with suppress(GlioserveError):
            store._create(7, CLAIM_FILE, content, refusal)
            won.append(content)

    threads = [threading.Thread(target=upload, args=(content,)) for content in (b"one", b"two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert [store.read(7, CLAIM_FILE)] == won
    assert store.names(7) == {CLAIM_FILE}


# Artifacts


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("look", LOOKS)
def test_an_artifact_that_two_save_is_one_of_theirs_and_whole(
    look: int, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, folder = tiny_recipe(), tmp_path / "artifact"
    states = [random_network(recipe, seed).state_dict() for seed in (1, 2, 3)]
    if there:
        save_artifact(folder, recipe, states[0])
    looks = Looks(monkeypatch, folder, look, lambda: save_artifact(folder, recipe, states[1]))
    mine = save_artifact(folder, recipe, states[2])
    looks.over = True
    assert load_artifact(folder).weights_digest == mine
    assert {path.name for path in folder.parent.iterdir()} == {"artifact"}


# Data sets and cohorts


def test_a_data_set_file_that_two_write_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers meet studies of the same content, or two runs fill the same folder."""
    recipe, file = tiny_recipe(), tmp_path / "study.npz"
    shape = (1, len(recipe.channels), *recipe.grid.shape)
    patients = [Patient(np.full(shape, v, np.float16), np.array([0]), None) for v in (1.0, 2.0)]
    save, began = np.savez_compressed, []

    def and_another(stream: Any, **arrays: Any) -> None:
        if not began:
            began.append(True)
            save_patient(patients[1], file)
        save(stream, **arrays)

    monkeypatch.setattr(np, "savez_compressed", and_another)
    save_patient(patients[0], file)
    assert (load_patient(file, recipe).images == 1).all()
    assert [path.name for path in tmp_path.iterdir()] == ["study.npz"]


@pytest.mark.parametrize("look", LOOKS)
def test_an_index_that_two_write_is_whole(look: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index, folder = index_of(tiny_recipe(), "test"), tmp_path / "data"
    folder.mkdir()
    Looks(monkeypatch, folder, look, lambda: save_index(index, folder))
    save_index(index, folder)
    assert [path.name for path in folder.iterdir()] == ["dataset.json"]


def test_a_cohort_that_two_write_has_every_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other writes the whole cohort while the first is at its first study."""
    folder, began = tmp_path / "cohort", []

    def write(_: object, study: Path, *, identified: bool) -> int:
        study.mkdir(parents=True, exist_ok=True)
        if not began:
            began.append(True)
            write_cohort(folder, (1, 2), identified=identified)
        (study / "IM0001.dcm").write_bytes(b"slice")
        return 1

    monkeypatch.setattr(glioserve_phantom.dicom, "write_study", write)
    table = write_cohort(folder, (1, 2))
    with table.open(encoding="utf-8") as file:
        assert [row["case"] for row in csv.DictReader(file)] == ["phantom-1", "phantom-2"]
    assert {path.name for path in folder.iterdir()} == {"phantom-1", "phantom-2", COHORT_FILE}
    assert all((folder / f"phantom-{seed}" / "IM0001.dcm").is_file() for seed in (1, 2))
