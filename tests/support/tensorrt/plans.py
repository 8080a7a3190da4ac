"""A plan's files without a plan, and the profiles of a GPU for the tiny repository."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from glioserve_contract import sha256_digest
from glioserve_contract.records.plan import (
    PLAN_FILE,
    PLAN_RECORD_FILE,
    PLAN_SCHEMA,
    EngineKey,
    PlanRecord,
    plan_record_text,
)
from glioserve_triton.served.versions import load_manifest


def write_plan(version: Path, content: bytes = b"plan", **key: object) -> PlanRecord:
    """A plan of the version's fp32 file for an A30 and TensorRT 10.16.1.11; ``key`` changes what it is for."""
    made = EngineKey(load_manifest(version).files["model.onnx"], "10.16.1.11", "NVIDIA A30", "8.0", ("stronglyTyped",))
    record = PlanRecord(PLAN_SCHEMA, replace(made, **key), "model.onnx", sha256_digest(content), "trtexec")  # type: ignore[arg-type]
    (version / PLAN_FILE).write_bytes(content)
    (version / PLAN_RECORD_FILE).write_bytes(plan_record_text(record))
    return record


def add_gpu_profiles(repository: Path, tensorrt: str = 'platform: "tensorrt_plan" backend: "tensorrt"') -> Path:
    """``tensorrt-gpu``, which the embedded server cannot load, and ``onnxruntime-gpu``, which it can: on the CPU."""
    configs = repository / "classifier" / "configs"
    onnx = (configs / "onnxruntime-cpu.pbtxt").read_text()
    (configs / "onnxruntime-gpu.pbtxt").write_text(onnx)
    plan = onnx.replace('backend: "onnxruntime"', tensorrt)
    (configs / "tensorrt-gpu.pbtxt").write_text(plan.replace('"model.onnx"', f'"{PLAN_FILE}"'))
    return repository
