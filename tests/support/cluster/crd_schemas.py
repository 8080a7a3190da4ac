"""Schemas of the custom resources that the chart renders: our own, reduced to the fields we use, and closed.

They follow the documentation of each resource's API: names, types, bounds and what is required. A field that is not
here is a fault in a render, so that a misspelt one cannot pass; a new field has to be looked up and added. They are
not the operators' own schemas, which a cluster holds the objects to.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string", "minLength": 1}
_STRINGS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
_PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
_COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
_PROMETHEUS_DURATION: Schema = {"type": "string", "pattern": r"^(0|([0-9]+(ms|[smhdwy]))+)$"}
_GO_DURATION: Schema = {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$"}
_DNS_NAME: Schema = {
    "type": "string",
    "maxLength": 253,
    "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
}


def _object(required: list[str], **properties: Schema) -> Schema:
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


def _list(items: Schema, least: int = 0, most: int | None = None) -> Schema:
    return {"type": "array", "items": items, "minItems": least} | ({"maxItems": most} if most else {})


def _resource(version: str, kind: str, spec: Schema) -> Schema:
    metadata = _object(
        ["name", "namespace", "labels"], name=_TEXT, namespace=_TEXT, labels=_STRINGS, annotations=_STRINGS
    )
    return _object(
        ["apiVersion", "kind", "metadata", "spec"],
        apiVersion={"const": version},
        kind={"const": kind},
        metadata=metadata,
        spec=spec,
    )


_RELABELING = _object(
    [],
    sourceLabels=_list({"type": "string", "pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$"}),
    targetLabel={"type": "string"},
    separator={"type": "string"},
    regex={"type": "string"},
    replacement={"type": "string"},
    modulus={"type": "integer"},
    action={"type": "string", "pattern": "^(?i:replace|keep|drop|labelmap|labeldrop|labelkeep|hashmod)$"},
)
_ENDPOINT = _object(
    ["port"],
    port=_TEXT,
    path={"type": "string", "pattern": "^/"},
    interval=_PROMETHEUS_DURATION,
    scrapeTimeout=_PROMETHEUS_DURATION,
    relabelings=_list(_RELABELING),
    metricRelabelings=_list(_RELABELING),
)
_SELECTOR = _object(["matchLabels"], matchLabels=_STRINGS)
_NAMESPACES = _object(["matchNames"], matchNames=_list(_TEXT, 1))
_RULE = _object(
    ["expr"],
    alert=_TEXT,
    record={"type": "string", "pattern": r"^[a-zA-Z_:][a-zA-Z0-9_:]*$"},
    expr={"type": ["string", "integer"]},
    labels=_STRINGS,
    annotations=_STRINGS,
    **{"for": _PROMETHEUS_DURATION, "keep_firing_for": _PROMETHEUS_DURATION},
) | {"oneOf": [{"required": ["alert"]}, {"required": ["record"]}]}
_TRIGGER = _object(
    ["type", "metadata"],
    type=_TEXT,
    name=_TEXT,
    metadata=_STRINGS,  # a number that is not text is refused by KEDA
    metricType={"enum": ["AverageValue", "Value", "Utilization"]},
    authenticationRef=_object(["name"], name=_TEXT, kind=_TEXT),
)
_SCALING_SIDE = _object(
    [],
    stabilizationWindowSeconds={"type": "integer", "minimum": 0, "maximum": 3600},
    selectPolicy={"enum": ["Max", "Min", "Disabled"]},
    policies=_list(
        _object(
            ["type", "value", "periodSeconds"],
            type={"enum": ["Pods", "Percent"]},
            value={"type": "integer", "minimum": 1},
            periodSeconds={"type": "integer", "minimum": 1, "maximum": 1800},
        ),
        1,
    ),
)
_BACKEND = _object(["name", "port"], name=_TEXT, namespace=_TEXT, port=_PORT, kind=_TEXT, group={"type": "string"})
_WEIGHTED = _object(
    ["name", "port"], name=_TEXT, port=_PORT, weight={"type": "integer", "minimum": 0, "maximum": 10**6}
)

SCHEMAS: dict[str, Schema] = {
    "ServiceMonitor": _resource(
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
        _object(
            ["selector", "endpoints"], selector=_SELECTOR, namespaceSelector=_NAMESPACES, endpoints=_list(_ENDPOINT, 1)
        ),
    ),
    "PodMonitor": _resource(
        "monitoring.coreos.com/v1",
        "PodMonitor",
        _object(
            ["selector", "podMetricsEndpoints"],
            selector=_SELECTOR,
            namespaceSelector=_NAMESPACES,
            podMetricsEndpoints=_list(_ENDPOINT, 1),
        ),
    ),
    "PrometheusRule": _resource(
        "monitoring.coreos.com/v1",
        "PrometheusRule",
        _object(
            ["groups"],
            groups=_list(
                _object(["name", "rules"], name=_TEXT, interval=_PROMETHEUS_DURATION, rules=_list(_RULE, 1)), 1
            ),
        ),
    ),
    "ScaledObject": _resource(
        "keda.sh/v1alpha1",
        "ScaledObject",
        _object(
            ["scaleTargetRef", "triggers"],
            scaleTargetRef=_object(["name"], apiVersion=_TEXT, kind=_TEXT, name=_TEXT),
            minReplicaCount=_COUNT,
            maxReplicaCount=_COUNT,
            idleReplicaCount=_COUNT,
            pollingInterval=_COUNT,
            cooldownPeriod=_COUNT,
            fallback=_object(["failureThreshold", "replicas"], failureThreshold=_COUNT, replicas=_COUNT),
            advanced=_object(
                [],
                restoreToOriginalReplicaCount={"type": "boolean"},
                horizontalPodAutoscalerConfig=_object(
                    [], name=_TEXT, behavior=_object([], scaleUp=_SCALING_SIDE, scaleDown=_SCALING_SIDE)
                ),
            ),
            triggers=_list(_TRIGGER, 1),
        ),
    ),
    "GRPCRoute": _resource(
        "gateway.networking.k8s.io/v1",
        "GRPCRoute",
        _object(
            ["parentRefs", "rules"],
            parentRefs=_list(
                _object(["name"], name=_TEXT, namespace=_TEXT, sectionName=_TEXT, port=_PORT, kind=_TEXT, group=_TEXT),
                1,
                32,
            ),
            hostnames=_list({"type": "string", "pattern": r"^(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"}, 0, 16),
            rules=_list(
                _object(
                    ["backendRefs"],
                    backendRefs=_list(_WEIGHTED, 1, 16),
                    filters=_list(
                        _object(
                            ["type", "requestMirror"],
                            type={"const": "RequestMirror"},
                            requestMirror=_object(
                                ["backendRef"],
                                backendRef=_BACKEND,
                                percent={"type": "integer", "minimum": 0, "maximum": 100},
                            ),
                        ),
                        1,
                        16,
                    ),
                ),
                1,
                16,
            ),
        ),
    ),
    "BackendTLSPolicy": _resource(
        "gateway.networking.k8s.io/v1",
        "BackendTLSPolicy",
        _object(
            ["targetRefs", "validation"],
            targetRefs=_list(
                _object(["group", "kind", "name"], group={"type": "string"}, kind=_TEXT, name=_TEXT, sectionName=_TEXT),
                1,
                16,
            ),
            validation=_object(
                ["hostname", "caCertificateRefs"],
                hostname=_DNS_NAME,
                caCertificateRefs=_list(
                    _object(["group", "kind", "name"], group={"type": "string"}, kind=_TEXT, name=_TEXT), 1, 8
                ),
            ),
        ),
    ),
    "Certificate": _resource(
        "cert-manager.io/v1",
        "Certificate",
        _object(
            ["secretName", "issuerRef"],
            secretName=_TEXT,
            duration=_GO_DURATION,
            renewBefore=_GO_DURATION,
            issuerRef=_object(["name"], name=_TEXT, kind=_TEXT, group=_TEXT),
            usages=_list({"enum": ["digital signature", "key encipherment", "server auth", "client auth"]}, 1),
            privateKey=_object(
                [],
                algorithm={"enum": ["RSA", "ECDSA", "Ed25519"]},
                size={"enum": [256, 384, 521, 2048, 4096, 8192]},
                rotationPolicy={"enum": ["Never", "Always"]},
            ),
            dnsNames=_list(_DNS_NAME, 1),
        ),
    ),
}
"""Schemas by kind of custom resource."""
