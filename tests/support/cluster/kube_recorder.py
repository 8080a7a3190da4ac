"""A Kubernetes API that keeps what Helm sends it, for installs, upgrades, hooks, tests and rollbacks; on loopback only.

It does not schedule, default or validate anything. Jobs and Pods are born succeeded, so hooks and ``helm test``
finish; a name in ``failing`` is born failed.
"""

from __future__ import annotations

import base64
import copy
import json
import re
import threading
import time
import uuid
from collections.abc import Collection, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Manifest = dict[str, Any]
Kinds = Mapping[str, Mapping[str, tuple[str, int]]]

# group/version -> {plural: (Kind, namespaced)}
KINDS: Kinds = {
    "v1": {
        "pods": ("Pod", 1),
        "services": ("Service", 1),
        "secrets": ("Secret", 1),
        "configmaps": ("ConfigMap", 1),
        "serviceaccounts": ("ServiceAccount", 1),
        "persistentvolumeclaims": ("PersistentVolumeClaim", 1),
        "namespaces": ("Namespace", 0),
    },
    "apps/v1": {
        "deployments": ("Deployment", 1),
        "daemonsets": ("DaemonSet", 1),
        "statefulsets": ("StatefulSet", 1),
        "replicasets": ("ReplicaSet", 1),
    },
    "batch/v1": {"jobs": ("Job", 1), "cronjobs": ("CronJob", 1)},
    "autoscaling/v2": {"horizontalpodautoscalers": ("HorizontalPodAutoscaler", 1)},
    "policy/v1": {"poddisruptionbudgets": ("PodDisruptionBudget", 1)},
    "networking.k8s.io/v1": {"networkpolicies": ("NetworkPolicy", 1), "ingresses": ("Ingress", 1)},
    "rbac.authorization.k8s.io/v1": {"roles": ("Role", 1), "rolebindings": ("RoleBinding", 1)},
    "resource.k8s.io/v1": {"resourceclaimtemplates": ("ResourceClaimTemplate", 1)},
    "monitoring.coreos.com/v1": {
        "servicemonitors": ("ServiceMonitor", 1),
        "podmonitors": ("PodMonitor", 1),
        "prometheusrules": ("PrometheusRule", 1),
    },
    "keda.sh/v1alpha1": {"scaledobjects": ("ScaledObject", 1)},
    "gateway.networking.k8s.io/v1": {"grpcroutes": ("GRPCRoute", 1), "httproutes": ("HTTPRoute", 1)},
}
PATH = re.compile(
    r"^/(?:api/(?P<core>v1)|apis/(?P<gv>[^/]+/[^/]+))"
    r"(?:/namespaces/(?P<ns>[^/]+)(?=/[a-z]))?/(?P<res>[a-z]+)(?:/(?P<name>[^/]+))?(?:/status)?$"
)


def merge(base: Any, patch: Any) -> Any:
    """Return the merge patch applied (RFC 7386); lists are replaced, which is enough for what Helm sends."""
    if not isinstance(patch, dict):
        return patch
    out = dict(base) if isinstance(base, dict) else {}
    for k, v in patch.items():
        if v is None:
            out.pop(k, None)
        elif not k.startswith("$"):
            out[k] = merge(out.get(k), v)
    return out


def wire(data: bytes) -> dict[int, list[bytes]]:
    """Return the length-delimited fields of a protobuf message by number; varints are read past."""
    out: dict[int, list[bytes]] = {}
    i = 0

    def varint() -> int:
        nonlocal i
        n = shift = 0
        while True:
            b, i = data[i], i + 1
            n |= (b & 127) << shift
            shift += 7
            if b < 128:
                return n

    while i < len(data):
        tag = varint()
        n = varint()
        if tag & 7 == 2:
            out.setdefault(tag >> 3, []).append(data[i : i + n])
            i += n
    return out


def from_protobuf(body: bytes) -> Manifest | None:
    """Return the Secret that Helm's typed client sends in protobuf; None for anything else (DeleteOptions)."""
    envelope = wire(body[4:])
    kind = wire(envelope[1][0]).get(2, [b""])[0].decode()
    if kind != "Secret":
        return None
    obj = wire(envelope[2][0])
    meta = wire(obj[1][0])

    def table(fields: list[bytes]) -> dict[str, bytes]:
        return {e[1][0].decode(): e.get(2, [b""])[0] for e in map(wire, fields)}

    return {
        "apiVersion": "v1",
        "kind": kind,
        "type": obj[3][0].decode(),
        "metadata": {
            "name": meta[1][0].decode(),
            "namespace": meta.get(3, [b""])[0].decode(),
            "labels": {k: v.decode() for k, v in table(meta.get(11, [])).items()},
        },
        "data": {k: base64.b64encode(v).decode() for k, v in table(obj.get(2, [])).items()},
    }


