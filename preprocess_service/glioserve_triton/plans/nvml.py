"""Print this machine's GPUs as JSON, by NVIDIA's management library (NVML).

:mod:`accelerator` runs this file in a process of its own, with a time limit: a broken driver can hang or crash the
process that loads its library. The exit code is 0 where the library answered, also where it lists no GPU.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator

import pynvml

_PROFILE = re.compile(r"\bMIG (\S+)$")
"""A MIG slice's name ends in its profile, as in ``NVIDIA A30 MIG 1g.6gb``."""


def devices() -> Iterator[dict[str, str]]:
    """Yield name, compute capability and driver version of each GPU that this process may use.

    A GPU that is divided is listed as its MIG slices: work runs in them and not in the whole GPU. In a container
    these are the slices that it was given.
    """
    pynvml.nvmlInit()
    driver = _text(pynvml.nvmlSystemGetDriverVersion())
    for index in range(pynvml.nvmlDeviceGetCount()):
        try:
            gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
        except pynvml.NVMLError_NoPermission:  # counted, but given to another container
            continue
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(gpu)
        name = _text(pynvml.nvmlDeviceGetName(gpu))
        for label in [f"{name} (MIG {profile})" for profile in _profiles(gpu)] or [name]:
            yield {"name": label, "compute_capability": f"{major}.{minor}", "driver_version": driver}


def _profiles(gpu: object) -> Iterator[str]:
    """Yield the profile of each MIG slice, such as ``1g.6gb``."""
    try:
        current, _pending = pynvml.nvmlDeviceGetMigMode(gpu)
    except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):  # the GPU, or its driver, has none
        return
    if current != pynvml.NVML_DEVICE_MIG_ENABLE:
        return
    for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
        try:
            mig = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index)
        except (pynvml.NVMLError_NotFound, pynvml.NVMLError_NoPermission):  # no slice there, or not this process's
            continue
        named = _PROFILE.search(_text(pynvml.nvmlDeviceGetName(mig)))
        yield named[1] if named else _profile_of_size(mig)


def _profile_of_size(mig: object) -> str:
    """Return the profile by NVIDIA's naming rule: compute slices, where fewer than the GPU's, GPU slices, memory."""
    size = pynvml.nvmlDeviceGetAttributes(mig)
    gpu_slices, compute_slices = size.gpuInstanceSliceCount, size.computeInstanceSliceCount
    part = "" if compute_slices == gpu_slices else f"{compute_slices}c."
    return f"{part}{gpu_slices}g.{math.ceil(size.memorySizeMB / 1024)}gb"


def _text(value: str | bytes) -> str:
    """Return NVML's text; older bindings give bytes."""
    return value.decode() if isinstance(value, bytes) else value


if __name__ == "__main__":
    try:
        print(json.dumps(list(devices())))
    except pynvml.NVMLError as error:  # no library, no driver, a GPU that is lost
        sys.exit(f"NVML: {error}")
