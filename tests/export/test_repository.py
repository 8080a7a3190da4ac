"""Assembling and versioning: whole or not there, immutable, locked, and nothing of torch."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import tomllib

import glioserve_registry
from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.records.recipe import preprocessing_digest
from glioserve_export import files
from glioserve_preprocess.files import file_digest, load_recipe
from glioserve_registry.layout import static_models
from glioserve_registry.layout.repository import (
    MARKER,
    add_version,
    assemble,
    check_can_join,
    ensure_version,
    versions,
)
from glioserve_registry.layout.serving import version_folder
from glioserve_registry.layout.static_models import STATIC_MODELS, static_repository
from glioserve_registry.publishing.publication import checked_export, exported_files
from glioserve_triton.served.promotions import serving_version
from glioserve_triton.served.versions import load_manifest
from support.models.recipes import fake_export, tiny_recipe

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 60


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "build" / "repository"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return fake_export(tmp_path / "exported")


def tree(folder: Path) -> dict[str, bytes]:
    """Every file's content, the lock's aside."""
    found = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    found.pop(MARKER, None)
    return found


def refused(code: ErrorCode) -> AbstractContextManager[object]:
    return pytest.raises(GlioserveError, match=code.token)


# Assembly


def test_the_static_models_are_copied_and_a_second_time_nothing_changes(repository: Path) -> None:
    changed = assemble(repository)
    assert {change.split("/")[0] for change in changed} == set(STATIC_MODELS)
    for name in STATIC_MODELS:
        source = static_repository() / name
        wanted = {k: v for k, v in tree(source).items() if "__pycache__" not in k and ".gitkeep" not in k}
        assert tree(repository / name) == wanted
        assert (repository / name / "1").is_dir()
    stamps = {p: p.stat().st_mtime_ns for p in repository.rglob("*") if p.is_file()}
    assert assemble(repository) == ()
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps


def test_what_changed_or_is_no_longer_shipped_is_set_right(repository: Path) -> None:
    assemble(repository)
    (repository / "report" / "1" / "model.py").write_text("# of an older glioserve\n")
    (repository / "report" / "1" / "helper.py").write_text("# dropped since\n")
    (repository / "report" / "2").mkdir()
    (repository / "glioma" / "config.pbtxt").unlink()
    assert set(assemble(repository)) == {"report/1/model.py", "report/1/helper.py", "glioma/config.pbtxt"}
    assert not (repository / "report" / "1" / "helper.py").exists()
    assert not (repository / "report" / "2").exists(), "Triton would take the empty folder for a version"


def test_the_static_repository_itself_is_never_written() -> None:
    before = tree(static_repository())
    with refused(ErrorCode.INVALID_REPOSITORY):
        assemble(static_repository())
    with refused(ErrorCode.INVALID_REPOSITORY):
        assemble(static_repository() / "glioma")
    assert tree(static_repository()) == before


def test_somebody_elses_folder_is_left_alone(tmp_path: Path, source: Path) -> None:
    home = tmp_path / "home"
    (home / "report").mkdir(parents=True)
    (home / "report" / "thesis.txt").write_text("years of work")
    digest = preprocessing_digest(tiny_recipe())
    for write in (
        lambda: assemble(home),
        lambda: add_version(home, source),
        lambda: check_can_join(home, digest, None),
    ):
        with refused(ErrorCode.INVALID_REPOSITORY):
            write()
    assert tree(home) == {"report/thesis.txt": b"years of work"}


def test_a_fresh_volume_may_be_filled(tmp_path: Path, source: Path) -> None:
    (tmp_path / "volume" / "lost+found").mkdir(parents=True)
    assert add_version(tmp_path / "volume", source) == 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GlioserveError, match="inside cannot be written") as caught:
        assemble(tmp_path / "file" / "inside")
    assert caught.value.code is ErrorCode.INVALID_REPOSITORY


# Versions


def test_versions_are_numbered_and_hold_exactly_the_exports_files_and_the_card(repository: Path, source: Path) -> None:
    (source / "notes.txt").write_text("not named by the manifest")
    assert [add_version(repository, source) for _ in range(2)] == [1, 2]
    assert add_version(repository, source, 12) == 12
    assert versions(repository) == (1, 2, 12)
    for number in versions(repository):
        folder = version_folder(repository, number)
        assert sorted(tree(folder)) == [
            "manifest.json",
            "model.onnx",
            "model_card.html",
            "model_card.md",
            "recipe.json",
        ]
        published = load_manifest(folder, verify_files=True)
        assert exported_files(published) == load_manifest(source).files
        assert published.publication is not None
        assert published.publication.source_manifest == file_digest(source / "manifest.json")
        assert folder.stat().st_mode & 0o055 == 0o055, "the server runs as another user"
    assert sorted(p.name for p in (repository / "classifier").iterdir()) == [
        "1",
        "12",
        "2",
        "config.pbtxt",
        "configs",
        "promotion.json",
    ]
    assert serving_version(repository) == 1, "later ones wait for their promotion"
    assert set(STATIC_MODELS) < {p.name for p in repository.iterdir()}


def test_a_version_is_immutable(repository: Path, source: Path, tmp_path: Path) -> None:
    add_version(repository, source)
    before = tree(repository)
    with refused(ErrorCode.VERSION_EXISTS):
        add_version(repository, fake_export(tmp_path / "other", model=b"other"), 1)
    assert tree(repository) == before


def test_the_same_export_is_published_once(repository: Path, source: Path, tmp_path: Path) -> None:
    assert [ensure_version(repository, source) for _ in range(3)] == [1, 1, 1]
    assert ensure_version(repository, fake_export(tmp_path / "other", model=b"other")) == 2
    assert ensure_version(repository, source) == 1


@pytest.mark.parametrize("number", [0, -1, 2**31])
def test_a_number_that_triton_does_not_take_is_refused(repository: Path, source: Path, number: int) -> None:
    with refused(ErrorCode.INVALID_REPOSITORY):
        add_version(repository, source, number)
    assert versions(repository) == ()


def test_folders_that_are_no_versions_are_not_counted(repository: Path, source: Path) -> None:
    add_version(repository, source, 3)
    for name in ("07", "4.partial", "x", "4٥"):
        (repository / "classifier" / name).mkdir()
    assert versions(repository) == (3,)


def test_another_preprocessing_needs_another_repository(repository: Path, source: Path, tmp_path: Path) -> None:
    add_version(repository, source)
    before = tree(repository)
    for name, recipe in {
        "grid": tiny_recipe(size_voxels=(24, 16, 16)),
        "channels": tiny_recipe((Modality.T1CE,)),
        "min_slices": tiny_recipe(min_slices=20),
    }.items():
        with refused(ErrorCode.PREPROCESSING_MISMATCH):
            add_version(repository, fake_export(tmp_path / name, recipe))
        with refused(ErrorCode.PREPROCESSING_MISMATCH):
            check_can_join(repository, preprocessing_digest(recipe), None)
    assert tree(repository) == before
    assert add_version(repository, fake_export(tmp_path / "renamed", tiny_recipe(name="renamed"))) == 2


def test_another_cam_grid_needs_another_repository(repository: Path, source: Path, tmp_path: Path) -> None:
    """One configuration serves all versions, and the onnxruntime backend compares an output's dims exactly."""
    add_version(repository, source)
    with pytest.raises(GlioserveError, match=r"\(2, 2, 2\).*version 1 \(4, 4, 4\)") as caught:
        add_version(repository, fake_export(tmp_path / "coarse", cam_grid=(2, 2, 2)))
    assert caught.value.code is ErrorCode.PREPROCESSING_MISMATCH


