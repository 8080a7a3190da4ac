"""The cache: what is served from it, what is built again, who waits for whom."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from glioserve_contract import ErrorCode, GlioserveError, sha256_digest
from glioserve_contract.records.plan import PLAN_SCHEMA, EngineKey, PlanRecord
from glioserve_tensorrt.cache import LOCK_FILE, PlanCache, publish_plan
from glioserve_triton.plans.records import check_plan

KEY = EngineKey(sha256_digest(b"onnx"), "10.16.1.11", "NVIDIA A30", "8.0", ("stronglyTyped",))
FILES = {"model_fp16.onnx": KEY.onnx_digest}


def record(plan: bytes = b"plan", key: EngineKey = KEY) -> PlanRecord:
    return PlanRecord(PLAN_SCHEMA, key, "model_fp16.onnx", sha256_digest(plan), "trtexec")


def store(cache: PlanCache, plan: bytes = b"plan", key: EngineKey = KEY) -> Path:
    with cache.locked(key, 10) as entry:
        file = entry / "built"
        file.write_bytes(plan)
        return cache.store(file, record(plan, key))


def test_what_is_stored_is_found_under_its_key_alone(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path / "cache")
    assert cache.find(KEY) is None
    entry = store(cache)
    assert entry == tmp_path / "cache" / KEY.digest().removeprefix("sha256:")
    assert cache.find(KEY) == entry
    assert cache.find(replace(KEY, gpu_name="NVIDIA L4")) is None
    with cache.locked(KEY, 10):
        cache.drop(KEY)
    assert cache.find(KEY) is None


@pytest.mark.parametrize("damage", ["plan", "record", "foreign", "no plan", "no record", "torn"])
def test_an_entry_that_is_not_whole_is_not_served(tmp_path: Path, damage: str) -> None:
    cache = PlanCache(tmp_path)
    entry = store(cache)
    if damage == "plan":
        (entry / "model.plan").write_bytes(b"plam")
    elif damage == "record":
        (entry / "plan.json").write_text("{}")
    elif damage == "foreign":  # another key's files in this key's folder
        other = store(cache, key=replace(KEY, gpu_name="NVIDIA L4"))
        (entry / "plan.json").write_bytes((other / "plan.json").read_bytes())
    elif damage == "no plan":
        (entry / "model.plan").unlink()
    elif damage == "no record":
        (entry / "plan.json").unlink()
    else:
        (entry / "plan.json").write_bytes((entry / "plan.json").read_bytes()[:-20])
    assert cache.find(KEY) is None
    store(cache)
    assert cache.find(KEY) == entry


HOLD = """
import pickle, sys, time
from pathlib import Path
from glioserve_tensorrt.cache import PlanCache
key, folder = pickle.loads(sys.stdin.buffer.read())
with PlanCache(Path(folder)).locked(key, 10):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_builds_and_the_others_wait(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        holder.stdin.write(pickle.dumps((KEY, str(tmp_path))))
        holder.stdin.close()
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(GlioserveError, match=r"locked for 0\.2 s") as error, PlanCache(tmp_path).locked(KEY, 0.2):
            pass
        assert error.value.code is ErrorCode.REPOSITORY_BUSY
        with PlanCache(tmp_path).locked(replace(KEY, gpu_name="NVIDIA L4"), 0.2):
            pass  # another GPU's build does not wait
        holder.kill()  # the kernel frees the lock of a builder that is killed
        with PlanCache(tmp_path).locked(KEY, 10):
            pass
    finally:
        holder.kill()
        holder.wait(30)
        holder.stdout.close()


def test_timing_caches_are_of_one_device_and_one_tensorrt(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    places = {
        cache.timing_cache(key)
        for key in (
            KEY,
            replace(KEY, tensorrt_version="11.0.0.114"),
            replace(KEY, gpu_name="NVIDIA L4"),
            replace(KEY, compute_capability="8.9"),
        )
    }
    assert len(places) == 4
    assert cache.timing_cache(replace(KEY, onnx_digest=sha256_digest(b"x"), flags=())) == cache.timing_cache(KEY)
    learnt = tmp_path / "learnt"
    cache.keep_timing_cache(KEY, learnt)  # nothing was learnt
    assert not cache.timing_cache(KEY).exists()
    for content in (b"one", b"two"):
        learnt.write_bytes(content)
        cache.keep_timing_cache(KEY, learnt)
        assert cache.timing_cache(KEY).read_bytes() == content


def test_a_plan_is_published_whole_and_over_another(tmp_path: Path) -> None:
    folder, plan = tmp_path / "1", tmp_path / "plan"
    folder.mkdir()
    for content in (b"first", b"second"):
        plan.write_bytes(content)
        publish_plan(folder, plan, record(content))
        assert check_plan(folder, FILES).plan_digest == sha256_digest(content)
    assert sorted(p.name for p in folder.iterdir()) == ["model.plan", "plan.json"]


def test_a_publisher_that_is_cut_off_leaves_nothing_that_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the moment, the folder has a plan with its own record, or none that passes."""
    folder, plan = tmp_path / "1", tmp_path / "plan"
    folder.mkdir()
    plan.write_bytes(b"first")
    publish_plan(folder, plan, record(b"first"))
    plan.write_bytes(b"second")
    served = []
    for step in ("shutil.copyfile", "Path.replace", "write_if_changed"):
        with monkeypatch.context() as patch:
            patch.setattr(f"glioserve_tensorrt.cache.{step}", _cut_off)
            with pytest.raises(KeyboardInterrupt):
                publish_plan(folder, plan, record(b"second"))
        try:
            served.append(check_plan(folder, FILES).plan_digest)
        except GlioserveError:
            served.append("none")
    assert served == [sha256_digest(b"first"), "none", "none"]
    publish_plan(folder, plan, record(b"second"))
    assert check_plan(folder, FILES).plan_digest == sha256_digest(b"second")
    assert not [p for p in folder.iterdir() if p.name.startswith(".staging")]


def _cut_off(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_the_locks_name_is_nobodys() -> None:
    assert LOCK_FILE.startswith(".")  # Triton takes folders that begin with a digit; verify leaves such files alone
