"""The gateway's own refusals as gRPC statuses with our tokens, as a server gives them."""

from __future__ import annotations

from glioserve_contract import ErrorCode
from glioserve_contract.errors.messages import compose
from glioserve_triton.gateway.messages import Json, named, type_url

_GRPC_STATUS = {
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "UNIMPLEMENTED": 12,
    "UNAVAILABLE": 14,
    "UNAUTHENTICATED": 16,
}
CLOSED = 405
"""HTTP status of what no caller may ask; 403 is what the check of tokens says of a wrong audience."""
CLOSED_METHOD = "Only inference, readiness, metadata and health may be asked through the gateway."
OTHER_MODEL = "Only the ensemble glioma may be asked through the gateway."
IN_SHARED_MEMORY = "Shared memory is for callers of the server's own machine: send the volumes in the request."
COMPRESSED = "A compressed message cannot be looked into: send it without gRPC's compression."
CONTROL = (
    "A name or an identifier has a control character, or a text a NUL, at which Triton would cut it off: leave it out."
)
MALFORMED = "The message cannot be read as an inference request."


def local_replies(max_request_bytes: int, rate_per_minute: int) -> Json:
    """Return Envoy's ``local_reply_config``: what callers read where the gateway itself answers."""
    mib = max_request_bytes / (1 << 20)
    rows = [
        (_by_status(429), ErrorCode.TOO_MANY_STUDIES, f"More than {rate_per_minute} studies a minute."),
        (_by_flag("UO", "OM"), ErrorCode.UNAVAILABLE, "The gateway has as many studies in flight as it may."),
        (_by_flag("UH"), ErrorCode.UNAVAILABLE, "No server behind the gateway is ready."),
        (
            _by_flag("UT", "SI", "DT", "UMSDR"),
            ErrorCode.DEADLINE_EXCEEDED,
            "No answer in the time that the gateway allows.",
        ),
        (
            _by_details("Jwks_remote_fetch"),
            ErrorCode.UNAVAILABLE,
            "The gateway cannot fetch the keys by which tokens are checked.",
        ),
        (_by_status(401), ErrorCode.UNAUTHENTICATED, "The gateway refused the credentials: %LOCAL_REPLY_BODY%."),
        (_by_status(403), ErrorCode.UNAUTHENTICATED, "The gateway refused the credentials: %LOCAL_REPLY_BODY%."),
        (_by_status(413), ErrorCode.STUDY_TOO_LARGE, f"The request is over the gateway's limit of {mib:g} MiB."),
        (
            _by_status(408),
            ErrorCode.DEADLINE_EXCEEDED,
            "The request did not arrive in the time that the gateway allows.",
        ),
        (_by_status(504), ErrorCode.DEADLINE_EXCEEDED, "No answer in the time that the gateway allows."),
        (_by_status(400), ErrorCode.REQUEST_REFUSED, "%LOCAL_REPLY_BODY%"),
        (_by_status(CLOSED), ErrorCode.FORBIDDEN, "%LOCAL_REPLY_BODY%"),
        (_at_least(500), ErrorCode.UNAVAILABLE, "The gateway got no answer from a server: %RESPONSE_CODE_DETAILS%."),
    ]
    return {"mappers": [_mapper(chosen, code, detail) for chosen, code, detail in rows]}


def _mapper(chosen: Json, code: ErrorCode, detail: str) -> Json:
    status = "RESOURCE_EXHAUSTED" if code is ErrorCode.STUDY_TOO_LARGE else code.row.status.value
    return {
        "filter": chosen,
        "body_format_override": {"text_format_source": {"inline_string": compose(code.token, detail, code.row.action)}},
        "headers_to_add": [
            {
                "header": {"key": "grpc-status", "value": str(_GRPC_STATUS[status])},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ],
    }


def _by_flag(*flags: str) -> Json:
    return {"response_flag_filter": {"flags": list(flags)}}


def _by_details(part: str) -> Json:
    """Filter answers whose details, Envoy's own words for where an answer comes from, contain ``part``."""
    cel = {
        "@type": type_url("extensions.access_loggers.filters.cel.v3.ExpressionFilter"),
        "expression": f"response.code_details.contains('{part}')",
    }
    return {"extension_filter": named("envoy.access_loggers.extension_filters.cel", cel)}


def _by_status(status: int) -> Json:
    return _compared("EQ", status)


def _at_least(status: int) -> Json:
    return _compared("GE", status)


def _compared(operator: str, status: int) -> Json:
    value = {"default_value": status, "runtime_key": "glioserve.none"}
    return {"status_code_filter": {"comparison": {"op": operator, "value": value}}}
