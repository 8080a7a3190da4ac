{{/*
Constants of the code that the chart's sums rest on; tests/helm/values/test_sums.py holds them to it.
callSeconds: one call of the supervisor. exitMarginSeconds: on top of Triton's exit timeout. killSeconds: ending and reaping
what is left. preprocessInstances and stages: processes of model_repository. waitingStudies: the queue before preprocess.
stageMiB: least memory of a stage, its measured peak rounded up. restMiB to
largeMiB: what the server itself counts with (GLIO-5130). baseMiB: Triton, the supervisor and CUDA's host memory.
studyMiB: a raw study of four sequences of 240 x 240 x 155 as FP32. studySeconds, uploadSeconds: the gateway's own defaults.
*/}}
{{- define "glioserve.constants" -}}
callSeconds: 5
exitMarginSeconds: 5
killSeconds: 15
preprocessInstances: 2
stages: 3
waitingStudies: 16
stageMiB: 768
baseMiB: 1024
studyMiB: 144
restMiB: 512
workMiB: 448
workCopies: 5
waitingCopies: 1.6
sharedMiB: 96
sharedCopies: 2
largeMiB: 128
studySeconds: 120
uploadSeconds: 60
{{- end -}}

{{/* Bytes of a memory quantity: 2Gi -> 2147483648. The schema lets only these units through. */}}
{{- define "glioserve.bytes" -}}
{{- $text := toString . -}}
{{- $number := regexFind "^[0-9]+([.][0-9]+)?" $text -}}
{{- $scale := dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- mulf (float64 $number) (get $scale (trimPrefix $number $text)) | int64 -}}
{{- end -}}

{{/* Any quantity as a number: 500m -> 0.5, 2Gi -> 2147483648, 4 -> 4. */}}
{{- define "glioserve.amount" -}}
{{- $text := toString . -}}
{{- if hasSuffix "m" $text -}}{{- divf (trimSuffix "m" $text | float64) 1000 -}}
{{- else if regexMatch "[a-zA-Z]$" $text -}}{{- include "glioserve.bytes" $text -}}
{{- else -}}{{- float64 $text -}}{{- end -}}
{{- end -}}

{{- define "glioserve.mebibytes" -}}
{{- div (include "glioserve.bytes" . | int64) 1048576 -}}
{{- end -}}

{{/* Seconds of a Prometheus duration in s or m, which is all the schema lets through. */}}
{{- define "glioserve.seconds" -}}
{{- mul (regexFind "^[0-9]+" .) (ternary 60 1 (hasSuffix "m" .)) -}}
{{- end -}}

{{/*
Threads of each preprocessing instance: the whole CPUs requested, shared between the instances, at least 1. A library that
starts a thread per core of the node only waits for CPU.
*/}}
{{- define "glioserve.threads" -}}
{{- $instances := (include "glioserve.constants" . | fromYaml).preprocessInstances | int -}}
{{- $cpu := toString .Values.resources.requests.cpu -}}
{{- if .Values.threads -}}
{{- .Values.threads -}}
{{- else if hasSuffix "m" $cpu -}}
{{- max 1 (div (trimSuffix "m" $cpu) (mul 1000 $instances)) -}}
{{- else -}}
{{- max 1 (div (floor (float64 $cpu) | int64) $instances) -}}
{{- end -}}
{{- end -}}

{{/* What the memory limit leaves to each Python stage. */}}
{{- define "glioserve.stageMiB" -}}
{{- $c := include "glioserve.constants" . | fromYaml -}}
{{- $limit := include "glioserve.mebibytes" .Values.resources.limits.memory | int64 -}}
{{- $shm := include "glioserve.mebibytes" .Values.sharedMemorySize | int64 -}}
{{- .Values.stages.memoryLimitMiB | default (div (sub $limit (add $shm $c.baseMiB)) ($c.stages | int64)) -}}
{{- end -}}

{{/* The part of /dev/shm that a server at work on the largest usual studies takes. */}}
{{- define "glioserve.fullQueueSharedMiB" -}}
{{- with include "glioserve.constants" . | fromYaml -}}
{{- add .sharedMiB (mul .sharedCopies .preprocessInstances .largeMiB) -}}
{{- end -}}
{{- end -}}

{{/* The memory of a server at work, with a full queue of the largest usual studies: what the server warns of at its start. */}}
{{- define "glioserve.fullQueueMiB" -}}
{{- $shared := include "glioserve.fullQueueSharedMiB" . | int64 -}}
{{- with include "glioserve.constants" . | fromYaml -}}
{{- $copies := addf (mulf .waitingCopies (add .preprocessInstances .waitingStudies)) (mul .workCopies .preprocessInstances) -}}
{{- add .restMiB (mul .workMiB .preprocessInstances) (ceil (mulf $copies .largeMiB)) $shared -}}
{{- end -}}
{{- end -}}

{{/* The least of shutdown.marginSeconds: what a stop may take beyond its three timeouts, and one second. */}}
{{- define "glioserve.leastMarginSeconds" -}}
{{- with include "glioserve.constants" . | fromYaml -}}
{{- add .callSeconds .exitMarginSeconds .killSeconds 1 -}}
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

{{/* The longest time between two signs of progress of a rollout, without the image's pull. */}}
{{- define "glioserve.rolloutSeconds" -}}
{{- $build := ternary .Values.tensorrt.build.timeoutSeconds 0 .Values.tensorrt.build.enabled -}}
{{- add (include "glioserve.gracePeriodSeconds" .) (include "glioserve.startupSeconds" .) $build .Values.minReadySeconds -}}
{{- end -}}
