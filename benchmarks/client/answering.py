"""A server for the client's benchmark: it takes any request whole and gives one prepared answer.

``python -m client.answering``: prints its port, and ends with its standard input.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np

from glioserve_client.calls.message import ModelInferResponse
from glioserve_client.protocol import method
from glioserve_client.testing.canned import outputs_of, report_of, warm_spot

_DTYPES = {"float32": "FP32", "float64": "FP64", "object": "BYTES"}
_SHAPE = (24, 256, 256)


def answer() -> bytes:
    """A response with a heat map of 6 MB."""
    affine = np.diag([1.0, 1.0, 5.0, 1.0])
    heat = warm_spot(_SHAPE, affine, (120.0, 120.0, 60.0), 12.0)
    made = ModelInferResponse(model_name="glioma", model_version="1")
    for name, array in outputs_of(report_of(heat, affine), heat).items():
        made.outputs.add(name=name, datatype=_DTYPES[str(array.dtype)], shape=array.shape)
        elements = [len(e).to_bytes(4, "little") + e for e in array] if array.dtype == object else [array.tobytes()]
        made.raw_output_contents.append(b"".join(elements))
    content: bytes = made.SerializeToString()
    return content


class _Handler(grpc.GenericRpcHandler):
    def __init__(self) -> None:
        self._answer = answer()

    def service(self, details: Any) -> Any:
        if details.method != method("ModelInfer"):
            return None
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self._answer)


def main() -> None:
    """Serve until the standard input ends."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(4), handlers=[_Handler()], options=options)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(None)


@contextmanager
def answering() -> Iterator[str]:
    """Run the server as a process; with it comes its URL."""
    command = [sys.executable, "-m", "client.answering"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"127.0.0.1:{process.stdout.readline().strip()}"
        process.communicate()


if __name__ == "__main__":
    main()
