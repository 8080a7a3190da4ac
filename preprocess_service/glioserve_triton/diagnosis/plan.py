"""The TensorRT plan of the version that serves, and whether it fits this machine."""

from __future__ import annotations

from pathlib import Path

from glioserve_contract import GlioserveError
from glioserve_triton.diagnosis.findings import Finding
from glioserve_triton.plans.discovery import ONNX_PROFILE, TENSORRT_PROFILE, fitting_plan
from glioserve_triton.served.promotions import load_serving
from glioserve_triton.served.repository import profiles

_ACTION = "build one where it serves: glioserve engine build"


def serving_plan(repository: Path, profile: str | None) -> tuple[Finding | None, str | None]:
    """Return the finding, and the profile that `glioserve serve` takes: another only where the plan does not fit.

    The finding is None for a repository without a profile for plans, or without a version that can be read.
    """
    if TENSORRT_PROFILE not in profiles(repository):
        return None, profile
    try:
        serving = load_serving(repository)
    except GlioserveError:  # reported where the repository is checked
        return None, profile
    name = "TensorRT plan"
    fit = fitting_plan(repository, serving)
    if isinstance(fit, str):
        if profile != TENSORRT_PROFILE:
            return Finding("repository", name, "--", fit), profile
        return Finding("repository", name, "warn", f"{fit} {ONNX_PROFILE} serves instead.", _ACTION), ONNX_PROFILE
    key = fit.record.key
    found = f"{key.gpu_name}, TensorRT {key.tensorrt_version}, from {fit.record.onnx_file}, {fit.record.plan_digest}"
    if fit.not_verified:
        found += f"; this machine does not report its {' nor its '.join(fit.not_verified)}"
    return Finding("repository", name, "ok", found), profile
