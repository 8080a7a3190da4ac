"""`--into`: a copy of what serves, with a plan of its own; no other folder is touched, nor the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_export.files import exclusive
from glioserve_registry.layout.repository import add_version
from glioserve_registry.promoting.promotion import promote
from glioserve_tensorrt.overlay import served_copy
from glioserve_triton.served.promotions import load_serving, serving_version
from glioserve_triton.served.repository import check_repository
from support.tensorrt.engines import engine_repository, engine_version


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two versions, of which the first serves."""
    return engine_repository(tmp_path / "models", 2)


def listing(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder``, but for those of our own bookkeeping."""
    files = (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def write_plan(version: Path, content: bytes = b"plan") -> None:
    (version / "model.plan").write_bytes(content)
    (version / "plan.json").write_bytes(b"record")


def test_the_copy_is_what_serves_and_can_be_served(repository: Path, tmp_path: Path) -> None:
    before = listing(repository)
    version = served_copy(repository, tmp_path / "served")
    assert version == tmp_path / "served" / "classifier" / "1"
    wanted = {name: content for name, content in before.items() if not name.startswith("classifier/2/")}
    assert len(wanted) < len(before)
    assert listing(tmp_path / "served") == wanted
    assert (tmp_path / "served" / "glioma" / "1").is_dir()  # an ensemble's version is an empty folder
    checked = check_repository(tmp_path / "served", "onnxruntime-gpu")
    assert checked.serving == load_serving(repository)
    assert listing(repository) == before


def test_the_plan_of_the_repository_stays_there(repository: Path, tmp_path: Path) -> None:
    """It may be another GPU's: the copy gets one of its own."""
    write_plan(repository / "classifier" / "1")
    version = served_copy(repository, tmp_path / "served")
    assert not (version / "model.plan").exists()
    assert not (version / "plan.json").exists()


def test_a_plan_of_the_same_version_outlives_a_restart(repository: Path, tmp_path: Path) -> None:
    version = served_copy(repository, tmp_path / "served")
    write_plan(version)
    again = served_copy(repository, tmp_path / "served")
    assert ((again / "model.plan").read_bytes(), (again / "plan.json").read_bytes()) == (b"plan", b"record")
    (version / "plan.json").unlink()  # a plan without its record is not used
    assert not (served_copy(repository, tmp_path / "served") / "model.plan").exists()


def test_another_version_replaces_the_copy_and_gets_no_plan_of_the_old_one(repository: Path, tmp_path: Path) -> None:
    write_plan(served_copy(repository, tmp_path / "served"))
    (tmp_path / "served" / "gone").mkdir()  # a model that the repository no longer has
    promote(repository, 2)
    version = served_copy(repository, tmp_path / "served")
    assert version.name == "2"
    assert sorted(p.name for p in (tmp_path / "served").iterdir() if not p.name.startswith(".")) == [
        "classifier", "glioma", "preprocess", "report",
    ]  # fmt: skip
    assert not (tmp_path / "served" / "classifier" / "1").exists()
    assert not (version / "model.plan").exists()
    assert serving_version(tmp_path / "served") == 2
    assert check_repository(tmp_path / "served", "onnxruntime-gpu").serving.version == "2"


def test_a_version_of_the_same_number_and_other_files_gets_no_plan_of_the_old_one(
    repository: Path, tmp_path: Path
) -> None:
    write_plan(served_copy(repository, tmp_path / "served"))
    other = tmp_path / "other"
    add_version(other, engine_version(tmp_path / "third", name="another"))
    assert not (served_copy(other, tmp_path / "served") / "model.plan").exists()


@pytest.mark.parametrize("target", [".", "copy", "classifier/1", "../models"])
def test_the_repository_itself_is_never_written_into(repository: Path, target: str) -> None:
    before = sorted(repository.rglob("*"))
    with pytest.raises(GlioserveError, match="lies in the repository itself") as error:
        served_copy(repository, repository / target)
    assert error.value.code is ErrorCode.INVALID_REPOSITORY
    assert sorted(repository.rglob("*")) == before


def test_a_link_into_the_repository_is_the_repository(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(repository)
    with pytest.raises(GlioserveError, match="lies in the repository itself"):
        served_copy(repository, tmp_path / "link" / "copy")


@pytest.mark.parametrize("kind", ["folder", "file", "its parent"])
def test_a_folder_of_somebody_elses_is_refused_and_left(repository: Path, tmp_path: Path, kind: str) -> None:
    target = tmp_path if kind == "its parent" else tmp_path / "theirs"
    if kind == "folder":
        target.mkdir()
        (target / "thesis.txt").write_text("years")
    elif kind == "file":
        target.write_text("years")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        GlioserveError, match=r"is not empty and is not a copy that glioserve made: nothing was written"
    ) as error:
        served_copy(repository, target)
    assert error.value.code is ErrorCode.INVALID_REPOSITORY
    assert sorted(tmp_path.rglob("*")) == before


def test_a_new_disk_is_nobodys(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "disk" / "lost+found").mkdir(parents=True)
    served_copy(repository, tmp_path / "disk")
    served_copy(repository, tmp_path / "disk")
    assert (tmp_path / "disk" / "lost+found").is_dir()
    assert check_repository(tmp_path / "disk").serving.version == "1"


def test_a_damaged_version_is_not_copied_over_a_good_one(repository: Path, tmp_path: Path) -> None:
    served_copy(repository, tmp_path / "served")
    before = listing(tmp_path / "served")
    (repository / "classifier" / "1" / "model_fp16.onnx").write_bytes(b"rot")
    with pytest.raises(GlioserveError, match=r"model_fp16\.onnx is not the file the manifest names") as error:
        served_copy(repository, tmp_path / "served")
    assert error.value.code is ErrorCode.INVALID_MANIFEST
    assert listing(tmp_path / "served") == before
    assert not list((tmp_path / "served").glob(".staging*"))


def test_a_repository_that_serves_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(GlioserveError, match="No version under classifier/") as error:
        served_copy(tmp_path / "empty", tmp_path / "served")
    assert error.value.code is ErrorCode.INVALID_REPOSITORY
    assert not (tmp_path / "served").exists()


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), None], ids=["one error", "several"])
def test_a_copy_that_fails_says_why_and_leaves_the_one_before(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: OSError | None
) -> None:
    served_copy(repository, tmp_path / "served")
    before = listing(tmp_path / "served")

    def full(source: object, target: object, *_: object, **__: object) -> None:
        raise fault or shutil.Error([(str(source), str(target), "No space left on device")])

    monkeypatch.setattr("glioserve_tensorrt.overlay.shutil.copytree", full)
    with pytest.raises(GlioserveError, match=r"models cannot be copied to served: No space left on device\.") as error:
        served_copy(repository, tmp_path / "served")
    assert error.value.code is ErrorCode.INVALID_REPOSITORY
    assert listing(tmp_path / "served") == before


