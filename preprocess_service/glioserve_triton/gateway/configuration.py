"""Envoy's whole configuration as files: written once here, for one machine and for a cluster alike.

``gateway.json`` starts Envoy. It names ``listener.json``, which Envoy reads again when it is replaced, as it does the
PEM files. All are JSON, which Envoy takes as YAML.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from glioserve_triton.gateway.listener import (
    AUTHORITIES_SECRET,
    CERTIFICATE_SECRET,
    gateway_listener,
    socket_address,
)
from glioserve_triton.gateway.messages import CONNECTION_MANAGER, ROUTER, Json, named, type_url
from glioserve_triton.gateway.options import GatewayOptions, read_api_keys
from glioserve_triton.gateway.servers import ADMIN_CLUSTER, issuer_cluster, servers_cluster

START_FILE, LISTENER_FILE, ADMIN_SOCKET = "gateway.json", "listener.json", "admin.sock"
_HEAP = "envoy.resource_monitors.fixed_heap"
_CONNECTIONS = "envoy.resource_monitors.global_downstream_max_connections"
_ACTIONS = {
    "shrink_heap": 0.85,
    "disable_http_keepalive": 0.88,
    "stop_accepting_requests": 0.92,
    "stop_accepting_connections": 0.97,
}
"""Share of the heap from which Envoy does it."""
_RELEASED_BYTES = 256 << 20


def write_configuration(options: GatewayOptions, folder: Path, seen_as: Path | None = None) -> Path:
    """Write the files into ``folder``, readable by this user only; the path of the one that starts Envoy.

    ``seen_as`` is the folder's path where Envoy runs. Written anew while Envoy runs, credentials and limits of the
    listener change without a restart. GLIO-5131 where a file that the options name is unfit.
    """
    for name, content in configuration(options, (seen_as or folder).resolve()).items():
        temporary = folder / f".{name}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
        temporary.replace(folder / name)  # Envoy takes notice of a rename only
    return folder / START_FILE


def configuration(options: GatewayOptions, folder: Path) -> Mapping[str, Json]:
    """Return the content of each file by its name; they name each other by ``folder``."""
    callers = read_api_keys(Path(options.api_keys_file)) if options.api_keys_file else {}
    files: dict[str, Json] = {}
    secrets: dict[str, Path] = {}
    for name, resource in _secrets(options).items():
        file = f"{name}.json"
        files[file], secrets[name] = _resources(resource), folder / file
    files[LISTENER_FILE] = _resources(gateway_listener(options, callers, secrets))
    files[START_FILE] = _start(options, folder)
    return files


def _start(options: GatewayOptions, folder: Path) -> Json:
    clusters = [servers_cluster(options), _admin_cluster(folder)]
    if options.jwt is not None and options.jwt.jwks_uri is not None:
        clusters.append(issuer_cluster(options.jwt))
    listener = {"path": str(folder / LISTENER_FILE), "watched_directory": {"path": str(folder)}}
    return {
        "node": {"id": "gateway", "cluster": "glioserve"},
        "admin": {"address": {"pipe": {"path": str(folder / ADMIN_SOCKET), "mode": 0o600}}},
        "dynamic_resources": {"lds_config": {"path_config_source": listener, "resource_api_version": "V3"}},
        "static_resources": {"clusters": clusters, "listeners": _status_listener(options)},
        "overload_manager": _overload(options),
        "memory_allocator_manager": {"bytes_to_release": _RELEASED_BYTES, "memory_release_interval": "1s"},
    }


def _overload(options: GatewayOptions) -> Json:
    monitors = type_url("extensions.resource_monitors")
    heap = {"@type": f"{monitors}.fixed_heap.v3.FixedHeapConfig", "max_heap_size_bytes": options.limits.max_heap_bytes}
    connections = {
        "@type": f"{monitors}.downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": options.limits.max_connections,
    }
    triggered = [
        {"name": f"envoy.overload_actions.{action}", "triggers": [{"name": _HEAP, "threshold": {"value": share}}]}
        for action, share in _ACTIONS.items()
    ]
    largest = {
        "name": "envoy.overload_actions.reset_high_memory_stream",
        "triggers": [{"name": _HEAP, "scaled": {"scaling_threshold": 0.95, "saturation_threshold": 0.99}}],
    }
    return {
        "refresh_interval": "0.1s",
        "resource_monitors": [
            named(_HEAP, heap),
            named(_CONNECTIONS, connections),
        ],
        "actions": [*triggered, largest],
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": 20},
    }


def _status_listener(options: GatewayOptions) -> list[Json]:
    """Return the plain HTTP listener with ``/ready`` and ``/metrics``, where one is asked for."""
    if options.status is None:
        return []
    only_get = [{"name": ":method", "string_match": {"exact": "GET"}}]
    routes = [
        {
            "match": {"path": path, "headers": only_get},
            "route": {"cluster": ADMIN_CLUSTER, "prefix_rewrite": admin_path},
        }
        for path, admin_path in (("/ready", "/ready"), ("/metrics", "/stats/prometheus"))
    ]
    manager = {
        "@type": type_url(CONNECTION_MANAGER),
        "stat_prefix": "status",
        "codec_type": "HTTP1",
        "request_headers_timeout": "5s",
        "request_timeout": "5s",
        "http_filters": [named("envoy.filters.http.router", {"@type": type_url(ROUTER)})],
        "route_config": {"virtual_hosts": [{"name": "status", "domains": ["*"], "routes": routes}]},
    }
    chain = {"filters": [named("envoy.filters.network.http_connection_manager", manager)]}
    address = socket_address(options.status.host, options.status.port)
    return [{"name": "status", "address": address, "filter_chains": [chain]}]


def _admin_cluster(folder: Path) -> Json:
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(folder / ADMIN_SOCKET)}}}}
    return {
        "name": ADMIN_CLUSTER,
        "type": "STATIC",
        "load_assignment": {"cluster_name": ADMIN_CLUSTER, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _secrets(options: GatewayOptions) -> Mapping[str, Json]:
    """Return what names the PEM files. Envoy reads them again when something is renamed in their folder."""
    if options.tls is None:
        return {}
    certificate = {
        "certificate_chain": {"filename": options.tls.certificate},
        "private_key": {"filename": options.tls.private_key},
        "watched_directory": {"path": str(Path(options.tls.certificate).parent)},
    }
    secrets = {CERTIFICATE_SECRET: _secret(CERTIFICATE_SECRET, "tls_certificate", certificate)}
    if options.tls.client_ca is not None:
        authorities = {
            "trusted_ca": {"filename": options.tls.client_ca},
            "watched_directory": {"path": str(Path(options.tls.client_ca).parent)},
        }
        secrets[AUTHORITIES_SECRET] = _secret(AUTHORITIES_SECRET, "validation_context", authorities)
    return secrets


def _secret(name: str, kind: str, content: Json) -> Json:
    return {
        "@type": type_url("extensions.transport_sockets.tls.v3.Secret"),
        "name": name,
        kind: content,
    }


def _resources(*resources: Json) -> Json:
    return {"resources": list(resources)}
