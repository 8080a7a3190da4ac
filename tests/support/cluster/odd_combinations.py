"""Combinations of values that are odd, careless or clever: each works, or is refused with what to write.

They go beyond the review's table (``value_combinations``): arithmetic in odd units, two ways to one thing, owned
options and variables in every spelling, additions that stand twice, and values that another chart would take.
"""

from __future__ import annotations

from typing import Any

from support.cluster.helm_tools import merged, nested
from support.cluster.value_combinations import CPU, EGRESS, SIDECAR, TLS

Values = dict[str, Any]
FILLER = SIDECAR | {"name": "fill", "volumeMounts": [{"name": "models", "mountPath": "/models"}]}
EMPTY = {"existingClaim": "", "volume": {"emptyDir": {}}}
LOG = {"enabled": True, "existingClaim": "log"}
ROUTE = {"enabled": True, "parentRefs": [{"name": "g"}]}
ISSUED = {"enabled": True, "issuerRef": {"name": "ca"}}
OWN_CLAIM = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "m"}}
TEXT = 'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: "{{ .Release.Name }}-own"\ndata: {a: "{{ 1 }}"}\n'

ODD_WORKS: list[tuple[str, Values]] = [
    ("memory in fractions", {"resources": {"requests": {"memory": "9.5Gi"}, "limits": {"memory": "11.75Gi"}}}),
    ("memory in bytes", {"resources": {"requests": {"memory": "8Gi"}, "limits": {"memory": "12884901888"}}}),
    ("cpu in milli", {"resources": {"requests": {"cpu": "1500m"}, "limits": {"cpu": 1.5}}}),
    ("shm just below", {"sharedMemorySize": "9728Mi"}),
    ("extended on both sides", {"resources": {s: {"nvidia.com/gpumem": 8000} for s in ("requests", "limits")}}),
    ("filled by hand", {"persistence": EMPTY, "initContainers": [FILLER], "preflight": {"enabled": False}}),
    ("objects as text", {"extraObjects": [TEXT]}),
    (
        "objects as text and map",
        {"extraObjects": [TEXT, {"kind": "X", "apiVersion": "e/v1", "metadata": {"name": "x"}}]},
    ),
    ("shadow", {"studyLog": LOG | {"shadowVersion": 3}}),
    (
        "inputs that fit",
        {"studyLog": {"enabled": True, "ephemeral": True, "keepInputs": {"enabled": True, "sizeGiB": 1.5}}},
    ),
    ("IPv6 alone", {"service": {"ipFamilies": ["IPv6"], "ipFamilyPolicy": "SingleStack"}}),
    ("listening on both for IPv4", {"listenAddress": "::"}),
    ("mTLS behind a claim of ids", merged(TLS, {"tls": {"clientCA": {"existingSecret": "ca"}}}, {"hostUsers": False})),
    ("one pod, one budget", {"podDisruptionBudget": {"minAvailable": 1}}),
    ("arguments in pairs", {"extraArgs": ["--triton-flag=--log-info=true", "--log-verbosity", "1"]}),
    ("flag abbreviated", {"extraArgs": ["--triton-fl=--backend-config=onnxruntime,x=y"]}),
    ("variable by template", {"extraEnv": [{"name": '{{ "OMP_NUM_THREADS" }}', "value": "{{ 2 }}"}]}),
    (
        "mount of the chart's volume",
        {"extraVolumeMounts": [{"name": "tmp", "mountPath": "/var/cache", "subPath": "c"}]},
    ),
    ("a claim for a network card", {"resourceClaims": [{"name": "nic", "resourceClaimName": "n"}]}),
    ("OpenShift's ids", {"podSecurityContext": dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"), 1000680000)}),
    ("a host of every name", {"ingress": {"enabled": True, "hosts": ["*.example.org"], "tlsSecret": "c"}}),
    ("dns by hand", {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["fd00::a"]}}),
]

ODD_REFUSED: list[tuple[str, Values, str]] = [
    ("memory as number", nested("resources.limits.memory", 12884901888), "memory"),
    ("memory in exponents", nested("resources.limits.memory", "1e9"), "memory"),
    (
        "cpu over its limit",
        nested("resources.limits.cpu", "2"),
        r"requests.cpu \(4\) must not exceed resources.limits.cpu",
    ),
    ("cpu over in milli", nested("resources.limits.cpu", "3999m"), "must not exceed resources.limits.cpu"),
    ("nothing requested", nested("resources.requests.cpu", "0m"), "resources.requests.cpu must be more than 0"),
    ("no memory requested", nested("resources.requests.memory", "0"), "resources.requests.memory must be more than 0"),
    (
        "disk over its limit",
        {"resources": {"requests": {"ephemeral-storage": "9Gi"}, "limits": {"ephemeral-storage": "8Gi"}}},
        "ephemeral-storage",
    ),
    (
        "extended on one side",
        nested("resources.requests", {"nvidia.com/gpumem": 8000}),
        "must be the same as resources.limits",
    ),
    (
        "hugepages on one side",
        nested("resources.requests", {"hugepages-2Mi": "64Mi"}),
        "must be the same as resources.limits",
    ),
    (
        "preflight over its limit",
        nested("preflight.resources.requests.memory", "2Gi"),
        "must not exceed preflight.resources",
    ),
    ("test over its limit", nested("test.resources.limits.memory", "100Mi"), "must not exceed test.resources.limits"),
    ("stage over the pod", nested("stages.memoryLimitMiB", 20000), "must be at most 9216"),
    (
        "GPU and MIG",
        nested("resources.limits", {"nvidia.com/mig-1g.10gb": 1}),
        "take two devices: set gpu.resourceName",
    ),
    ("GPU and share", nested("resources.limits", {"nvidia.com/gpu.shared": 1}), "take two devices"),
    (
        "claims counted twice",
        {"gpu": {"count": 2, "dra": {"enabled": True, "existingTemplate": "t"}}},
        "leave gpu.count",
    ),
    ("hpa from none", {"autoscaling": {"enabled": True, "minReplicas": 0}}, "use keda.idleReplicas"),
    (
        "keda from none",
        {"keda": {"enabled": True, "minReplicas": 0, "prometheusAddress": "http://p"}},
        "use keda.idleReplicas",
    ),
    ("empty models", {"persistence": EMPTY, "preflight": {"enabled": False}}, "fill it by initContainers"),
    ("preflight of nothing", {"persistence": EMPTY, "initContainers": [FILLER]}, "preflight.enabled must be false"),
    (
        "a claim that comes too late",
        merged({"persistence": {"existingClaim": "m"}}, {"extraObjects": [OWN_CLAIM]}),
        "make the claim before the release",
    ),
    ("shadow without a log", nested("studyLog.shadowVersion", 2), "set it to true"),
    ("shadow by argument", {"extraArgs": ["--shadow=2"]}, "use studyLog.shadowVersion"),
    (
        "inputs that burst the pod",
        {"studyLog": {"enabled": True, "ephemeral": True, "keepInputs": {"enabled": True}}},
        "must be below studyLog.ephemeralSize",
    ),
    ("log without bound", {"studyLog": {"enabled": True, "ephemeral": True, "ephemeralSize": "0"}}, "at least 64Mi"),
    (
        "copy without bound",
        merged(EGRESS, {"persistence": {"existingClaim": "", "fetch": {"url": "s3://b/p", "version": 1, "size": "0"}}}),
        "at least 64Mi",
    ),
    (
        "one port twice",
        {"service": {"type": "NodePort", "http": {"enabled": True}, "nodePorts": {"grpc": 30001, "http": 30001}}},
        "are both 30001",
    ),
    ("IPv6 unheard", {"listenAddress": "0.0.0.0", "service": {"ipFamilies": ["IPv6"]}}, "takes no IPv6"),
    ("no name server", {"dnsPolicy": "None"}, "needs dnsConfig.nameservers"),
    (
        "its own canary",
        {"grpcRoute": ROUTE | {"backends": [{"name": "rel-glioserve", "weight": 1}]}},
        "this release's own",
    ),
    ("its own shadow", {"grpcRoute": ROUTE | {"mirror": {"name": "rel-glioserve"}}}, "this release's own"),
    (
        "renewed at once",
        {"tls": {"enabled": True, "certManager": ISSUED | {"renewBefore": "2160h"}}},
        "must be shorter than",
    ),
    (
        "secret and issuer",
        {"tls": {"enabled": True, "existingSecret": "x", "certManager": ISSUED}},
        "exclude each other",
    ),
    ("host network", {"hostNetwork": True}, "use service.type NodePort or LoadBalancer"),
    ("argument apart", {"extraArgs": ["--host", "::"]}, "use listenAddress"),
    ("argument and value in one", {"extraArgs": ["--grpc-port 9000"]}, "use service.grpcPort"),
    (
        "flag abbreviated, apart",
        {"extraArgs": ["--triton-fl", "--exit-timeout", "5"]},
        "use shutdown.exitTimeoutSeconds",
    ),
    ("flag abbreviated", {"extraArgs": ["--triton-=--model-control=poll"]}, "use adminToken"),
    ("flag that opens", {"extraArgs": ["--triton-flag=--grpc-restricted-protocol=x:a=b"]}, "use adminToken"),
    ("every GPU of the node", {"extraEnv": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]}, "use gpu"),
    (
        "brain models elsewhere",
        {"brainModels": {"existingClaim": "b"}, "extraEnv": [{"name": "GLIOSERVE_BRAIN_MODELS", "value": "/x"}]},
        "use brainModels",
    ),
    (
        "variable twice by template",
        {"extraEnv": [{"name": "A", "value": "1"}, {"name": '{{ "A" }}', "value": "2"}]},
        "extraEnv has A twice",
    ),
    ("value from two places", {"extraEnv": [{"name": "A", "value": "1", "valueFrom": {}}]}, "extraEnv"),
    (
        "volume that is not there",
        {"extraVolumeMounts": [{"name": "served", "mountPath": "/x"}]},
        "is not in extraVolumes",
    ),
    (
        "mount over the image",
        {"extraVolumes": [{"name": "v", "emptyDir": {}}], "extraVolumeMounts": [{"name": "v", "mountPath": "/usr/"}]},
        "hide the image's own files",
    ),
    (
        "mount by detours",
        {
            "extraVolumes": [{"name": "v", "emptyDir": {}}],
            "extraVolumeMounts": [{"name": "v", "mountPath": "/x/../models"}],
        },
        "taken already",
    ),
    ("volume without a name", {"extraVolumes": [{"emptyDir": {}}]}, "name"),
    ("objects as numbers", {"extraObjects": [1]}, "extraObjects"),
    ("a link that breaks rules", {"metrics": {"prometheusRule": {"enabled": True, "runbookUrl": 'x"y'}}}, "runbookUrl"),
    ("a user as text", {"podSecurityContext": {"runAsUser": "1000"}}, "write it without quotes"),
    ("a network that is none", {"networkPolicy": {"clients": [{"ipBlock": {"cidr": "10.0.0.1"}}]}}, "cidr"),
    ("a host that is none", {"ingress": {"enabled": True, "hosts": ["G.example"], "tlsSecret": "c"}}, "ingress/hosts"),
    ("a weaker context by null", nested("containerSecurityContext.readOnlyRootFilesystem", None), "must not be null"),
    ("capabilities by null", nested("containerSecurityContext.capabilities.drop", None), "must not be null"),
    ("a section by null", {"networkPolicy": None}, "networkPolicy.enabled must not be null"),
    ("a limit by null", nested("preflight.resources.limits.memory", None), "must not be null"),
    ("a CPU profile with a claim", merged(CPU, nested("gpu.dra.enabled", True)), "runs on the CPU"),
]
