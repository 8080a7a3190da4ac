"""The whole of it: a version in, a checked plan out, or a typed error and nothing published."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_registry.layout.verify import LocalFiles, verify_versions
from glioserve_tensorrt import build as build_module
from glioserve_tensorrt.build import Built, WantedPlan, build_plan, check_published, key_of
from glioserve_tensorrt.cache import PlanCache
from glioserve_triton.plans.records import check_plan, load_plan_record
from glioserve_triton.served.versions import load_manifest, save_manifest
from support.tensorrt.engines import A30, L4, Machine, engine_version, stored_answers

pytestmark = pytest.mark.long
Build = Callable[..., Built]


@pytest.fixture(params=["tensorrt", "trtexec"])
def either(machine: Machine, request: pytest.FixtureRequest) -> str:
    """Both ways to TensorRT."""
    machine.python_package() if request.param == "tensorrt" else machine.trtexec()
    return str(request.param)


@pytest.fixture
def api(machine: Machine) -> None:
    """The quicker of the two, for tests that do not depend on which it is."""
    machine.python_package()


@pytest.fixture
def build(version: Path, tmp_path: Path) -> Build:
    """Build for the version, without reporting progress."""

    def run(
        folder: Path = version, timeout_s: float = 60, cache: Path = tmp_path / "cache", **options: object
    ) -> Built:
        said: list[str] = []
        built = build_plan(WantedPlan(folder, **options), PlanCache(cache), timeout_s=timeout_s, progress=said.append)
        assert said
        return built

    return run


def test_a_plan_is_built_checked_and_published(version: Path, either: str, build: Build) -> None:
    before = {p.name: p.read_bytes() for p in version.iterdir()}
    built = build()
    manifest = load_manifest(version, verify_files=True)
    assert built.origin == "built"
    assert check_plan(version, manifest.files) == built.record == load_plan_record(version)
    record = built.record
    assert (record.builder, record.onnx_file, record.driver_version) == (either, "model_fp16.onnx", "580.65.06")
    assert record.key.onnx_digest == manifest.files["model_fp16.onnx"]
    assert (record.key.gpu_name, record.key.compute_capability) == ("NVIDIA A30", "8.0")
    assert record.key.tensorrt_version == "10.16.1.11"
    assert list(record.check_figures) == ["batch 8", "batch 4", "batch 1"]
    for figures in record.check_figures.values():
        assert (figures.studies, figures.label_flips, figures.same_peak) == (8, 0, 1.0)
        assert figures.max_probability_drift < 1e-5
    after = {p.name: p.read_bytes() for p in version.iterdir() if not p.name.startswith(".")}
    assert after.keys() - before.keys() == {"model.plan", "plan.json"}
    assert {name: after[name] for name in before} == before  # the version itself is immutable
    assert verify_versions({1: LocalFiles(version)})[1] == []


def test_a_second_build_has_nothing_to_do(version: Path, api: None, build: Build) -> None:
    first = build()
    stamp = (version / "model.plan").stat().st_mtime_ns
    second = build()
    assert (second.origin, second.record) == ("there", first.record)
    assert (version / "model.plan").stat().st_mtime_ns == stamp


def test_another_pod_takes_it_from_the_cache_and_checks_it_again(
    machine: Machine, version: Path, tmp_path: Path, api: None, build: Build
) -> None:
    first = build()
    other = engine_version(tmp_path / "pod" / "1")
    machine.set(FAKE_TRT_FAULT="makes no plan")  # it must not build
    second = build(other)
    assert second.origin == "cache"
    assert second.record.key == first.record.key
    assert (other / "model.plan").read_bytes() == (version / "model.plan").read_bytes()
    assert list(second.record.check_figures) == ["batch 8", "batch 4", "batch 1"]


@pytest.mark.parametrize("damage", ["torn", "of another machine"])
def test_a_cached_plan_that_is_not_right_is_built_again(
    machine: Machine, version: Path, tmp_path: Path, api: None, build: Build, damage: str
) -> None:
    first = build()
    entry = tmp_path / "cache" / first.record.key.digest().removeprefix("sha256:")
    if damage == "torn":
        (entry / "model.plan").write_bytes(b"torn")
    else:  # whole by its record, but it does not run here
        (entry / "model.plan").write_bytes(b"foreign")
        record = json.loads((entry / "plan.json").read_bytes())
        record["plan_digest"] = "sha256:" + __import__("hashlib").sha256(b"foreign").hexdigest()
        (entry / "plan.json").write_text(json.dumps(record))
    (version / "plan.json").unlink()
    again = build()
    assert again.origin == "built"
    assert check_plan(version, load_manifest(version).files).plan_digest == first.record.plan_digest


def test_another_gpu_tensorrt_or_option_is_another_plan(
    machine: Machine, version: Path, tmp_path: Path, api: None, build: Build
) -> None:
    keys = [build().record.key]
    machine.gpus(L4)
    keys.append(build().record.key)
    machine.set(FAKE_TRT_VERSION="11.4.0.106")
    keys.append(build().record.key)
    keys.append(build(workspace_gib=2).record.key)
    keys.append(build(precision="fp32").record.key)
    assert len({key.digest() for key in keys}) == 5
    assert load_plan_record(version).key == keys[-1]
    assert load_plan_record(version).onnx_file == "model.onnx"
    entries = [p for p in (tmp_path / "cache").iterdir() if p.name != "timing"]
    assert sorted(p.name for p in entries) == sorted(key.digest().removeprefix("sha256:") for key in keys)
    assert len(list((tmp_path / "cache" / "timing").iterdir())) == 3  # two GPUs, then another TensorRT


def test_what_one_build_learnt_the_next_one_knows(machine: Machine, tmp_path: Path, api: None, build: Build) -> None:
    build()
    build(precision="fp32")
    (timing,) = (tmp_path / "cache" / "timing").iterdir()
    assert timing.read_bytes() == b"timing\n" + b"timed once for 10.16.1.11\n" * 2


@pytest.mark.parametrize(
    "content", [b"damaged", b"timed once for 9.9.9.9\n", b""], ids=["damaged", "another TensorRT's", "empty"]
)
def test_a_timing_cache_that_is_refused_does_not_stop_this_build_or_the_next(
    tmp_path: Path, either: str, build: Build, content: bytes
) -> None:
    """TensorRT's refusal by trtexec is a crash after the build, which would come again each time."""
    build()
    (timing,) = (tmp_path / "cache" / "timing").iterdir()
    timing.write_bytes(content)
    assert build(precision="fp32").origin == "built"
    assert timing.read_bytes().removeprefix(b"timing\n") == b"timed once for 10.16.1.11\n"


