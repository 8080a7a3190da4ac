"""Stand-in of the package nvidia-ml-py: the machine is what the JSON file named by FAKE_NVML holds.

Its functions have names, arguments and answers of the real ones; test_accelerator.py holds them to those.
"""

# ruff: noqa: N801, N818 - names of the real package

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

NVML_DEVICE_MIG_ENABLE = 1


class NVMLError(Exception):
    """Root of all errors."""


class NVMLError_LibraryNotFound(NVMLError): ...


class NVMLError_DriverNotLoaded(NVMLError): ...


class NVMLError_NotSupported(NVMLError): ...


class NVMLError_FunctionNotFound(NVMLError): ...


class NVMLError_NotFound(NVMLError): ...


class NVMLError_NoPermission(NVMLError): ...


class NVMLError_GpuIsLost(NVMLError): ...


def _machine() -> dict[str, Any]:
    machine: dict[str, Any] = json.loads(Path(os.environ["FAKE_NVML"]).read_text())
    return machine


def _text(text: str) -> str | bytes:
    return text.encode() if _machine()["bytes"] else text


def _raise(name: str | None) -> None:
    if name is not None:
        raise globals()[f"NVMLError_{name}"](name)


def nvmlInit() -> None:
    machine = _machine()
    time.sleep(machine["seconds"])
    _raise(machine["error"])


def nvmlSystemGetDriverVersion() -> str | bytes:
    return _text(_machine()["driver"])


def nvmlDeviceGetCount() -> int:
    return len(_machine()["gpus"])


def nvmlDeviceGetHandleByIndex(index: int) -> dict[str, Any]:
    gpu: dict[str, Any] = _machine()["gpus"][index]
    _raise(gpu.get("error"))
    return gpu


def nvmlDeviceGetName(handle: dict[str, Any]) -> str | bytes:
    return _text(handle["name"])


def nvmlDeviceGetCudaComputeCapability(handle: dict[str, Any]) -> tuple[int, int]:
    major, minor = handle["capability"]
    return major, minor


def nvmlDeviceGetMigMode(device: dict[str, Any]) -> list[int]:
    if "slices" not in device:
        raise NVMLError_NotSupported
    enabled = int(device["slices"] is not None)
    return [enabled, enabled]


def nvmlDeviceGetMaxMigDeviceCount(device: dict[str, Any]) -> int:
    return len(device["slices"])


def nvmlDeviceGetMigDeviceHandleByIndex(device: dict[str, Any], index: int) -> dict[str, Any]:
    mig: dict[str, Any] | None = device["slices"][index]
    if mig is None:
        raise NVMLError_NotFound
    _raise(mig.get("error"))
    return mig


def nvmlDeviceGetAttributes(device: dict[str, Any]) -> SimpleNamespace:
    gpu_slices, compute_slices, memory_mib = device["size"]
    return SimpleNamespace(
        gpuInstanceSliceCount=gpu_slices, computeInstanceSliceCount=compute_slices, memorySizeMB=memory_mib
    )
