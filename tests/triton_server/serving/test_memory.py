"""Large requests come and go: the server gives their memory back."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from glioserve_triton.process.server import TritonServer
from support.server.tiny_repository import hold, tensor_in
from support.server.triton import running_server, wait_until

pytestmark = pytest.mark.triton
REQUESTS, MIB = 8, 1 << 20
REQUEST_BYTES = 48 * MIB


def anonymous_bytes(server: TritonServer) -> int:
    """Memory of tritonserver itself, shared memory and files left out."""
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon"))


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
        wait_until(lambda: anonymous_bytes(server) < 0.85 * REQUESTS * REQUEST_BYTES, "less is left than was sent")
