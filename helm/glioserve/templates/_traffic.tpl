{{- define "glioserve.families" -}}
{{- with .Values.service.ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .Values.service.ipFamilies }}
ipFamilies:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Names of this release's pods as a pattern. Kubernetes cuts the last hyphen off where a name would be too long. */}}
{{- define "glioserve.podNames" -}}
{{ include "glioserve.fullname" . }}-[a-z0-9]+(-[a-z0-9]{5})?
{{- end -}}

{{/* Query of Prometheus for the pods of this release, without braces. */}}
{{- define "glioserve.promSelector" -}}
namespace="{{ .Release.Namespace }}",pod=~"{{ include "glioserve.podNames" . | trim }}"
{{- end -}}

{{/* Minutes for which pods may differ: three for each pod that a rollout replaces one after another, and half an hour at least. */}}
{{- define "glioserve.skewMinutes" -}}
{{- $pods := 1 -}}
{{- if .Values.keda.enabled -}}{{- $pods = .Values.keda.maxReplicas -}}
{{- else if .Values.autoscaling.enabled -}}{{- $pods = .Values.autoscaling.maxReplicas -}}
{{- else -}}{{- $pods = .Values.replicaCount | default 1 -}}{{- end -}}
{{- max 30 (mul 3 (int $pods)) -}}
{{- end -}}

{{/* With keda.idleReplicas 0 the lack of a pod is not a fault while the Deployment wants none; kube-state-metrics knows. */}}
{{- define "glioserve.unlessIdle" -}}
{{- if and .Values.keda.enabled (not (kindIs "invalid" .Values.keda.idleReplicas)) -}}
{{- if eq (int .Values.keda.idleReplicas) 0 }} unless on () kube_deployment_spec_replicas{namespace="@NAMESPACE@",deployment="@FULLNAME@"} == 0{{- end -}}
{{- end -}}
{{- end -}}

{{/* Studies that wait for a step, over all pods: a gauge of the steps, since the ensemble's own tells nothing. */}}
{{- define "glioserve.pendingQuery" -}}
sum(nv_inference_pending_request_count{ {{- include "glioserve.promSelector" . }},model=~"preprocess|classifier|report"})
{{- end -}}

{{/*
Seconds that a study waits for a stage, the worst stage: by what was answered and never by one request a second, which would
hide the queue of a slow model.
*/}}
{{- define "glioserve.queueQuery" -}}
{{- $s := printf "{%s,model=~\"preprocess|classifier|report\"}[5m]" (include "glioserve.promSelector" .) -}}
max(sum by (model) (rate(nv_inference_queue_duration_us{{ $s }})) / (sum by (model) (rate(nv_inference_count{{ $s }})) > 0)) / 1e6
{{- end -}}

{{/* Who may send studies. A rule without `from` would let everyone in, so that an empty list leaves the release's own test. */}}
{{- define "glioserve.callersIngress" -}}
- from:
    - podSelector:
        matchLabels:
          {{- include "glioserve.selectorLabels" (list . "test") | nindent 10 }}
    {{- with .Values.networkPolicy.clients }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - port: {{ include "glioserve.frontPort" . }}
      protocol: TCP
    {{- if .Values.service.http.enabled }}
    - port: http
      protocol: TCP
    {{- end }}
{{- end -}}

{{- define "glioserve.gatewayStatusIngress" -}}
- from:
    - podSelector:
        matchLabels:
          {{- include "glioserve.selectorLabels" (list . "test") | nindent 10 }}
    {{- with .Values.networkPolicy.monitoring }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - {port: 8004, protocol: TCP}
{{- end -}}

{{- define "glioserve.dnsEgress" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end -}}
