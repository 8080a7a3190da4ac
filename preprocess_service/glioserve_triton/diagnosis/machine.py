"""The machine: its system, its Python and its GPU."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator

from glioserve_contract import GlioserveError
from glioserve_triton.diagnosis.findings import Finding, readable_size, short_path
from glioserve_triton.plans import accelerator


def machine_findings() -> Iterator[Finding]:
    """Yield the findings of the area ``machine``."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    libc = " ".join(platform.libc_ver())
    memory = readable_size(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    system = f"{platform.system()} {platform.release()} {platform.machine()} {libc}, {cpus} CPUs, {memory} memory"
    yield Finding("machine", "system", "ok", system)
    yield Finding("machine", "python", "ok", f"{platform.python_version()} at {short_path(sys.executable)}")
    yield _gpu()


def _gpu() -> Finding:
    """Return the GPU; none is not a fault, since ONNX Runtime and OpenVINO serve on processors."""
    try:
        device = accelerator.find_device()
    except GlioserveError as error:
        return Finding("machine", "GPU", "warn", error.detail, error.action)
    if device is None:
        return Finding("machine", "GPU", "--", f"none found: {accelerator.no_device_reason()}")
    found = f"{device.name}, compute capability {device.compute_capability}, driver {device.driver_version}"
    return Finding("machine", "GPU", "ok", found)