def test_a_build_that_is_repeated_without_its_timing_cache_is_told(
    machine: Machine, version: Path, tmp_path: Path
) -> None:
    machine.trtexec()
    machine.set(FAKE_TRT_BUILDS=str(tmp_path / "builds"))
    cache, said = PlanCache(tmp_path / "cache"), list[str]()
    build_plan(WantedPlan(version), cache, timeout_s=60)
    (timing,) = (tmp_path / "cache" / "timing").iterdir()
    timing.write_bytes(b"damaged")
    build_plan(WantedPlan(version, "fp32"), cache, timeout_s=60, progress=said.append)
    (told,) = (line for line in said if "timing cache" in line)
    assert told.startswith(
        "the kept timing cache is dropped, and the plan built once more without it: trtexec was ended"
    )
    assert len((tmp_path / "builds").read_text().splitlines()) == 3


def test_a_build_that_fails_without_the_cache_too_has_its_own_reason(
    machine: Machine, tmp_path: Path, either: str, build: Build
) -> None:
    build()
    machine.set(FAKE_TRT_FAULT="crashes")
    with pytest.raises(GlioserveError, match="was ended by SIGABRT"):
        build(precision="fp32")
    assert list((tmp_path / "cache" / "timing").iterdir()) == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("answers otherwise", r"profile for batch 8, over 8 studies: SCORE drifts by .* labels flip"),
        ("answers otherwise in batches", r"profile for batch 8, over 8 studies: the worst heat map"),
        ("is not finite", r"profile for batch 8.* answers that are not finite"),
        ("is another's", r"MODEL_ID \(batch 8\) is not that of the version's weights"),
    ],
)
def test_a_plan_that_answers_otherwise_is_never_published(
    machine: Machine, version: Path, tmp_path: Path, either: str, build: Build, fault: str, said: str
) -> None:
    machine.set(FAKE_TRT_FAULT=fault)
    with pytest.raises(GlioserveError, match=said) as error:
        build()
    assert error.value.code is ErrorCode.ENGINE_MISMATCH
    assert not (version / "model.plan").exists()
    assert not (version / "plan.json").exists()
    assert not list((tmp_path / "cache").glob("*/model.plan"))
    machine.set(FAKE_TRT_FAULT="")
    assert build().origin == "built"


