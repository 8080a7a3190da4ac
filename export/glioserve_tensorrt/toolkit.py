"""TensorRT as it is installed here: by its Python API, else by ``trtexec``. Two ways to build and to run a plan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from glioserve_contract import GlioserveError
from glioserve_contract.records.plan import mismatch
from glioserve_contract.tensors import CAM, CLASSIFIER_MODEL, LOGITS, MODEL_ID
from glioserve_export.graphs.probes import Array
from glioserve_tensorrt.options import BuildOptions

OLDEST = (10, 12)
"""The first TensorRT in which strong typing covers what these graphs need, as ``--stronglyTyped`` and as a flag."""

Outputs = dict[str, npt.NDArray[np.generic]]
"""Outputs by name, batch first."""


@dataclass(frozen=True)
class BuildRequest:
    """One plan to build, in a folder of its own."""

    onnx: Path
    options: BuildOptions
    timing_cache: Path
    """Read where it is there, and written again with what was learnt."""
    plan: Path
    """Path that the plan is to have."""
    work: Path
    """An empty folder on a disk with room for the plan."""
    timeout_s: float


@dataclass(frozen=True, eq=False)
class RunRequest:
    """Studies to be answered by every profile of a plan."""

    plan: Path
    images: Array
    """[n, C, D, H, W]."""
    batches: tuple[int, ...]
    """Studies at once for each profile (:data:`glioserve_export.shape_profiles.BATCHES`)."""
    work: Path
    timeout_s: float


@dataclass(frozen=True, eq=False)
class PlanAnswers:
    """Answers of a plan to n studies."""

    logits: Array
    """[n, 2]."""
    cam: Array
    """[n, 2, d, h, w]."""
    model_id: npt.NDArray[np.int32]
    """[n, 8]."""


class KilledError(Exception):
    """A program of NVIDIA's was killed from outside, as the kernel does where memory runs out.

    It says nothing against the plan or the timing cache at hand, so neither is dropped. ``error`` is what to tell.
    """

    def __init__(self, error: GlioserveError) -> None:
        super().__init__(str(error))
        self.error = error


class Toolkit(Protocol):
    """One way to TensorRT."""

    @property
    def name(self) -> Literal["tensorrt", "trtexec"]:
        """Name of the way."""

    @property
    def version(self) -> str:
        """TensorRT's, all four numbers."""

    def build(self, request: BuildRequest) -> None:
        """Write the plan; GLIO-5119, with the end of the builder's log, where none came of it.

        KilledError where the builder was killed.
        """

    def run(self, request: RunRequest) -> tuple[PlanAnswers, ...]:
        """Return the answers by profile; GLIO-5120 where the plan does not run here.

        KilledError where the program was killed.
        """


def batches_of(count: int, batch: int) -> list[slice]:
    """Return ``count`` studies in batches; the last may be smaller."""
    return [slice(start, min(start + batch, count)) for start in range(0, count, batch)]


def answers_of(parts: list[Outputs], counts: list[int]) -> PlanAnswers:
    """Return the outputs of several batches as one; GLIO-5120 where one lacks a tensor or has another shape or kind."""
    names = [tensor.name for tensor in CLASSIFIER_MODEL.outputs]
    for part, count in zip(parts, counts, strict=True):
        missing = [name for name in names if name not in part]
        if missing:
            raise mismatch(f"The plan does not give {', '.join(missing)}.")
        for tensor in CLASSIFIER_MODEL.outputs:
            shape, wanted = part[tensor.name].shape, (count, *tensor.shape)
            if len(shape) != len(wanted) or any(w not in (-1, s) for s, w in zip(shape, wanted, strict=True)):
                raise mismatch(f"The plan gives {tensor.name} {shape} where {wanted} is wanted.")
    joined = {name: np.concatenate([part[name] for part in parts]) for name in names}
    return PlanAnswers(
        logits=joined[LOGITS.name].astype(np.float32),
        cam=joined[CAM.name].astype(np.float32),
        model_id=joined[MODEL_ID.name].astype(np.int32),
    )
