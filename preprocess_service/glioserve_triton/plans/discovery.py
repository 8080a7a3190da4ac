"""The profile ``tensorrt-gpu`` where there is a plan to run, else ONNX Runtime on the same GPU: never silently.

A plan belongs to one GPU and one TensorRT, so a repository that serves well here may have none there. Studies are
answered either way; the log says by what.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from glioserve_contract import GlioserveError
from glioserve_contract.records.manifest import ServedVersion
from glioserve_contract.records.plan import PlanRecord, check_key
from glioserve_contract.tensors import CLASSIFIER_MODEL
from glioserve_triton.plans.accelerator import find_device, find_tensorrt_version
from glioserve_triton.plans.records import check_plan
from glioserve_triton.process.logs import Log
from glioserve_triton.served.promotions import load_serving
from glioserve_triton.served.repository import profiles

TENSORRT_PROFILE = "tensorrt-gpu"
ONNX_PROFILE = "onnxruntime-gpu"
"""The profile that serves where there is no plan: the same network, on the same GPUs, from the file of record."""

_NOT_LOADED = f"failed to load '{CLASSIFIER_MODEL.name}'"
"""Triton's words, followed by the version and the reason (``model_lifecycle.cc``)."""


@dataclass(frozen=True)
class FittingPlan:
    """A plan that may serve here."""

    record: PlanRecord
    not_verified: tuple[str, ...]
    """Parts of its key that this machine does not report."""


def fitting_plan(repository: Path, serving: ServedVersion) -> FittingPlan | str:
    """Return the plan of the version that serves, or the reason why none fits.

    Held against it: its record, its bytes, the ONNX file that it is of, and what this machine reports of its
    TensorRT and its GPU. What the machine does not report is logged and let pass: TensorRT checks again when it loads.
    """
    try:
        record = check_plan(repository / serving.name / serving.version, serving.manifest.files)
        version, device = find_tensorrt_version(), find_device()
        check_key(
            record.key,
            tensorrt_version=version,
            gpu_name=device.name if device else None,
            compute_capability=device.compute_capability if device else None,
        )
    except GlioserveError as error:
        return f"[{error.code.token}] {error.detail}"
    return FittingPlan(record, tuple(what for what, found in (("TensorRT", version), ("GPU", device)) if found is None))


def profile_to_serve(repository: Path, profile: str | None, log: Log) -> str | None:
    """Return ``profile``, or :data:`ONNX_PROFILE` for a TensorRT profile whose plan is not there or does not fit.

    GLIO-5108 or GLIO-5103 where the version that serves cannot be read.
    """
    if profile != TENSORRT_PROFILE or profile not in profiles(repository):
        return profile
    serving = load_serving(repository)
    fit = fitting_plan(repository, serving)
    if isinstance(fit, str):
        tell_fallback(log, serving, fit)
        return ONNX_PROFILE
    log.event(
        "TensorRT plan fits",
        classifier_version=serving.version,
        plan=fit.record.plan_digest,
        tensorrt=fit.record.key.tensorrt_version,
        gpu=fit.record.key.gpu_name,
        not_verified=",".join(fit.not_verified) or None,
    )
    return profile


def tell_fallback(log: Log, serving: ServedVersion, reason: str) -> None:
    """Log the fallback to ONNX Runtime once, with its reason."""
    log.event(
        "no TensorRT plan serves: ONNX Runtime does instead",
        "warning",
        classifier_version=serving.version,
        profile=ONNX_PROFILE,
        asked_for=TENSORRT_PROFILE,
        reason=reason,
        action="build one where it serves: glioserve engine build",
    )


class LoadWatch:
    """Passes the server's log on and notices a classifier that it could not load."""

    def __init__(self, log: Log) -> None:
        """Start without a ``reason``; it becomes the server's own words where the classifier cannot be loaded."""
        self._log = log
        self.reason: str | None = None

    def __call__(self, line: str) -> None:
        """Take one line, as the server wrote it."""
        at = line.find(_NOT_LOADED)
        if at >= 0 and self.reason is None:
            self.reason = line[at:].rstrip('"')
        self._log.server_line(line)
