"""Large requests come and go: the server gives their memory back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from glioserve_triton.allocator import set_for_server
from glioserve_triton.process.server import TritonServer
from support.server.tiny_repository import hold, tensor_in
from support.server.triton import running_server, wait_until

REQUESTS, MIB = 8, 1 << 20
REQUEST_BYTES = 48 * MIB


def anonymous_bytes(server: TritonServer) -> int:
    """Memory of tritonserver itself, shared memory and files left out."""
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon"))


@pytest.mark.long
@pytest.mark.triton
def test_the_memory_of_waiting_requests_is_given_back(repository: Path) -> None:
    """Triton would keep the buffers of its last eight requests for ever, whatever their size."""
    rows = np.ones((REQUEST_BYTES // 16, 4), np.float32)

    def ask() -> None:
        with triton.InferenceServerClient(server.grpc_url) as raw:
            raw.infer("preprocess", [tensor_in("RAW", rows)], client_timeout=60)

    with running_server(repository) as server:
        callers = [threading.Thread(target=ask) for _ in range(REQUESTS)]
        with hold(repository):
            for caller in callers:
                caller.start()
            wait_until(lambda: anonymous_bytes(server) > (REQUESTS - 1) * REQUEST_BYTES, "all requests are there")
        for caller in callers:
            caller.join(60)
        wait_until(lambda: anonymous_bytes(server) < 0.1 * REQUESTS * REQUEST_BYTES, "a tenth is left of what was sent")


def test_what_an_operator_has_set_stays() -> None:
    environment = {"MALLOC_ARENA_MAX": "7"}
    set_for_server(environment)
    assert environment["MALLOC_ARENA_MAX"] == "7"
    assert {"MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_"} < environment.keys()


@pytest.mark.parametrize("undone", [False, True])
def test_a_python_model_keeps_its_arrays_in_the_arenas(undone: bool) -> None:
    """Arrays would be mapped anew with the server's settings, and their pages cleared again."""
    code = f"""
import ctypes
from glioserve_triton.allocator import set_for_python_model
if {undone}:
    set_for_python_model()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p


class Information(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", *"abcdef")]


libc.mallinfo2.restype = Information
before = libc.mallinfo2().hblks
kept = libc.malloc(1 << 20)
print(libc.mallinfo2().hblks - before)
"""
    environment = dict(os.environ)
    set_for_server(environment)
    mapped = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(mapped.stdout) == (0 if undone else 1)
