{{/* Checks all values first, so that no template can meet a wrong one. Empty where the chart is off. */}}
{{- define "glioserve.enabled" -}}
{{- if ne (toString .Values.enabled) "false" -}}
{{- include "glioserve.check" . -}}
true
{{- end -}}
{{- end -}}

{{- define "glioserve.name" -}}
{{- default .Chart.Name .Values.nameOverride | lower | replace "_" "-" | replace "." "-" | trimAll "-" | trunc 63 | trimAll "-" -}}
{{- end -}}

{{/*
At most 50 characters: "-headless" and "-metrics" must fit behind it, and a Service's name ends at 63 and begins with a
letter. A longer one ends with its digest, so that two long names do not become one.
*/}}
{{- define "glioserve.fullname" -}}
{{- $name := include "glioserve.name" . -}}
{{- $release := .Release.Name | lower | replace "." "-" -}}
{{- $full := .Values.fullnameOverride | default (ternary $release (printf "%s-%s" $release $name) (contains $name $release)) -}}
{{- if regexMatch "^[^a-z]" $full -}}{{- $full = printf "%s-%s" "glioserve" $full -}}{{- end -}}
{{- if gt (len $full) 50 -}}
{{- printf "%s-%s" (trunc 41 $full | trimSuffix "-") (sha256sum $full | trunc 8) -}}
{{- else -}}
{{- $full -}}
{{- end -}}
{{- end -}}

{{/*
Name, namespace, labels and annotations of an object. Takes a dict of: root; suffix, to the full name; component; labels,
annotations and namespace of its own. The chart's own labels win, since selectors rest on them.
*/}}
{{- define "glioserve.metadata" -}}
name: {{ .name | default (printf "%s%s" (include "glioserve.fullname" .root) (.suffix | default "")) | quote }}
namespace: {{ .namespace | default .root.Release.Namespace | quote }}
labels:
  {{- $own := include "glioserve.selectorLabels" (list .root .component) | fromYaml -}}
  {{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimAll "-_.") -}}
  {{- $_ := set $own "app.kubernetes.io/version" (toString .root.Chart.AppVersion) -}}
  {{- $_ := set $own "app.kubernetes.io/managed-by" .root.Release.Service -}}
  {{- toYaml (merge $own (deepCopy (.labels | default dict)) (deepCopy .root.Values.commonLabels)) | nindent 2 }}
{{- with merge (deepCopy (.annotations | default dict)) (deepCopy .root.Values.commonAnnotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Takes (list $ component). The component keeps services and budgets off the test's and the preflight's pods. */}}
{{- define "glioserve.selectorLabels" -}}
app.kubernetes.io/name: {{ include "glioserve.name" (index . 0) }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Labels of pods: without the chart's version, which would replace every pod at a change of the chart. */}}
{{- define "glioserve.podLabels" -}}
{{- $ := index . 0 -}}
{{- $own := include "glioserve.selectorLabels" . | fromYaml -}}
{{- toYaml (merge $own (deepCopy $.Values.podLabels) (deepCopy $.Values.commonLabels)) -}}
{{- end -}}

{{- define "glioserve.image" -}}
{{- include "glioserve.imageOf" (list . .Values.image) -}}
{{- end -}}

{{/* Takes (list $ image). */}}
{{- define "glioserve.imageOf" -}}
{{- $ := index . 0 -}}
{{- with index . 1 -}}
{{- $registry := dig "imageRegistry" "" ($.Values.global | default dict) | default .registry -}}
{{- if $registry -}}{{ trimSuffix "/" $registry }}/{{- end -}}
{{- .repository -}}
{{- if .digest -}}@{{ .digest }}{{- else -}}:{{ .tag | default $.Chart.AppVersion }}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "glioserve.imagePullSecrets" -}}
{{- $all := list -}}
{{- range concat .Values.imagePullSecrets (dig "imagePullSecrets" list (.Values.global | default dict) | default list) -}}
{{- $all = append $all (ternary (dict "name" .) . (kindIs "string" .)) -}}
{{- end -}}
{{- with uniq $all -}}{{ toYaml . }}{{- end -}}
{{- end -}}

{{- define "glioserve.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "glioserve.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* The preflight's account: one of the operator's own is there before the release, the chart's is not. */}}
{{- define "glioserve.preflightAccountName" -}}
{{- $own := ternary "" .Values.serviceAccount.name .Values.serviceAccount.create -}}
{{- .Values.preflight.serviceAccountName | default $own | default "default" -}}
{{- end -}}

{{- define "glioserve.adminSecretName" -}}
{{- .Values.adminToken.existingSecret | default (printf "%s-admin" (include "glioserve.fullname" .)) -}}
{{- end -}}

{{- define "glioserve.tlsSecretName" -}}
{{- .Values.tls.existingSecret | default (printf "%s-tls" (include "glioserve.fullname" .)) -}}
{{- end -}}

{{- define "glioserve.claimTemplateName" -}}
{{- .Values.gpu.dra.existingTemplate | default (printf "%s-gpu" (include "glioserve.fullname" .)) -}}
{{- end -}}

{{/* A list or map of the values as YAML, with templates inside filled in. Takes (list $ value). */}}
{{- define "glioserve.tpl" -}}
{{- tpl (toYaml (index . 1)) (index . 0) -}}
{{- end -}}

{{/* An object of extraObjects, given as a map or as text, with templates inside filled in. Takes (list $ object). */}}
{{- define "glioserve.object" -}}
{{- $text := index . 1 -}}
{{- tpl (ternary $text (toYaml $text) (kindIs "string" $text)) (index . 0) -}}
{{- end -}}

{{/* A map without the keys whose value is null: a parent chart's null stays in the values of its subchart. */}}
{{- define "glioserve.withoutNulls" -}}
{{- $kept := dict -}}
{{- range $key, $value := . -}}
{{- if not (kindIs "invalid" $value) -}}{{- $_ := set $kept $key $value -}}{{- end -}}
{{- end -}}
{{- with $kept -}}{{ toYaml . }}{{- end -}}
{{- end -}}

{{/* Whether the pods' number belongs to an autoscaler: ours, or one of the user's own (replicaCount null). */}}
{{- define "glioserve.replicasElsewhere" -}}
{{- if or .Values.autoscaling.enabled .Values.keda.enabled (kindIs "invalid" .Values.replicaCount) -}}true{{- end -}}
{{- end -}}
