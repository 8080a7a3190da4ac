"""Metrics that others make, Triton and NVIDIA's exporter, as far as rules and dashboards read them."""

from __future__ import annotations

TRITON_PENDING = "nv_inference_pending_request_count"
TRITON_FAILURES = "nv_inference_request_failure"
TRITON_SUCCESSES = "nv_inference_request_success"
TRITON_DURATION = "nv_inference_request_duration_us"
TRITON_QUEUE = "nv_inference_queue_duration_us"
TRITON_METRICS = {
    TRITON_PENDING: "Requests that wait for a model",
    TRITON_FAILURES: "Requests that failed; an ensemble counts each twice, as OTHER",
    TRITON_SUCCESSES: "Requests that a model answered; typed errors and canaries of Python models are among them",
    TRITON_DURATION: "Microseconds of the requests that a model answered",
    TRITON_QUEUE: "Microseconds for which those requests waited",
    "nv_inference_count": "Inferences that a model made, each of a batch counted",
    "nv_inference_exec_count": "Executions of a model, each batch counted once",
    "nv_inference_compute_infer_duration_us": "Microseconds that a model computed",
    "nv_gpu_utilization": "Share of a GPU's time in use, 0 to 1; absent without a GPU",
    "nv_gpu_memory_used_bytes": "Memory in use of a GPU; absent without a GPU",
    "nv_gpu_memory_total_bytes": "Memory of a GPU; absent without a GPU",
}
"""Triton's own metrics that rules and dashboards read, with what they mean here."""
DCGM_METRICS = {
    "DCGM_FI_DEV_XID_ERRORS": "Number of a GPU's last error",
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": "Uncorrectable memory errors of a GPU since its driver was loaded",
}
"""Metrics of NVIDIA's dcgm-exporter that rules read, where one runs."""
KUBE_METRICS = {
    "kube_deployment_spec_replicas": "Pods that a Deployment is to have; read where `keda.idleReplicas` is 0",
}
"""Metrics of kube-state-metrics that rules read, where one runs."""
