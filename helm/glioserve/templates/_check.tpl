{{/* What no schema can say, in words that tell what to write. Every template asks for it first, by glioserve.enabled. */}}
{{- define "glioserve.check" -}}
{{- include "glioserve.checkElsewhere" . -}}
{{- include "glioserve.checkNulls" . -}}
{{- include "glioserve.checkModels" . -}}
{{- include "glioserve.checkFetchAccount" . -}}
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

{{/* Values that must be something. Null, or a null section around them, would take a safety away without a word. */}}
{{- define "glioserve.needed" -}}
commonLabels commonAnnotations image.registry image.repository image.tag image.digest image.pullPolicy imagePullSecrets nameOverride fullnameOverride
profile persistence.existingClaim persistence.subPath persistence.image.reference persistence.image.pullPolicy persistence.volume
persistence.fetch.url persistence.fetch.version persistence.fetch.override persistence.fetch.cacheClaim persistence.fetch.size persistence.fetch.credentialsSecret persistence.fetch.resources.requests.cpu persistence.fetch.resources.requests.memory persistence.fetch.resources.limits.memory
brainModels.existingClaim brainModels.subPath tensorrt.build.enabled tensorrt.build.cacheClaim tensorrt.build.timeoutSeconds tensorrt.build.allowFailure tensorrt.build.servedSize tensorrt.build.resources.requests.cpu tensorrt.build.resources.requests.memory tensorrt.build.resources.limits.memory
studyLog.enabled studyLog.existingClaim studyLog.subPath studyLog.ephemeral studyLog.ephemeralSize studyLog.keepDays studyLog.shadowVersion studyLog.keepInputs.enabled studyLog.keepInputs.sizeGiB
dicom.acceptIdentified logFormat logLevel adminToken.enabled adminToken.existingSecret adminToken.key
gpu.enabled gpu.resourceName gpu.count gpu.products gpu.writableRoot gpu.tolerations gpu.dra.enabled gpu.dra.deviceClassName gpu.dra.selectors gpu.dra.existingTemplate
runtimeClassName resourceClaims resources.requests.cpu resources.requests.memory resources.limits.memory resources.claims sharedMemorySize temporarySize threads stages.timeoutSeconds stages.memoryLimitMiB
startup.timeoutSeconds startup.marginSeconds startupProbe.periodSeconds startupProbe.timeoutSeconds startupProbe.failureThreshold
readinessProbe.periodSeconds readinessProbe.timeoutSeconds readinessProbe.failureThreshold livenessProbe.periodSeconds livenessProbe.timeoutSeconds livenessProbe.failureThreshold
shutdown.preStopSeconds shutdown.drainTimeoutSeconds shutdown.exitTimeoutSeconds shutdown.marginSeconds progressDeadlineSeconds minReadySeconds revisionHistoryLimit deploymentAnnotations updateStrategy.type
podDisruptionBudget.enabled podDisruptionBudget.minAvailable preflight.enabled preflight.timeoutSeconds preflight.serviceAccountName preflight.resources.requests.cpu preflight.resources.requests.memory preflight.resources.limits.memory
autoscaling.enabled autoscaling.minReplicas autoscaling.maxReplicas autoscaling.pendingPerPod autoscaling.queueSeconds autoscaling.metrics autoscaling.behavior.scaleUp autoscaling.behavior.scaleDown
keda.enabled keda.minReplicas keda.maxReplicas keda.pollingIntervalSeconds keda.cooldownSeconds keda.prometheusAddress keda.metadata keda.authenticationRef keda.pendingPerPod keda.queueSeconds keda.fallbackReplicas keda.triggers
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
serviceAccount.create serviceAccount.name serviceAccount.annotations serviceAccount.automount podSecurityContext podSecurityContext.runAsNonRoot podSecurityContext.seccompProfile podSecurityContext.seccompProfile.type containerSecurityContext containerSecurityContext.allowPrivilegeEscalation containerSecurityContext.readOnlyRootFilesystem containerSecurityContext.capabilities containerSecurityContext.capabilities.drop networkPolicy.enabled networkPolicy.clients networkPolicy.monitoring networkPolicy.egress
proxy.http proxy.https proxy.exclude caBundle.configMap caBundle.key test.enabled test.timeoutSeconds test.minScore test.maxScore test.clientSecret test.tokenSecret test.resources.requests.cpu test.resources.requests.memory test.resources.limits.memory
podLabels podAnnotations extraArgs extraEnv extraEnvFrom extraVolumes extraVolumeMounts initContainers extraContainers extraObjects
{{- end -}}

