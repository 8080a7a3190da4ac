"""Combinations of the chart's values that platform teams use: rows that work, and rows that are refused with words.

The tables hold every row of the review of the chart's first cut, by its identifier (tests/helm/test_review.py).
"""

from __future__ import annotations

from typing import Any

from support.cluster.helm_tools import merged, nested

CPU: dict[str, Any] = {"profile": "onnxruntime-cpu", "gpu": {"enabled": False}}
NO_CLAIM: dict[str, Any] = {"persistence": {"existingClaim": ""}}
DIGEST = f"sha256:{'0' * 64}"
EGRESS: dict[str, Any] = {"networkPolicy": {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}]}]}}
TRACING: dict[str, Any] = {
    "enabled": True,
    "endpoint": "https://c.m.svc:4318",
    "ratio": 0.1,
    "headers": {"existingSecret": "collector"},
}
NODE_AFFINITY = {
    "requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]
    }
}
ANTI_AFFINITY = {
    "preferredDuringSchedulingIgnoredDuringExecution": [
        {
            "weight": 1,
            "podAffinityTerm": {
                "topologyKey": "topology.kubernetes.io/zone",
                "labelSelector": {"matchLabels": {"app.kubernetes.io/instance": "rel"}},
            },
        }
    ]
}
OWN_HPA = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "own"},
    "spec": {
        "scaleTargetRef": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": '{{ include "glioserve.fullname" . }}',
        },
        "maxReplicas": 3,
    },
}
VOLUME = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "8Gi"}}}}
SIDECAR = {
    "name": "sidecar",
    "image": "registry.example.org/sidecar:1.0",
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    },
    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}},
}
READ_WRITE = nested("containerSecurityContext.readOnlyRootFilesystem", False)
LB = nested("service.type", "LoadBalancer")
TLS: dict[str, Any] = {"tls": {"enabled": True, "existingSecret": "cert"}}

