{{/* The address of the loopback in the family that the server listens on. */}}
{{- define "glioserve.loopback" -}}
{{- ternary "::1" "127.0.0.1" (eq (include "glioserve.listenAddress" .) "::") -}}
{{- end -}}

{{/* Whether the server itself speaks TLS: not where the gateway beside it does, in the same pod. */}}
{{- define "glioserve.serverTls" -}}
{{- if and .Values.tls.enabled (ne .Values.gateway.mode "sidecar") -}}true{{- end -}}
{{- end -}}

{{/* The component whose pods callers reach. */}}
{{- define "glioserve.front" -}}
{{- ternary "gateway" "server" (eq .Values.gateway.mode "deployment") -}}
{{- end -}}

{{/* Callers' port as services and policies name it: a port of a sidecar has no name that every cluster finds. */}}
{{- define "glioserve.frontPort" -}}
{{- ternary "8001" "grpc" (eq .Values.gateway.mode "sidecar") -}}
{{- end -}}

{{/* Whether a caller needs a token or key. */}}
{{- define "glioserve.needsToken" -}}
{{- with .Values.gateway -}}
{{- if and .mode (or .options.jwt .apiKeys.existingSecret) -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{- define "glioserve.gatewayFolder" -}}/etc/glioserve/gateway{{- end -}}

{{/* Seconds in which the longest study is uploaded and answered. */}}
{{- define "glioserve.longestStudySeconds" -}}
{{- $timeouts := .Values.gateway.options.timeouts | default dict -}}
{{- $c := include "glioserve.constants" . | fromYaml -}}
{{- add (ceil (dig "study_s" $c.studySeconds $timeouts | float64)) (ceil (dig "upload_s" $c.uploadSeconds $timeouts | float64)) -}}
{{- end -}}

{{/* Bytes that Envoy may take: what its limit leaves beside its own needs. */}}
{{- define "glioserve.gatewayHeapBytes" -}}
{{- $limit := include "glioserve.bytes" .Values.gateway.resources.limits.memory | int64 -}}
{{- dig "limits" "max_heap_bytes" (div (mul $limit 8) 10) .Values.gateway.options | int64 -}}
{{- end -}}

{{/* gateway.yaml: what the values say, and what the chart alone knows. Helm reads numbers as floats; these are whole. */}}
{{- define "glioserve.gatewayOptions" -}}
{{- $o := deepCopy .Values.gateway.options -}}
{{- $limits := dict -}}
{{- range $name, $value := $o.limits | default dict -}}{{- $_ := set $limits $name (int64 $value) -}}{{- end -}}
{{- $_ := set $limits "max_heap_bytes" (include "glioserve.gatewayHeapBytes" . | int64) -}}
{{- $_ := set $o "limits" $limits -}}
{{- range $name, $value := $o.rate | default dict -}}{{- $_ := set $o.rate $name (int64 $value) -}}{{- end -}}
{{- if $o.workers -}}{{- $_ := set $o "workers" (int64 $o.workers) -}}{{- end -}}
{{- $host := include "glioserve.listenAddress" . -}}
{{- $_ := set $o "listen" (dict "host" $host "port" 8001) -}}
{{- $_ := set $o "status" (dict "host" $host "port" 8004) -}}
{{- $servers := printf "%s-servers.%s.svc" (include "glioserve.fullname" .) .Release.Namespace -}}
{{- if eq .Values.gateway.mode "sidecar" -}}
{{- $_ := set $o "servers" (list (ternary "[::1]:8011" "127.0.0.1:8011" (eq $host "::"))) -}}
{{- else -}}
{{- $_ := set $o "servers" (list (printf "%s:8001" $servers)) -}}
{{- end -}}
{{- if .Values.tls.enabled -}}
{{- $tls := dict "certificate" "/etc/glioserve/tls/tls.crt" "private_key" "/etc/glioserve/tls/tls.key" -}}
{{- if .Values.tls.clientCA.existingSecret -}}{{- $_ := set $tls "client_ca" "/etc/glioserve/client-ca/ca.crt" -}}{{- end -}}
{{- $_ := set $o "tls" $tls -}}
{{- if include "glioserve.serverTls" . -}}
{{- $_ := set $o "servers_tls" (dict "ca" "/etc/glioserve/tls/ca.crt" "server_name" $servers) -}}
{{- end -}}
{{- end -}}
{{- if .Values.gateway.apiKeys.existingSecret -}}
{{- $_ := set $o "api_keys_file" (printf "/etc/glioserve/api-keys/%s" .Values.gateway.apiKeys.key) -}}
{{- end -}}
{{- with $o.jwt -}}
{{- if .jwks_cache_s -}}{{- $_ := set . "jwks_cache_s" (int64 .jwks_cache_s) -}}{{- end -}}
{{- if $.Values.gateway.jwks.configMap -}}
{{- $_ := set . "jwks_file" (printf "/etc/glioserve/jwks/%s" $.Values.gateway.jwks.key) -}}
{{- else if $.Values.caBundle.configMap -}}
{{- $_ := set . "jwks_ca" "/etc/glioserve/ca/bundle.crt" -}}
{{- end -}}
{{- end -}}
{{- toYaml $o -}}
{{- end -}}

{{/* What the gateway reads when it starts only; a change rolls its pods. Certificates it reads again by itself. */}}
{{- define "glioserve.gatewayChecksums" -}}
checksum/gateway: {{ include "glioserve.gatewayOptions" . | sha256sum }}
{{- with .Values.gateway.apiKeys.existingSecret }}
{{- with lookup "v1" "Secret" $.Release.Namespace . }}
checksum/api-keys: {{ toJson .data | sha256sum }}
{{- end }}
{{- end }}
{{- with .Values.gateway.jwks.configMap }}
{{- with lookup "v1" "ConfigMap" $.Release.Namespace . }}
checksum/jwks: {{ toJson .data | sha256sum }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Writes Envoy's configuration with the program of this project, so that there is one way in which it is written. */}}
{{- define "glioserve.gatewayConfigContainer" -}}
- name: gateway-config
  image: {{ include "glioserve.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [glioserve, gateway, config]
  args:
    - /etc/glioserve/gateway-options/gateway.yaml
    - --out={{ include "glioserve.gatewayFolder" . }}
  env:
    - name: NVIDIA_VISIBLE_DEVICES
      value: void
  terminationMessagePolicy: FallbackToLogsOnError
  securityContext:
    {{- include "glioserve.withoutNulls" .Values.containerSecurityContext | nindent 4 }}
  resources:
    requests: {cpu: 250m, memory: 256Mi}
    limits: {memory: 512Mi}
  volumeMounts:
    - name: gateway-options
      mountPath: /etc/glioserve/gateway-options
      readOnly: true
    - name: gateway
      mountPath: {{ include "glioserve.gatewayFolder" . }}
    {{- if .Values.gateway.apiKeys.existingSecret }}
    - name: api-keys
      mountPath: /etc/glioserve/api-keys
      readOnly: true
    {{- end }}
    {{- if .Values.gateway.jwks.configMap }}
    - name: jwks
      mountPath: /etc/glioserve/jwks
      readOnly: true
    {{- end }}
    - name: tmp
      mountPath: /tmp
{{- end -}}

{{/*
Envoy. As a sidecar it is ended by the kubelet when the server has ended, so that every answer passes; on its own it
sleeps for as long as the longest study takes, since SIGTERM ends it at once.
*/}}
{{- define "glioserve.gatewayContainer" -}}
{{- $sidecar := eq .Values.gateway.mode "sidecar" -}}
- name: gateway
  image: {{ include "glioserve.imageOf" (list . .Values.gateway.image) | quote }}
  imagePullPolicy: {{ .Values.gateway.image.pullPolicy }}
  {{- if $sidecar }}
  restartPolicy: Always
  {{- end }}
  command: [envoy]
  args:
    - --config-path
    - {{ include "glioserve.gatewayFolder" . }}/gateway.json
    - --concurrency
    - {{ .Values.gateway.options.workers | default 2 | int | quote }}
    - --disable-hot-restart
    - --drain-strategy
    - immediate
  ports:
    - name: {{ ternary "gateway" "grpc" $sidecar }}
      containerPort: 8001
    - name: gateway-status
      containerPort: 8004
  startupProbe:
    httpGet:
      path: /ready
      port: gateway-status
    periodSeconds: 2
    failureThreshold: 30
  readinessProbe:
    httpGet:
      path: /ready
      port: gateway-status
    periodSeconds: 5
    failureThreshold: 2
  livenessProbe:
    httpGet:
      path: /ready
      port: gateway-status
    periodSeconds: 15
    timeoutSeconds: 10
    failureThreshold: 4
  {{- if not $sidecar }}
  lifecycle:
    preStop:
      sleep:
        seconds: {{ add .Values.shutdown.preStopSeconds (include "glioserve.longestStudySeconds" .) }}
  {{- end }}
  terminationMessagePolicy: FallbackToLogsOnError
  securityContext:
    {{- include "glioserve.withoutNulls" .Values.containerSecurityContext | nindent 4 }}
  resources:
    {{- toYaml .Values.gateway.resources | nindent 4 }}
  volumeMounts:
    # Written by the container before; the socket of Envoy's administration is there too.
    - name: gateway
      mountPath: {{ include "glioserve.gatewayFolder" . }}
    {{- if .Values.tls.enabled }}
    - name: tls
      mountPath: /etc/glioserve/tls
      readOnly: true
    {{- if .Values.tls.clientCA.existingSecret }}
    - name: client-ca
      mountPath: /etc/glioserve/client-ca
      readOnly: true
    {{- end }}
    {{- end }}
    {{- include "glioserve.caMount" . | nindent 4 }}
{{- end -}}

{{- define "glioserve.gatewayVolumes" -}}
- name: gateway-options
  configMap:
    name: {{ printf "%s-gateway" (include "glioserve.fullname" .) | quote }}
- name: gateway
  emptyDir:
    sizeLimit: 16Mi
{{- with .Values.gateway.apiKeys }}
{{- if .existingSecret }}
- name: api-keys
  secret:
    secretName: {{ .existingSecret | quote }}
    defaultMode: 0440
    items:
      - {key: {{ .key | quote }}, path: {{ .key | quote }}}
{{- end }}
{{- end }}
{{- with .Values.gateway.jwks }}
{{- if .configMap }}
- name: jwks
  configMap:
    name: {{ .configMap | quote }}
    items:
      - {key: {{ .key | quote }}, path: {{ .key | quote }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* Takes (list $ clients): whether this pod also asks callers for a certificate. */}}
{{- define "glioserve.tlsVolumes" -}}
{{- $ := index . 0 -}}
{{- if $.Values.tls.enabled }}
- name: tls
  secret:
    secretName: {{ include "glioserve.tlsSecretName" $ | quote }}
    defaultMode: 0440
    items:
      - {key: tls.crt, path: tls.crt}
      - {key: tls.key, path: tls.key}
      {{- if eq $.Values.gateway.mode "deployment" }}
      - {key: ca.crt, path: ca.crt}
      {{- end }}
{{- if and (index . 1) $.Values.tls.clientCA.existingSecret }}
- name: client-ca
  secret:
    secretName: {{ $.Values.tls.clientCA.existingSecret | quote }}
    defaultMode: 0440
    items:
      - key: {{ $.Values.tls.clientCA.key | quote }}
        path: ca.crt
{{- end }}
{{- end }}
{{- end -}}

{{- define "glioserve.checkGateway" -}}
{{- with .Values.gateway -}}
{{- $o := .options -}}
{{- if not .mode -}}
{{- if or $o .apiKeys.existingSecret .jwks.configMap -}}{{- fail "gateway.options, gateway.apiKeys and gateway.jwks are not used: set gateway.mode to sidecar or deployment." -}}{{- end -}}
{{- if $.Values.test.tokenSecret -}}{{- fail "test.tokenSecret is not used: set gateway.mode, and say who may ask." -}}{{- end -}}
{{- else -}}
{{- $who := or $o.jwt .apiKeys.existingSecret (and $.Values.tls.enabled $.Values.tls.clientCA.existingSecret) -}}
{{- if and (not $who) (not $o.anonymous) -}}{{- fail "gateway does not say who may ask: set gateway.options.jwt, gateway.apiKeys.existingSecret or tls.clientCA.existingSecret; or gateway.options.anonymous to true." -}}{{- end -}}
{{- if and $who $o.anonymous -}}{{- fail "gateway.options.anonymous must not be true where callers have to show who they are: leave it out." -}}{{- end -}}
{{- if and $o.jwt .apiKeys.existingSecret -}}{{- fail "gateway.options.jwt and gateway.apiKeys exclude each other, since both come as a bearer token: keep one of them." -}}{{- end -}}
{{- if $o.jwt -}}
{{- if not (or $o.jwt.jwks_uri .jwks.configMap) -}}{{- fail "gateway.options.jwt needs the issuer's keys: set its jwks_uri, or gateway.jwks.configMap." -}}{{- end -}}
{{- if and $o.jwt.jwks_uri .jwks.configMap -}}{{- fail "gateway.options.jwt.jwks_uri and gateway.jwks.configMap exclude each other: keep one of them." -}}{{- end -}}
{{- if and $o.jwt.jwks_uri $.Values.networkPolicy.enabled (not $.Values.networkPolicy.egress) -}}{{- fail "gateway.options.jwt.jwks_uri cannot be reached, since networkPolicy lets the pods reach named addresses only: name the issuer in networkPolicy.egress." -}}{{- end -}}
{{- else if .jwks.configMap -}}{{- fail "gateway.jwks.configMap is not used: set gateway.options.jwt." -}}
{{- end -}}
{{- if and $.Values.test.tokenSecret (not (include "glioserve.needsToken" $)) -}}{{- fail "test.tokenSecret is not used: the gateway asks for no token or key." -}}{{- end -}}
{{- if $.Values.service.http.enabled -}}{{- fail "service.http.enabled must be false with gateway.mode: callers would pass by the gateway." -}}{{- end -}}
{{- if $.Values.adminToken.enabled -}}{{- fail "adminToken.enabled opens nothing behind a gateway, which closes model control to everyone: leave it out." -}}{{- end -}}
{{- $study := dig "timeouts" "study_s" (include "glioserve.constants" $ | fromYaml).studySeconds $o | float64 -}}
{{- if gt $study (float64 $.Values.shutdown.drainTimeoutSeconds) -}}
{{- fail (printf "gateway.options.timeouts.study_s (%v) must not exceed shutdown.drainTimeoutSeconds (%d): a server that stops would cut such a study off." $study (int $.Values.shutdown.drainTimeoutSeconds)) -}}
{{- end -}}
{{- $heap := include "glioserve.gatewayHeapBytes" $ | int64 -}}
{{- if gt (mul $heap 10) (mul (include "glioserve.bytes" .resources.limits.memory | int64) 9) -}}
{{- fail (printf "gateway.options.limits.max_heap_bytes (%d) must be at most nine tenths of gateway.resources.limits.memory (%s): leave it out for eight." $heap .resources.limits.memory) -}}
{{- end -}}
{{- $request := dig "limits" "max_request_bytes" 268435456 $o | int64 -}}
{{- if lt $heap (mul 2 $request) -}}
{{- fail (printf "gateway.resources.limits.memory (%s) leaves Envoy %d bytes, and gateway.options.limits.max_request_bytes (%d) needs twice as many as it says: raise the one or lower the other." .resources.limits.memory $heap $request) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
