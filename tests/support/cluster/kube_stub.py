"""A Kubernetes API that can only be read: enough for Helm's ``lookup`` and ``.Capabilities`` to be real.

It answers with the objects and kinds that a test gives it, on loopback and a port of the system's choice. It neither
stores, defaults, validates nor schedules anything: what passes here has been seen by Helm, not by a cluster.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Manifest = dict[str, Any]

KINDS = {
    "v1": ("Secret", "Service", "ServiceAccount", "ConfigMap", "Pod"),
    "apps/v1": ("Deployment",),
    "policy/v1": ("PodDisruptionBudget",),
    "networking.k8s.io/v1": ("NetworkPolicy",),
}
"""APIs that every cluster has, as far as the chart asks."""
MONITORING: Mapping[str, tuple[str, ...]] = {"monitoring.coreos.com/v1": ("ServiceMonitor",)}
"""APIs that the Prometheus Operator's CRDs add."""

_EMPTY_OPENAPI = b"\x0a\x032.0"
"""The protobuf of an OpenAPI v2 document without any type: Helm wants one even where it validates nothing."""
_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def _plural(kind: str) -> str:
    return kind.lower()[:-1] + "ies" if kind.endswith("y") else kind.lower() + "s"


class _Handler(BaseHTTPRequestHandler):
    version: str
    kinds: Mapping[str, tuple[str, ...]]
    objects: dict[str, Manifest]

    def do_GET(self) -> None:
        path = self.path.split("?")[0].rstrip("/")
        group_version = path.removeprefix("/apis/").removeprefix("/api/")
        if path == "/version":
            major, minor = self.version.lstrip("v").split(".")[:2]
            self._json({"major": major, "minor": minor, "gitVersion": self.version})
        elif path == "/openapi/v2":
            self._send(200, _EMPTY_OPENAPI, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
        elif path in ("/api", "/apis"):
            self._json(self._groups(core=path == "/api"), content_type=_AGGREGATED)
        elif group_version in self.kinds:
            resources = [
                {"name": _plural(kind), "kind": kind, "namespaced": True, "verbs": ["get", "list"]}
                for kind in self.kinds[group_version]
            ]
            self._json({"kind": "APIResourceList", "groupVersion": group_version, "resources": resources})
        elif path in self.objects:
            self._json(self.objects[path])
        else:
            self._json({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}, status=404)

    def _groups(self, *, core: bool) -> Manifest:
        groups: dict[str, list[Manifest]] = {}
        for group_version, kinds in self.kinds.items():
            group, _, version = group_version.rpartition("/")
            if (group == "") == core:
                resources = [
                    {
                        "resource": _plural(kind),
                        "responseKind": {"group": group, "version": version, "kind": kind},
                        "singularResource": kind.lower(),
                        "scope": "Namespaced",
                        "verbs": ["get", "list"],
                    }
                    for kind in kinds
                ]
                groups.setdefault(group, []).append(
                    {"version": version, "freshness": "Current", "resources": resources}
                )
        items = [{"metadata": {"name": name} if name else {}, "versions": each} for name, each in groups.items()]
        return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}

    def _json(self, body: Manifest, *, status: int = 200, content_type: str = "application/json") -> None:
        self._send(status, json.dumps(body).encode(), content_type)

    def _send(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the tests' output is pytest's."""


@contextmanager
def kube_stub(
    kubeconfig: Path,
    *,
    objects: Sequence[Manifest] = (),
    crds: Mapping[str, tuple[str, ...]] | None = None,
    version: str = "v1.34.0",
) -> Iterator[None]:
    """Serve ``objects`` (core/v1, with a namespace) while the block runs; ``kubeconfig`` is written to reach them."""
    paths = {
        f"/api/v1/namespaces/{o['metadata']['namespace']}/{_plural(o['kind'])}/{o['metadata']['name']}": o
        for o in objects
    }
    attributes = {"version": version, "kinds": KINDS | dict(crds or {}), "objects": paths}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), attributes))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    cluster = {"name": "stub", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
    context = {"name": "stub", "context": {"cluster": "stub", "user": "stub"}}
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "stub", "clusters": [cluster]}
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(json.dumps(config | {"users": [{"name": "stub", "user": {}}], "contexts": [context]}))
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
