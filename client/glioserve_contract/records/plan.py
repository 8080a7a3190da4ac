"""``plan.json`` beside a TensorRT plan: its source, its GPU, and its answers when it was checked.

Builder and server read it alike. A plan belongs to one GPU and one TensorRT and is made where it serves, so it is in
no manifest; a plan without a fitting record is never served.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Literal

from glioserve_contract.codec import Digest, SchemaError, canonical_json, is_sha256_digest, sha256_digest, to_dict
from glioserve_contract.errors import ErrorCode, GlioserveError
from glioserve_contract.records.facts.variants import ComparisonRecord

PLAN_FILE = "model.plan"
PLAN_RECORD_FILE = "plan.json"
PlanSchema = Literal["glioserve/plan/1"]
PLAN_SCHEMA: PlanSchema = "glioserve/plan/1"


@dataclass(frozen=True)
class EngineKey:
    """Everything that a plan depends on: equal keys may share a plan, others never."""

    onnx_digest: Digest
    """``sha256:…`` of the ONNX file that the plan was built from."""
    tensorrt_version: str
    """TensorRT's version, all four numbers (``10.16.1.11``): a plan loads into that very TensorRT alone."""
    gpu_name: str
    """Name of the GPU as the driver has it, with the profile of a MIG slice."""
    compute_capability: str
    """Compute capability of the GPU (``8.0``)."""
    flags: tuple[str, ...]
    """Options that shape the plan, in a fixed order."""

    def check(self, path: str) -> None:
        """Raise SchemaError where a part is empty or the digest is not one."""
        if not is_sha256_digest(self.onnx_digest):
            raise SchemaError(f"{path}.onnx_digest", "must be 'sha256:' and 64 hex digits")
        for name in ("tensorrt_version", "gpu_name", "compute_capability"):
            if not getattr(self, name):
                raise SchemaError(f"{path}.{name}", "must not be empty")

    def digest(self) -> str:
        """Return ``sha256:…`` of the key: the same for equal keys, on any machine."""
        return sha256_digest(canonical_json(self).encode())


@dataclass(frozen=True)
class PlanRecord:
    """Record of a TensorRT plan, which is never served without one that fits."""

    schema: PlanSchema
    """Name and version of this schema."""
    key: EngineKey
    """Everything that the plan depends on."""
    onnx_file: str
    """Name of the version's file that the plan was built from."""
    plan_digest: Digest
    """``sha256:…`` of the plan's file."""
    builder: Literal["tensorrt", "trtexec"]
    """Builder of the plan: TensorRT's Python API, or NVIDIA's command."""
    driver_version: str = ""
    """Driver version of the GPU where it was built; shown, and not compared."""
    check_figures: dict[str, ComparisonRecord] = field(default_factory=dict)
    """Its answers against the fp32 network's on the stored vectors, by optimisation profile (``batch 8``)."""
    built: str = ""
    """Time of the build: UTC, ISO 8601."""

    def check(self, path: str) -> None:
        """Raise SchemaError where the digest is not one or the file is not a plain name."""
        if not is_sha256_digest(self.plan_digest):
            raise SchemaError(f"{path}.plan_digest", "must be 'sha256:' and 64 hex digits")
        if not self.onnx_file or "/" in self.onnx_file:
            raise SchemaError(f"{path}.onnx_file", f"must be a plain file name, not {self.onnx_file!r}")


def plan_record_text(record: PlanRecord) -> bytes:
    """Return the text of the record's file."""
    record.check("plan")
    record.key.check("plan.key")
    return (json.dumps(to_dict(record), indent=2) + "\n").encode()


def check_key(
    key: EngineKey, *, tensorrt_version: str | None, gpu_name: str | None, compute_capability: str | None
) -> None:
    """Raise GLIO-5120 where a plan's key does not fit the machine; the message names both sides.

    Args:
        key: the machine for which the plan was built.
        tensorrt_version: version here; None where it is not known.
        gpu_name: name of the GPU here; None where it is not known.
        compute_capability: of the GPU here; None where it is not known.
    """
    here = {
        "TensorRT": (key.tensorrt_version, tensorrt_version),
        "the GPU": (key.gpu_name, gpu_name),
        "compute capability": (key.compute_capability, compute_capability),
    }
    wrong = [
        f"{what} {wanted} (here: {found})" for what, (wanted, found) in here.items() if found not in (None, wanted)
    ]
    if wrong:
        raise mismatch(f"It was built for {', '.join(wrong)}.")


def mismatch(detail: str) -> GlioserveError:
    """Return GLIO-5120 with ``detail``."""
    return GlioserveError(ErrorCode.ENGINE_MISMATCH, detail)
