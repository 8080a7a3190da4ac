"""NVIDIA's command-line builder, where TensorRT's Python package is not installed.

Options, the banner and the formats of its files are those of ``samples/common/sampleOptions.cpp``,
``sampleReporting.cpp`` and ``samples/trtexec/README.md`` of NVIDIA/TensorRT; docs/tensorrt.md says what was read.
It works in a folder of ours under relative names, so that no path of a server is in its log.
"""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.plan import mismatch
from glioserve_export.graphs.probes import Array
from glioserve_export.shape_profiles import INPUT
from glioserve_tensorrt.builders.process import run
from glioserve_tensorrt.options import build_arguments, spell_shape
from glioserve_tensorrt.toolkit import (
    BuildRequest,
    Outputs,
    PlanAnswers,
    RunRequest,
    answers_of,
    batches_of,
)

ONNX, PLAN, TIMING_CACHE, IMAGES, OUTPUT = "model.onnx", "model.plan", "timing.cache", "image.bin", "output.json"

_NOT_FINITE = re.compile(r"(?<![\w.\"])(-?)(nan|inf)(?![\w.\"])")
"""Values that are not finite as C++ prints them; JSON has no word for them, and Python's reader has others."""


@dataclass(frozen=True)
class Trtexec:
    """The program ``trtexec`` as a :class:`toolkit.Toolkit`."""

    program: Path
    version: str
    name: Literal["trtexec"] = "trtexec"

    def build(self, request: BuildRequest) -> None:
        """Build and save the plan, then stop: nothing is timed."""
        work = request.work
        os.symlink(request.onnx.resolve(), work / ONNX)
        if request.timing_cache.is_file():
            (work / TIMING_CACHE).write_bytes(request.timing_cache.read_bytes())
        command = [
            str(self.program),
            f"--onnx={ONNX}",
            *build_arguments(request.options),
            f"--timingCacheFile={TIMING_CACHE}",
            "--skipInference",
            f"--saveEngine={PLAN}",
        ]
        try:
            ended = run(command, cwd=work, timeout_s=request.timeout_s)
        except OSError as error:
            raise _build_failed(f"trtexec cannot be started: {error.strerror}.") from error
        plan = work / PLAN
        if ended.returncode != 0:
            raise ended.error(_build_failed(f"trtexec {ended}. The end of its log:\n{ended.tail}\n"))
        if not plan.is_file() or plan.stat().st_size == 0:
            raise _build_failed(f"trtexec {ended} but wrote no plan. The end of its log:\n{ended.tail}\n")
        plan.replace(request.plan)
        if (work / TIMING_CACHE).is_file():
            (work / TIMING_CACHE).replace(request.timing_cache)

    def run(self, request: RunRequest) -> tuple[PlanAnswers, ...]:
        """Start trtexec once for each batch: it answers one set of inputs."""
        deadline = time.monotonic() + request.timeout_s
        if not (request.work / PLAN).exists():
            os.symlink(request.plan.resolve(), request.work / PLAN)
        answers = []
        for profile, batch in enumerate(request.batches):
            parts = batches_of(len(request.images), batch)
            outputs = [
                self._run_batch(request.images[part], profile, request.work, deadline - time.monotonic())
                for part in parts
            ]
            answers.append(answers_of(outputs, [part.stop - part.start for part in parts]))
        return tuple(answers)

    def _run_batch(self, images: Array, profile: int, work: Path, timeout_s: float) -> Outputs:
        np.ascontiguousarray(images, dtype="<f4").tofile(work / IMAGES)
        (work / OUTPUT).unlink(missing_ok=True)
        command = [
            str(self.program),
            f"--loadEngine={PLAN}",
            f"--useProfile={profile}",
            f"--shapes={spell_shape(images.shape)}",
            f"--loadInputs={INPUT.name}:{IMAGES}",
            "--iterations=1",
            "--warmUp=0",
            "--duration=0",
            f"--exportOutput={OUTPUT}",
        ]
        try:
            ended = run(command, cwd=work, timeout_s=max(timeout_s, 0.0))
        except OSError as error:
            raise mismatch(f"trtexec cannot be started: {error.strerror}.") from error
        if ended.returncode != 0:
            raise ended.error(mismatch(f"The plan does not run: trtexec {ended}. The end of its log:\n{ended.tail}\n"))
        return read_outputs(work / OUTPUT)


def read_outputs(file: Path) -> Outputs:
    """Read what ``--exportOutput`` wrote: a list of ``{"name", "dimensions": "8x2", "values": [...]}`` (GLIO-5120)."""
    try:
        listed: Any = json.loads(_NOT_FINITE.sub(_as_python, file.read_text(encoding="utf-8")))
        return {item["name"]: _array(item) for item in listed}
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise mismatch(f"trtexec's output of the plan cannot be read: {type(error).__name__}: {error}.") from error


def _array(item: Any) -> Any:
    shape = [int(n) for n in item["dimensions"].split("x")]
    return np.array(item["values"]).reshape(shape)


def _as_python(match: re.Match[str]) -> str:
    return "NaN" if match[2] == "nan" else f"{match[1]}Infinity"


def _build_failed(detail: str) -> GlioserveError:
    return GlioserveError(ErrorCode.ENGINE_BUILD_FAILED, detail)
