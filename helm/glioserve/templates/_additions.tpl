{{/* What a user adds must not undo what the chart sets, nor stand twice where Kubernetes takes it once. */}}
{{- define "glioserve.checkAdditions" -}}
{{- include "glioserve.checkArguments" . -}}
{{- include "glioserve.checkVariables" . -}}
{{- include "glioserve.checkVolumes" . -}}
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

{{/* Options of `glioserve serve` that the chart sets, and the value that stands for each. */}}
{{- define "glioserve.ownedOptions" -}}
--accept-identified-dicom: dicom.acceptIdentified
--admin-token-file: adminToken
--callers: metrics.callers
--drain-timeout-s: shutdown.drainTimeoutSeconds
--envoy: gateway.mode
--exit-timeout-s: shutdown.exitTimeoutSeconds
--gateway: gateway.mode
--grpc-host: gateway.mode
--grpc-port: service.grpcPort, the port that callers see
--host: listenAddress
--http: service.http.enabled
--http-port: service.http.enabled
--keep-inputs: studyLog.keepInputs
--keep-inputs-gib: studyLog.keepInputs
--log-format: logFormat
--log-level: logLevel
--metrics-port: metrics.service.port, the port that Prometheus sees
--no-http: service.http.enabled
--otlp-endpoint: tracing.endpoint
--probe-port: metrics.service.port; the probes follow the chart
--profile: profile
--ready-timeout-s: startup.timeoutSeconds
--repository: persistence (an image, any volume, or a store by persistence.fetch.url)
--shadow: studyLog.shadowVersion
--stage-memory-limit-mib: stages.memoryLimitMiB
--stage-timeout-s: stages.timeoutSeconds
--study-log: studyLog
--study-log-keep-days: studyLog.keepDays
--study-log-shared: studyLog
--tls-cert: tls
--tls-client-ca: tls.clientCA
--tls-key: tls
--trace-sampling: tracing.ratio
{{- end -}}

{{/* The other options of `glioserve serve`, and whether a value follows. Its tests hold both lists to the program's parser. */}}
{{- define "glioserve.freeOptions" -}}
--allow-network-with-known-cves: false
--log-verbosity: true
--shared-memory-token-file: true
--triton-flag: true
--tritonserver: true
{{- end -}}

{{/* Triton's flags that the supervisor sets by the chart's values; one that ends with a hyphen stands for all that begin so. */}}
{{- define "glioserve.ownedFlags" -}}
--allow-grpc: service
--allow-http: service.http.enabled
--allow-metrics: metrics.service
--disable-auto-complete-config: leave it out, since it is on
--exit-timeout-secs: shutdown.exitTimeoutSeconds
--grpc-address: listenAddress
--grpc-header-forward-pattern: metrics.callers
--grpc-infer-allocation-pool-size: leave it out, since it bounds the memory
--grpc-max-connection-age: service.maxConnectionAgeSeconds
--grpc-port: service.grpcPort
--grpc-restricted-protocol: adminToken
--grpc-root-cert: tls.clientCA
--grpc-server-: tls
--grpc-use-ssl: tls
--http-: service.http
--load-model: profile and persistence
--log-format: logFormat
--log-verbose: extraArgs with --log-verbosity=1
--metrics-address: metrics.service
--metrics-port: metrics.service
--model-config-name: profile
--model-control-mode: adminToken
--model-repository: persistence
--strict-readiness: leave it out, since the probes are the supervisor's
{{- if .Values.tracing.enabled }}
--trace-config: tracing
{{- end }}
{{- end -}}

{{/* `--x=y`, `--x y` and abbreviations, as the parsers of both programs take them, Triton's through --triton-flag=. */}}
{{- define "glioserve.checkArguments" -}}
{{- $options := include "glioserve.ownedOptions" . | fromYaml -}}
{{- $flags := include "glioserve.ownedFlags" . | fromYaml -}}
{{- $free := include "glioserve.freeOptions" . | fromYaml -}}
{{- $follows := false -}}
{{- range include "glioserve.tpl" (list . .Values.extraArgs) | fromYamlArray -}}
{{- $word := toString . -}}
{{- $option := regexFind "^--[a-z0-9-]+" $word -}}
{{- $matches := list -}}
{{- range $name, $_ := $free -}}{{- if and $option (hasPrefix $option $name) -}}{{- $matches = append $matches $name -}}{{- end -}}{{- end -}}
{{- $known := ternary (first $matches) (ternary $option "" (hasKey $free $option)) (eq (len $matches) 1) -}}
{{- $flag := "" -}}
{{- if eq $known "--triton-flag" -}}{{- $flag = regexFind "^--[a-z0-9-]+" (trimPrefix (printf "%s=" $option) $word | trimPrefix $option) -}}{{- end -}}
{{- range $own, $value := $options -}}
{{- if and $option (not (hasKey $free $option)) (hasPrefix $option $own) -}}{{- include "glioserve.ownedFails" (list $option $value) -}}{{- end -}}
{{- end -}}
{{- range $own, $value := $flags -}}
{{- if and $flag (or (hasPrefix $own $flag) (hasPrefix $flag $own)) -}}{{- include "glioserve.ownedFails" (list (printf "Triton's %s" $flag) $value) -}}{{- end -}}
{{- end -}}
{{- if and $follows (hasPrefix "-" $word) -}}{{- fail (printf "extraArgs has %q where a value is expected: write option and value as one word, --name=value." $word) -}}{{- end -}}
{{- if not (or $known $follows) -}}{{- fail (printf "extraArgs has %q, which `glioserve serve` does not know: correct its spelling; give Triton's own flags as --triton-flag=--name=value." $word) -}}{{- end -}}
{{- $follows = and $known (not $follows) (get $free $known) (not (contains "=" $word)) -}}
{{- end -}}
{{- if $follows -}}{{- fail "extraArgs ends with an option that needs a value: write option and value as one word, --name=value." -}}{{- end -}}
{{- end -}}