{{- define "glioserve.checkNulls" -}}
{{- $values := .Values -}}
{{- if kindIs "invalid" .Values.enabled -}}{{- fail (include "glioserve.nullSaid" (list $ "enabled")) -}}{{- end -}}
{{- range $path := regexSplit "\\s+" (include "glioserve.needed" . | trim) -1 -}}
{{- $node := $values -}}
{{- range splitList "." $path -}}
{{- if and (kindIs "map" $node) (hasKey $node .) -}}{{- $node = index $node . -}}{{- else -}}{{- $node = dict "missing" true -}}{{- end -}}
{{- end -}}
{{- if or (kindIs "invalid" $node) (and (kindIs "map" $node) (hasKey $node "missing")) -}}
{{- fail (include "glioserve.nullSaid" (list $ $path)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "glioserve.checkStudyLog" -}}
{{- $s := .Values.studyLog -}}
{{- if and $s.enabled (not $s.existingClaim) (not $s.ephemeral) -}}
{{- fail "studyLog.enabled needs studyLog.existingClaim, a claim that outlives the pods; to try it out without one, set studyLog.ephemeral." -}}
{{- else if and $s.existingClaim $s.ephemeral -}}
{{- fail "studyLog.existingClaim and studyLog.ephemeral exclude each other: keep one." -}}
{{- else if and (not $s.enabled) (or $s.existingClaim $s.ephemeral $s.keepInputs.enabled $s.shadowVersion) -}}
{{- fail "studyLog.existingClaim, ephemeral, keepInputs and shadowVersion have no effect without studyLog.enabled: set it to true." -}}
{{- else if and $s.subPath (not $s.existingClaim) -}}
{{- fail "studyLog.subPath is a folder of studyLog.existingClaim, which is missing." -}}
{{- else if and $s.existingClaim (eq $s.existingClaim .Values.persistence.existingClaim) (not $s.subPath) -}}
{{- fail "studyLog.existingClaim is the claim of the models: set studyLog.subPath, a folder of its own in it." -}}
{{- end -}}
{{- if and $s.ephemeral $s.keepInputs.enabled (ge (mulf $s.keepInputs.sizeGiB 1073741824) (include "glioserve.bytes" $s.ephemeralSize | float64)) -}}
{{- fail (printf "studyLog.keepInputs.sizeGiB (%v) must be below studyLog.ephemeralSize (%s): a pod whose storage is full is evicted, with the studies in it." $s.keepInputs.sizeGiB $s.ephemeralSize) -}}
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
{{- if hasKey $p.volume "emptyDir" -}}
{{- if not .Values.initContainers -}}{{- fail "persistence.volume is an emptyDir, which is empty: fill it by initContainers (mount the volume `models` there), or use a claim, an image or persistence.fetch." -}}{{- end -}}
{{- if .Values.preflight.enabled -}}{{- fail "preflight.enabled must be false with an emptyDir in persistence.volume: your init containers fill it in the server's pods alone, and the preflight would find it empty." -}}{{- end -}}
{{- end -}}
{{- if and .Values.preflight.enabled $p.existingClaim -}}
{{- range .Values.extraObjects -}}
{{- $object := include "glioserve.object" (list $ .) | fromYaml -}}
{{- if and (eq (toString $object.kind) "PersistentVolumeClaim") (eq (toString (dig "metadata" "name" "" $object)) $p.existingClaim) (not (dig "metadata" "annotations" "helm.sh/hook" "" $object)) -}}
{{- fail (printf "extraObjects has the claim %s of persistence.existingClaim, which the preflight needs before any object is there: make the claim before the release, or set preflight.enabled to false." $p.existingClaim) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $p.fetch.url -}}
{{- if lt (int $p.fetch.version) 1 -}}{{- fail "persistence.fetch.url needs persistence.fetch.version: the number that glioserve repository publish printed." -}}{{- end -}}
{{- if $p.subPath -}}{{- fail "persistence.subPath is for a claim or a volume: what is fetched has its place already." -}}{{- end -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.egress) (not (hasPrefix "file:" $p.fetch.url)) -}}
{{- fail "persistence.fetch.url cannot be reached, since networkPolicy lets the pods reach named addresses only: name the store's address in networkPolicy.egress." -}}
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
{{- if and $g.dra.existingTemplate (or $g.dra.selectors (ne (int $g.count) 1) (ne $g.dra.deviceClassName "gpu.nvidia.com")) -}}
{{- fail "gpu.dra.existingTemplate says itself which devices and how many: leave gpu.count, gpu.dra.selectors and gpu.dra.deviceClassName out." -}}
{{- end -}}
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
{{- if and $g.enabled (not $g.dra.enabled) (regexMatch "^(nvidia[.]com/(gpu|gpu[.]shared|mig-.*)|amd[.]com/gpu|gpu[.]intel[.]com/.*)$" $name) -}}
{{- fail (printf "resources.%s has %s beside gpu.resourceName (%s), so that a pod would take two devices: set gpu.resourceName to the one you mean." $side $name $g.resourceName) -}}
{{- end -}}
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
{{- if gt (int64 .Values.stages.memoryLimitMiB) (sub $limit (add $shm $c.baseMiB)) -}}
{{- fail (printf "stages.memoryLimitMiB (%d) must be at most %d: the pod would meet its own limit first, and lose its studies; or 0 for what the memory limit leaves." (int64 .Values.stages.memoryLimitMiB) (sub $limit (add $shm $c.baseMiB))) -}}
{{- end -}}
{{- $pods := dict "resources" $r "persistence.fetch.resources" .Values.persistence.fetch.resources "tensorrt.build.resources" .Values.tensorrt.build.resources "preflight.resources" .Values.preflight.resources "test.resources" .Values.test.resources "gateway.resources" .Values.gateway.resources -}}
{{- range $path, $of := $pods -}}{{- include "glioserve.checkResources" (list $path $of) -}}{{- end -}}
{{- $volumes := dict "temporarySize" .Values.temporarySize "persistence.fetch.size" .Values.persistence.fetch.size "tensorrt.build.servedSize" .Values.tensorrt.build.servedSize "studyLog.ephemeralSize" .Values.studyLog.ephemeralSize -}}
{{- range $path, $size := $volumes -}}
{{- if lt (include "glioserve.mebibytes" $size | int64) 64 -}}
{{- fail (printf "%s (%s) must be at least 64Mi; 0 would be no limit." $path $size) -}}
{{- end -}}
{{- end -}}
{{- with index $r.limits "ephemeral-storage" -}}
{{- $disk := include "glioserve.mebibytes" $.Values.temporarySize | int64 -}}
{{- if and $.Values.persistence.fetch.url (not $.Values.persistence.fetch.cacheClaim) -}}{{- $disk = add $disk (include "glioserve.mebibytes" $.Values.persistence.fetch.size) | int64 -}}{{- end -}}
{{- if $.Values.tensorrt.build.enabled -}}{{- $disk = add $disk (include "glioserve.mebibytes" $.Values.tensorrt.build.servedSize) | int64 -}}{{- end -}}
{{- if $.Values.studyLog.ephemeral -}}{{- $disk = add $disk (include "glioserve.mebibytes" $.Values.studyLog.ephemeralSize) | int64 -}}{{- end -}}
{{- if gt $disk (include "glioserve.mebibytes" . | int64) -}}
{{- fail (printf "resources.limits.ephemeral-storage (%s) must be at least %dMi: the pod's volumes on the node's disk count against it." . $disk) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What the API server refuses of a container's resources, and the scheduler would misjudge. Takes (list path resources). */}}
{{- define "glioserve.checkResources" -}}
{{- $path := index . 0 -}}
{{- with index . 1 -}}
{{- $limits := .limits -}}
{{- range $name, $wanted := .requests -}}
{{- $amount := include "glioserve.amount" $wanted | float64 -}}
{{- if and (has $name (list "cpu" "memory")) (eq $amount 0.0) -}}{{- fail (printf "%s.requests.%s must be more than 0: the scheduler would put the pod where nothing is left for it." $path $name) -}}{{- end -}}
{{- if or (contains "/" $name) (hasPrefix "hugepages-" $name) -}}
{{- if or (not (hasKey $limits $name)) (ne $amount (include "glioserve.amount" (get $limits $name) | float64)) -}}
{{- fail (printf "%s.requests.%s must be the same as %s.limits.%s, or left out: such a resource cannot be shared." $path $name $path $name) -}}
{{- end -}}
{{- else if and (hasKey $limits $name) (gt $amount (include "glioserve.amount" (get $limits $name) | float64)) -}}
{{- fail (printf "%s.requests.%s (%v) must not exceed %s.limits.%s (%v)." $path $name $wanted $path $name (get $limits $name)) -}}
{{- end -}}
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
{{- if lt (int .minReplicas) 1 -}}
{{- fail (printf "%s.minReplicas must be at least 1; for no pod at all while nothing is to be done, use keda.idleReplicas with keda.triggers." $name) -}}
{{- end -}}
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
{{- if and $t.certManager.enabled (ge (trimSuffix "h" $t.certManager.renewBefore | int) (trimSuffix "h" $t.certManager.duration | int)) -}}{{- fail (printf "tls.certManager.renewBefore (%s) must be shorter than tls.certManager.duration (%s)." $t.certManager.renewBefore $t.certManager.duration) -}}{{- end -}}
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
{{- if and $s.nodePorts.grpc (eq (int $s.nodePorts.grpc) (int $s.nodePorts.http)) -}}{{- fail (printf "service.nodePorts.grpc and service.nodePorts.http are both %d: change one of them." (int $s.nodePorts.grpc)) -}}{{- end -}}
{{- if and (eq .Values.listenAddress "0.0.0.0") (or (has "IPv6" $s.ipFamilies) (hasSuffix "DualStack" $s.ipFamilyPolicy)) -}}{{- fail "listenAddress 0.0.0.0 takes no IPv6, which service.ipFamilies or ipFamilyPolicy ask for: leave it out, or set ::." -}}{{- end -}}
{{- if and (eq .Values.dnsPolicy "None") (not .Values.dnsConfig.nameservers) -}}{{- fail "dnsPolicy None needs dnsConfig.nameservers, as in {nameservers: [10.96.0.10]}." -}}{{- end -}}
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
{{- if eq (int $sum) 0 -}}{{- fail "grpcRoute.weight and the weights of grpcRoute.backends are all 0: no server would get a study. Set one of them above 0." -}}{{- end -}}
{{- $own := include "glioserve.fullname" $ -}}
{{- range append .backends .mirror -}}{{- if eq (toString .name) $own -}}{{- fail (printf "grpcRoute names the service %s, which is this release's own: name another release's in backends and mirror, or leave it out." $own) -}}{{- end -}}{{- end -}}
{{- if and .backendCA (not $t.enabled) -}}{{- fail "grpcRoute.backendCA is not used: set tls.enabled." -}}{{- end -}}
{{- if and $t.enabled (not .backendCA) -}}{{- fail "grpcRoute with tls.enabled needs grpcRoute.backendCA: the ConfigMap with the authority by which the gateway knows the server." -}}{{- end -}}
{{- if and $t.enabled $t.clientCA.existingSecret -}}{{- fail "grpcRoute excludes tls.clientCA: a gateway has no certificate of the caller's. Ask for callers' certificates at the gateway." -}}{{- end -}}
{{- else if or .backends .mirror.name -}}
{{- fail "grpcRoute.backends and mirror are not used: set grpcRoute.enabled to true." -}}
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
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.egress) -}}{{- fail "tracing.endpoint cannot be reached, since networkPolicy lets the pods reach named addresses only: name the collector in networkPolicy.egress." -}}{{- end -}}
{{- else if .Values.tracing.headers.existingSecret -}}
{{- fail "tracing.headers.existingSecret is not used: set tracing.enabled to true." -}}
{{- end -}}
{{- end -}}

{{- define "glioserve.checkSecurity" -}}
{{- range $context := list "podSecurityContext" "containerSecurityContext" -}}
{{- with index $.Values $context -}}
{{- range $key := list "runAsUser" "runAsGroup" "fsGroup" -}}
{{- if kindIs "string" (index $.Values $context $key) -}}{{- fail (printf "%s.%s is text, and must be a number: write it without quotes." $context $key) -}}{{- end -}}
{{- end -}}
{{- if eq (toString .runAsUser) "0" -}}{{- fail (printf "%s.runAsUser is 0: the server needs no root, and the image's user is 1000. On OpenShift set it to null." $context) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if gt (float64 .Values.test.minScore) (float64 .Values.test.maxScore) -}}{{- fail "test.minScore must not exceed test.maxScore." -}}{{- end -}}
{{- end -}}
