"""The board of load, memory and GPU."""

from __future__ import annotations

from panels import MEMORY_SHARE, POD, QUEUED, SHARED_MEMORY_SHARE, WAITING_RECORD_S, Board, Panel, grown

CAPACITY = Board(
    "capacity",
    "glioserve: capacity",
    (
        (
            "Load",
            (
                Panel(
                    "Studies a minute",
                    "short",
                    ((f"60 * sum(rate(glioserve_studies_total{{{POD}}}[15m]))", ""),),
                    "All that ended, over 15 minutes.",
                ),
                Panel(
                    "Studies that wait",
                    "short",
                    ((f'sum by (pod) (nv_inference_pending_request_count{{{POD},model="preprocess"}})', "{{pod}}"),),
                    "For the first stage; a queue takes 16.",
                    red_from=QUEUED,
                ),
                Panel(
                    "Turned away",
                    "short",
                    grown("glioserve_studies_total", "outcome", 'outcome=~"rejected|expired"', "15m"),
                    "Rejected by a full queue or expired in it, within 15 minutes.",
                    red_from=1,
                ),
                Panel(
                    "Stages at work",
                    "percentunit",
                    (
                        (
                            f'avg_over_time(sum(glioserve_stage_in_flight{{{POD},model="preprocess"}})[15m:15s]) / '
                            f"(2 * count(glioserve_ready{{{POD}}}))",
                            "",
                        ),
                    ),
                    "Share of the instances of preprocess (two in a pod) that work, over 15 minutes.",
                ),
            ),
        ),
        (
            "Study log",
            (
                Panel(
                    "Oldest record that waits",
                    "s",
                    ((f"max by (pod) (glioserve_study_log_oldest_record_seconds{{{POD}}})", "{{pod}}"),),
                    "Age of the oldest record of a study that is not kept yet.",
                    red_from=WAITING_RECORD_S,
                ),
                Panel(
                    "Records kept and lost",
                    "short",
                    (
                        (f"sum(increase(glioserve_audit_records_total{{{POD}}}[1h]))", "in the audit log"),
                        (f"sum(increase(glioserve_study_records_lost_total{{{POD}}}[1h]))", "lost"),
                        (f"sum(increase(glioserve_kept_inputs_lost_total{{{POD}}}[1h]))", "inputs not kept"),
                        (f"sum(increase(glioserve_study_log_failures_total{{{POD}}}[1h]))", "failed attempts"),
                    ),
                    "Within one hour; nothing is in the audit log where none is kept.",
                ),
            ),
        ),
        (
            "Memory",
            (
                Panel(
                    "Memory",
                    "percentunit",
                    ((f"glioserve_memory_bytes{{{POD}}} / glioserve_memory_limit_bytes{{{POD}}}", "{{pod}}"),),
                    "Share of the limit.",
                    red_from=MEMORY_SHARE,
                ),
                Panel(
                    "Shared memory",
                    "percentunit",
                    (
                        (
                            f"glioserve_shared_memory_bytes{{{POD}}} / glioserve_shared_memory_limit_bytes{{{POD}}}",
                            "{{pod}}",
                        ),
                    ),
                    "Share of /dev/shm.",
                    red_from=SHARED_MEMORY_SHARE,
                ),
                Panel(
                    "Largest process of a stage",
                    "bytes",
                    ((f"max by (model) (glioserve_stage_memory_bytes{{{POD}}})", "{{model}}"),),
                    "Resident memory.",
                ),
            ),
        ),
        (
            "GPU",
            (
                Panel(
                    "GPU in use",
                    "percentunit",
                    ((f"nv_gpu_utilization{{{POD}}}", "{{pod}} {{gpu_uuid}}"),),
                    "Empty without a GPU; little use is usual, as the processors work longest.",
                ),
                Panel(
                    "GPU memory",
                    "percentunit",
                    (
                        (
                            f"nv_gpu_memory_used_bytes{{{POD}}} / nv_gpu_memory_total_bytes{{{POD}}}",
                            "{{pod}} {{gpu_uuid}}",
                        ),
                    ),
                    "Share of the GPU's memory.",
                ),
                Panel(
                    "GPU errors",
                    "none",
                    ((f"max by (gpu, Hostname) (DCGM_FI_DEV_XID_ERRORS{{{POD}}})", "{{Hostname}} {{gpu}}"),),
                    "Last XID by dcgm-exporter, where one runs.",
                    red_from=1,
                ),
            ),
        ),
    ),
)
