"""Combinations of values by the platforms that need them: GitOps, clouds, meshes, policies, secret stores, scalers."""

from __future__ import annotations

from typing import Any

from support.cluster.helm_tools import nested

Values = dict[str, Any]
DIGEST = "sha256:" + "a" * 64
TLS = {"enabled": True, "existingSecret": "mri-tls"}
HTTPS = {"egress": [{"ports": [{"port": 443, "protocol": "TCP"}]}]}
NO_IDS = {"runAsUser": None, "runAsGroup": None, "fsGroup": None}
FULLNAME = '{{ include "glioserve.fullname" . }}'


def fetched(url: str, **fetch: Any) -> Values:
    """Return a store as the source of the models."""
    return {"persistence": {"existingClaim": "", "fetch": {"url": url, "version": 3, **fetch}}}


def custom(api: str, kind: str, spec: Values, name: str = "own") -> Values:
    """Return an object of an operator as the one of ``extraObjects``."""
    return {"extraObjects": [{"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec}]}


PLATFORM_WORKS: dict[str, Values] = {
    "argo cd: waves, hooks off": {
        "commonAnnotations": {"argocd.argoproj.io/sync-wave": "2"},
        "deploymentAnnotations": {"argocd.argoproj.io/sync-options": "ServerSideApply=true"},
        "preflight": {"enabled": False},
        "test": {"enabled": False},
        "adminToken": {"enabled": True, "existingSecret": "admin"},
    },
    "argo rollouts by reference": {
        "replicaCount": None,
        **custom("argoproj.io/v1alpha1", "Rollout", {"workloadRef": {"kind": "Deployment", "name": FULLNAME}}),
    },
    "flux: labels of its own": {"commonLabels": {"kustomize.toolkit.fluxcd.io/name": "imaging"}},
    "scaled to nothing on purpose": {"replicaCount": 0},
    "karpenter": {
        "nodeSelector": {"karpenter.sh/capacity-type": "on-demand", "karpenter.k8s.aws/instance-gpu-name": "l4"},
        "podAnnotations": {"karpenter.sh/do-not-disrupt": "true"},
        "tolerations": [{"key": "karpenter.sh/disrupted", "operator": "Exists"}],
    },
    "istio": {
        "podLabels": {"sidecar.istio.io/inject": "true"},
        "podAnnotations": {"traffic.sidecar.istio.io/excludeInboundPorts": "8003"},
        "service": {"grpcAppProtocol": "grpc"},
    },
    "linkerd": {"podAnnotations": {"linkerd.io/inject": "enabled", "config.linkerd.io/skip-inbound-ports": "8003"}},
    "kyverno: limits, labels, digest, registry": {
        "resources": {"limits": {"cpu": "8", "memory": "12Gi"}},
        "podLabels": {"team": "imaging", "cost-center": "42"},
        "image": {"registry": "harbor.hospital.example:8443/imaging", "digest": DIGEST, "pullPolicy": "Always"},
    },
    "zones, hard": {
        "replicaCount": 3,
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule",
                "matchLabelKeys": ["pod-template-hash"],
                "minDomains": 3,
            }
        ],
    },
    "aks: taints of gpu and spot": {
        "gpu": {"tolerations": [{"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}]},
        "tolerations": [{"key": "kubernetes.azure.com/scalesetpriority", "operator": "Exists", "effect": "NoSchedule"}],
        "nodeSelector": {"kubernetes.azure.com/agentpool": "gpunp"},
    },
    "eks: a role by the pod's identity": {
        "networkPolicy": HTTPS,
        "replicaCount": 2,
        **fetched("s3://models/glioserve", cacheClaim="cache"),
    },
    "kueue and KAI": {
        "commonLabels": {"kueue.x-k8s.io/queue-name": "gpu"},
        "schedulerName": "kai-scheduler",
        "podLabels": {"kai.scheduler/queue": "imaging"},
        "priorityClassName": "clinical",
    },
    "gvisor": {"runtimeClassName": "gvisor"},
    "a proxy and a private authority": {
        "proxy": {"https": "http://proxy.example:3128", "exclude": ".svc,.cluster.local,10.0.0.0/8"},
        "caBundle": {"configMap": "hospital-ca", "key": "trust-bundle.pem"},
        "networkPolicy": {"egress": [{"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}], "ports": [{"port": 3128}]}]},
        **fetched("https://models.example/glioserve"),
    },
    "external secrets": {
        "networkPolicy": HTTPS,
        **fetched("s3://models/glioserve", credentialsSecret="mri-s3"),
        **custom("external-secrets.io/v1", "ExternalSecret", {"target": {"name": "{{ .Release.Name }}-s3"}}),
        "extraEnvFrom": [{"secretRef": {"name": "{{ .Release.Name }}-env", "optional": True}}],
    },
    "one claim for all": {
        "persistence": {"existingClaim": "shared", "subPath": "mri/models"},
        "brainModels": {"existingClaim": "shared", "subPath": "brain"},
        "studyLog": {"enabled": True, "existingClaim": "shared", "subPath": "mri/log", "keepDays": 365},
        "replicaCount": 3,
    },
    "a csi volume": {
        "persistence": {"existingClaim": "", "volume": {"csi": {"driver": "blob.csi.azure.com", "readOnly": True}}}
    },
    "cilium": custom("cilium.io/v2", "CiliumNetworkPolicy", {"endpointSelector": {}}),
    "only IPv6": {
        "service": {"ipFamilies": ["IPv6"], "ipFamilyPolicy": "SingleStack"},
        "networkPolicy": {"clients": [{"ipBlock": {"cidr": "fd00::/8"}}]},
    },
    "both, IPv6 first": {"service": {"ipFamilies": ["IPv6", "IPv4"], "ipFamilyPolicy": "RequireDualStack"}},
    "openshift: no ids, a route": {
        "podSecurityContext": {**NO_IDS, "fsGroupChangePolicy": None},
        "tls": TLS,
        "ingress": {
            "enabled": True,
            "className": "openshift-default",
            "hosts": ["mri.apps.example"],
            "tlsSecret": "mri-tls",
            "annotations": {"route.openshift.io/termination": "passthrough"},
        },
    },
    "openshift: groups of a volume": {"podSecurityContext": {**NO_IDS, "supplementalGroups": [5555]}},
    "openshift: keda asks thanos": {
        "keda": {
            "enabled": True,
            "prometheusAddress": "https://thanos-querier.openshift-monitoring.svc:9092",
            "queueSeconds": 10,
            "metadata": {"authModes": "bearer", "namespace": "radiology"},
            "authenticationRef": {"name": "thanos", "kind": "TriggerAuthentication"},
        },
        **custom("keda.sh/v1alpha1", "TriggerAuthentication", {"secretTargetRef": []}, name="thanos"),
    },
    "keda: hours of work, rules that know": {
        "keda": {
            "enabled": True,
            "idleReplicas": 0,
            "prometheusAddress": "http://prometheus:9090",
            "triggers": [
                {
                    "type": "cron",
                    "metadata": {
                        "timezone": "Europe/Berlin",
                        "start": "0 7 * * 1-5",
                        "end": "0 18 * * 1-5",
                        "desiredReplicas": "1",
                    },
                    "authenticationRef": {"name": "own"},
                }
            ],
        },
        "metrics": {"prometheusRule": {"enabled": True}},
    },
    "hpa on processors too": {
        "autoscaling": {
            "enabled": True,
            "minReplicas": 2,
            "maxReplicas": 10,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
                }
            ],
        }
    },
    "gateway api with tls behind it": {
        "grpcRoute": {
            "enabled": True,
            "parentRefs": [{"name": "eg", "namespace": "gateways", "sectionName": "grpc"}],
            "hostnames": ["mri.example"],
            "backendCA": "server-ca",
        },
        "tls": TLS,
    },
    "vpa that only looks": custom(
        "autoscaling.k8s.io/v1",
        "VerticalPodAutoscaler",
        {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": FULLNAME}},
    ),
    "monitoring in a namespace of its own": {
        "metrics": {
            "podMonitor": {"enabled": True, "namespace": "monitoring", "labels": {"release": "kube-prometheus-stack"}},
            "prometheusRule": {"enabled": True, "namespace": "monitoring"},
            "dashboards": {"enabled": True, "namespace": "monitoring", "annotations": {"grafana_folder": "Imaging"}},
        }
    },
    "annotations for scrapers": {
        "podAnnotations": {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": "8003",
            "ad.datadoghq.com/glioserve.checks": '{"openmetrics":{"instances":[{"openmetrics_endpoint":"%%host%%"}]}}',
        }
    },
    "reloader": {"deploymentAnnotations": {"reloader.stakater.com/auto": "true"}, "tls": TLS},
    "a collector on the node": {
        "tracing": {"enabled": True, "endpoint": "http://$(HOST_IP):4318"},
        "extraEnv": [{"name": "HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}],
        "networkPolicy": {"egress": [{"ports": [{"port": 4318}]}]},
    },
    "aws: an internal balancer with cert-manager": {
        "service": {
            "type": "LoadBalancer",
            "loadBalancerClass": "service.k8s.aws/nlb",
            "annotations": {"service.beta.kubernetes.io/aws-load-balancer-scheme": "internal"},
            "loadBalancerSourceRanges": ["10.0.0.0/8"],
            "externalTrafficPolicy": "Local",
        },
        "tls": {
            "enabled": True,
            "certManager": {"enabled": True, "issuerRef": {"name": "hospital", "kind": "ClusterIssuer"}},
        },
    },
    "metallb": {
        "service": {"type": "LoadBalancer", "annotations": {"metallb.io/loadBalancerIPs": "10.1.2.3"}},
        "tls": TLS,
    },
    "a sidecar gateway with an issuer": {
        "gateway": {
            "mode": "sidecar",
            "options": {
                "jwt": {"issuer": "https://id.example", "audiences": ["mri"], "jwks_uri": "https://id.example/k"}
            },
        },
        "networkPolicy": HTTPS,
    },
    "contexts that stay restricted": {
        "podSecurityContext": {
            "runAsUser": 65534,
            "runAsGroup": 65534,
            "fsGroup": 65534,
            "seLinuxOptions": {"level": "s0:c123,c456"},
            "appArmorProfile": {"type": "RuntimeDefault"},
        },
        "containerSecurityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "p.json"}},
    },
    "storage of the node is counted": {
        "resources": {"requests": {"ephemeral-storage": "4Gi"}, "limits": {"ephemeral-storage": "8Gi"}}
    },
    "an umbrella's globals": {
        "global": {
            "imageRegistry": "mirror.example/proxy",
            "imagePullSecrets": ["regcred"],
            "storageClass": "fast",
            "security": {"allowInsecureImages": True},
        }
    },
}
"""Each renders alike with both Helms, is valid and keeps the restricted Pod Security Standard."""

PLATFORM_WEAKER: dict[str, tuple[Values, str]] = {
    "gke: accelerator, time sharing, an account for the preflight": (
        {
            "nodeSelector": {
                "cloud.google.com/gke-accelerator": "nvidia-l4",
                "cloud.google.com/gke-gpu-sharing-strategy": "time-sharing",
            },
            "serviceAccount": {"annotations": {"iam.gke.io/gcp-service-account": "mri@p.iam.gserviceaccount.com"}},
            "preflight": {"serviceAccountName": "mri-preflight"},
            "networkPolicy": HTTPS,
            **fetched("gs://models/glioserve"),
        },
        "no ServiceAccount mri-preflight",
    ),
    "nfs without a claim": (
        {"persistence": {"existingClaim": "", "volume": {"nfs": {"server": "nas.example", "path": "/models"}}}},
        "volume models is a nfs",
    ),
    "vault's agent needs a token": (
        {"podAnnotations": {"vault.hashicorp.com/agent-inject": "true"}, "serviceAccount": {"automount": True}},
        "mounts a service account's token",
    ),
    "eks: a service account that is there": (
        {"serviceAccount": {"create": False, "name": "mri-irsa"}, "networkPolicy": HTTPS, **fetched("s3://m/g")},
        "no ServiceAccount mri-irsa",
    ),
    "a capability": (
        {"containerSecurityContext": {"capabilities": {"drop": ["ALL"], "add": ["SYS_PTRACE"]}}},
        "not restricted (no capabilities)",
    ),
}
"""Each renders, with this fault and no other: what the operator asked for is weaker, or refers to something outside."""

PLATFORM_REFUSED: dict[str, tuple[Values, str]] = {
    "eks: a role that comes after the preflight": (
        {
            "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/mri"}},
            "networkPolicy": HTTPS,
            **fetched("s3://models/glioserve"),
        },
        "or preflight.serviceAccountName",
    ),
    "a store that the policy does not let through": (fetched("s3://m/g"), "networkPolicy.egress"),
    "a collector that the policy does not let through": (
        {"tracing": {"enabled": True, "endpoint": "http://collector:4318"}},
        "networkPolicy.egress",
    ),
    "azure: an internal balancer in plain text": (
        {"service": {"type": "LoadBalancer", "annotations": {"a/azure-load-balancer-internal": "true"}}},
        "set tls.enabled",
    ),
    "gateway api: tls without its authority": (
        {"grpcRoute": {"enabled": True, "parentRefs": [{"name": "eg"}]}, "tls": TLS},
        "grpcRoute.backendCA",
    ),
    "replicas as a word": ({"replicaCount": "2"}, "/replicaCount': got string, want null or integer"),
    "keda: a trigger's own words overridden": (
        {"keda": {"enabled": True, "prometheusAddress": "http://p:9090", "metadata": {"query": "up"}}},
        "invalid propertyName 'query'",
    ),
    "the network of the node": (nested("hostNetwork", True), "service.type NodePort or LoadBalancer"),
}
"""Each is refused, with what to write."""
