"""A stand-in of NVIDIA's dcgm-exporter for a machine without a GPU: its page, with its names and labels.

The labels ``namespace``, ``pod`` and ``container`` are those of the workload that has the GPU, as the exporter gets
them from the kubelet. Prometheus finds the exporter's own pod, so that they arrive as ``exported_namespace`` and so on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from night.pods import HOST

XID_FALLEN_OFF_THE_BUS = 79
LABELS = {"namespace": "gpu-operator", "pod": "nvidia-dcgm-exporter-x2x5q"}
"""Labels that Prometheus gives the exporter's series."""
PAGE = """\
# HELP DCGM_FI_DEV_XID_ERRORS Value of the last XID error encountered.
# TYPE DCGM_FI_DEV_XID_ERRORS gauge
DCGM_FI_DEV_XID_ERRORS{{{labels}}} {xid}
# HELP DCGM_FI_DEV_ECC_DBE_VOL_TOTAL Total number of double-bit volatile ECC errors.
# TYPE DCGM_FI_DEV_ECC_DBE_VOL_TOTAL counter
DCGM_FI_DEV_ECC_DBE_VOL_TOTAL{{{labels}}} 0
"""


class GpuExporter:
    """The page of one node's exporter, as a context manager; ``pod`` names the pod that has its GPU."""

    def __init__(self, namespace: str, pod: Callable[[], str]) -> None:
        self.xid = 0
        """Number of the GPU's last error."""
        exporter = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                labels = {
                    "gpu": "0",
                    "UUID": "GPU-00000000-0000-0000-0000-000000000000",
                    "device": "nvidia0",
                    "modelName": "stand-in",
                    "Hostname": "node-1",
                    "container": "glioserve",
                    "namespace": namespace,
                    "pod": pod(),
                }
                text = ",".join(f'{name}="{value}"' for name, value in labels.items())
                content = PAGE.format(labels=text, xid=exporter.xid).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", f"{len(content)}")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Write no log."""

        self._server = ThreadingHTTPServer((HOST, 0), Page)
        self.page = f"{HOST}:{self._server.server_port}"
        """``host:port`` that Prometheus scrapes."""
        self._thread = threading.Thread(target=self._server.serve_forever, name="dcgm-exporter")

    def __enter__(self) -> GpuExporter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
