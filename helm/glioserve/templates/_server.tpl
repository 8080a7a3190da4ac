{{/* The address that the server binds to. `::` takes IPv4 too. */}}
{{- define "glioserve.listenAddress" -}}
{{- $six := or (has "IPv6" .Values.service.ipFamilies) (hasSuffix "DualStack" .Values.service.ipFamilyPolicy) -}}
{{- .Values.listenAddress | default (ternary "::" "0.0.0.0" $six) -}}
{{- end -}}

{{/* The folder that is served: the copy that has the plan, where one is built. */}}
{{- define "glioserve.repository" -}}
{{- ternary "/served" "/models" .Values.tensorrt.build.enabled -}}
{{- end -}}

{{/* Arguments of `glioserve serve` that the chart sets. */}}
{{- define "glioserve.ownArgs" -}}
- --repository={{ include "glioserve.repository" . }}
- --profile={{ .Values.profile }}
- {{ printf "--host=%s" (include "glioserve.listenAddress" .) | quote }}
{{- if eq .Values.gateway.mode "sidecar" }}
- {{ printf "--grpc-host=%s" (include "glioserve.loopback" .) | quote }}
- --grpc-port=8011
{{- else }}
- --grpc-port=8001
{{- end }}
{{- if .Values.service.http.enabled }}
- --http
- --http-port=8000
{{- else }}
- --no-http
{{- end }}
- --metrics-port=8002
- --probe-port=8003
- --log-format={{ .Values.logFormat }}
- --log-level={{ .Values.logLevel }}
{{- with .Values.metrics.callers }}
- --callers={{ join "," . }}
{{- end }}
- --ready-timeout-s={{ int .Values.startup.timeoutSeconds }}
- --drain-timeout-s={{ int .Values.shutdown.drainTimeoutSeconds }}
- --exit-timeout-s={{ int .Values.shutdown.exitTimeoutSeconds }}
- --stage-timeout-s={{ int .Values.stages.timeoutSeconds }}
- --stage-memory-limit-mib={{ include "glioserve.stageMiB" . }}
{{- if .Values.dicom.acceptIdentified }}
- --accept-identified-dicom
{{- end }}
{{- if .Values.studyLog.enabled }}
- --study-log=/study-log
- --study-log-shared
- --study-log-keep-days={{ int .Values.studyLog.keepDays }}
{{- with .Values.studyLog.shadowVersion }}
- --shadow={{ int . }}
{{- end }}
{{- if .Values.studyLog.keepInputs.enabled }}
- --keep-inputs
- --keep-inputs-gib={{ .Values.studyLog.keepInputs.sizeGiB }}
{{- end }}
{{- end }}
{{- if .Values.adminToken.enabled }}
- --admin-token-file=/etc/glioserve/admin/{{ .Values.adminToken.key }}
{{- end }}
{{- if include "glioserve.serverTls" . }}
- --tls-cert=/etc/glioserve/tls/tls.crt
- --tls-key=/etc/glioserve/tls/tls.key
{{- if and .Values.tls.clientCA.existingSecret (not .Values.gateway.mode) }}
- --tls-client-ca=/etc/glioserve/client-ca/ca.crt
{{- end }}
{{- end }}
{{- with .Values.service.maxConnectionAgeSeconds }}
- --triton-flag=--grpc-max-connection-age={{ mul . 1000 }}
{{- end }}
{{- if .Values.tracing.enabled }}
- {{ printf "--otlp-endpoint=%s" .Values.tracing.endpoint | quote }}
- --trace-sampling={{ .Values.tracing.ratio }}
{{- end }}
{{- end -}}

{{/* Variables that the chart sets, but for those that extraEnv sets: a name may stand in a pod only once. */}}
{{- define "glioserve.env" -}}
{{- $threads := include "glioserve.threads" . -}}
{{- $own := dict "OMP_NUM_THREADS" $threads "OPENBLAS_NUM_THREADS" $threads "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS" $threads -}}
{{- if not (include "glioserve.hasGpu" .) -}}
{{/* The image asks for all GPUs; on a node whose default runtime is NVIDIA's it would get them. */}}
{{- $_ := set $own "NVIDIA_VISIBLE_DEVICES" "void" -}}
{{- end -}}
{{- if .Values.brainModels.existingClaim -}}
{{- $_ := set $own "GLIOSERVE_BRAIN_MODELS" "/brain-models" -}}
{{- end -}}
{{- if .Values.tracing.enabled -}}
{{- $_ := set $own "OTEL_SERVICE_NAME" (include "glioserve.fullname" .) -}}
{{- if .Values.caBundle.configMap -}}{{- $_ := set $own "OTEL_EXPORTER_OTLP_CERTIFICATE" "/etc/glioserve/ca/bundle.crt" -}}{{- end -}}
{{- end -}}
{{- $_ := merge $own (include "glioserve.outwardEnv" . | fromYaml) -}}
{{- $headers := .Values.tracing.headers.existingSecret -}}
{{- range include "glioserve.tpl" (list . .Values.extraEnv) | fromYamlArray -}}
{{- $_ := unset $own .name -}}
{{- if eq .name "OTEL_EXPORTER_OTLP_HEADERS" -}}{{- $headers = "" -}}{{- end -}}
{{- end -}}
{{- range $name, $value := $own }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- if and .Values.tracing.enabled $headers }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ $headers | quote }}
      key: {{ .Values.tracing.headers.key | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ include "glioserve.tpl" (list $ .) }}
{{- end }}
{{- end -}}

