"""The search for this machine's TensorRT: its Python API, else trtexec."""

from __future__ import annotations

import re
from dataclasses import replace

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_tensorrt.builders.python_api import PythonApi
from glioserve_tensorrt.builders.trtexec import Trtexec
from glioserve_tensorrt.toolkit import OLDEST
from glioserve_triton.plans.accelerator import (
    QUERY_TIMEOUT_S,
    find_trtexec,
    library_version,
    python_package_version,
    trtexec_version,
)


def find_toolkit(timeout_s: float = QUERY_TIMEOUT_S) -> PythonApi | Trtexec:
    """Return the Python API where it is installed, else trtexec.

    GLIO-5119 where neither is, where TensorRT is too old, or where it is another TensorRT than the system's library,
    which Triton would load the plan with.
    """
    toolkit, library = _installed(timeout_s), library_version(timeout_s)
    if library is None:
        return toolkit
    if library != toolkit.version and not library.startswith(f"{toolkit.version}."):  # a banner may lack the build
        raise GlioserveError(
            ErrorCode.ENGINE_BUILD_FAILED,
            f"The builder ({toolkit.name}) is TensorRT {toolkit.version}, but Triton loads the system's libnvinfer "
            f"{library}, which cannot read its plans. Install the builder in version {library}, for Python the "
            "bindings without libraries (docs/tensorrt.md).",
        )
    return replace(toolkit, version=library)


def _installed(timeout_s: float) -> PythonApi | Trtexec:
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
