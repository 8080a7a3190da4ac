"""The search for this machine's TensorRT: its Python API, else trtexec."""

from __future__ import annotations

import re

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_tensorrt.builders.python_api import PythonApi
from glioserve_tensorrt.builders.trtexec import Trtexec
from glioserve_tensorrt.toolkit import OLDEST, Toolkit
from glioserve_triton.plans.accelerator import (
    QUERY_TIMEOUT_S,
    find_trtexec,
    python_package_version,
    trtexec_version,
)


def find_toolkit(timeout_s: float = QUERY_TIMEOUT_S) -> Toolkit:
    """Return the Python API where it is installed, else trtexec; GLIO-5119 where neither is, or TensorRT is too old."""
    version = python_package_version(timeout_s)
    if version is not None:
        _check_version(version)
        return PythonApi(version)
    trtexec = find_trtexec()
    version = trtexec_version(trtexec, timeout_s) if trtexec else None
    if trtexec is None or version is None:
        found = "trtexec does not report its version" if trtexec else "neither the Python package nor trtexec was found"
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
