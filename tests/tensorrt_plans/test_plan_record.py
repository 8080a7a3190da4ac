"""The key and the record: what makes two plans one, and what keeps a plan from being served."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from glioserve_contract import ErrorCode, GlioserveError, SchemaError, sha256_digest
from glioserve_contract.records.facts.variants import ComparisonRecord
from glioserve_contract.records.plan import PLAN_SCHEMA, EngineKey, PlanRecord, check_key, plan_record_text
from glioserve_triton.plans.records import check_plan, load_plan_record

KEY = EngineKey(
    onnx_digest=sha256_digest(b"onnx"),
    tensorrt_version="10.16.1.11",
    gpu_name="NVIDIA A30",
    compute_capability="8.0",
    flags=("stronglyTyped", "noTF32"),
)
RECORD = PlanRecord(
    schema=PLAN_SCHEMA,
    key=KEY,
    onnx_file="model_fp16.onnx",
    plan_digest=sha256_digest(b"plan"),
    builder="trtexec",
    driver_version="580.65.06",
    check_figures={"batch 8": ComparisonRecord(8, 1e-6, 0, 1.0, 1.0, 1.0)},
    built="2026-11-24T10:00:00+00:00",
)
FILES = {"model_fp16.onnx": KEY.onnx_digest, "model.onnx": sha256_digest(b"other")}


def test_the_keys_digest_is_the_same_everywhere() -> None:
    """A cache that pods share rests on it: a change of this value builds every plan anew."""
    assert KEY.digest() == "sha256:b38aaa6c3158e92638b93b73ecad9e7200998d152b6378cf80cc287907f66984"


@pytest.mark.parametrize(
    "change",
    [
        {"onnx_digest": sha256_digest(b"x")},
        {"tensorrt_version": "10.16.1.12"},
        {"gpu_name": "NVIDIA A30 (MIG 1g.6gb)"},
        {"compute_capability": "8.6"},
        {"flags": ("stronglyTyped",)},
        {"flags": ("noTF32", "stronglyTyped")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_part_of_the_key_counts(change: dict[str, object]) -> None:
    assert replace(KEY, **change).digest() != KEY.digest()


def write(folder: Path, record: PlanRecord = RECORD, plan: bytes = b"plan") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "model.plan").write_bytes(plan)
    (folder / "plan.json").write_bytes(plan_record_text(record))
    return folder


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert load_plan_record(write(tmp_path)) == RECORD
    assert check_plan(tmp_path, FILES) == RECORD


def test_what_is_not_the_versions_is_said(tmp_path: Path) -> None:
    folder = write(tmp_path / "v")
    for files in ({}, {"model_fp16.onnx": sha256_digest(b"newer")}):
        with pytest.raises(GlioserveError, match=r"another model_fp16\.onnx than the version's"):
            check_plan(folder, files)
    write(folder, plan=b"plen")
    with pytest.raises(GlioserveError, match=r"model\.plan is not the file that plan\.json was written for"):
        check_plan(folder, FILES)
    (folder / "model.plan").unlink()
    with pytest.raises(GlioserveError, match=r"model\.plan cannot be read: No such file"):
        check_plan(folder, FILES)
    (folder / "plan.json").unlink()
    with pytest.raises(GlioserveError, match=r"no plan\.json: no plan was built") as error:
        check_plan(folder, FILES)
    assert error.value.code is ErrorCode.ENGINE_MISMATCH
    assert "glioserve engine build" in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "glioserve/plan/2"}, "schema"),
        ({"builder": "polygraphy"}, "builder"),
        ({"plan_digest": "sha256:12"}, "plan_digest"),
        ({"onnx_file": "../model.onnx"}, "onnx_file"),
        ({"surprise": 1}, "surprise"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_record_that_does_not_fit_its_schema(tmp_path: Path, change: dict[str, object], said: str) -> None:
    folder = write(tmp_path)
    record = {**json.loads((folder / "plan.json").read_bytes()), **change}
    (folder / "plan.json").write_text(json.dumps(record))
    with pytest.raises(GlioserveError, match=said) as error:
        load_plan_record(folder)
    assert error.value.code is ErrorCode.ENGINE_MISMATCH


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"null"])
def test_garbage_is_no_record(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises(GlioserveError, match=r"plan\.json cannot be read"):
        load_plan_record(tmp_path)


def test_a_record_with_an_empty_key_is_not_written() -> None:
    with pytest.raises(SchemaError, match="gpu_name"):
        plan_record_text(replace(RECORD, key=replace(KEY, gpu_name="")))


def test_the_machine_is_held_to_the_key_as_far_as_it_is_known() -> None:
    here = {"tensorrt_version": "10.16.1.11", "gpu_name": "NVIDIA A30", "compute_capability": "8.0"}
    check_key(KEY, **here)
    check_key(KEY, tensorrt_version=None, gpu_name=None, compute_capability=None)
    with pytest.raises(GlioserveError, match=r"TensorRT 10\.16\.1\.11 \(here: 11\.0\.0\.114\)") as error:
        check_key(KEY, **{**here, "tensorrt_version": "11.0.0.114"})
    assert "GPU" not in error.value.detail
    with pytest.raises(GlioserveError, match=r"the GPU NVIDIA A30 \(here: NVIDIA L4\), compute capability 8\.0 \(here"):
        check_key(KEY, tensorrt_version=None, gpu_name="NVIDIA L4", compute_capability="8.9")
