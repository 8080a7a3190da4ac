{{/* What no schema can say, in words that tell what to write. Every template asks for it first, by glioserve.enabled. */}}
{{- define "glioserve.check" -}}
{{- include "glioserve.checkElsewhere" . -}}
{{- include "glioserve.checkNulls" . -}}
{{- include "glioserve.checkModels" . -}}
{{- include "glioserve.checkStudyLog" . -}}
{{- include "glioserve.checkGpu" . -}}
{{- include "glioserve.checkSizes" . -}}
{{- include "glioserve.checkTimes" . -}}
{{- include "glioserve.checkScaling" . -}}
{{- include "glioserve.checkTraffic" . -}}
{{- include "glioserve.checkGateway" . -}}
{{- include "glioserve.checkMonitoring" . -}}
{{- include "glioserve.checkSecurity" . -}}
{{- include "glioserve.checkAdditions" . -}}
{{- end -}}

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

{{/* Values that must be something. Null, or a null section around them, would take a safety away without a word. */}}
{{- define "glioserve.needed" -}}
commonLabels commonAnnotations image.registry image.repository image.tag image.digest image.pullPolicy imagePullSecrets nameOverride fullnameOverride
profile persistence.existingClaim persistence.subPath persistence.image.reference persistence.image.pullPolicy persistence.volume
persistence.fetch.url persistence.fetch.version persistence.fetch.override persistence.fetch.cacheClaim persistence.fetch.size persistence.fetch.credentialsSecret persistence.fetch.resources.requests persistence.fetch.resources.limits
brainModels.existingClaim brainModels.subPath tensorrt.build.enabled tensorrt.build.cacheClaim tensorrt.build.timeoutSeconds tensorrt.build.allowFailure tensorrt.build.servedSize tensorrt.build.resources.requests tensorrt.build.resources.limits
studyLog.enabled studyLog.existingClaim studyLog.subPath studyLog.ephemeral studyLog.ephemeralSize studyLog.keepDays studyLog.keepInputs.enabled studyLog.keepInputs.sizeGiB
dicom.acceptIdentified logFormat logLevel adminToken.enabled adminToken.existingSecret adminToken.key
gpu.enabled gpu.resourceName gpu.count gpu.products gpu.writableRoot gpu.tolerations gpu.dra.enabled gpu.dra.deviceClassName gpu.dra.selectors gpu.dra.existingTemplate
runtimeClassName resourceClaims resources.requests.cpu resources.requests.memory resources.limits.memory resources.claims sharedMemorySize temporarySize threads stages.timeoutSeconds stages.memoryLimitMiB
startup.timeoutSeconds startup.marginSeconds startupProbe.periodSeconds startupProbe.timeoutSeconds startupProbe.failureThreshold
readinessProbe.periodSeconds readinessProbe.timeoutSeconds readinessProbe.failureThreshold livenessProbe.periodSeconds livenessProbe.timeoutSeconds livenessProbe.failureThreshold
shutdown.preStopSeconds shutdown.drainTimeoutSeconds shutdown.exitTimeoutSeconds shutdown.marginSeconds progressDeadlineSeconds minReadySeconds revisionHistoryLimit deploymentAnnotations updateStrategy.type
podDisruptionBudget.enabled podDisruptionBudget.minAvailable preflight.enabled preflight.timeoutSeconds preflight.serviceAccountName preflight.resources.requests preflight.resources.limits
autoscaling.enabled autoscaling.minReplicas autoscaling.maxReplicas autoscaling.pendingPerPod autoscaling.queueSeconds autoscaling.metrics autoscaling.behavior.scaleUp autoscaling.behavior.scaleDown
keda.enabled keda.minReplicas keda.maxReplicas keda.pollingIntervalSeconds keda.cooldownSeconds keda.prometheusAddress keda.pendingPerPod keda.queueSeconds keda.fallbackReplicas keda.triggers
nodeSelector tolerations affinity topologySpreadConstraints priorityClassName schedulerName hostUsers dnsPolicy dnsConfig hostAliases
listenAddress service.type service.annotations service.grpcPort service.grpcAppProtocol service.maxConnectionAgeSeconds service.nodePorts.grpc service.nodePorts.http service.loadBalancerClass service.loadBalancerSourceRanges service.externalTrafficPolicy service.ipFamilyPolicy service.ipFamilies service.allowPlaintext service.http.enabled service.http.port service.headless.enabled service.headless.annotations
tls.enabled tls.existingSecret tls.certManager.enabled tls.certManager.issuerRef tls.certManager.dnsNames tls.certManager.duration tls.certManager.renewBefore tls.clientCA.existingSecret tls.clientCA.key
ingress.enabled ingress.className ingress.annotations ingress.hosts ingress.tlsSecret
grpcRoute.enabled grpcRoute.annotations grpcRoute.parentRefs grpcRoute.hostnames grpcRoute.weight grpcRoute.backends grpcRoute.mirror.name grpcRoute.mirror.port grpcRoute.mirror.percent grpcRoute.backendCA
gateway.mode gateway.options gateway.apiKeys.existingSecret gateway.apiKeys.key gateway.jwks.configMap gateway.jwks.key gateway.image.registry gateway.image.repository gateway.image.tag gateway.image.digest gateway.image.pullPolicy
gateway.resources.requests.cpu gateway.resources.requests.memory gateway.resources.limits.memory gateway.replicaCount
metrics.callers metrics.service.port metrics.service.annotations
metrics.serviceMonitor.enabled metrics.serviceMonitor.namespace metrics.serviceMonitor.labels metrics.serviceMonitor.annotations metrics.serviceMonitor.interval metrics.serviceMonitor.scrapeTimeout metrics.serviceMonitor.relabelings metrics.serviceMonitor.metricRelabelings
metrics.podMonitor.enabled metrics.podMonitor.namespace metrics.podMonitor.labels metrics.podMonitor.annotations metrics.podMonitor.interval metrics.podMonitor.scrapeTimeout metrics.podMonitor.relabelings metrics.podMonitor.metricRelabelings
metrics.prometheusRule.enabled metrics.prometheusRule.namespace metrics.prometheusRule.labels metrics.prometheusRule.annotations metrics.prometheusRule.groups metrics.prometheusRule.runbookUrl metrics.prometheusRule.thresholds.availability metrics.prometheusRule.thresholds.latencySeconds metrics.prometheusRule.thresholds.latencyShare metrics.prometheusRule.thresholds.stageSeconds metrics.prometheusRule.thresholds.queuedStudies metrics.prometheusRule.thresholds.certificateDays metrics.dashboards.enabled metrics.dashboards.namespace metrics.dashboards.labels metrics.dashboards.annotations
tracing.enabled tracing.endpoint tracing.ratio tracing.headers.existingSecret tracing.headers.key
serviceAccount.create serviceAccount.name serviceAccount.annotations serviceAccount.automount podSecurityContext containerSecurityContext networkPolicy.enabled networkPolicy.clients networkPolicy.monitoring networkPolicy.egress
proxy.http proxy.https proxy.exclude caBundle.configMap caBundle.key test.enabled test.timeoutSeconds test.minScore test.maxScore test.clientSecret test.tokenSecret test.resources.requests test.resources.limits
podLabels podAnnotations extraArgs extraEnv extraEnvFrom extraVolumes extraVolumeMounts initContainers extraContainers extraObjects
{{- end -}}

