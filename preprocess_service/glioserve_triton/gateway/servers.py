"""The servers behind the gateway: which is asked, which is left out, and how many studies are under way."""

from __future__ import annotations

from urllib.parse import urlsplit

from glioserve_triton.gateway.messages import Json, named, type_url
from glioserve_triton.gateway.options import GatewayOptions, Jwt

SERVERS_CLUSTER, JWKS_CLUSTER, ADMIN_CLUSTER = "servers", "issuer", "admin"
SYSTEM_ROOTS = "/etc/ssl/certs/ca-certificates.crt"
_PROTOCOLS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_WINDOW_BYTES = 16 << 20


def servers_cluster(options: GatewayOptions) -> Json:
    """Return the cluster of the servers: the least busy healthy one is asked."""
    limits = options.limits
    cluster: Json = {
        "name": SERVERS_CLUSTER,
        "type": "STRICT_DNS",
        "connect_timeout": "2s",
        "lb_policy": "LEAST_REQUEST",
        # Two drawn at random, perhaps the same twice: a dead server, which is never busy, is not every draw's winner.
        "least_request_lb_config": {"choice_count": 2},
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "load_assignment": _endpoints(SERVERS_CLUSTER, options.endpoints),
        "typed_extension_protocol_options": {
            _PROTOCOLS: {
                "@type": type_url(_PROTOCOLS.removeprefix("envoy.")),
                "explicit_http_config": {
                    "http2_protocol_options": {
                        "initial_stream_window_size": _WINDOW_BYTES,
                        "initial_connection_window_size": 4 * _WINDOW_BYTES,
                    }
                },
            }
        },
        "health_checks": [
            {
                "timeout": "2s",
                "interval": "2s",
                "no_traffic_interval": "2s",
                "unhealthy_interval": "1s",
                "initial_jitter": "0.1s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "grpc_health_check": {},
            }
        ],
        # Only what shows that a server cannot be reached. A study that a server refuses does not put it out of use.
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 2,
            "enforcing_consecutive_local_origin_failure": 100,
            "enforcing_local_origin_success_rate": 0,
            "enforcing_consecutive_5xx": 0,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
            "interval": "1s",
            "base_ejection_time": "5s",
            "max_ejection_time": "60s",
            "max_ejection_percent": 100,
        },
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_requests": limits.max_requests_in_flight,
                    "max_pending_requests": limits.max_requests_in_flight,
                    "max_connections": limits.max_connections,
                    "max_retries": limits.max_requests_in_flight,
                }
            ]
        },
    }
    if options.servers_tls is not None:
        cluster["transport_socket"] = _tls(options)
    return cluster


def issuer_cluster(jwt: Jwt) -> Json:
    """Return the cluster of the host that publishes the issuer's keys."""
    address = urlsplit(jwt.jwks_uri or "")
    host = address.hostname or ""
    context = {
        "@type": type_url("extensions.transport_sockets.tls.v3.UpstreamTlsContext"),
        "sni": host,
        "common_tls_context": {"validation_context": _trusted(jwt.jwks_ca or SYSTEM_ROOTS, host)},
    }
    return {
        "name": JWKS_CLUSTER,
        "type": "STRICT_DNS",
        "connect_timeout": "5s",
        "load_assignment": _endpoints(JWKS_CLUSTER, ((host, address.port or 443),)),
        "transport_socket": named("envoy.transport_sockets.tls", context),
    }


def _tls(options: GatewayOptions) -> Json:
    tls = options.servers_tls
    assert tls is not None
    common: Json = {"validation_context": _trusted(tls.ca, tls.server_name), "alpn_protocols": ["h2"]}
    if tls.certificate is not None:
        pair = {"certificate_chain": {"filename": tls.certificate}, "private_key": {"filename": tls.private_key}}
        common["tls_certificates"] = [pair]
    context = {
        "@type": type_url("extensions.transport_sockets.tls.v3.UpstreamTlsContext"),
        "sni": tls.server_name,
        "common_tls_context": common,
    }
    return named("envoy.transport_sockets.tls", context)


def _trusted(authorities: str, name: str) -> Json:
    return {
        "trusted_ca": {"filename": authorities},
        "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": name}}],
    }


def _endpoints(cluster: str, addresses: tuple[tuple[str, int], ...]) -> Json:
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}} for host, port in addresses
    ]
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": endpoints}]}
