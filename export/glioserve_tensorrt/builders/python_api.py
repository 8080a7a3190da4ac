"""TensorRT by its Python API, in a process of its own (:mod:`worker`)."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.plan import mismatch
from glioserve_export.shape_profiles import INPUT
from glioserve_tensorrt.builders import worker
from glioserve_tensorrt.builders.process import Ended, run
from glioserve_tensorrt.toolkit import BuildRequest, PlanAnswers, RunRequest, answers_of, batches_of

REQUEST, IMAGES, ANSWERS = "request.json", "images.npy", "answers.npz"


@dataclass(frozen=True)
class PythonApi:
    """TensorRT's Python API as a :class:`toolkit.Toolkit`."""

    version: str
    name: Literal["tensorrt"] = "tensorrt"

    def build(self, request: BuildRequest) -> None:
        """Let the worker write the plan and the timing cache where they are to be."""
        ended = _work(
            "build",
            {
                "onnx": str(request.onnx.resolve()),
                "plan": str(request.plan.resolve()),
                "timing_cache": str(request.timing_cache.resolve()),
                **request.options.as_json(),
            },
            request.work,
            request.timeout_s,
        )
        if ended.returncode != 0 or not request.plan.is_file():
            raise ended.error(
                GlioserveError(
                    ErrorCode.ENGINE_BUILD_FAILED, f"TensorRT's builder {ended}. The end of its log:\n{ended.tail}\n"
                )
            )

    def run(self, request: RunRequest) -> tuple[PlanAnswers, ...]:
        """Run one process for all profiles, so that the plan is read once."""
        np.save(request.work / IMAGES, request.images)
        parts = [batches_of(len(request.images), batch) for batch in request.batches]
        runs = [(index, part.start, part.stop) for index, batches in enumerate(parts) for part in batches]
        ended = _work(
            "run",
            {"plan": str(request.plan.resolve()), "input": INPUT.name, "images": IMAGES, "runs": runs, "to": ANSWERS},
            request.work,
            request.timeout_s,
        )
        if ended.returncode != 0:
            raise ended.error(
                mismatch(f"The plan does not run: the worker {ended}. The end of its log:\n{ended.tail}\n")
            )
        try:
            with np.load(request.work / ANSWERS, allow_pickle=False) as arrays:
                found = [
                    {name: arrays[key] for key in arrays.files for at, name in [key.split(":", 1)] if at == str(i)}
                    for i in range(len(runs))
                ]
        except (OSError, ValueError) as error:
            raise mismatch(f"The worker's answers cannot be read: {error}.") from error
        answers, at = [], 0
        for batches in parts:
            counts = [part.stop - part.start for part in batches]
            answers.append(answers_of(found[at : at + len(counts)], counts))
            at += len(counts)
        return tuple(answers)


def _work(task: str, request: dict[str, Any], work: Path, timeout_s: float) -> Ended:
    (work / REQUEST).write_text(json.dumps(request), encoding="utf-8")
    return run([sys.executable, "-m", worker.__name__, task, REQUEST], cwd=work, timeout_s=timeout_s)