{{- define "glioserve.ownedFails" -}}
{{- fail (printf "extraArgs has %s, which the chart sets: %s%s." (index . 0) (ternary "" "use " (hasPrefix "leave" (index . 1))) (index . 1)) -}}
{{- end -}}

{{- define "glioserve.checkVariables" -}}
{{- $owned := dict "NVIDIA_VISIBLE_DEVICES" "gpu, since it would take GPUs that were not asked for" "NVIDIA_DRIVER_CAPABILITIES" "gpu" -}}
{{- if .Values.brainModels.existingClaim -}}{{- $_ := set $owned "GLIOSERVE_BRAIN_MODELS" "brainModels" -}}{{- end -}}
{{- $variables := list -}}
{{- range include "glioserve.tpl" (list . .Values.extraEnv) | fromYamlArray -}}
{{- $name := toString .name -}}
{{- if has $name $variables -}}{{- fail (printf "extraEnv has %s twice: keep one." $name) -}}{{- end -}}
{{- if hasKey $owned $name -}}{{- fail (printf "extraEnv has %s, which the chart sets: use %s." $name (get $owned $name)) -}}{{- end -}}
{{- $variables = append $variables $name -}}
{{- end -}}
{{- end -}}

{{/* Volumes that the server's pod has by the values, as a list. */}}
{{- define "glioserve.ownVolumes" -}}
{{- $names := list "models" "shm" "tmp" -}}
{{- if .Values.brainModels.existingClaim -}}{{- $names = append $names "brain-models" -}}{{- end -}}
{{- if .Values.studyLog.enabled -}}{{- $names = append $names "study-log" -}}{{- end -}}
{{- if .Values.adminToken.enabled -}}{{- $names = append $names "admin-token" -}}{{- end -}}
{{- if .Values.tensorrt.build.enabled -}}{{- $names = concat $names (list "served" "plan-cache") -}}{{- end -}}
{{- if .Values.tls.enabled -}}{{- $names = append $names "tls" -}}{{- end -}}
{{- if .Values.tls.clientCA.existingSecret -}}{{- $names = append $names "client-ca" -}}{{- end -}}
{{- if .Values.caBundle.configMap -}}{{- $names = append $names "ca-bundle" -}}{{- end -}}
{{- if eq .Values.gateway.mode "sidecar" -}}{{- $names = concat $names (list "gateway" "gateway-options" "api-keys" "jwks") -}}{{- end -}}
{{- toYaml $names -}}
{{- end -}}

{{- define "glioserve.checkVolumes" -}}
{{- $reserved := list "models" "brain-models" "study-log" "shm" "tmp" "admin-token" "served" "plan-cache" "tls" "client-ca" "ca-bundle" "gateway" "gateway-options" "api-keys" "jwks" -}}
{{- $present := include "glioserve.ownVolumes" . | fromYamlArray -}}
{{- range include "glioserve.tpl" (list . .Values.extraVolumes) | fromYamlArray -}}
{{- if or (has .name $reserved) (has .name $present) -}}{{- fail (printf "extraVolumes has the name %s, which the pod has already: rename it." .name) -}}{{- end -}}
{{- $present = append $present .name -}}
{{- end -}}
{{- $paths := list "/models" "/brain-models" "/study-log" "/dev/shm" "/tmp" "/etc/glioserve/admin" "/etc/glioserve/tls" "/etc/glioserve/client-ca" "/etc/glioserve/ca" "/served" -}}
{{- range include "glioserve.tpl" (list . .Values.extraVolumeMounts) | fromYamlArray -}}
{{- $path := clean (toString .mountPath) -}}
{{- if has $path $paths -}}{{- fail (printf "extraVolumeMounts has the path %s, which is taken already: mount it elsewhere." .mountPath) -}}{{- end -}}
{{- if has $path (list "/" "/bin" "/dev" "/etc" "/etc/glioserve" "/lib" "/opt" "/opt/glioserve" "/opt/tritonserver" "/proc" "/sys" "/usr" "/usr/local") -}}{{- fail (printf "extraVolumeMounts has the path %s, which would hide the image's own files: mount a folder below it." .mountPath) -}}{{- end -}}
{{- $paths = append $paths $path -}}
{{- if not (has .name $present) -}}{{- fail (printf "extraVolumeMounts names the volume %s, which is not in extraVolumes: add it there." .name) -}}{{- end -}}
{{- end -}}
{{- end -}}
