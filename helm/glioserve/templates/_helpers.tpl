{{- define "glioserve.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 50 characters: "-headless" and "-metrics" must fit behind it, and a Service's name ends at 63. */}}
{{- define "glioserve.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/*
Labels of an object. Takes (list $ component extra): the chart's own win over commonLabels and extra, since selectors
rest on them, and every key comes once. The component keeps services and budgets off the test pod.
*/}}
{{- define "glioserve.labels" -}}
{{- $ := index . 0 -}}
{{- $own := include "glioserve.selectorLabels" (list $ (index . 1)) | fromYaml -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" $.Chart.Name $.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- $_ := set $own "app.kubernetes.io/version" (toString $.Chart.AppVersion) -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" $.Release.Service -}}
{{- toYaml (merge $own (deepCopy (index . 2)) (deepCopy $.Values.commonLabels)) -}}
{{- end -}}

{{/* Labels of the server's pods: without the chart's version, which would replace every pod at a change of the chart. */}}
{{- define "glioserve.podLabels" -}}
{{- $own := include "glioserve.selectorLabels" (list . "server") | fromYaml -}}
{{- toYaml (merge $own (deepCopy .Values.podLabels) (deepCopy .Values.commonLabels)) -}}
{{- end -}}

{{/* Takes (list $ component). */}}
{{- define "glioserve.selectorLabels" -}}
app.kubernetes.io/name: {{ include "glioserve.name" (index . 0) }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "glioserve.image" -}}
{{- with .Values.image -}}
{{- if .registry -}}{{ .registry }}/{{- end -}}
{{- .repository -}}
{{- if .digest -}}@{{ .digest }}{{- else -}}:{{ .tag | default $.Chart.AppVersion }}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "glioserve.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "glioserve.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "glioserve.adminSecretName" -}}
{{- .Values.adminToken.existingSecret | default (printf "%s-admin" (include "glioserve.fullname" .)) -}}
{{- end -}}

{{/* A list or map of the values as YAML, with templates inside filled in. Takes (list $ value). */}}
{{- define "glioserve.tpl" -}}
{{- tpl (toYaml (index . 1)) (index . 0) -}}
{{- end -}}

{{/* Bytes of a memory quantity: 2Gi -> 2147483648. The schema lets only these units through. */}}
{{- define "glioserve.bytes" -}}
{{- $number := regexFind "^[0-9]+([.][0-9]+)?" . -}}
{{- $scale := dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- mulf (float64 $number) (get $scale (trimPrefix $number .)) | int64 -}}
{{- end -}}

{{/* Seconds of a Prometheus duration in s or m, which is all the schema lets through. */}}
{{- define "glioserve.seconds" -}}
{{- mul (regexFind "^[0-9]+" .) (ternary 60 1 (hasSuffix "m" .)) -}}
{{- end -}}

{{/*
Threads of each preprocessing instance: the whole CPUs requested, shared between the two instances that
model_repository/preprocess has, at least 1. A library that starts a thread per core of the node only waits for CPU.
*/}}
{{- define "glioserve.threads" -}}
{{- $cpu := toString .Values.resources.requests.cpu -}}
{{- if .Values.threads -}}
{{- .Values.threads -}}
{{- else if hasSuffix "m" $cpu -}}
{{- max 1 (div (trimSuffix "m" $cpu) 2000) -}}
{{- else -}}
{{- max 1 (div (floor (float64 $cpu) | int64) 2) -}}
{{- end -}}
{{- end -}}

{{/* The whole of a stop. Kubernetes counts preStop in, and kills whatever is left at the end. */}}
{{- define "glioserve.gracePeriodSeconds" -}}
{{- with .Values.shutdown -}}
{{- add .preStopSeconds .drainTimeoutSeconds .exitTimeoutSeconds .marginSeconds -}}
{{- end -}}
{{- end -}}

{{/*
How long the startup probe waits, in seconds from the container's start: the supervisor's patience, twice where it may begin
again with ONNX Runtime because the TensorRT plan does not load, and what comes before its clock starts (the import of its
code, the digests of the repository). It ends by itself, with the reason, before the probe ends it.
*/}}
{{- define "glioserve.startupSeconds" -}}
{{- add (mul .Values.startup.timeoutSeconds (ternary 2 1 (eq .Values.profile "tensorrt-gpu"))) .Values.startup.marginSeconds -}}
{{- end -}}

