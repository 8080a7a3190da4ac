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
podAntiAffinityPreset: affinity.podAntiAffinity, or topologySpreadConstraints
nodeAffinityPreset: affinity.nodeAffinity
topologySpread: topologySpreadConstraints
podPriority: priorityClassName
containerPorts: service.grpcPort; within the pod the ports are fixed
diagnosticMode: kubectl debug
customLivenessProbe: livenessProbe's numbers; what is asked belongs to the supervisor
customReadinessProbe: readinessProbe's numbers; what is asked belongs to the supervisor
customStartupProbe: startupProbe's numbers; what is asked belongs to the supervisor
livenessProbe.initialDelaySeconds: startup, for which the startup probe waits
readinessProbe.initialDelaySeconds: startup, for which the startup probe waits
startupProbe.initialDelaySeconds: startup, for which the startup probe waits
livenessProbe.enabled: livenessProbe's numbers; the probe is always there
readinessProbe.enabled: readinessProbe's numbers; the probe is always there
startupProbe.enabled: startupProbe's numbers; the probe is always there
lifecycleHooks: shutdown
persistence.mountPath: persistence.subPath; where it is mounted is the chart's own affair
modelRepository: persistence.existingClaim, persistence.image, persistence.volume or persistence.fetch
modelRepositoryPath: persistence.subPath, the repository's folder within the claim or volume
service.ports: service.grpcPort and service.http.port
service.clusterIP: service.headless, a second service without an address; the first one's is the cluster's choice
service.labels: commonLabels
service.sessionAffinity: service.maxConnectionAgeSeconds; a gRPC connection stays with its pod anyway
serviceAccount.automountServiceAccountToken: serviceAccount.automount
serviceAccount.labels: commonLabels
automountServiceAccountToken: serviceAccount.automount
rbac: serviceAccount; the server never speaks to the Kubernetes API and needs no role
shareProcessNamespace: extraContainers; each keeps its own process namespace, since the supervisor is the first process
image.pullSecrets: imagePullSecrets
image.name: image.repository
gateway.image.pullSecrets: imagePullSecrets
gateway.image.name: gateway.image.repository
imagePullPolicy: image.pullPolicy
namespaceOverride: helm --namespace
certManager: tls.certManager
tls.existingSecretName: tls.existingSecret
tls.issuerRef: tls.certManager.issuerRef
istio: podLabels and podAnnotations for the sidecar, service.grpcAppProtocol, and extraObjects for Istio's own
openshift: podSecurityContext with runAsUser, runAsGroup and fsGroup as null (ci/openshift-values.yaml)
route: ingress, with route.openshift.io/termination as its annotation
vpa: extraObjects
externalSecrets: extraObjects, and the names of the Secrets that they make
gatewayApi: grpcRoute
grpcRoute.gateway: grpcRoute.parentRefs
grpcRoute.rules: grpcRoute.weight, backends and mirror; a route of your own goes to extraObjects
grpcRoute.filters: grpcRoute.mirror; a route of your own goes to extraObjects
grpcRoute.matches: grpcRoute.hostnames; a route of your own goes to extraObjects
ingress.pathType: ingress.hosts; the path is /, as gRPC needs it
metrics.port: metrics.service.port
metrics.serviceMonitor.additionalLabels: metrics.serviceMonitor.labels
metrics.serviceMonitor.selector: metrics.serviceMonitor.labels, by which your Prometheus selects it
metrics.podMonitor.additionalLabels: metrics.podMonitor.labels
metrics.prometheusRule.additionalLabels: metrics.prometheusRule.labels
metrics.prometheusRule.rules: metrics.prometheusRule.groups
networkPolicy.allowExternal: networkPolicy.clients
networkPolicy.egressRules: networkPolicy.egress
networkPolicy.extraIngress: networkPolicy.clients
networkPolicy.extraEgress: networkPolicy.egress
shm: sharedMemorySize
logging: logLevel and logFormat
tests: test
studyLog.size: studyLog.existingClaim with a claim of your own, or studyLog.ephemeralSize
gpu.limits: gpu.count
gpu.type: gpu.products, as the nodes' label nvidia.com/gpu.product has them
gpu.runtimeClassName: runtimeClassName
gpu.dra.count: gpu.count
gpus: gpu.count
autoscaling.targetCPU: autoscaling.pendingPerPod; the processors tell little about a GPU's queue
autoscaling.annotations: commonAnnotations
keda.annotations: commonAnnotations
keda.pollingInterval: keda.pollingIntervalSeconds
keda.cooldownPeriod: keda.cooldownSeconds
keda.behavior: autoscaling.behavior, which KEDA gets too
keda.advanced: autoscaling.behavior, which KEDA gets too
keda.triggerAuthentication: keda.authenticationRef
deployment: deploymentAnnotations, updateStrategy and the values of the pod
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

{{/* What is said of a value that is null. Takes (list $ path). An upgrade with --reuse-values lacks what an older chart did not have. */}}
{{- define "glioserve.nullSaid" -}}
{{ index . 1 }} must not be null: leave it out for the chart's default.
{{- if (index . 0).Release.IsUpgrade }} If you did not set it, the release's own values are of an older chart, which has no such value: upgrade with --reset-then-reuse-values in place of --reuse-values.{{- end -}}
{{- end -}}