def test_what_an_export_would_be_refused_for_is_known_before(repository: Path, source: Path) -> None:
    digest = preprocessing_digest(tiny_recipe())
    check_can_join(repository, digest, None)
    add_version(repository, source)
    check_can_join(repository, digest, 2)
    with refused(ErrorCode.VERSION_EXISTS):
        check_can_join(repository, digest, 1)


@pytest.mark.parametrize("name", ["model.onnx", "recipe.json"])
def test_files_that_are_not_the_manifests_are_refused(repository: Path, source: Path, name: str) -> None:
    (source / name).write_bytes((source / name).read_bytes() + b" ")
    with pytest.raises(GlioserveError, match=name) as caught:
        add_version(repository, source)
    assert caught.value.code is ErrorCode.INVALID_MANIFEST
    assert versions(repository) == ()


def test_a_manifest_must_name_its_files_and_its_own_recipe(tmp_path: Path) -> None:
    fake_export(tmp_path / "a", files={})
    (tmp_path / "elsewhere").write_bytes(b"")
    empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    fake_export(tmp_path / "b", files={"../elsewhere": empty, "model.onnx": empty}, model=b"")
    fake_export(tmp_path / "c", recipe=tiny_recipe(name="another"))
    (tmp_path / "c" / "manifest.json").write_text(
        (tmp_path / "c" / "manifest.json").read_text().replace('"another"', '"one"')
    )
    for name in "abc":
        with refused(ErrorCode.INVALID_MANIFEST):
            checked_export(tmp_path / name)


def test_a_broken_version_in_the_repository_is_named(repository: Path, source: Path) -> None:
    add_version(repository, source)
    (version_folder(repository, 1) / "manifest.json").write_text("{")
    with pytest.raises(GlioserveError, match="Version 1 of the repository") as caught:
        add_version(repository, source)
    assert caught.value.code is ErrorCode.INVALID_MANIFEST


# Whole or not there


def test_a_failure_in_the_middle_leaves_the_repository_as_it_was(
    repository: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_version(repository, source)
    before = tree(repository)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full_disk)
    with pytest.raises(GlioserveError, match="No space left on device"):
        add_version(repository, source)
    monkeypatch.undo()
    assert tree(repository) == before
    assert add_version(repository, source) == 2