def test_two_do_not_copy_to_one_place_at_once(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served_copy(repository, tmp_path / "served")
    monkeypatch.setattr("glioserve_tensorrt.overlay.exclusive", lambda file: exclusive(file, 0.2))
    with (
        exclusive(tmp_path / "served" / ".glioserve.copy"),
        pytest.raises(GlioserveError, match="by another process") as error,
    ):
        served_copy(repository, tmp_path / "served")
    assert error.value.code is ErrorCode.REPOSITORY_BUSY


NOBODY = 65534
COPY_TWICE = """
import os, sys
from pathlib import Path
from glioserve_tensorrt.overlay import served_copy
os.setgid({nobody}); os.setuid({nobody})
for _ in range(2):
    version = served_copy(Path(sys.argv[1]), Path(sys.argv[2]))
    (version / "model.plan").write_bytes(b"plan")
    (version / "plan.json").write_bytes(b"record")
"""


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user, who may not write into the repository")
def test_a_repository_that_this_user_can_only_read(repository: Path) -> None:
    """A claim is mounted so: root's files, nothing writable; the copy's own folders must not become so."""
    with tempfile.TemporaryDirectory() as open_to_all:  # pytest's own folders are root's alone
        models, target = Path(open_to_all, "models"), Path(open_to_all, "served")
        shutil.copytree(repository, models)
        target.mkdir()
        os.chown(target, NOBODY, NOBODY)
        for path in (models, *models.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        Path(open_to_all).chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-c", COPY_TWICE.format(nobody=NOBODY), str(models), str(target)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert (target / "classifier" / "1" / "plan.json").read_bytes() == b"record"
        assert {p.stat().st_mode & 0o777 for p in target.rglob("*") if p.is_dir() and p.name[0] != "."} == {0o755}
        assert listing(models) == listing(repository)