def test_one_wrong_profile_of_three_is_enough(machine: Machine, version: Path, api: None, build: Build) -> None:
    """Batch 8 and 4 are wrong here, 1 is right: each is looked at."""
    machine.set(FAKE_TRT_FAULT="answers otherwise in batches")
    with pytest.raises(GlioserveError, match="heat map"):
        build()


def test_the_recipes_own_limits_decide(machine: Machine, version: Path, api: None, build: Build) -> None:
    manifest = load_manifest(version)
    vectors = stored_answers(manifest.recipe)
    drifted = replace(vectors, logits=(vectors.logits + np.float32([[0.04, 0]])).astype(np.float32))
    machine.answers(version, drifted)
    figures = build().record.check_figures["batch 1"]
    assert 1e-4 < figures.max_probability_drift < manifest.recipe.variant_limits.max_probability_drift
    machine.answers(version, replace(vectors, logits=vectors.logits + np.float32([[0.4, 0]])))
    (version / "plan.json").unlink()
    with pytest.raises(GlioserveError, match=r"SCORE drifts by 0\.\d+ \(at most 0\.02\)"):
        build(workspace_gib=1)


def test_no_fp16_file_is_said_before_anything_is_asked(tmp_path: Path, machine: Machine, build: Build) -> None:
    folder = engine_version(tmp_path / "fp32", fp16=False)
    with pytest.raises(GlioserveError, match=r"no model_fp16\.onnx.*--variant fp16.*--precision fp32") as error:
        build(folder)
    assert error.value.code is ErrorCode.ENGINE_BUILD_FAILED


def test_an_operator_that_tensorrt_lacks_is_named_before_any_build(
    tmp_path: Path, machine: Machine, build: Build
) -> None:
    folder = engine_version(tmp_path / "odd", operator="Mish")
    with pytest.raises(GlioserveError, match=r"TensorRT does not support: node_one \(Mish\)") as error:
        build(folder)
    assert error.value.code is ErrorCode.ENGINE_BUILD_FAILED