def test_a_source_that_changes_while_it_is_copied_is_not_published(
    repository: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copyfile

    def altered(start: Path, end: Path) -> None:
        copy(start, end)
        if end.name == "model.onnx":
            end.write_bytes(b"half")

    monkeypatch.setattr(files.shutil, "copyfile", altered)
    with refused(ErrorCode.INVALID_MANIFEST):
        add_version(repository, source)
    assert versions(repository) == ()
    assert not list((repository / "classifier").glob(".staging*"))


KILLED = """
import sys, time
from pathlib import Path
from glioserve_registry.layout import repository
from glioserve_registry.publishing import publication
def stuck(source, names, target):
    (target / "model.onnx").write_bytes(b"half")
    print("copying", flush=True)
    time.sleep(60)
publication.copy_files = stuck
repository.add_version(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_killed_export_leaves_no_version_and_no_lock(repository: Path, source: Path) -> None:
    add_version(repository, source)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(repository), str(source)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "copying\n"
            assert versions(repository) == (1,)
            with refused(ErrorCode.REPOSITORY_BUSY):
                add_version(repository, source, lock_timeout_s=0.2)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(TIMEOUT_S)
    assert list((repository / "classifier").glob(".staging*")), "the half copy is there, where Triton sees no version"
    assert add_version(repository, source) == 2
    assert not list((repository / "classifier").glob(".staging*"))


def test_concurrent_exports_get_versions_of_their_own(repository: Path, tmp_path: Path) -> None:
    sources = [fake_export(tmp_path / f"exported {i}", model=f"model {i}".encode()) for i in range(8)]
    start = threading.Barrier(len(sources))

    def publish(source: Path) -> tuple[int, bytes]:
        start.wait(TIMEOUT_S)
        return add_version(repository, source), (source / "model.onnx").read_bytes()

    with ThreadPoolExecutor(len(sources)) as pool:
        published = dict(pool.map(publish, sources))
    assert versions(repository) == tuple(range(1, len(sources) + 1))
    for number in versions(repository):
        checked_export(version_folder(repository, number))
        assert (version_folder(repository, number) / "model.onnx").read_bytes() == published[number]


def test_a_lock_that_another_holds_is_told_and_not_waited_for_without_end(repository: Path, source: Path) -> None:
    assemble(repository)
    with files.exclusive(repository / MARKER, 1):
        for write in (
            lambda: assemble(repository, lock_timeout_s=0.1),
            lambda: add_version(repository, source, lock_timeout_s=0.1),
            lambda: ensure_version(repository, source, lock_timeout_s=0.1),
        ):
            with refused(ErrorCode.REPOSITORY_BUSY):
                write()
    assert add_version(repository, source, lock_timeout_s=0.1) == 1


# Where it runs

WITHOUT_TORCH = """
import sys
for name in ("torch", "monai", "onnx", "onnxruntime", "onnxscript", "safetensors"):
    sys.modules[name] = None  # importing it raises
from pathlib import Path
from glioserve_registry.demo_model import demo_model_dir, demo_repository
from glioserve_registry.layout.repository import add_version, versions
from glioserve_registry.layout.static_models import static_repository
repository, source = Path(sys.argv[1]), Path(sys.argv[2])
add_version(repository, source)
print(static_repository(), demo_model_dir(), demo_repository(repository.parent / "demo", min_slices=20), sep="\\n")
"""


def test_an_installed_wheel_assembles_from_its_own_data_without_torch(tmp_path: Path, source: Path) -> None:
    """The packages and the two data folders where the wheel puts them, and no checkout in reach."""
    site = tmp_path / "site"
    here = Path(glioserve_registry.__file__).parent
    without_data = shutil.ignore_patterns("_*_repository", "_demo_model")
    for home in (ROOT, ROOT / "client"):
        wheel = tomllib.loads((home / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
        for folder in wheel["packages"]:
            shutil.copytree(home / folder, site / Path(folder).name, ignore=without_data)
    shutil.copytree(static_repository(), site / here.name / "_model_repository")
    shutil.copytree(source, site / here.name / "_demo_model")
    # Named by hand the folder is not asked for ``.pth`` files, so the checkout that is installed stays out of reach.
    libraries = sysconfig.get_path("purelib")
    done = subprocess.run(
        [sys.executable, "-S", "-c", WITHOUT_TORCH, str(tmp_path / "repository"), str(source)],
        env={"PYTHONPATH": os.pathsep.join([str(site), libraries]), "PATH": os.defpath},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    package = site / here.name
    assert done.stdout.splitlines() == [
        str(package / "_model_repository"),
        str(package / "_demo_model"),
        str(tmp_path / "demo" / "repository"),
    ]
    assert versions(tmp_path / "repository") == (1,)
    served = tmp_path / "demo" / "repository" / "classifier" / "1"
    assert load_recipe(served / "recipe.json").min_slices == 20


def test_the_wheel_puts_its_data_where_it_is_looked_for() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    for name, folder in (("model_repository", "_model_repository"), ("examples/demo_model", "_demo_model")):
        assert f'"{name}" = "glioserve_registry/{folder}"' in text


def test_an_installation_without_its_data_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(static_models, "_PACKAGED", tmp_path)
    monkeypatch.setattr(static_models, "_CHECKOUT", tmp_path)
    with refused(ErrorCode.INVALID_REPOSITORY):
        static_repository()