def prune(live: Manifest, was: Manifest, now: Manifest) -> Manifest:
    """Return the object without what its manager set before and no longer does, as server-side apply has it."""
    return {
        k: prune(v, was[k], now[k])
        if isinstance(v, dict) and isinstance(was.get(k), dict) and isinstance(now.get(k), dict)
        else v
        for k, v in live.items()
        if k in now or k not in was
    }


class Recorder:
    """A recording API, as a context manager."""

    def __init__(self, kinds: Kinds = KINDS, version: str = "v1.34.0", failing: Collection[str] = ()) -> None:
        self.kinds, self.version, self.failing = kinds, version, set(failing)
        self.rv, self.cv = 1, threading.Condition()
        self.objects: dict[Any, Manifest] = {}
        self.applied: dict[Any, Manifest] = {}
        stub = self

        class Handler(_Handler):
            api = stub

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def kubeconfig(self, ns: str = "default") -> str:
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "s",
                "preferences": {},
                "clusters": [{"name": "s", "cluster": {"server": self.url}}],
                "users": [{"name": "s", "user": {}}],
                "contexts": [{"name": "s", "context": {"cluster": "s", "user": "s", "namespace": ns}}],
            }
        )

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def all(self, kind: str) -> list[Manifest]:
        return [o for o in self.objects.values() if o["kind"] == kind]

    def put(self, key: Any, obj: Manifest, event: str) -> Manifest:
        with self.cv:
            self.rv += 1
            meta = obj.setdefault("metadata", {})
            meta["resourceVersion"] = str(self.rv)
            meta.setdefault("uid", str(uuid.uuid4()))
            meta.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
            if event == "DELETED":
                self.objects.pop(key, None)
            else:
                if obj["kind"] in ("Job", "Pod"):
                    bad = meta["name"] in self.failing
                    obj["status"] = (
                        {"phase": "Failed" if bad else "Succeeded"}
                        if obj["kind"] == "Pod"
                        else {
                            "conditions": [
                                {
                                    "type": "Failed" if bad else "Complete",
                                    "status": "True",
                                    "reason": "Stub",
                                    "message": "stub",
                                }
                            ]
                        }
                    )
                elif obj["kind"] == "Deployment":
                    n = obj["spec"].get("replicas", 1)
                    meta["generation"] = meta.get("generation", 0) + 1
                    obj["status"] = {
                        "observedGeneration": meta["generation"],
                        "replicas": n,
                        "readyReplicas": n,
                        "updatedReplicas": n,
                        "availableReplicas": n,
                        "conditions": [{"type": "Available", "status": "True"}],
                    }
                self.objects[key] = obj
            self.cv.notify_all()
        return obj


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: Recorder

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""

    def reply(self, code: int, body: Manifest | bytes, ctype: str = "application/json") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", ctype)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def missing(self, what: str) -> None:
        self.reply(
            404,
            {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "reason": "NotFound",
                "code": 404,
                "message": f"{what} not found",
            },
        )

    def discovery(self, path: str) -> None:
        api, core = self.api, path == "/api"
        if "APIGroupDiscoveryList" in self.headers.get("Accept", ""):
            groups: dict[str, list[Manifest]] = {}
            for gv, kinds in api.kinds.items():
                g, _, v = gv.rpartition("/")
                if (g == "") == core:
                    groups.setdefault(g, []).append(
                        {
                            "version": v,
                            "freshness": "Current",
                            "resources": [
                                {
                                    "resource": p,
                                    "responseKind": {"group": g, "version": v, "kind": k},
                                    "singularResource": k.lower(),
                                    "scope": "Namespaced" if ns else "Cluster",
                                    "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
                                }
                                for p, (k, ns) in kinds.items()
                            ],
                        }
                    )
            return self.reply(
                200,
                {
                    "kind": "APIGroupDiscoveryList",
                    "apiVersion": "apidiscovery.k8s.io/v2",
                    "metadata": {},
                    "items": [{"metadata": {"name": g} if g else {}, "versions": v} for g, v in groups.items()],
                },
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            )
        self.reply(406, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 406})
        return None

    def handle_any(self) -> None:
        api, url = self.api, urlsplit(self.path)
        query = {k: v[0] for k, v in parse_qs(url.query).items()}
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body: Any = from_protobuf(sent) if sent[:4] == b"k8s\0" else json.loads(sent or b"null")
        if url.path == "/version":
            major, minor = api.version.lstrip("v").split(".")[:2]
            return self.reply(200, {"major": major, "minor": minor, "gitVersion": api.version})
        if url.path == "/openapi/v2":  # an empty schema: Helm insists on one to check hooks, and skips kinds it lacks
            return self.reply(200, b"\x0a\x032.0", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
        if url.path in ("/api", "/apis"):
            return self.discovery(url.path)
        if (gv := url.path.removeprefix("/apis/").removeprefix("/api/")) in api.kinds:  # `lookup` asks the older way
            return self.reply(
                200,
                {
                    "kind": "APIResourceList",
                    "apiVersion": "v1",
                    "groupVersion": gv,
                    "resources": [
                        {"name": p, "kind": k, "namespaced": bool(n), "verbs": ["get", "list"]}
                        for p, (k, n) in api.kinds[gv].items()
                    ],
                },
            )
        m = PATH.match(url.path)
        if m is None or m["res"] not in api.kinds.get(m["core"] or m["gv"], {}):
            return self.missing(url.path)
        gv = m["core"] or m["gv"]
        kind, namespaced = api.kinds[gv][m["res"]]
        ns, name = (m["ns"] or "") if namespaced else "", m["name"]
        key, method = (gv, kind, ns, name), self.command
        if method == "POST":
            key = (gv, kind, ns, body["metadata"]["name"])
            if key in api.objects:
                return self.reply(
                    409,
                    {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "AlreadyExists", "code": 409},
                )
            body = {"apiVersion": gv, "kind": kind} | body
            if namespaced:
                body["metadata"].setdefault("namespace", ns)
            return self.reply(201, api.put(key, body, "ADDED"))
        if name is None:
            return self.collection(gv, kind, ns, query)
        old = api.objects.get(key)
        if method == "PATCH" and "apply" in self.headers["Content-Type"]:
            was, api.applied[key] = api.applied.get(key, {}), body
            if namespaced:
                body["metadata"].setdefault("namespace", ns)
            if not old:
                return self.reply(201, api.put(key, copy.deepcopy(body), "ADDED"))
            old = prune(old, was, body)
        if not old:
            if kind == "Namespace" and method == "GET":
                return self.reply(200, {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}})
            return self.missing(f'{m["res"]} "{name}"')
        if method == "PATCH":
            return self.reply(200, api.put(key, merge(old, body), "MODIFIED"))
        if method == "PUT":
            return self.reply(200, api.put(key, {"apiVersion": gv, "kind": kind} | body, "MODIFIED"))
        if method == "DELETE":
            api.put(key, old, "DELETED")
        self.reply(200, old)
        return None

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815 - http.server's names

    def collection(self, gv: str, kind: str, ns: str, query: Mapping[str, str]) -> None:
        def wanted(o: Manifest) -> bool:
            labels, meta = o["metadata"].get("labels") or {}, o["metadata"]
            for want in filter(None, query.get("labelSelector", "").split(",")):
                k, _, v = want.replace("==", "=").partition("=")
                if not k.endswith("!") and labels.get(k) != v:
                    return False
            want = query.get("fieldSelector", "")
            return not want.startswith("metadata.name=") or meta["name"] == want[14:]

        def now() -> dict[Any, Manifest]:
            return {k: o for k, o in self.api.objects.items() if k[:2] == (gv, kind) and ns in ("", k[2]) and wanted(o)}

        if query.get("watch") not in ("true", "1"):
            return self.reply(
                200,
                {
                    "kind": kind + "List",
                    "apiVersion": gv,
                    "metadata": {"resourceVersion": str(self.api.rv)},
                    "items": list(now().values()),
                },
            )
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

        def event(kind: str, obj: Manifest) -> None:
            line = json.dumps({"type": kind, "object": obj}).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()

        seen: dict[Any, Manifest] = {}
        end = time.monotonic() + 30
        since = int(query.get("resourceVersion") or 0)
        try:
            if query.get("sendInitialEvents") == "true":
                for k, o in now().items():
                    seen[k] = o
                    event("ADDED", o)
                event(
                    "BOOKMARK",
                    {
                        "apiVersion": gv,
                        "kind": kind,
                        "metadata": {
                            "resourceVersion": str(self.api.rv),
                            "annotations": {"k8s.io/initial-events-end": "true"},
                        },
                    },
                )
            while time.monotonic() < end:
                with self.api.cv:
                    current = now()
                    for k, o in current.items():
                        if seen.get(k) is not o and int(o["metadata"]["resourceVersion"]) > since:
                            event("MODIFIED" if k in seen else "ADDED", o)
                    for k in seen.keys() - current.keys():
                        event("DELETED", seen[k])
                    seen = current
                    self.api.cv.wait(0.5)
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True