{{/* What no schema can say: relations between values. Included once, by the deployment. */}}
{{- define "glioserve.validate" -}}
{{- $shm := include "glioserve.bytes" .Values.sharedMemorySize | int64 -}}
{{- $limit := include "glioserve.bytes" .Values.resources.limits.memory | int64 -}}
{{- if ge $shm $limit -}}
{{- fail (printf "sharedMemorySize (%s) must be below resources.limits.memory (%s): /dev/shm is memory of the pod and counts against its limit." .Values.sharedMemorySize .Values.resources.limits.memory) -}}
{{- end -}}
{{- if gt (include "glioserve.bytes" .Values.resources.requests.memory | int64) $limit -}}
{{- fail (printf "resources.requests.memory (%s) must not exceed resources.limits.memory (%s)." .Values.resources.requests.memory .Values.resources.limits.memory) -}}
{{- end -}}
{{- $grace := include "glioserve.gracePeriodSeconds" . | int -}}
{{- $start := include "glioserve.startupSeconds" . | int -}}
{{- $slowest := add $grace $start | int -}}
{{- if le (int .Values.progressDeadlineSeconds) $slowest -}}
{{- fail (printf "progressDeadlineSeconds (%d) must exceed the grace period plus the time for a start (%d + %d = %d): a pod is replaced only when the old one has gone." (int .Values.progressDeadlineSeconds) $grace $start $slowest) -}}
{{- end -}}
{{- with .Values.updateStrategy.rollingUpdate -}}
{{- if and (has (toString .maxSurge) (list "0" "0%")) (has (toString .maxUnavailable) (list "0" "0%")) -}}
{{- fail "updateStrategy.rollingUpdate: maxSurge and maxUnavailable must not both be 0; no pod could ever be replaced." -}}
{{- end -}}
{{- end -}}
{{- with .Values.metrics.serviceMonitor -}}
{{- if gt (include "glioserve.seconds" .scrapeTimeout | int) (include "glioserve.seconds" .interval | int) -}}
{{- fail (printf "metrics.serviceMonitor.scrapeTimeout (%s) must not exceed its interval (%s)." .scrapeTimeout .interval) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Variables that the chart sets, but for those that extraEnv sets: a name may stand in a pod only once. */}}
{{- define "glioserve.env" -}}
{{- $threads := include "glioserve.threads" . -}}
{{- $own := dict "OMP_NUM_THREADS" $threads "OPENBLAS_NUM_THREADS" $threads "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS" $threads -}}
{{- if not .Values.gpu.enabled -}}
{{/* The image asks for all GPUs; on a node whose default runtime is NVIDIA's it would get them. */}}
{{- $_ := set $own "NVIDIA_VISIBLE_DEVICES" "void" -}}
{{- end -}}
{{- if .Values.brainModels.existingClaim -}}
{{- $_ := set $own "GLIOSERVE_BRAIN_MODELS" "/brain-models" -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- $_ := unset $own .name -}}
{{- end -}}
{{- range $name, $value := $own }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ include "glioserve.tpl" (list $ .) }}
{{- end }}
{{- end -}}

{{- define "glioserve.affinity" -}}
{{- $affinity := deepCopy .Values.affinity -}}
{{- with .Values.gpu.products -}}
{{- $product := dict "key" "nvidia.com/gpu.product" "operator" "In" "values" . -}}
{{- $terms := list (dict "matchExpressions" (list $product)) -}}
{{- $_ := set $affinity "nodeAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" $terms)) -}}
{{- end -}}
{{- with $affinity -}}{{ toYaml . }}{{- end -}}
{{- end -}}

{{- define "glioserve.topologySpreadConstraints" -}}
{{- $own := dict "matchLabels" (include "glioserve.selectorLabels" (list . "server") | fromYaml) -}}
{{- $all := list -}}
{{- range .Values.topologySpreadConstraints -}}
{{- $all = append $all (merge (deepCopy .) (ternary (dict) (dict "labelSelector" $own) (hasKey . "labelSelector"))) -}}
{{- end -}}
{{- with $all -}}{{ toYaml . }}{{- end -}}
{{- end -}}