def test_without_the_package_onnx_the_parser_is_left_to_say(
    monkeypatch: pytest.MonkeyPatch, version: Path, api: None, tmp_path: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    said: list[str] = []
    build_plan(WantedPlan(version), PlanCache(tmp_path / "cache"), timeout_s=60, progress=said.append)
    assert any("package onnx is not here" in line for line in said)


def test_a_changed_file_is_no_version(version: Path, api: None, build: Build) -> None:
    (version / "model_fp16.onnx").write_bytes(b"changed")
    with pytest.raises(GlioserveError, match=r"model_fp16\.onnx is not the file the manifest names") as error:
        build()
    assert error.value.code is ErrorCode.INVALID_MANIFEST


def test_a_version_without_stored_answers_gets_no_plan(version: Path, tmp_path: Path, api: None, build: Build) -> None:
    manifest = load_manifest(version)
    (version / "vectors.npz").unlink()
    save_manifest(replace(manifest, files={n: d for n, d in manifest.files.items() if n != "vectors.npz"}), version)
    with pytest.raises(GlioserveError, match=r"vectors\.npz cannot be read") as error:
        build()
    assert error.value.code is ErrorCode.INVALID_MANIFEST
    assert not list(tmp_path.rglob("*.plan"))  # nor was one built, which takes minutes


def test_a_folder_that_is_read_only_is_said_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch, version: Path, tmp_path: Path, api: None, build: Build
) -> None:
    access = build_module.os.access  # root may write anywhere, so the file system's word is made up
    monkeypatch.setattr(build_module.os, "access", lambda path, mode: path != version and access(path, mode))
    with pytest.raises(GlioserveError, match=r"cannot be written\. Serve a copy: --repository and --into") as error:
        build()
    assert error.value.code is ErrorCode.ENGINE_BUILD_FAILED
    assert not list(tmp_path.rglob("*.plan"))


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda m: m.no_driver(), "No GPU was found"),
        (lambda m: m.gpus(A30, L4), "GPUs of different kinds"),
    ],
    ids=["none", "two kinds"],
)
def test_without_one_kind_of_gpu_nothing_is_built(
    machine: Machine, version: Path, api: None, build: Build, prepare: Callable[[Machine], None], said: str
) -> None:
    prepare(machine)
    with pytest.raises(GlioserveError, match=said) as error:
        build()
    assert error.value.code is ErrorCode.ENGINE_BUILD_FAILED


def test_options_beyond_their_ranges_are_a_typed_error(version: Path, api: None, build: Build) -> None:
    with pytest.raises(GlioserveError, match="optimisation level must be 0 to 5") as error:
        build(optimization_level=9)
    assert error.value.code is ErrorCode.ENGINE_BUILD_FAILED


def test_a_folder_that_cannot_be_written_is_a_typed_error(version: Path, api: None, build: Build) -> None:
    with pytest.raises(GlioserveError, match="cannot be written: Not a directory") as error:
        build(cache=version / "recipe.json" / "cache")
    assert error.value.code is ErrorCode.ENGINE_BUILD_FAILED


def test_the_time_limit_is_for_all_of_it(
    machine: Machine, version: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.trtexec()
    toolkit, device = build_module.this_machine(60)
    monkeypatch.setattr(build_module, "this_machine", lambda _timeout_s: (toolkit, device))
    machine.set(FAKE_TRT_FAULT="hangs")
    with pytest.raises(GlioserveError, match="stopped at the time limit"):
        build(timeout_s=2)


def test_nothing_temporary_is_left_in_the_cache(version: Path, tmp_path: Path, either: str, build: Build) -> None:
    key = build().record.key
    entry = tmp_path / "cache" / key.digest().removeprefix("sha256:")
    assert sorted(p.name for p in entry.iterdir()) == [".plan.lock", "model.plan", "plan.json"]


def test_a_published_plan_is_held_to_this_machine_and_to_the_answers(
    machine: Machine, version: Path, either: str, build: Build
) -> None:
    built = build()
    record, figures = check_published(version, timeout_s=60)
    assert record == built.record
    assert list(figures) == ["batch 8", "batch 4", "batch 1"]
    machine.set(FAKE_TRT_FAULT="answers otherwise")
    with pytest.raises(GlioserveError, match="answers otherwise than ONNX"):
        check_published(version, timeout_s=60)
    machine.set(FAKE_TRT_FAULT="")
    machine.gpus(L4)
    with pytest.raises(GlioserveError, match=r"built for the GPU NVIDIA A30 \(here: NVIDIA L4\)") as error:
        check_published(version, timeout_s=60)
    assert error.value.code is ErrorCode.ENGINE_MISMATCH


def test_the_key_needs_no_build(machine: Machine, version: Path, api: None, build: Build) -> None:
    toolkit, device = build_module.this_machine(60)
    wanted = WantedPlan(version)
    key = key_of(wanted, load_manifest(version), toolkit.version, device)
    assert build().record.key == key
