{{/* Volumes that hold the models, and what a fetch needs. */}}
{{- define "glioserve.modelVolumes" -}}
- name: models
{{- with .Values.persistence }}
{{- if .existingClaim }}
  persistentVolumeClaim:
    claimName: {{ .existingClaim | quote }}
    readOnly: true
{{- else if .image.reference }}
  image:
    reference: {{ .image.reference | quote }}
    pullPolicy: {{ .image.pullPolicy }}
{{- else if .fetch.cacheClaim }}
  persistentVolumeClaim:
    claimName: {{ .fetch.cacheClaim | quote }}
{{- else if .fetch.url }}
  emptyDir:
    sizeLimit: {{ .fetch.size }}
{{- else if .volume }}
  {{- include "glioserve.tpl" (list $ .volume) | nindent 2 }}
{{- end }}
{{- end }}
{{- include "glioserve.caVolume" . }}
{{- end -}}

{{- define "glioserve.caVolume" -}}
{{- if .Values.caBundle.configMap }}
- name: ca-bundle
  configMap:
    name: {{ .Values.caBundle.configMap | quote }}
    items:
      - key: {{ .Values.caBundle.key | quote }}
        path: bundle.crt
{{- end }}
{{- end -}}

{{/* Takes (list $ readOnly). With a cache claim, one folder for each store and version. */}}
{{- define "glioserve.modelMount" -}}
{{- $ := index . 0 -}}
- name: models
  mountPath: /models
  {{- if index . 1 }}
  readOnly: true
  {{- end }}
  {{- with $.Values.persistence }}
  {{- if and .fetch.url .fetch.cacheClaim }}
  subPath: {{ printf "%s-%d" (sha256sum .fetch.url | trunc 12) (int .fetch.version) | quote }}
  {{- else if .subPath }}
  subPath: {{ .subPath | quote }}
  {{- end }}
  {{- end }}
{{- end -}}

{{- define "glioserve.caMount" -}}
{{- if .Values.caBundle.configMap }}
- name: ca-bundle
  mountPath: /etc/glioserve/ca
  readOnly: true
{{- end }}
{{- end -}}

{{- define "glioserve.brainVolume" -}}
{{- with .Values.brainModels.existingClaim }}
- name: brain-models
  persistentVolumeClaim:
    claimName: {{ . | quote }}
    readOnly: true
{{- end }}
{{- end -}}

{{- define "glioserve.brainMount" -}}
{{- if .Values.brainModels.existingClaim }}
- name: brain-models
  mountPath: /brain-models
  readOnly: true
  {{- with .Values.brainModels.subPath }}
  subPath: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* A cloud's role by the annotation of an account that is made with the release comes too late for the preflight's fetch. */}}
{{- define "glioserve.checkFetchAccount" -}}
{{- $late := and .Values.serviceAccount.create .Values.preflight.enabled (not .Values.preflight.serviceAccountName) -}}
{{- if and .Values.persistence.fetch.url (not .Values.persistence.fetch.credentialsSecret) $late -}}
{{- range list "eks.amazonaws.com/role-arn" "iam.gke.io/gcp-service-account" "azure.workload.identity/client-id" -}}
{{- if hasKey $.Values.serviceAccount.annotations . -}}
{{- fail (printf "the preflight fetches before the release's own service account is there, so without the role of %s: name an account of your own (serviceAccount.create false with serviceAccount.name, or preflight.serviceAccountName), or set preflight.enabled to false." .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Init container that fetches a version from a store; it is done at once where the volume has it. */}}
{{- define "glioserve.fetchContainer" -}}
- name: fetch
  image: {{ include "glioserve.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [glioserve, repository, fetch]
  args:
    - {{ .Values.persistence.fetch.url | quote }}
    - --version={{ int .Values.persistence.fetch.version }}
    - --repository=/models
    {{- with .Values.persistence.fetch.override }}
    - {{ printf "--override=%s" . | quote }}
    {{- end }}
  env:
    - name: NVIDIA_VISIBLE_DEVICES
      value: void
    {{- range $name, $value := include "glioserve.outwardEnv" . | fromYaml }}
    - name: {{ $name }}
      value: {{ $value | quote }}
    {{- end }}
  {{- with .Values.persistence.fetch.credentialsSecret }}
  envFrom:
    - secretRef:
        name: {{ . | quote }}
  {{- end }}
  terminationMessagePolicy: FallbackToLogsOnError
  securityContext:
    {{- include "glioserve.withoutNulls" .Values.containerSecurityContext | nindent 4 }}
  resources:
    {{- toYaml .Values.persistence.fetch.resources | nindent 4 }}
  volumeMounts:
    {{- include "glioserve.modelMount" (list . false) | nindent 4 }}
    {{- include "glioserve.caMount" . | nindent 4 }}
    - name: tmp
      mountPath: /tmp
{{- end -}}

{{/* Init container that builds the TensorRT plan on the GPU that serves, or takes it from the cache. */}}
{{- define "glioserve.planContainer" -}}
- name: plan
  # The image that serves, so the TensorRT that loads the plan.
  image: {{ include "glioserve.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [/opt/glioserve/entrypoint.sh, glioserve, engine, build]
  args:
    - --repository=/models
    - --into=/served
    - --cache=/cache
    - --timeout-s={{ int .Values.tensorrt.build.timeoutSeconds }}
    {{- if .Values.tensorrt.build.allowFailure }}
    - --allow-failure
    {{- end }}
  terminationMessagePolicy: FallbackToLogsOnError
  securityContext:
    {{- include "glioserve.gpuSecurityContext" . | nindent 4 }}
  # Kubernetes hands the GPUs of an init container on to the server.
  resources:
    {{- include "glioserve.gpuResources" (list . .Values.tensorrt.build.resources) | nindent 4 }}
  volumeMounts:
    {{- include "glioserve.modelMount" (list . true) | nindent 4 }}
    - name: served
      mountPath: /served
    - name: plan-cache
      mountPath: /cache
    - name: tmp
      mountPath: /tmp
{{- end -}}

{{/* All init containers, in their order. */}}
{{- define "glioserve.initContainers" -}}
{{- if .Values.persistence.fetch.url }}
{{ include "glioserve.fetchContainer" . }}
{{- end }}
{{- with .Values.initContainers }}
{{ include "glioserve.tpl" (list $ .) }}
{{- end }}
{{- if .Values.tensorrt.build.enabled }}
{{ include "glioserve.planContainer" . }}
{{- end }}
{{- if eq .Values.gateway.mode "sidecar" }}
{{ include "glioserve.gatewayConfigContainer" . }}
{{ include "glioserve.gatewayContainer" . }}
{{- end }}
{{- end -}}
