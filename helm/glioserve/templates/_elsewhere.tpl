{{/* Keys that other charts have, and what they are called here. */}}
{{- define "glioserve.elsewhere" -}}
replicas: replicaCount
sidecars: extraContainers
extraInitContainers: initContainers
env: extraEnv
envFrom: extraEnvFrom
args: extraArgs
volumes: extraVolumes
volumeMounts: extraVolumeMounts
extraDeploy: extraObjects
extraManifests: extraObjects
hpa: autoscaling
strategy: updateStrategy
securityContext: containerSecurityContext
hostNetwork: service.type NodePort or LoadBalancer; the pods keep a network of their own
hostPID: gpu and metrics; the pods keep their own process namespace
hostIPC: sharedMemorySize; the pods keep a /dev/shm of their own
lifecycle: shutdown
command: profile, persistence and extraArgs; the supervisor is the container's first process
nodeAffinity: affinity.nodeAffinity
podAffinity: affinity.podAffinity
podAntiAffinity: affinity.podAntiAffinity
priorityClass: priorityClassName
runtimeClass: runtimeClassName
serviceAccountName: serviceAccount.name
extraEnvVars: extraEnv
extraLabels: commonLabels
shadow: studyLog.shadowVersion
drift: studyLog, from which drift is measured
pacs: examples/pacs.yaml, a Deployment of its own
updateStrategy.maxSurge: updateStrategy.rollingUpdate.maxSurge
updateStrategy.maxUnavailable: updateStrategy.rollingUpdate.maxUnavailable
podDisruptionBudget.create: podDisruptionBudget.enabled
networkPolicy.ingress: networkPolicy.clients
annotations: commonAnnotations, deploymentAnnotations or podAnnotations
labels: commonLabels or podLabels
pdb: podDisruptionBudget
probes: startupProbe, readinessProbe and livenessProbe
terminationGracePeriodSeconds: shutdown.*, whose sum it is
httpRoute: grpcRoute; studies come by gRPC
gateway.enabled: gateway.mode, sidecar or deployment; or grpcRoute for the Gateway API
gateway.jwt: gateway.options.jwt
gateway.rate: gateway.options.rate
gateway.limits: gateway.options.limits
gateway.tls: tls, which is the gateway's where there is one
serviceMonitor: metrics.serviceMonitor
podMonitor: metrics.podMonitor
prometheusRule: metrics.prometheusRule
dashboards: metrics.dashboards
models: persistence.existingClaim, persistence.image, persistence.volume or persistence.fetch
storage: persistence.existingClaim, persistence.image, persistence.volume or persistence.fetch
shmSize: sharedMemorySize
persistence.enabled: one of persistence.existingClaim, image, volume and fetch
persistence.s3: persistence.fetch.url as s3://bucket/prefix, and persistence.fetch.version
persistence.gcs: persistence.fetch.url as gs://bucket/prefix, and persistence.fetch.version
persistence.size: persistence.existingClaim with a claim of your own, since an empty one serves nothing; or persistence.fetch.size
persistence.storageClass: persistence.existingClaim with a claim of your own, since an empty one serves nothing
persistence.accessModes: persistence.existingClaim with a claim of your own, since an empty one serves nothing
persistence.claimName: persistence.existingClaim
persistence.fetch.s3: persistence.fetch.url as s3://bucket/prefix
gpu.mig: gpu.resourceName, as in nvidia.com/mig-1g.10gb
gpu.migProfile: gpu.resourceName, as in nvidia.com/mig-1g.10gb
gpu.memory: resources.limits, as in nvidia.com/gpumem
gpu.nodeSelector: nodeSelector or gpu.products
gpu.deviceClassName: gpu.dra.deviceClassName
service.port: service.grpcPort and service.http.port
service.nodePort: service.nodePorts.grpc
service.loadBalancerIP: service.annotations, in your provider's words
metrics.enabled: metrics.serviceMonitor.enabled or metrics.podMonitor.enabled; the metrics themselves are always there
metrics.namespace: metrics.serviceMonitor.namespace
ingress.host: ingress.hosts
ingress.ingressClassName: ingress.className
ingress.tls: ingress.tlsSecret
tls.secretName: tls.existingSecret
tls.mutual: tls.clientCA.existingSecret
tracing.rate: tracing.ratio, the share of the studies
autoscaling.targetCPUUtilizationPercentage: autoscaling.pendingPerPod; the processors tell little about a GPU's queue
autoscaling.targetMemoryUtilizationPercentage: autoscaling.pendingPerPod; memory is bounded whatever the load
autoscaling.external: replicaCount as null
keda.maxReplicaCount: keda.maxReplicas
keda.minReplicaCount: keda.minReplicas
keda.idleReplicaCount: keda.idleReplicas
keda.serverAddress: keda.prometheusAddress
{{- end -}}

{{- define "glioserve.checkElsewhere" -}}
{{- $values := .Values -}}
{{- range $path, $here := include "glioserve.elsewhere" . | fromYaml -}}
{{- $keys := splitList "." $path -}}
{{- $node := $values -}}
{{- range initial $keys -}}{{- $node = ternary (get $node .) dict (and (kindIs "map" $node) (kindIs "map" (get $node .))) -}}{{- end -}}
{{- if hasKey $node (last $keys) -}}
{{- fail (printf "%s is not a value of this chart: use %s." $path $here) -}}
{{- end -}}
{{- end -}}
{{- end -}}
