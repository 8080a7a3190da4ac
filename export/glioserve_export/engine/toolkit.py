"""TensorRT as it is installed here: by its Python API, else by ``trtexec``. Two ways to build and to run a plan."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.accelerator import QUERY_TIMEOUT_S, find_trtexec, python_package_version, trtexec_version
from glioserve_contract.plan import mismatch
from glioserve_contract.tensors import CAM, CLASSIFIER_MODEL, LOGITS, MODEL_ID
from glioserve_export.engine.options import BuildOptions
from glioserve_export.probes import Array

OLDEST = (10, 12)
"""The first TensorRT in which strong typing covers what these graphs need, as ``--stronglyTyped`` and as a flag."""

Outputs = dict[str, npt.NDArray[np.generic]]
"""By name, batch first."""


@dataclass(frozen=True)
class BuildRequest:
    """One plan to build, in a folder of its own."""

    onnx: Path
    options: BuildOptions
    timing_cache: Path
    """Read where it is there, and written again with what was learnt."""
    plan: Path
    """Where it is to be."""
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
    """By profile: how many at once, :data:`profiles.BATCHES`."""
    work: Path
    timeout_s: float


@dataclass(frozen=True, eq=False)
class Answers:
    """What a plan answers to n studies."""

    logits: Array
    """[n, 2]."""
    cam: Array
    """[n, 2, d, h, w]."""
    model_id: npt.NDArray[np.int32]
    """[n, 8]."""


class Toolkit(Protocol):
    """One way to TensorRT."""

    @property
    def name(self) -> Literal["tensorrt", "trtexec"]:
        """Which one."""

    @property
    def version(self) -> str:
        """TensorRT's, all four numbers."""

    def build(self, request: BuildRequest) -> None:
        """Write the plan; GLIO-5119, with the end of the builder's log, where none came of it."""

    def run(self, request: RunRequest) -> tuple[Answers, ...]:
        """By profile; GLIO-5120 where the plan does not run here."""


def find_toolkit(timeout_s: float = QUERY_TIMEOUT_S) -> Toolkit:
    """The Python API where it is installed, else trtexec; GLIO-5119 where neither is, or TensorRT is too old."""
    from glioserve_export.engine.python_api import PythonApi
    from glioserve_export.engine.trtexec import Trtexec

    version = python_package_version(timeout_s)
    if version is not None:
        _check_version(version)
        return PythonApi(version)
    trtexec = find_trtexec()
    version = trtexec_version(trtexec, timeout_s) if trtexec else None
    if trtexec is None or version is None:
        found = "trtexec does not say its version" if trtexec else "neither the Python package nor trtexec was found"
        raise GlioserveError(
            ErrorCode.ENGINE_BUILD_FAILED,
            f"TensorRT is not here: {found}. Build in the image that serves (docs/tensorrt.md).",
        )
    _check_version(version)
    return Trtexec(trtexec, version)


def _check_version(version: str) -> None:
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    if numbers < OLDEST:
        raise GlioserveError(
            ErrorCode.ENGINE_BUILD_FAILED,
            f"TensorRT {version} is here; plans are built with {'.'.join(map(str, OLDEST))} or later.",
        )


def batches_of(count: int, batch: int) -> list[slice]:
    """``count`` studies in batches; the last may be smaller."""
    return [slice(start, min(start + batch, count)) for start in range(0, count, batch)]


def answers_of(parts: list[Outputs], counts: list[int]) -> Answers:
    """The outputs of several batches as one; GLIO-5120 where one lacks a tensor or has another shape or kind."""
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
    return Answers(
        logits=joined[LOGITS.name].astype(np.float32),
        cam=joined[CAM.name].astype(np.float32),
        model_id=joined[MODEL_ID.name].astype(np.int32),
    )
