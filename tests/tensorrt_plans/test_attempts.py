"""A build that was killed, as for want of memory, is not begun again at every start of a container."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_tensorrt import attempts
from glioserve_tensorrt.attempts import MARK_FILE, killed_before, marked, memory_limit_bytes
from glioserve_tensorrt.build import WantedPlan, build_plan, check_published
from glioserve_tensorrt.cache import PlanCache
from glioserve_tensorrt.toolkit import KilledError
from support.tensorrt.engines import Machine, engine_version, python

GIB = 1 << 30


@pytest.fixture
def limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The container's limit of 8 GiB, in a file that can be written."""
    file = tmp_path / "memory.max"
    file.write_text(f"{8 * GIB}\n")
    monkeypatch.setattr(attempts, "LIMIT_FILES", (file, tmp_path / "absent"))
    return file


def killed(entry: Path) -> None:
    """Leave what a process leaves that is killed in the middle."""
    done = python(
        "import os, signal\nfrom pathlib import Path, PosixPath\nfrom glioserve_tensorrt import attempts\n"
        f"attempts.LIMIT_FILES = {attempts.LIMIT_FILES}\n"
        f"with attempts.marked(Path({str(entry)!r})):\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_mark_is_there_while_it_runs_and_not_after_any_end_that_is_seen(tmp_path: Path) -> None:
    with marked(tmp_path):
        assert (tmp_path / MARK_FILE).is_file()
    assert killed_before(tmp_path) is None
    for end in (GlioserveError(ErrorCode.ENGINE_BUILD_FAILED), SystemExit(143), KeyboardInterrupt()):
        with pytest.raises(type(end)), marked(tmp_path):
            raise end
        assert list(tmp_path.iterdir()) == []


def test_a_mark_outlives_a_kill_of_this_process_and_of_the_builder(tmp_path: Path, limit: Path) -> None:
    (tmp_path / "entry").mkdir()
    killed(tmp_path / "entry")
    reason = killed_before(tmp_path / "entry")
    assert reason is not None
    assert "was killed at a memory limit of 8.0 GiB" in reason
    assert f"delete entry/{MARK_FILE} from the cache" in reason
    other = tmp_path / "other"
    other.mkdir()
    error = GlioserveError(ErrorCode.ENGINE_BUILD_FAILED, "killed")
    with pytest.raises(KilledError), marked(other):
        raise KilledError(error)
    assert killed_before(other) is not None
    with marked(other):  # and the next one that ends takes it away
        pass
    assert killed_before(other) is None


@pytest.mark.parametrize(("now", "again"), [(f"{16 * GIB}", True), ("max", True), (f"{8 * GIB}", False), ("1", False)])
def test_a_limit_that_was_raised_is_tried(tmp_path: Path, limit: Path, now: str, again: bool) -> None:
    killed(tmp_path)
    limit.write_text(now)
    assert (killed_before(tmp_path) is None) is again


def test_without_a_limit_it_is_not_tried_again(tmp_path: Path, limit: Path) -> None:
    """The node's own memory ran out, or its power."""
    limit.write_text("max\n")
    killed(tmp_path)
    reason = killed_before(tmp_path)
    assert reason is not None
    assert "was killed, most often" in reason


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"begun": "x", "memory_limit_bytes": "many"}'])
def test_a_mark_that_cannot_be_read_is_a_mark(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MARK_FILE).write_bytes(content)
    assert "at an unknown time was killed" in str(killed_before(tmp_path))


def test_the_limit_is_read_as_either_cgroup_has_it(tmp_path: Path, limit: Path) -> None:
    assert memory_limit_bytes() == 8 * GIB
    limit.unlink()
    assert memory_limit_bytes() is None
    (tmp_path / "absent").write_text("9223372036854771712\n")  # cgroup v1 without a limit
    assert memory_limit_bytes() is None
    (tmp_path / "absent").write_text(f"{GIB}\n")
    assert memory_limit_bytes() == GIB


@pytest.mark.parametrize("way", ["tensorrt", "trtexec"])
def test_a_builder_that_is_killed_is_not_started_again(
    machine: Machine, version: Path, tmp_path: Path, limit: Path, way: str
) -> None:
    machine.python_package() if way == "tensorrt" else machine.trtexec()
    machine.set(FAKE_TRT_BUILDS=str(tmp_path / "builds"), FAKE_TRT_FAULT="is killed")
    cache = PlanCache(tmp_path / "cache")

    def tried(after_kill: bool) -> str:
        with pytest.raises(GlioserveError) as error:
            build_plan(WantedPlan(version), cache, timeout_s=60, after_kill=after_kill)
        assert error.value.code is ErrorCode.ENGINE_BUILD_FAILED
        return error.value.detail

    assert "was killed by SIGKILL, as happens where there is too little memory" in tried(False)
    assert "is not repeated" in tried(False)
    assert len((tmp_path / "builds").read_text().splitlines()) == 1
    assert "was killed by SIGKILL" in tried(True)  # by hand
    assert len((tmp_path / "builds").read_text().splitlines()) == 2
    limit.write_text("max")
    machine.set(FAKE_TRT_FAULT="")
    assert build_plan(WantedPlan(version), cache, timeout_s=60, after_kill=False).origin == "built"
    assert not list((tmp_path / "cache").rglob(MARK_FILE))


def test_a_kill_says_nothing_against_what_is_cached(
    machine: Machine, version: Path, tmp_path: Path, limit: Path
) -> None:
    """Neither a plan that another pod may serve nor the timing cache is dropped for want of memory here."""
    machine.python_package()
    cache = PlanCache(tmp_path / "cache")
    build_plan(WantedPlan(version), cache, timeout_s=60)
    kept = {path: path.read_bytes() for path in cache.folder.rglob("*") if path.is_file()}
    machine.set(FAKE_TRT_FAULT="is killed in the run")
    other = WantedPlan(engine_version(tmp_path / "pod" / "1"))
    with pytest.raises(GlioserveError, match=r"does not run: the worker was killed by SIGKILL"):
        build_plan(other, cache, timeout_s=60)
    with pytest.raises(GlioserveError, match=r"does not run: the worker was killed by SIGKILL"):
        check_published(version, timeout_s=60)
    machine.set(FAKE_TRT_FAULT="is killed")
    with pytest.raises(GlioserveError, match="builder was killed by SIGKILL"):
        build_plan(WantedPlan(version, "fp32"), cache, timeout_s=60)
    assert {path: path.read_bytes() for path in kept} == kept
    assert [json.loads(mark.read_text())["memory_limit_bytes"] for mark in cache.folder.rglob(MARK_FILE)] == [
        8 * GIB,
        8 * GIB,
    ]
