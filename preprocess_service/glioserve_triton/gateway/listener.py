"""The listener that callers reach: TLS, credentials, rate, size, methods, deadlines, and the access log."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from glioserve_contract.tensors import CALLER_PARAMETER, ENSEMBLE
from glioserve_triton.gateway import answers
from glioserve_triton.gateway.messages import CONNECTION_MANAGER, ROUTER, Json, named, type_url
from glioserve_triton.gateway.options import GatewayOptions, Jwt, read_key_set
from glioserve_triton.gateway.servers import JWKS_CLUSTER, SERVERS_CLUSTER

SERVICE = "/inference.GRPCInferenceService"
INFER = f"{SERVICE}/ModelInfer"
OPEN_METHODS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata")
"""Methods that may be asked beside an inference. Model control, shared memory, traces, logs and statistics may not."""
HEALTH = ("/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch")
"""Asked without credentials: probes have none, and the answer is one word."""
CALLER_HEADER = CALLER_PARAMETER
"""Set by the gateway alone; what a caller sends under this name is removed first."""
CERTIFICATE_SECRET, AUTHORITIES_SECRET = "certificate", "authorities"
_API_KEYS, _ONLY_ENSEMBLE, _RATE = "glioserve.api_keys", "glioserve.only_ensemble", "envoy.filters.http.local_ratelimit"
_ANY_CALLS = {"max_tokens": 1000, "tokens_per_fill": 1000, "fill_interval": "1s"}
"""Bound on calls of any kind, of all callers together."""
_TYPES = type_url("extensions.filters.http")
_MUTATION = "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
_WINDOW_BYTES = 4 << 20
_STREAMS_OF_WINDOW = 4
_HEADERS_KIB = 16
_MOST_HEADERS = 64


def gateway_listener(options: GatewayOptions, callers: Mapping[str, str], secrets: Mapping[str, Path]) -> Json:
    """Return the listener.

    ``callers`` are names by their keys' SHA-256; ``secrets`` are the files that name the PEM files.
    """
    chain: Json = {"filters": [named("envoy.filters.network.http_connection_manager", _connections(options, callers))]}
    if options.tls is not None:
        chain["transport_socket"] = _tls(options, secrets)
        chain["transport_socket_connect_timeout"] = _seconds(options.timeouts.headers_s)
    return {
        "@type": type_url("config.listener.v3.Listener"),
        "name": "gateway",
        "address": socket_address(options.listen.host, options.listen.port),
        "per_connection_buffer_limit_bytes": 1 << 20,
        "filter_chains": [chain],
    }


def socket_address(host: str, port: int) -> Json:
    """Return an address as Envoy writes it; ``::`` takes IPv4 too."""
    extra = {"ipv4_compat": True} if host == "::" else {}
    return {"socket_address": {"address": host, "port_value": port, **extra}}


def _connections(options: GatewayOptions, callers: Mapping[str, str]) -> Json:
    limits, timeouts = options.limits, options.timeouts
    return {
        "@type": type_url(CONNECTION_MANAGER),
        "stat_prefix": "gateway",
        "codec_type": "HTTP2",
        "server_name": "glioserve-gateway",
        "use_remote_address": True,
        "generate_request_id": True,
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"subject": True},
        "early_header_mutation_extensions": [_without(CALLER_HEADER)],
        "max_request_headers_kb": _HEADERS_KIB,
        "common_http_protocol_options": {
            "headers_with_underscores_action": "REJECT_REQUEST",
            "max_headers_count": _MOST_HEADERS,
            "max_connection_duration": _seconds(timeouts.connection_age_s),
            "idle_timeout": "600s",
            "max_stream_duration": _seconds(timeouts.study_s + timeouts.upload_s),
        },
        "http2_protocol_options": {
            "max_concurrent_streams": limits.max_streams_per_connection,
            "initial_stream_window_size": _WINDOW_BYTES,
            "initial_connection_window_size": _WINDOW_BYTES * _STREAMS_OF_WINDOW,
            "connection_keepalive": {"interval": "60s", "timeout": "20s"},
            "max_outbound_frames": 10000,
            "max_outbound_control_frames": 1000,
            "max_consecutive_inbound_frames_with_empty_payload": 1,
            "max_inbound_priority_frames_per_stream": 100,
            "max_inbound_window_update_frames_per_data_frame_sent": 10,
        },
        "request_headers_timeout": _seconds(timeouts.headers_s),
        "request_timeout": _seconds(timeouts.upload_s),
        "stream_idle_timeout": _seconds(timeouts.study_s + timeouts.upload_s),
        "delayed_close_timeout": "1s",
        "access_log": [_access_log()],
        "local_reply_config": answers.local_replies(limits.max_request_bytes, options.rate.studies_per_minute),
        "http_filters": _filters(options, callers),
        "route_config": _routes(options),
    }


def _filters(options: GatewayOptions, callers: Mapping[str, str]) -> list[Json]:
    filters = []
    if options.jwt is not None:
        filters.append(named("envoy.filters.http.jwt_authn", _jwt(options.jwt)))
    if callers:
        filters.append(named(_API_KEYS, _api_keys(callers)))
    filters.append(named(_RATE, _rate("calls", _ANY_CALLS)))
    size = {"@type": f"{_TYPES}.buffer.v3.Buffer", "max_request_bytes": options.limits.max_request_bytes}
    filters.append(named("envoy.filters.http.buffer", size))
    filters.append(named(_ONLY_ENSEMBLE, _only_ensemble()))
    filters.append(named("envoy.filters.http.router", {"@type": type_url(ROUTER)}))
    return filters


def _jwt(jwt: Jwt) -> Json:
    if jwt.jwks_file is not None:
        keys: Json = {"local_jwks": {"inline_string": read_key_set(Path(jwt.jwks_file))}}
    else:
        keys = {
            "remote_jwks": {
                "http_uri": {"uri": jwt.jwks_uri, "cluster": JWKS_CLUSTER, "timeout": "5s"},
                "cache_duration": f"{jwt.jwks_cache_s}s",
                "async_fetch": {"fast_listener": True},
                "retry_policy": {"num_retries": 3},
            }
        }
    provider = {
        "issuer": jwt.issuer,
        "audiences": list(jwt.audiences),
        "require_expiration": True,
        "claim_to_headers": [{"header_name": CALLER_HEADER, "claim_name": jwt.caller_claim}],
        **keys,
    }
    needed = {"match": {"prefix": "/"}, "requires": {"provider_name": "issuer"}}
    free = [{"match": {"path": path}} for path in HEALTH]
    return {
        "@type": f"{_TYPES}.jwt_authn.v3.JwtAuthentication",
        "providers": {"issuer": provider},
        "rules": [*free, needed],
    }


def _api_keys(callers: Mapping[str, str]) -> Json:
    entries = "\n".join(f'  ["{digest}"] = "{caller}",' for digest, caller in callers.items())
    return _lua("api_keys.lua", CALLERS=entries, HEADER=CALLER_HEADER)


def _rate(name: str, bucket: Json) -> Json:
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}, "runtime_key": "glioserve.none"}
    return {
        "@type": f"{_TYPES}.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": name,
        "filter_enabled": always,
        "filter_enforced": always,
        "token_bucket": bucket,
        "rate_limited_as_resource_exhausted": True,
    }


def _rate_of_studies(options: GatewayOptions) -> Json:
    """Return a bucket for each caller."""
    rate = options.rate
    interval_s = max(1.0, 60 / rate.studies_per_minute)
    tokens = round(rate.studies_per_minute * interval_s / 60)
    bucket = {"max_tokens": rate.burst, "tokens_per_fill": tokens, "fill_interval": f"{interval_s:.3f}s"}
    return {
        **_rate("studies", _ANY_CALLS),
        "always_consume_default_token_bucket": False,
        "rate_limits": [{"actions": [_caller(options)]}],
        "descriptors": [{"entries": [{"key": "caller"}], "token_bucket": bucket}],
        "max_dynamic_descriptors": rate.most_callers,
    }


def _only_ensemble() -> Json:
    return _lua(
        "only_ensemble.lua",
        ENSEMBLE=ENSEMBLE.name,
        CLOSED=str(answers.CLOSED),
        OTHER_MODEL=answers.OTHER_MODEL,
        SHARED_MEMORY=answers.IN_SHARED_MEMORY,
        COMPRESSED=answers.COMPRESSED,
        CONTROL=answers.CONTROL,
        MALFORMED=answers.MALFORMED,
    )


def _lua(file: str, **texts: str) -> Json:
    code = Path(__file__).with_name(file).read_text(encoding="utf-8")
    for name, text in texts.items():
        code = code.replace(f"@{name}@", text)
    return {"@type": f"{_TYPES}.lua.v3.Lua", "default_source_code": {"inline_string": code}}


def _routes(options: GatewayOptions) -> Json:
    off = {"@type": type_url("config.route.v3.FilterConfig"), "disabled": True}
    unread = {_ONLY_ENSEMBLE: off}
    free = {**unread, _API_KEYS: off} if options.api_keys_file else unread
    retry = {
        # An inference changes nothing, so that it may be asked again of another server.
        "retry_on": "connect-failure,refused-stream,reset,unavailable,retriable-headers",
        "retriable_headers": [{"name": "grpc-status", "string_match": {"exact": "5"}}],
        "num_retries": 3,
        "retry_host_predicate": [
            named(
                "envoy.retry_host_predicates.previous_hosts",
                {"@type": type_url("extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate")},
            )
        ],
        "host_selection_retry_max_attempts": 32,
        "retry_back_off": {"base_interval": "0.05s", "max_interval": "1s"},
    }
    infer = {
        "name": "infer",
        "match": {"path": INFER},
        "route": {**_to_servers(options), "retry_policy": retry},
        "typed_per_filter_config": {_RATE: _rate_of_studies(options)},
        "request_body_buffer_limit": options.limits.max_request_bytes,
    }
    ask = [
        {
            "name": method,
            "match": {"path": f"{SERVICE}/{method}"},
            "route": _to_servers(options),
            "typed_per_filter_config": unread,
        }
        for method in OPEN_METHODS
    ]
    health = [
        {"name": "health", "match": {"path": path}, "route": _to_servers(options), "typed_per_filter_config": free}
        for path in HEALTH
    ]
    closed = {
        "name": "closed",
        "match": {"prefix": "/"},
        "direct_response": {"status": answers.CLOSED, "body": {"inline_string": answers.CLOSED_METHOD}},
        "typed_per_filter_config": unread,
    }
    host = {"name": "gateway", "domains": ["*"], "routes": [infer, *ask, *health, closed]}
    removed = ["triton-grpc-protocol-admin-key", "x-forwarded-client-cert", "x-envoy-internal"]
    return {"name": "gateway", "virtual_hosts": [host], "request_headers_to_remove": removed}


def _to_servers(options: GatewayOptions) -> Json:
    longest = _seconds(options.timeouts.study_s)
    return {
        "cluster": SERVERS_CLUSTER,
        "timeout": longest,
        "max_stream_duration": {"max_stream_duration": longest, "grpc_timeout_header_max": longest},
    }


def _caller(options: GatewayOptions) -> Json:
    """Return the part of a request that identifies the caller: what was proven, else its address."""
    if options.jwt is not None or options.api_keys_file is not None:
        return {"request_headers": {"header_name": CALLER_HEADER, "descriptor_key": "caller"}}
    if options.tls is not None and options.tls.client_ca is not None:
        return {"request_headers": {"header_name": "x-forwarded-client-cert", "descriptor_key": "caller"}}
    return {"masked_remote_address": {"v4_prefix_mask_len": 32, "v6_prefix_mask_len": 64}}


def _access_log() -> Json:
    """Return one JSON object a request. No text of a caller's own is in it: no path, no agent, no message."""
    fields = {
        "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
        "source": "gateway",
        "request": "%STREAM_ID%",
        "trace_id": "%DYNAMIC_METADATA(glioserve:trace_id)%",
        "caller": f"%REQ({CALLER_HEADER})%",
        "certificate": "%DOWNSTREAM_PEER_FINGERPRINT_256%",
        "address": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "method": "%ROUTE_NAME%",
        "status": "%GRPC_STATUS(SNAKE_STRING)%",
        "flags": "%RESPONSE_FLAGS%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "bytes_received": "%BYTES_RECEIVED%",
        "bytes_sent": "%BYTES_SENT%",
        "duration_ms": "%DURATION%",
        "server": "%UPSTREAM_HOST%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    }
    return named(
        "envoy.access_loggers.stdout",
        {
            "@type": type_url("extensions.access_loggers.stream.v3.StdoutAccessLog"),
            "log_format": {"json_format": fields},
        },
    )


def _tls(options: GatewayOptions, secrets: Mapping[str, Path]) -> Json:
    assert options.tls is not None
    common: Json = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "alpn_protocols": ["h2"],
        "tls_certificate_sds_secret_configs": [_secret(CERTIFICATE_SECRET, secrets)],
    }
    if options.tls.client_ca is not None:
        common["validation_context_sds_secret_config"] = _secret(AUTHORITIES_SECRET, secrets)
    return named(
        "envoy.transport_sockets.tls",
        {
            "@type": type_url("extensions.transport_sockets.tls.v3.DownstreamTlsContext"),
            "common_tls_context": common,
            "require_client_certificate": options.tls.client_ca is not None,
        },
    )


def _secret(name: str, secrets: Mapping[str, Path]) -> Json:
    source = {"path_config_source": {"path": str(secrets[name])}, "resource_api_version": "V3"}
    return {"name": name, "sds_config": source}


def _without(header: str) -> Json:
    return named(
        "envoy.http.early_header_mutation.header_mutation",
        {
            "@type": type_url(_MUTATION),
            "mutations": [{"remove": header}],
        },
    )


def _seconds(seconds: float) -> str:
    return f"{seconds:g}s"