WORKS: list[tuple[str, dict[str, Any]]] = [
    ("gpu1", {}),
    ("gpu4", nested("gpu.count", 4)),
    ("mig", nested("gpu.resourceName", "nvidia.com/mig-1g.10gb")),
    ("mig-me", nested("gpu.resourceName", "nvidia.com/mig-1g.10gb.me")),
    ("shared", nested("gpu.resourceName", "nvidia.com/gpu.shared")),
    ("amd", nested("gpu.resourceName", "amd.com/gpu")),
    ("hami", {"resources": {"limits": {"nvidia.com/gpumem": 8000, "nvidia.com/gpucores": 30}}}),
    ("hugepages", {"resources": {"limits": {"hugepages-2Mi": "64Mi"}}}),
    (
        "dra by hand",
        {
            "gpu": {"enabled": False},
            "resourceClaims": [{"name": "one", "resourceClaimTemplateName": "mine"}],
            "resources": {"claims": [{"name": "one"}]},
        },
    ),
    (
        "dra-podclaims",
        {
            "gpu": {"enabled": False},
            "resourceClaims": [{"name": "shared", "resourceClaimName": "site"}],
            "resources": {"claims": [{"name": "shared", "request": "gpu"}]},
        },
    ),
    ("dra", nested("gpu.dra.enabled", True)),
    ("dra without the device plugin", {"gpu": {"enabled": False, "dra": {"enabled": True}}}),
    ("dra template of one's own", {"gpu": {"dra": {"enabled": True, "existingTemplate": "mine"}}}),
    ("products", nested("gpu.products", ["NVIDIA-A30"])),
    ("products-nodeaff", {"gpu": {"products": ["NVIDIA-A30"]}, "affinity": {"nodeAffinity": NODE_AFFINITY}}),
    ("nodesel", {"nodeSelector": {"pool": "imaging"}}),
    ("tol", {"tolerations": [{"key": "a", "operator": "Exists"}]}),
    ("gtol-empty", nested("gpu.tolerations", [])),
    ("affinity", {"affinity": {"podAntiAffinity": ANTI_AFFINITY}}),
    (
        "spread",
        {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]},
    ),
    ("spread-off", {"topologySpreadConstraints": []}),
    ("any volume", {"persistence": {"existingClaim": "", "volume": {"ephemeral": {"volumeClaimTemplate": VOLUME}}}}),
    ("csi", {"persistence": {"existingClaim": "", "volume": {"csi": {"driver": "s3.csi.example.org"}}}}),
    ("image-volume", {"persistence": {"existingClaim": "", "image": {"reference": f"r.example.org/m@{DIGEST}"}}}),
    ("s3", merged(EGRESS, {"persistence": {"existingClaim": "", "fetch": {"url": "s3://b/p", "version": 2}}})),
    ("gcs", merged(EGRESS, {"persistence": {"existingClaim": "", "fetch": {"url": "gs://b/p", "version": 2}}})),
    ("hpa", nested("autoscaling.enabled", True)),
    ("hpa-extra", {"replicaCount": None, "extraObjects": [OWN_HPA]}),
    ("keda", {"keda": {"enabled": True, "prometheusAddress": "http://prometheus.monitoring.svc:9090"}}),
    (
        "keda idle",
        {"keda": {"enabled": True, "idleReplicas": 0, "triggers": [{"type": "cron", "metadata": {"timezone": "UTC"}}]}},
    ),
    ("replicas-null", {"replicaCount": None}),
    ("replicas 0", {"replicaCount": 0}),
    ("pdb-pct", nested("podDisruptionBudget.maxUnavailable", "50%")),
    ("pdb-min", nested("podDisruptionBudget.minAvailable", 1)),
    ("pdb-min-pct", nested("podDisruptionBudget.minAvailable", "50%")),
    ("ingress", {"ingress": {"enabled": True, "hosts": ["g.example.org"], "tlsSecret": "cert"}}),
    ("grpcroute", {"grpcRoute": {"enabled": True, "parentRefs": [{"name": "g"}]}}),
    (
        "shadow",
        {"grpcRoute": {"enabled": True, "parentRefs": [{"name": "g"}], "mirror": {"name": "new", "percent": 10}}},
    ),
    (
        "backend TLS",
        merged(TLS, {"grpcRoute": {"enabled": True, "parentRefs": [{"name": "g"}], "backendCA": "ca"}}),
    ),
    ("tls", TLS),
    ("mtls", merged(TLS, nested("tls.clientCA.existingSecret", "ca"))),
    ("mtls test", merged(TLS, {"tls": {"clientCA": {"existingSecret": "ca"}}, "test": {"clientSecret": "me"}})),
    ("cert-manager", {"tls": {"enabled": True, "certManager": {"enabled": True, "issuerRef": {"name": "ca"}}}}),
    ("gateway, keys", {"gateway": {"mode": "sidecar", "apiKeys": {"existingSecret": "callers"}}}),
    ("gateway apart", merged(TLS, {"gateway": {"mode": "deployment", "apiKeys": {"existingSecret": "callers"}}})),
    (
        "gateway, certificates",
        merged(TLS, nested("tls.clientCA.existingSecret", "ca"), nested("gateway.mode", "sidecar")),
    ),
    ("gateway for all", {"gateway": {"mode": "sidecar", "options": {"anonymous": True}}}),
    ("np-off", nested("networkPolicy.enabled", False)),
    (
        "np-ingressns",
        {
            "networkPolicy": {
                "clients": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "edge"}}}]
            }
        },
    ),
    ("np-nobody", {"networkPolicy": {"clients": [], "monitoring": []}}),
    ("pullsecret", {"imagePullSecrets": [{"name": "s"}]}),
    ("global-reg", {"global": {"imageRegistry": "r.example.org", "imagePullSecrets": ["a", {"name": "b"}]}}),
    ("prio", {"priorityClassName": "high"}),
    ("sched", {"schedulerName": "kai-scheduler"}),
    ("env", {"extraEnv": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}),
    (
        "vols",
        {"extraVolumes": [{"name": "v", "emptyDir": {}}], "extraVolumeMounts": [{"name": "v", "mountPath": "/v"}]},
    ),
    ("sidecar", {"extraContainers": [SIDECAR]}),
    ("native-sidecar", {"initContainers": [SIDECAR | {"restartPolicy": "Always"}]}),
    ("sa", {"serviceAccount": {"create": False}}),
    ("podann", {"podAnnotations": {"a": "b"}}),
    ("podann-dup", {"podAnnotations": {"kubectl.kubernetes.io/default-container": "x"}}),
    ("depann", {"deploymentAnnotations": {"reloader.stakater.com/auto": "true"}}),
    ("comann", {"commonAnnotations": {"argocd.argoproj.io/sync-wave": "1"}}),
    ("res-cpu-lim", nested("resources.limits.cpu", "8")),
    ("res-cpu-only", nested("resources.requests.cpu", "500m")),
    ("probes", {"livenessProbe": {"periodSeconds": 20, "failureThreshold": 6}}),
    ("shm8", {"sharedMemorySize": "8Gi"}),
    ("sm", nested("metrics.serviceMonitor.enabled", True)),
    ("sm-ns", {"metrics": {"serviceMonitor": {"enabled": True, "namespace": "monitoring"}}}),
    ("pm", nested("metrics.podMonitor.enabled", True)),
    ("pr", nested("metrics.prometheusRule.enabled", True)),
    ("dash", nested("metrics.dashboards.enabled", True)),
    ("openshift", {"podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}}),
    ("ro-off", READ_WRITE),
    ("hostusers", {"hostUsers": False}),
    ("recreate", nested("updateStrategy.type", "Recreate")),
    ("surge", nested("updateStrategy.rollingUpdate", {"maxSurge": 1, "maxUnavailable": 0})),
    ("minready", {"minReadySeconds": 10}),
    ("revhist", {"revisionHistoryLimit": 3}),
    ("np-nodeport", {"service": {"type": "NodePort", "nodePorts": {"grpc": 30001}}}),
    ("lb-src", merged(LB, TLS, nested("service.loadBalancerSourceRanges", ["10.0.0.0/8"]))),
    ("lb-etp", merged(LB, TLS, nested("service.externalTrafficPolicy", "Local"))),
    ("lb-class", merged(LB, TLS, nested("service.loadBalancerClass", "metallb"))),
    ("lb-forced", merged(LB, nested("service.allowPlaintext", True))),
    ("ipfam", {"service": {"ipFamilyPolicy": "PreferDualStack"}}),
    ("ipv6", {"service": {"ipFamilies": ["IPv6"]}}),
    ("dns", {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.0.0.10"]}}),
    ("hostalias", {"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["s3"]}]}),
    ("otel", merged(EGRESS, {"extraArgs": ["--triton-flag=--trace-config=mode=opentelemetry"]})),
    ("tracing", merged(EGRESS, {"tracing": {"enabled": True, "endpoint": "http://c.m.svc:4318"}})),
    ("tracing-key", merged(EGRESS, {"tracing": TRACING, "caBundle": {"configMap": "ca"}})),
    ("callers", {"metrics": {"callers": ["ward", "pacs.2"]}, "logLevel": "warning"}),
    ("cpu", CPU),
    ("openvino", merged(CPU, {"profile": "openvino-cpu"})),
    ("umbrella-x", {"x-common": {"a": 1}}),
    ("umbrella-on", {"enabled": True}),
    ("admin", nested("adminToken.enabled", True)),
    ("admin-ext", {"adminToken": {"enabled": True, "existingSecret": "t"}}),
    ("kueue", {"commonLabels": {"kueue.x-k8s.io/queue-name": "imaging"}}),
    ("brain", nested("brainModels.existingClaim", "b")),
    ("study log", {"studyLog": {"enabled": True, "existingClaim": "l", "keepDays": 183}}),
    ("proxy", {"proxy": {"https": "http://proxy:3128"}, "caBundle": {"configMap": "ca"}}),
    ("writable root", nested("gpu.writableRoot", True)),
    ("http", nested("service.http.enabled", True)),
]
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("gpu0", nested("gpu.count", 0), "gpu/count"),
    ("dra-claims", {"resources": {"claims": [{"name": "one"}]}}, "add it there, or set gpu.dra.enabled"),
    ("dra-nogpu", nested("gpu.enabled", False), "set gpu.dra.enabled, or name a claim in resourceClaims"),
    ("dra and mig", {"gpu": {"dra": {"enabled": True}, "resourceName": "nvidia.com/mig-1g.5gb"}}, "keep one of them"),
    ("nodesel-bool", {"nodeSelector": {"nvidia.com/mig.capable": True}}, "nodeSelector"),
    ("gtol-null", nested("gpu.tolerations", None), "gpu.tolerations must not be null"),
    ("claim-none", NO_CLAIM, "persistence.existingClaim .* persistence.image.reference, persistence.volume or"),
    ("two sources", {"persistence": {"volume": {"emptyDir": {}}}}, "keep one of persistence.existingClaim"),
    ("image by tag", {"persistence": {"existingClaim": "", "image": {"reference": "m:1"}}}, "must name a digest"),
    ("s3-native", {"persistence": {"s3": {"bucket": "b"}}}, "use persistence.fetch.url as s3://bucket/prefix"),
    ("s3-args", {"extraArgs": ["--repository=s3://b/p"]}, "persistence.fetch.url"),
    ("s3 walled in", {"persistence": {"existingClaim": "", "fetch": {"url": "s3://b/p", "version": 1}}}, "egress"),
    ("s3 which", merged(EGRESS, {"persistence": {"existingClaim": "", "fetch": {"url": "s3://b/p"}}}), "fetch.version"),
    ("pvc-create", {"persistence": {"size": "10Gi"}}, "a claim of your own"),
    ("hpa and keda", {"autoscaling": {"enabled": True}, "keda": {"enabled": True}}, "exclude each other"),
    (
        "keda idle without a trigger",
        {"keda": {"enabled": True, "idleReplicas": 0, "prometheusAddress": "http://p"}},
        "keda.triggers",
    ),
    ("keda where", nested("keda.enabled", True), "keda.prometheusAddress"),
    ("pdb-null", nested("podDisruptionBudget.maxUnavailable", None), "must not be null"),
    ("pdb-0", nested("podDisruptionBudget.maxUnavailable", 0), "must not be 0"),
    ("pdb-0%", nested("podDisruptionBudget.maxUnavailable", "0%"), "must not be 0"),
    ("pdb both", nested("podDisruptionBudget", {"maxUnavailable": 2, "minAvailable": 1}), "exclude each other"),
    ("ingress without hosts", nested("ingress.enabled", True), "ingress.hosts"),
    ("plain ingress", {"ingress": {"enabled": True, "hosts": ["g.example.org"]}}, "ingress.tlsSecret"),
    ("grpcroute without a gateway", nested("grpcRoute.enabled", True), "grpcRoute.parentRefs"),
    ("httproute", {"httpRoute": {"enabled": True}}, "use grpcRoute"),
    ("tls without a certificate", nested("tls.enabled", True), "set tls.existingSecret"),
    ("tls unused", nested("tls.existingSecret", "x"), "set tls.enabled to true"),
    ("tls and http", merged(TLS, nested("service.http.enabled", True)), "service.http.enabled must be false"),
    ("tls-args", {"extraArgs": ["--triton-flag=--grpc-use-ssl=true"]}, "use tls"),
    ("tls-args apart", {"extraArgs": ["--triton-flag", "--grpc-server-cert=/x"]}, "as one word"),
    ("pullsecret-str", {"imagePullSecrets": ["s"]}, "imagePullSecrets"),
    ("vols-dup", {"extraVolumes": [{"name": "shm", "emptyDir": {}}]}, "extraVolumes has the name shm"),
    ("vols-twice", {"extraVolumes": [{"name": "v", "emptyDir": {}}] * 2}, "extraVolumes has the name v"),
    ("container-dup", {"extraContainers": [SIDECAR | {"name": "glioserve"}]}, "rename it"),
    ("probes inconsistent", nested("startupProbe.failureThreshold", 10), "must be at least 660"),
    ("probe slower", nested("livenessProbe.timeoutSeconds", 20), "must not exceed its periodSeconds"),
    ("shm12", {"sharedMemorySize": "12Gi"}, "must be below resources.limits.memory"),
    ("shm-tiny", {"sharedMemorySize": "64Mi"}, "must be at least 288Mi"),
    ("shm-0", {"sharedMemorySize": "0"}, "must be at least 288Mi"),
    ("tmp-0", {"temporarySize": "0"}, "must be at least 64Mi"),
    ("both monitors", {"metrics": {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}}, "twice"),
    ("root", nested("podSecurityContext.runAsUser", 0), "needs no root"),
    ("root container", nested("containerSecurityContext.runAsUser", 0), "needs no root"),
    ("rolling null", nested("updateStrategy.rollingUpdate", None), "needs maxSurge and maxUnavailable"),
    ("lb plain", LB, "set tls.enabled"),
    ("lb-src alone", nested("service.loadBalancerSourceRanges", ["10.0.0.0/8"]), "service.type LoadBalancer"),
    ("nodeports alone", nested("service.nodePorts.grpc", 30001), "set service.type"),
    ("prestop0", nested("shutdown.preStopSeconds", 0), "preStopSeconds"),
    ("margin1", nested("shutdown.marginSeconds", 1), "must be at least 26"),
    ("margin-null", nested("shutdown.marginSeconds", None), "shutdown.marginSeconds must not be null"),
    ("shutdown null", {"shutdown": None}, "shutdown.preStopSeconds must not be null"),
    ("exit-null", nested("shutdown.exitTimeoutSeconds", None), "exitTimeoutSeconds must not be null"),
    ("logformat-null", {"logFormat": None}, "logFormat must not be null"),
    ("nohttp-arg", {"extraArgs": ["--no-http"]}, "use service.http.enabled"),
    ("httpport-arg", {"extraArgs": ["--http-port=9000"]}, "use service.http.enabled"),
    ("abbreviated", {"extraArgs": ["--hos=::"]}, "use listenAddress"),
    ("templated", {"extraArgs": ['--{{ "host" }}=::']}, "use listenAddress"),
    ("ipv6-arg", {"extraArgs": ["--host=::"]}, "use listenAddress"),
    ("digit-name", {"fullnameOverride": "3t-mri"}, "fullnameOverride"),
    ("tensorrt deadline", {"profile": "tensorrt-gpu", "tensorrt": {"build": {"enabled": True}}}, "1800 for the plan"),
    ("gpu twice", {"resources": {"limits": {"nvidia.com/gpu": 1}}}, "use gpu.count"),
]
