"""Print what a package ``tensorrt`` really does, as far as it can be asked without a GPU, as JSON.

Run in a process of its own with the real bindings, or with the stand-in, as ``tensorrt``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import tensorrt as trt


def outcome(call: Callable[[], Any]) -> Any:
    """Return what a call gives; the name of the error's class where it raises."""
    try:
        return call()
    except Exception as error:
        return type(error).__name__


def facts() -> dict[str, Any]:
    """One line per rule that the worker depends on."""
    flag, tf32 = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED, trt.BuilderFlag.TF32
    logger, dims = trt.Logger(trt.Logger.WARNING), trt.Dims((1, 3, 8))
    return {
        "a member is shifted": outcome(lambda: 1 << flag),
        "a member's number is shifted": outcome(lambda: 1 << int(flag)),
        "a member is a number": isinstance(tf32, int),
        "members are told apart": tf32 == trt.BuilderFlag.TF32 and tf32 in {tf32},
        "a logger of a number": outcome(lambda: trt.Logger(2)),
        "a logger has": [name for name in ("severity", "min_severity") if hasattr(logger, name)],
        "a logger is an ILogger": isinstance(logger, trt.ILogger),
        "a builder without a GPU": outcome(lambda: trt.Builder(logger)),
        "a runtime without a GPU": outcome(lambda: trt.Runtime(logger)),
        "a builder of no logger": outcome(lambda: trt.Builder(None)),
        "dims are gone through": [int(n) for n in dims],
        "dims are counted": len(dims),
        "dims are a": [kind.__name__ for kind in (tuple, list) if isinstance(dims, kind)],
        "host memory has": [n for n in ("__len__", "__getitem__", "nbytes") if hasattr(trt.IHostMemory, n)],
        "float32 is": trt.nptype(trt.float32).__name__,
        "int32 is": trt.nptype(trt.int32).__name__,
        "an engine counts its profiles": hasattr(trt.ICudaEngine, "num_optimization_profiles"),
    }


if __name__ == "__main__":
    print(json.dumps({"version": trt.__version__, "facts": facts()}))
