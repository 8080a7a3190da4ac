"""Requests to a toolkit, for the version of support.tensorrt.engines."""

from __future__ import annotations

from pathlib import Path

from glioserve_export.graphs.vectors import load_vectors
from glioserve_export.shape_profiles import BATCHES
from glioserve_tensorrt.options import build_options
from glioserve_tensorrt.toolkit import BuildRequest, RunRequest
from glioserve_triton.served.versions import load_manifest


def build_request(version: Path, folder: Path, timeout_s: float = 60) -> BuildRequest:
    work = folder / "work"
    work.mkdir(parents=True)
    return BuildRequest(
        onnx=version / "model_fp16.onnx",
        options=build_options(load_manifest(version).recipe),
        timing_cache=folder / "learnt.cache",
        plan=folder / "built.plan",
        work=work,
        timeout_s=timeout_s,
    )


def run_request(version: Path, plan: Path, work: Path, timeout_s: float = 60) -> RunRequest:
    work.mkdir()
    images = load_vectors(version, load_manifest(version).recipe).images
    return RunRequest(plan=plan, images=images, batches=BATCHES, work=work, timeout_s=timeout_s)