{{/* Proxy and authorities, as a map. */}}
{{- define "glioserve.outwardEnv" -}}
{{- with .Values.proxy.http }}
HTTP_PROXY: {{ . | quote }}
http_proxy: {{ . | quote }}
{{- end }}
{{- with .Values.proxy.https }}
HTTPS_PROXY: {{ . | quote }}
https_proxy: {{ . | quote }}
{{- end }}
{{- with .Values.proxy.exclude }}
NO_PROXY: {{ . | quote }}
no_proxy: {{ . | quote }}
{{- end }}
{{- if .Values.caBundle.configMap }}
SSL_CERT_FILE: /etc/glioserve/ca/bundle.crt
REQUESTS_CA_BUNDLE: /etc/glioserve/ca/bundle.crt
AWS_CA_BUNDLE: /etc/glioserve/ca/bundle.crt
{{- end }}
{{- end -}}

{{/* Whether the server gets a GPU, by the device plugin or by a claim. */}}
{{- define "glioserve.hasGpu" -}}
{{- if not (contains "-cpu" .Values.profile) -}}true{{- end -}}
{{- end -}}

{{/* Security context of a container that gets the GPU. */}}
{{- define "glioserve.gpuSecurityContext" -}}
{{- $context := deepCopy .Values.containerSecurityContext -}}
{{- if and .Values.gpu.writableRoot (include "glioserve.hasGpu" .) -}}
{{- $_ := set $context "readOnlyRootFilesystem" false -}}
{{- end -}}
{{- include "glioserve.withoutNulls" $context -}}
{{- end -}}

{{/* Resources of a container that gets the GPU. Takes (list $ resources). */}}
{{- define "glioserve.gpuResources" -}}
{{- $ := index . 0 -}}
{{- $all := deepCopy (index . 1) -}}
{{- if and (include "glioserve.hasGpu" $) $.Values.gpu.enabled (not $.Values.gpu.dra.enabled) -}}
{{- $_ := set $all.limits $.Values.gpu.resourceName (int $.Values.gpu.count) -}}
{{- end -}}
{{- $claims := deepCopy ($.Values.resources.claims | default list) -}}
{{- if $.Values.gpu.dra.enabled -}}{{- $claims = append $claims (dict "name" "gpu") -}}{{- end -}}
{{- $_ := unset $all "claims" -}}
{{- with $claims -}}{{- $_ := set $all "claims" . -}}{{- end -}}
{{- toYaml $all -}}
{{- end -}}

{{- define "glioserve.affinity" -}}
{{- $affinity := deepCopy .Values.affinity -}}
{{- with .Values.gpu.products -}}
{{- $product := dict "key" "nvidia.com/gpu.product" "operator" "In" "values" . -}}
{{- $node := $affinity.nodeAffinity | default dict -}}
{{- $required := $node.requiredDuringSchedulingIgnoredDuringExecution | default dict -}}
{{- $terms := list -}}
{{- range $required.nodeSelectorTerms | default (list dict) -}}
{{- $terms = append $terms (merge (dict "matchExpressions" (append (.matchExpressions | default list) $product)) (deepCopy .)) -}}
{{- end -}}
{{- $_ := set $node "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" $terms) -}}
{{- $_ := set $affinity "nodeAffinity" $node -}}
{{- end -}}
{{- include "glioserve.withoutNulls" $affinity -}}
{{- end -}}

{{- define "glioserve.topologySpreadConstraints" -}}
{{- $own := dict "matchLabels" (include "glioserve.selectorLabels" (list . "server") | fromYaml) -}}
{{- $all := list -}}
{{- range .Values.topologySpreadConstraints -}}
{{- $all = append $all (merge (deepCopy .) (ternary (dict) (dict "labelSelector" $own) (hasKey . "labelSelector"))) -}}
{{- end -}}
{{- with $all -}}{{ toYaml . }}{{- end -}}
{{- end -}}

{{/*
Fields by which a pod can be scheduled and pulled wherever the server can; of the test's and the preflight's pods too.
Takes a dict of: root; affinity.
*/}}
{{- define "glioserve.placement" -}}
{{- $ := .root -}}
securityContext:
  {{- include "glioserve.withoutNulls" $.Values.podSecurityContext | nindent 2 }}
enableServiceLinks: false
{{- with include "glioserve.imagePullSecrets" $ }}
imagePullSecrets:
  {{- . | nindent 2 }}
{{- end }}
{{- with $.Values.runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- with $.Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $.Values.schedulerName }}
schedulerName: {{ . | quote }}
{{- end }}
{{- if not $.Values.hostUsers }}
hostUsers: false
{{- end }}
{{- with $.Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with $.Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $.Values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- . | nindent 2 }}
{{- end }}
{{- with concat (ternary $.Values.gpu.tolerations list (eq "true" (include "glioserve.hasGpu" $))) $.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Secrets that the server reads when it starts only; a change of one, as an upgrade finds it, rolls the pods. */}}
{{- define "glioserve.rolledBy" -}}
{{- if include "glioserve.serverTls" . }}
tls: {{ include "glioserve.tlsSecretName" . | quote }}
{{- if and .Values.tls.clientCA.existingSecret (not .Values.gateway.mode) }}
client-ca: {{ .Values.tls.clientCA.existingSecret | quote }}
{{- end }}
{{- end }}
{{- with .Values.adminToken.existingSecret }}
admin-token: {{ . | quote }}
{{- end }}
{{- end -}}