{{- define "glioserve.checkNulls" -}}
{{- $values := .Values -}}
{{- if kindIs "invalid" .Values.enabled -}}{{- fail "enabled must not be null: leave it out for the chart's default." -}}{{- end -}}
{{- range $path := regexSplit "\\s+" (include "glioserve.needed" . | trim) -1 -}}
{{- $node := $values -}}
{{- range splitList "." $path -}}
{{- if and (kindIs "map" $node) (hasKey $node .) -}}{{- $node = index $node . -}}{{- else -}}{{- $node = dict "missing" true -}}{{- end -}}
{{- end -}}
{{- if or (kindIs "invalid" $node) (and (kindIs "map" $node) (hasKey $node "missing")) -}}
{{- fail (printf "%s must not be null: leave it out for the chart's default." $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "glioserve.checkStudyLog" -}}
{{- $s := .Values.studyLog -}}
{{- if and $s.enabled (not $s.existingClaim) (not $s.ephemeral) -}}
{{- fail "studyLog.enabled needs studyLog.existingClaim, a claim that outlives the pods; to try it out without one, set studyLog.ephemeral." -}}
{{- else if and $s.existingClaim $s.ephemeral -}}
{{- fail "studyLog.existingClaim and studyLog.ephemeral exclude each other: keep one." -}}
{{- else if and (not $s.enabled) (or $s.existingClaim $s.ephemeral $s.keepInputs.enabled) -}}
{{- fail "studyLog.existingClaim, ephemeral and keepInputs have no effect without studyLog.enabled." -}}
{{- else if and $s.subPath (not $s.existingClaim) -}}
{{- fail "studyLog.subPath is a folder of studyLog.existingClaim, which is missing." -}}
{{- else if and $s.existingClaim (eq $s.existingClaim .Values.persistence.existingClaim) (not $s.subPath) -}}
{{- fail "studyLog.existingClaim is the claim of the models: set studyLog.subPath, a folder of its own in it." -}}
{{- end -}}
{{- if and (gt (int $s.keepDays) 0) (lt (int $s.keepDays) 183) -}}
{{- fail (printf "studyLog.keepDays (%d) must be 183 days (six months) or more, or 0 to keep all." (int $s.keepDays)) -}}
{{- end -}}
{{- end -}}

{{- define "glioserve.checkModels" -}}
{{- $p := .Values.persistence -}}
{{- $given := list -}}
{{- if $p.existingClaim -}}{{- $given = append $given "persistence.existingClaim" -}}{{- end -}}
{{- if $p.image.reference -}}{{- $given = append $given "persistence.image.reference" -}}{{- end -}}
{{- if $p.volume -}}{{- $given = append $given "persistence.volume" -}}{{- end -}}
{{- if $p.fetch.url -}}{{- $given = append $given "persistence.fetch.url" -}}{{- end -}}
{{- if not $given -}}
{{- fail "The models' source is missing; one of these is required: persistence.existingClaim (a claim with what glioserve export ... --repository wrote), persistence.image.reference, persistence.volume or persistence.fetch.url." -}}
{{- else if gt (len $given) 1 -}}
{{- fail (printf "Models come from one source: keep one of %s." (join ", " $given)) -}}
{{- end -}}
{{- if and $p.image.reference (semverCompare "<1.33.0-0" .Capabilities.KubeVersion.Version) -}}
{{- fail (printf "persistence.image needs Kubernetes 1.33 or newer (there with the feature gate ImageVolume, on by default from 1.35), and this is %s: use a claim or persistence.fetch." .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if and $p.image.reference (not (regexMatch "@sha256:[a-f0-9]{64}$" $p.image.reference)) -}}
{{- fail (printf "persistence.image.reference (%s) must name a digest, as in registry.example.org/models/glioma@sha256:...: a tag may change under running pods." $p.image.reference) -}}
{{- end -}}
{{- if and $p.image.reference $p.subPath -}}
{{- if semverCompare "<1.33.0-0" .Capabilities.KubeVersion.Version -}}{{- fail "persistence.subPath of an image needs Kubernetes 1.33." -}}{{- end -}}
{{- end -}}
{{- if hasKey $p.volume "name" -}}{{- fail "persistence.volume must not have a name: the chart calls it models." -}}{{- end -}}
{{- if and $p.volume (ne (len $p.volume) 1) -}}
{{- fail (printf "persistence.volume must be one kind of volume, as in {nfs: {...}}, and has %s." (keys $p.volume | sortAlpha | join ", ")) -}}
{{- end -}}
{{- if $p.fetch.url -}}
{{- if lt (int $p.fetch.version) 1 -}}{{- fail "persistence.fetch.url needs persistence.fetch.version: the number that glioserve repository publish printed." -}}{{- end -}}
{{- if $p.subPath -}}{{- fail "persistence.subPath is for a claim or a volume: what is fetched has its place already." -}}{{- end -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.egress) (not (hasPrefix "file:" $p.fetch.url)) -}}
{{- fail "persistence.fetch.url cannot be reached, since networkPolicy lets the pods reach nobody: name the store's address in networkPolicy.egress." -}}
{{- end -}}
{{- else if or $p.fetch.cacheClaim $p.fetch.credentialsSecret $p.fetch.override (gt (int $p.fetch.version) 0) -}}
{{- fail "persistence.fetch has no url: set persistence.fetch.url, or leave the other keys of persistence.fetch out." -}}
{{- end -}}
{{- if and .Values.brainModels.subPath (not .Values.brainModels.existingClaim) -}}
{{- fail "brainModels.subPath is a folder of no claim: set brainModels.existingClaim." -}}
{{- end -}}
{{- if and .Values.tensorrt.build.enabled (ne .Values.profile "tensorrt-gpu") -}}
{{- fail (printf "tensorrt.build.enabled builds a plan that the profile %s does not run: set profile to tensorrt-gpu." .Values.profile) -}}
{{- end -}}
{{- if and .Values.adminToken.existingSecret (not .Values.adminToken.enabled) -}}
{{- fail "adminToken.existingSecret is not used: set adminToken.enabled to true." -}}
{{- end -}}
{{- end -}}

{{- define "glioserve.checkGpu" -}}
{{- $g := .Values.gpu -}}
{{- $claims := or .Values.resources.claims .Values.resourceClaims -}}
{{- if contains "-cpu" .Values.profile -}}
{{- if $g.enabled -}}{{- fail (printf "gpu.enabled must be false with the profile %s, which runs on the CPU; or choose a profile that ends with -gpu." .Values.profile) -}}{{- end -}}
{{- if $g.dra.enabled -}}{{- fail (printf "gpu.dra.enabled must be false with the profile %s, which runs on the CPU." .Values.profile) -}}{{- end -}}
{{- if $g.products -}}{{- fail (printf "gpu.products is for GPUs, and the profile %s runs on the CPU: leave it out, or use nodeSelector." .Values.profile) -}}{{- end -}}
{{- else if and (not $g.enabled) (not $g.dra.enabled) (not $claims) -}}
{{- fail (printf "gpu.enabled must be true with the profile %s, which needs a GPU; or set gpu.dra.enabled, or name a claim in resourceClaims and resources.claims; or choose a CPU profile, as in profile=onnxruntime-cpu." .Values.profile) -}}
{{- end -}}
{{- if $g.dra.enabled -}}
{{- if ne $g.resourceName "nvidia.com/gpu" -}}{{- fail (printf "gpu.dra.enabled takes the place of the device plugin, and gpu.resourceName (%s) is the device plugin's: keep one of them." $g.resourceName) -}}{{- end -}}
{{- if and (not $g.dra.existingTemplate) (semverCompare "<1.34.0-0" .Capabilities.KubeVersion.Version) -}}
{{- fail (printf "gpu.dra needs Kubernetes 1.34 or newer (resource.k8s.io/v1), and this is %s: use gpu.enabled, or a template of your own by gpu.dra.existingTemplate." .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- range .Values.resourceClaims -}}{{- if eq (toString .name) "gpu" -}}{{- fail "resourceClaims has the name gpu, which gpu.dra uses: rename it." -}}{{- end -}}{{- end -}}
{{- else if or $g.dra.existingTemplate $g.dra.selectors -}}
{{- fail "gpu.dra.existingTemplate and gpu.dra.selectors are not used: set gpu.dra.enabled to true." -}}
{{- end -}}
{{- $names := list (ternary "gpu" "" $g.dra.enabled) -}}
{{- range .Values.resourceClaims -}}{{- $names = append $names .name -}}{{- end -}}
{{- range .Values.resources.claims -}}
{{- if not (has .name $names) -}}{{- fail (printf "resources.claims names %s, which is not in resourceClaims: add it there, or set gpu.dra.enabled." .name) -}}{{- end -}}
{{- end -}}
{{- range $side := list "requests" "limits" -}}
{{- range $name, $_ := index $.Values.resources $side -}}
{{- if and (eq $name $g.resourceName) -}}{{- fail (printf "resources.%s has %s, which the chart sets: use gpu.count%s." $side $name (ternary "" ", and gpu.enabled" $g.enabled)) -}}{{- end -}}
{{- if and (or $g.dra.enabled (contains "-cpu" $.Values.profile)) (hasPrefix "nvidia.com/" $name) -}}
{{- fail (printf "resources.%s has %s, which is the device plugin's: leave it out with %s." $side $name (ternary "gpu.dra.enabled" "a CPU profile" $g.dra.enabled)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "glioserve.checkSizes" -}}
{{- $c := include "glioserve.constants" . | fromYaml -}}
{{- $r := .Values.resources -}}
{{- $limit := include "glioserve.mebibytes" $r.limits.memory | int64 -}}
{{- $shm := include "glioserve.mebibytes" .Values.sharedMemorySize | int64 -}}
{{- if ge $shm $limit -}}
{{- fail (printf "sharedMemorySize (%s) must be below resources.limits.memory (%s): /dev/shm is memory of the pod and counts against its limit." .Values.sharedMemorySize $r.limits.memory) -}}
{{- end -}}
{{- $leastShm := mul $c.studyMiB ($c.preprocessInstances | int64) | int64 -}}
{{- if lt $shm $leastShm -}}
{{- fail (printf "sharedMemorySize (%s) must be at least %dMi: each of the %d preprocessing instances takes its study from there, a raw one of %d MiB." .Values.sharedMemorySize $leastShm (int $c.preprocessInstances) (int $c.studyMiB)) -}}
{{- end -}}
{{- $least := add $shm $c.baseMiB (mul $c.preprocessInstances $c.stageMiB) | int64 -}}
{{- if lt $limit $least -}}
{{- fail (printf "resources.limits.memory (%s) must be at least %dMi: sharedMemorySize (%s), %d MiB for Triton, and %d MiB for each of the %d preprocessing instances." $r.limits.memory $least .Values.sharedMemorySize (int $c.baseMiB) (int $c.stageMiB) (int $c.preprocessInstances)) -}}
{{- end -}}
{{- $stage := include "glioserve.stageMiB" . | int64 -}}
{{- if and .Values.stages.memoryLimitMiB (lt $stage (int64 $c.stageMiB)) -}}
{{- fail (printf "stages.memoryLimitMiB (%d) must be at least %d, which one study needs; or 0 for what the memory limit leaves." $stage (int $c.stageMiB)) -}}
{{- end -}}
{{- if gt (include "glioserve.bytes" $r.requests.memory | int64) (include "glioserve.bytes" $r.limits.memory | int64) -}}
{{- fail (printf "resources.requests.memory (%s) must not exceed resources.limits.memory (%s)." $r.requests.memory $r.limits.memory) -}}
{{- end -}}
{{- if lt (include "glioserve.mebibytes" .Values.temporarySize | int64) 64 -}}
{{- fail (printf "temporarySize (%s) must be at least 64Mi: the run's folder and unpacked files are there, and 0 would be no limit." .Values.temporarySize) -}}
{{- end -}}
{{- with index $r.limits "ephemeral-storage" -}}
{{- $disk := include "glioserve.mebibytes" $.Values.temporarySize | int64 -}}
{{- if and $.Values.persistence.fetch.url (not $.Values.persistence.fetch.cacheClaim) -}}{{- $disk = add $disk (include "glioserve.mebibytes" $.Values.persistence.fetch.size) | int64 -}}{{- end -}}
{{- if $.Values.tensorrt.build.enabled -}}{{- $disk = add $disk (include "glioserve.mebibytes" $.Values.tensorrt.build.servedSize) | int64 -}}{{- end -}}
{{- if gt $disk (include "glioserve.mebibytes" . | int64) -}}
{{- fail (printf "resources.limits.ephemeral-storage (%s) must be at least %dMi: the pod's volumes on the node's disk count against it." . $disk) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "glioserve.checkTimes" -}}
{{- $least := include "glioserve.leastMarginSeconds" . | int -}}
{{- with include "glioserve.constants" . | fromYaml -}}
{{- if lt (int $.Values.shutdown.marginSeconds) $least -}}
{{- fail (printf "shutdown.marginSeconds (%d) must be at least %d: beyond its timeouts a stop takes a call (%d s), Triton's exit (%d s) and the end of what is left (%d s), and the kubelet would kill studies under way." (int $.Values.shutdown.marginSeconds) $least (int .callSeconds) (int .exitMarginSeconds) (int .killSeconds)) -}}
{{- end -}}
{{- end -}}
{{- $start := include "glioserve.startupSeconds" . | int -}}
{{- with .Values.startupProbe -}}
{{- if and .failureThreshold (lt (mul .failureThreshold .periodSeconds | int) $start) -}}
{{- fail (printf "startupProbe.failureThreshold (%d) times periodSeconds (%d) must be at least %d, the time for a start; or 0, and the chart counts." (int .failureThreshold) (int .periodSeconds) $start) -}}
{{- end -}}
{{- end -}}
{{- range $probe := list "startupProbe" "readinessProbe" "livenessProbe" -}}
{{- with index $.Values $probe -}}
{{- if gt (int .timeoutSeconds) (int (max .periodSeconds 5)) -}}
{{- fail (printf "%s.timeoutSeconds (%d) must not exceed its periodSeconds (%d)." $probe (int .timeoutSeconds) (int .periodSeconds)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $rollout := include "glioserve.rolloutSeconds" . | int -}}
{{- if le (int .Values.progressDeadlineSeconds) $rollout -}}
{{- $plan := ternary (printf " + %d for the plan" (int .Values.tensorrt.build.timeoutSeconds)) "" .Values.tensorrt.build.enabled -}}
{{- $ready := ternary (printf " + %d of minReadySeconds" (int .Values.minReadySeconds)) "" (gt (int .Values.minReadySeconds) 0) -}}
{{- fail (printf "progressDeadlineSeconds (%d) must exceed the grace period plus the time for a start (%d + %d%s%s = %d): a pod is replaced only when the old one has gone." (int .Values.progressDeadlineSeconds) (include "glioserve.gracePeriodSeconds" . | int) $start $plan $ready $rollout) -}}
{{- end -}}
{{- with .Values.updateStrategy -}}
{{- if eq .type "RollingUpdate" -}}
{{- if or (not .rollingUpdate) (kindIs "invalid" .rollingUpdate.maxSurge) (kindIs "invalid" .rollingUpdate.maxUnavailable) -}}
{{- fail "updateStrategy.rollingUpdate needs maxSurge and maxUnavailable: Kubernetes' own defaults of 25% would start a pod beside the old one, and no GPU is free for it. Leave them out for the chart's defaults, or set type to Recreate." -}}
{{- end -}}
{{- if and (has (toString .rollingUpdate.maxSurge) (list "0" "0%")) (has (toString .rollingUpdate.maxUnavailable) (list "0" "0%")) -}}
{{- fail "updateStrategy.rollingUpdate: maxSurge and maxUnavailable must not both be 0; no pod could ever be replaced." -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.podDisruptionBudget -}}
{{- if .enabled -}}
{{- if eq (toString .minAvailable) "" -}}
{{- if kindIs "invalid" .maxUnavailable -}}{{- fail "podDisruptionBudget.maxUnavailable must not be null: leave it out for the chart's default, or set minAvailable." -}}{{- end -}}
{{- if has (toString .maxUnavailable) (list "0" "0%") -}}{{- fail "podDisruptionBudget.maxUnavailable must not be 0: no node with a pod on it could be drained. Set 1, or podDisruptionBudget.enabled to false." -}}{{- end -}}
{{- else if not (or (kindIs "invalid" .maxUnavailable) (eq (toString .maxUnavailable) "1")) -}}
{{- fail "podDisruptionBudget: minAvailable and maxUnavailable exclude each other; keep one of them." -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "glioserve.checkScaling" -}}
{{- if and .Values.autoscaling.enabled .Values.keda.enabled -}}{{- fail "autoscaling.enabled and keda.enabled exclude each other: keep one of them." -}}{{- end -}}
{{- range $name := list "autoscaling" "keda" -}}
{{- with index $.Values $name -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- fail (printf "%s.minReplicas (%d) must not exceed %s.maxReplicas (%d)." $name (int .minReplicas) $name (int .maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.keda -}}
{{- if .enabled -}}
{{- if not (or .prometheusAddress .triggers) -}}{{- fail "keda.enabled needs keda.prometheusAddress, as in http://prometheus-operated.monitoring.svc:9090, or keda.triggers." -}}{{- end -}}
{{- if not (kindIs "invalid" .idleReplicas) -}}
{{- if ge (int .idleReplicas) (int .minReplicas) -}}{{- fail (printf "keda.idleReplicas (%d) must be below keda.minReplicas (%d)." (int .idleReplicas) (int .minReplicas)) -}}{{- end -}}
{{- if not .triggers -}}{{- fail "keda.idleReplicas needs keda.triggers: pods that are not there have no queue, so a trigger of yours (a schedule, the metrics of a gateway) must wake them." -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "glioserve.checkTraffic" -}}
{{- $s := .Values.service -}}
{{- $t := .Values.tls -}}
{{- if $t.enabled -}}
{{- if and (not $t.existingSecret) (not $t.certManager.enabled) -}}{{- fail "tls.enabled needs a certificate: set tls.existingSecret, or tls.certManager.enabled and tls.certManager.issuerRef." -}}{{- end -}}
{{- if and $t.existingSecret $t.certManager.enabled -}}{{- fail "tls.existingSecret and tls.certManager.enabled exclude each other: keep one of them." -}}{{- end -}}
{{- if and $t.certManager.enabled (not $t.certManager.issuerRef.name) -}}{{- fail "tls.certManager.enabled needs tls.certManager.issuerRef, as in {name: hospital-ca, kind: ClusterIssuer}." -}}{{- end -}}
{{- if $s.http.enabled -}}{{- fail "service.http.enabled must be false with tls.enabled: Triton's HTTP port has no TLS, and a study could pass it unencrypted." -}}{{- end -}}
{{- else if or $t.existingSecret $t.certManager.enabled $t.clientCA.existingSecret -}}
{{- fail "tls.existingSecret, tls.certManager and tls.clientCA are not used: set tls.enabled to true." -}}
{{- end -}}
{{- if and (eq $s.type "LoadBalancer") (not $t.enabled) (not $s.allowPlaintext) -}}
{{- fail "service.type LoadBalancer would publish studies without encryption: set tls.enabled, or service.type to ClusterIP behind ingress or grpcRoute; or force it with service.allowPlaintext." -}}
{{- end -}}
{{- if ne $s.type "LoadBalancer" -}}
{{- if or $s.loadBalancerClass $s.loadBalancerSourceRanges -}}{{- fail (printf "service.loadBalancerClass and service.loadBalancerSourceRanges are for service.type LoadBalancer, and it is %s." $s.type) -}}{{- end -}}
{{- end -}}
{{- if eq $s.type "ClusterIP" -}}
{{- if $s.externalTrafficPolicy -}}{{- fail "service.externalTrafficPolicy is for service.type NodePort or LoadBalancer, and it is ClusterIP." -}}{{- end -}}
{{- if or $s.nodePorts.grpc $s.nodePorts.http -}}{{- fail "service.nodePorts is for service.type NodePort or LoadBalancer, and it is ClusterIP: set service.type." -}}{{- end -}}
{{- end -}}
{{- if and $s.nodePorts.http (not $s.http.enabled) -}}{{- fail "service.nodePorts.http is a port of nothing: set service.http.enabled." -}}{{- end -}}
{{- if and $s.http.enabled (eq (int $s.http.port) (int $s.grpcPort)) -}}{{- fail (printf "service.http.port and service.grpcPort are both %d: change one of them." (int $s.grpcPort)) -}}{{- end -}}
{{- if and (eq $s.ipFamilyPolicy "SingleStack") (gt (len $s.ipFamilies) 1) -}}{{- fail "service.ipFamilyPolicy SingleStack takes one of service.ipFamilies; use PreferDualStack for both." -}}{{- end -}}
{{- if and (gt (len $s.ipFamilies) 1) (not $s.ipFamilyPolicy) -}}{{- fail "service.ipFamilies names two, so service.ipFamilyPolicy must be PreferDualStack or RequireDualStack." -}}{{- end -}}
{{- if .Values.ingress.enabled -}}
{{- if not .Values.ingress.hosts -}}{{- fail "ingress.enabled needs ingress.hosts, as in [glioma.example.org]." -}}{{- end -}}
{{- if and (not .Values.ingress.tlsSecret) (not $s.allowPlaintext) -}}{{- fail "ingress.enabled would publish studies without encryption: set ingress.tlsSecret to a Secret with the hosts' certificate, or force it with service.allowPlaintext." -}}{{- end -}}
{{- end -}}
{{- with .Values.grpcRoute -}}
{{- if .enabled -}}
{{- if not .parentRefs -}}{{- fail "grpcRoute.enabled needs grpcRoute.parentRefs: the gateway, as in [{name: imaging, namespace: gateways, sectionName: grpc}]." -}}{{- end -}}
{{- $sum := int .weight -}}
{{- range .backends -}}{{- $sum = add $sum (int .weight) -}}{{- end -}}
{{- if eq (int $sum) 0 -}}{{- fail "grpcRoute.weight and the weights of grpcRoute.backends are all 0: nobody would get a study." -}}{{- end -}}
{{- if and .backendCA (not $t.enabled) -}}{{- fail "grpcRoute.backendCA is not used: set tls.enabled." -}}{{- end -}}
{{- if and $t.enabled (not .backendCA) -}}{{- fail "grpcRoute with tls.enabled needs grpcRoute.backendCA: the ConfigMap with the authority by which the gateway knows the server." -}}{{- end -}}
{{- if and $t.enabled $t.clientCA.existingSecret -}}{{- fail "grpcRoute excludes tls.clientCA: a gateway has no certificate of the caller's. Ask for callers' certificates at the gateway." -}}{{- end -}}
{{- else if or .backends .mirror.name .parentRefs -}}
{{- fail "grpcRoute.parentRefs, backends and mirror are not used: set grpcRoute.enabled to true." -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "glioserve.checkMonitoring" -}}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled -}}{{- fail "metrics.serviceMonitor.enabled and metrics.podMonitor.enabled exclude each other: each pod would be scraped twice." -}}{{- end -}}
{{- range $name := list "serviceMonitor" "podMonitor" -}}
{{- with index $.Values.metrics $name -}}
{{- if gt (include "glioserve.seconds" .scrapeTimeout | int) (include "glioserve.seconds" .interval | int) -}}
{{- fail (printf "metrics.%s.scrapeTimeout (%s) must not exceed its interval (%s)." $name .scrapeTimeout .interval) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.metrics.dashboards.enabled (not (.Files.Glob "dashboards/*.json")) -}}
{{- fail "metrics.dashboards.enabled: this package of the chart has no dashboards/*.json; add one, or leave it off." -}}
{{- end -}}
{{- if and .Values.metrics.prometheusRule.enabled (not (.Files.Glob "rules/*.yaml")) (not .Values.metrics.prometheusRule.groups) -}}
{{- fail "metrics.prometheusRule.enabled: this package of the chart has no rules/*.yaml; add one, set metrics.prometheusRule.groups, or leave it off." -}}
{{- end -}}
{{- if .Values.tracing.enabled -}}
{{- if not .Values.tracing.endpoint -}}{{- fail "tracing.enabled needs tracing.endpoint, as in http://collector.monitoring.svc:4318." -}}{{- end -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.egress) -}}{{- fail "tracing.endpoint cannot be reached, since networkPolicy lets the pods reach nobody: name the collector in networkPolicy.egress." -}}{{- end -}}
{{- else if .Values.tracing.headers.existingSecret -}}
{{- fail "tracing.headers.existingSecret is not used: set tracing.enabled to true." -}}
{{- end -}}
{{- end -}}

{{- define "glioserve.checkSecurity" -}}
{{- range $context := list "podSecurityContext" "containerSecurityContext" -}}
{{- with index $.Values $context -}}
{{- if eq (toString .runAsUser) "0" -}}{{- fail (printf "%s.runAsUser is 0: the server needs no root, and the image's user is 1000. On OpenShift set it to null." $context) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if gt (float64 .Values.test.minScore) (float64 .Values.test.maxScore) -}}{{- fail "test.minScore must not exceed test.maxScore." -}}{{- end -}}
{{- end -}}

{{- define "glioserve.checkAdditions" -}}
{{- $owned := dict "--http-port" "service.http.enabled" "--no-http" "service.http.enabled" "--gateway" "gateway.mode" "--grpc-host" "gateway.mode" "--http" "service.http.enabled" "--tls-cert" "tls" "--tls-key" "tls" "--tls-client-ca" "tls.clientCA" "--admin-token-file" "adminToken" "--accept-identified-dicom" "dicom.acceptIdentified" "--repository" "persistence (an image, any volume, or a store by persistence.fetch.url)" "--profile" "profile" "--host" "listenAddress" "--grpc-port" "service.grpcPort, the port that callers see" "--metrics-port" "metrics.service.port, the port that Prometheus sees" "--probe-port" "metrics.service.port; the probes follow the chart" "--log-format" "logFormat" "--log-level" "logLevel" "--callers" "metrics.callers" "--otlp-endpoint" "tracing.endpoint" "--trace-sampling" "tracing.ratio" "--study-log" "studyLog" "--study-log-shared" "studyLog" "--study-log-keep-days" "studyLog.keepDays" "--keep-inputs" "studyLog.keepInputs" "--keep-inputs-gib" "studyLog.keepInputs" "--ready-timeout-s" "startup.timeoutSeconds" "--drain-timeout-s" "shutdown.drainTimeoutSeconds" "--exit-timeout-s" "shutdown.exitTimeoutSeconds" "--stage-timeout-s" "stages.timeoutSeconds" "--stage-memory-limit-mib" "stages.memoryLimitMiB" -}}
{{- $triton := dict "--grpc-max-connection-age" "service.maxConnectionAgeSeconds" "--grpc-use-ssl" "tls" "--grpc-server-" "tls" "--grpc-root-cert" "tls.clientCA" "--http-" "service.http" "--allow-http" "service.http.enabled" "--grpc-port" "service.grpcPort" "--grpc-address" "listenAddress" "--metrics-" "metrics.service" "--allow-metrics" "metrics.service" "--allow-grpc" "service" "--exit-timeout-secs" "shutdown.exitTimeoutSeconds" "--model-repository" "persistence" -}}
{{- if .Values.tracing.enabled -}}{{- $_ := set $triton "--trace-config" "tracing" -}}{{- end -}}
{{- range include "glioserve.tpl" (list . .Values.extraArgs) | fromYamlArray -}}
{{- $option := regexFind "^--[a-z0-9-]+" (toString .) -}}
{{- $flag := regexFind "^(--triton-fla?g?=)?--[a-z0-9-]+" (toString .) | trimPrefix "--triton-flag=" | trimPrefix "--triton-fla=" | trimPrefix "--triton-fl=" -}}
{{- range $own, $value := $owned -}}
{{- if and $option (hasPrefix $option $own) -}}{{- fail (printf "extraArgs has %s, which the chart sets: use %s." $option $value) -}}{{- end -}}
{{- end -}}
{{- range $own, $value := $triton -}}
{{- if hasPrefix $own $flag -}}{{- fail (printf "extraArgs has Triton's %s, which the chart sets: use %s." $flag $value) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- $volumes := list "models" "brain-models" "study-log" "shm" "tmp" "admin-token" "served" "plan-cache" "tls" "client-ca" "ca-bundle" "gateway" "gateway-options" "api-keys" "jwks" -}}
{{- range include "glioserve.tpl" (list . .Values.extraVolumes) | fromYamlArray -}}
{{- if has .name $volumes -}}{{- fail (printf "extraVolumes has the name %s, which the pod has already: rename it." .name) -}}{{- end -}}
{{- $volumes = append $volumes .name -}}
{{- end -}}
{{- $paths := list "/models" "/brain-models" "/study-log" "/dev/shm" "/tmp" "/etc/glioserve/admin" "/etc/glioserve/tls" "/etc/glioserve/client-ca" "/etc/glioserve/ca" "/served" -}}
{{- range include "glioserve.tpl" (list . .Values.extraVolumeMounts) | fromYamlArray -}}
{{- if has (trimSuffix "/" .mountPath) $paths -}}{{- fail (printf "extraVolumeMounts has the path %s, which is taken already: mount it elsewhere." .mountPath) -}}{{- end -}}
{{- $paths = append $paths (trimSuffix "/" .mountPath) -}}
{{- if not (has .name $volumes) -}}{{- fail (printf "extraVolumeMounts names the volume %s, which is not in extraVolumes: add it there." .name) -}}{{- end -}}
{{- end -}}
{{- $variables := list -}}
{{- range .Values.extraEnv -}}
{{- if has .name $variables -}}{{- fail (printf "extraEnv has %s twice: keep one." .name) -}}{{- end -}}
{{- $variables = append $variables .name -}}
{{- end -}}
{{- $containers := list "glioserve" -}}
{{- if .Values.persistence.fetch.url -}}{{- $containers = append $containers "fetch" -}}{{- end -}}
{{- if .Values.tensorrt.build.enabled -}}{{- $containers = append $containers "plan" -}}{{- end -}}
{{- if eq .Values.gateway.mode "sidecar" -}}{{- $containers = concat $containers (list "gateway-config" "gateway") -}}{{- end -}}
{{- range $list := list "initContainers" "extraContainers" -}}
{{- range include "glioserve.tpl" (list $ (index $.Values $list)) | fromYamlArray -}}
{{- if has .name $containers -}}{{- fail (printf "%s has the name %s, which the pod has already: rename it." $list .name) -}}{{- end -}}
{{- $containers = append $containers .name -}}
{{- end -}}
{{- end -}}
{{- end -}}
