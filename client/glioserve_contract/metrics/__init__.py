"""Every metric of a server, declared once: name, type, labels with their closed sets of values, buckets, description.

The Python models and the supervisor make their series from this table, ``docs/metrics.md`` is written from it, and
tests hold rules, dashboards and the live page to it. A label never carries anything of a patient or a request: its
values are a closed set, or come from the server's own repository and version.
"""

from __future__ import annotations

import re

from glioserve_contract.errors import ErrorCode
from glioserve_contract.metrics.base import VERSION as VERSION
from glioserve_contract.metrics.base import Kind as Kind
from glioserve_contract.metrics.base import Label as Label
from glioserve_contract.metrics.base import Metric as Metric
from glioserve_contract.metrics.drift import DRIFT_METRICS
from glioserve_contract.metrics.others import DCGM_METRICS as DCGM_METRICS
from glioserve_contract.metrics.others import KUBE_METRICS as KUBE_METRICS
from glioserve_contract.metrics.others import TRITON_DURATION as TRITON_DURATION
from glioserve_contract.metrics.others import TRITON_FAILURES as TRITON_FAILURES
from glioserve_contract.metrics.others import TRITON_METRICS as TRITON_METRICS
from glioserve_contract.metrics.others import TRITON_PENDING as TRITON_PENDING
from glioserve_contract.metrics.others import TRITON_QUEUE as TRITON_QUEUE
from glioserve_contract.metrics.others import TRITON_SUCCESSES as TRITON_SUCCESSES
from glioserve_contract.sequences import Modality
from glioserve_contract.tensors import CLASSIFIER_MODEL, PREPROCESS_MODEL, REPORT_MODEL

STAGES = ("read", "series", "assemble", "register", "brain", "grid", "normalise", "report", "heatmap")
SERVER_CODES = tuple(code for code in ErrorCode if code.token < "GLIO-4")
"""Codes that a server can answer with; the others arise at the caller or at set-up."""
ANSWERED, ABSTAINED, REJECTED, EXPIRED = "answered", "abstained", "rejected", "expired"


def outcome_of(code: ErrorCode) -> str:
    """Return ``refused`` where the study is at fault, ``cancelled`` where its caller waits no more, else ``failed``."""
    if code in (ErrorCode.CANCELLED, ErrorCode.DEADLINE_PASSED):
        return "cancelled"
    return "refused" if code.token < "GLIO-2" else "failed"


MODEL_ENDS = ((ANSWERED, ""), (ABSTAINED, ""), *((outcome_of(code), code.token) for code in SERVER_CODES))
"""Ends of a study that a model tells: pairs of outcome and code."""
TRITON_ENDS = ((REJECTED, ErrorCode.UNAVAILABLE.token), (EXPIRED, ErrorCode.UNAVAILABLE.token))
"""Ends that no model sees: the queue was full, or the study waited too long in it."""
OUTCOMES = (ANSWERED, ABSTAINED, "refused", "failed", "cancelled", REJECTED, EXPIRED)

MODEL_OUTCOMES = tuple(dict.fromkeys(outcome for outcome, _ in MODEL_ENDS))
OTHER_CALLER = "other"
"""Label of every caller that the server's operator has not named."""
MOST_CALLERS = 64
"""Most callers that an operator may name: each adds a series for every outcome."""
CALLER_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
SPAN_OUTCOMES = ("exported", "dropped")

QUALITY_CHECKS = (
    *("t1ce_before_native", "t1ce_corroborations", "t1ce_swapped_with_t1", "other_kind", "untimed_sequences"),
    *("registration_contrast", "registration_gain", "registration_overlap", "registration_rival"),
    *("registration_both_ways", "displacement", "brain_coverage", "signal_coverage", "blank_slices", "brain_volume"),
    *("brain_solidity", "brain_slenderness", "brain_border", "brain_below_crown", "brain_enclosure"),
    *("brain_unsureness", "brain_agreement"),
)
"""Names of the report's quality checks, without the sequence that some begin with."""
SERIES_DECISIONS = ("named", "only", "preferred")
SERIES_OPINIONS = ("agrees", "differs", "open", "unasked")
ANSWERS = ("necrosis", "recurrence", "abstained")
RATES = ("sensitivity", "specificity")
REPAIR_REASONS = ("dead", "hung", "memory")
SHADOW_RESULTS = ("same", "flip", "abstained", "skipped", "failed")
CANARY_OUTCOMES = ("alive", "dead", "silent", "unknown")
FLOORS = ("security", "function")

_STEPS = Label("model", (PREPROCESS_MODEL.name, CLASSIFIER_MODEL.name, REPORT_MODEL.name))
_SEQUENCE = Label("modality", tuple(m.value for m in Modality))
_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0)
_MIB = 1 << 20

STUDIES = Metric(
    "glioserve_studies_total",
    Kind.COUNTER,
    "Studies by outcome and error code, each counted once, where it ends",
    (
        Label("outcome", OUTCOMES),
        Label("code", tuple(dict.fromkeys(("", *(code for _, code in (*MODEL_ENDS, *TRITON_ENDS)))))),
    ),
    pairs=MODEL_ENDS,
)
CALLER_STUDIES = Metric(
    "glioserve_caller_studies_total",
    Kind.COUNTER,
    "Studies by caller and outcome, as far as a model saw them: of the callers that the operator named, else other",
    (Label("caller", origin="names of `glioserve serve --callers`, and other"), Label("outcome", MODEL_OUTCOMES)),
)
SPANS = Metric(
    "glioserve_trace_spans_total",
    Kind.COUNTER,
    "Spans of the Python models by what became of them: dropped where the queue was full or the receiver failed; told "
    "with the next request",
    (Label("model", (PREPROCESS_MODEL.name, REPORT_MODEL.name)), Label("outcome", SPAN_OUTCOMES)),
)
STAGE_SECONDS = Metric(
    "glioserve_stage_duration_seconds",
    Kind.HISTOGRAM,
    "Wall seconds per stage of a study that went through it",
    (Label("stage", STAGES),),
    (0.01, 0.03, *_SECONDS[:1], 0.3, *_SECONDS[3:16]),
)
ANSWERS_TOTAL = Metric(
    "glioserve_answers_total",
    Kind.COUNTER,
    "Answers by the classifier's version and label; abstained where a quality check asks for a review",
    (VERSION, Label("answer", ANSWERS)),
)
SCORE = Metric(
    "glioserve_score_ratio",
    Kind.HISTOGRAM,
    "Probability of recurrence in the answers, by the classifier's version",
    (VERSION,),
    tuple(round(0.1 * n, 1) for n in range(1, 11)),
)
STUDY_BYTES = Metric(
    "glioserve_study_size_bytes",
    Kind.HISTOGRAM,
    "Size of a study's request: its DICOM files or its volumes",
    buckets=tuple(float(n * _MIB) for n in (1, 4, 16, 32, 64, 128, 256, 512, 1024)),
)
STUDY_SLICES = Metric(
    "glioserve_study_slices",
    Kind.HISTOGRAM,
    "Slices of the series that were used, of one study",
    buckets=(64.0, 96.0, 128.0, 192.0, 256.0, 384.0, 512.0, 768.0, 1024.0),
)
STUDY_VOXELS = Metric(
    "glioserve_study_voxels",
    Kind.HISTOGRAM,
    "Voxels of the series that were used, of one study",
    buckets=(1e6, 3e6, 1e7, 2e7, 4e7, 8e7, 1.6e8, 3.2e8),
)
QUALITY = Metric(
    "glioserve_quality_checks_total",
    Kind.COUNTER,
    "Quality checks by name, without the sequence, and verdict",
    (Label("check", QUALITY_CHECKS), Label("verdict", ("ok", "review"))),
)
DISPLACEMENT = Metric(
    "glioserve_registration_displacement_meters",
    Kind.HISTOGRAM,
    "Mean distance that registration moved the brain from where the headers have it",
    (_SEQUENCE,),
    (0.0005, 0.001, 0.002, 0.004, 0.006, 0.008, 0.012, 0.016, 0.024, 0.032, 0.064),
)
SIMILARITY = Metric(
    "glioserve_registration_similarity_nats",
    Kind.HISTOGRAM,
    "Mutual information with the reference after registration, times the overlap",
    (_SEQUENCE,),
    (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.5, 2.0),
)
BRAIN_VOLUME = Metric(
    "glioserve_brain_volume_liters",
    Kind.HISTOGRAM,
    "Volume of the brain mask",
    buckets=(0.6, 0.8, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0, 2.4),
)
SERIES = Metric(
    "glioserve_series_decisions_total",
    Kind.COUNTER,
    "Series that were used: named by the caller, the only one that fitted, or preferred to others that fitted too",
    (_SEQUENCE, Label("decision", SERIES_DECISIONS)),
)
OPINIONS = Metric(
    "glioserve_series_opinions_total",
    Kind.COUNTER,
    "What the network that looks at voxels alone says of the series that were used",
    (_SEQUENCE, Label("opinion", SERIES_OPINIONS)),
)
RECORDS_LOST = Metric(
    "glioserve_study_records_lost_total",
    Kind.COUNTER,
    "Records of studies that were lost: the disk is full, or the supervisor does not take them",
)
INPUTS_LOST = Metric(
    "glioserve_kept_inputs_lost_total",
    Kind.COUNTER,
    "Inputs of the network that --keep-inputs asks for and that could not be kept",
)

MODEL_METRICS = (
    STUDIES, STAGE_SECONDS, ANSWERS_TOTAL, SCORE, STUDY_BYTES, STUDY_SLICES, STUDY_VOXELS, QUALITY, DISPLACEMENT,
    SIMILARITY, BRAIN_VOLUME, SERIES, OPINIONS, RECORDS_LOST, INPUTS_LOST, CALLER_STUDIES, SPANS,
)  # fmt: skip
"""Metrics of the Python models, on Triton's own port as well."""

READY = Metric("glioserve_ready", Kind.GAUGE, "1 while the server is ready, as /readyz tells it")
START_TIME = Metric("glioserve_start_time_seconds", Kind.GAUGE, "Unix time at which the server's process began")
STUDY_SECONDS = Metric(
    "glioserve_study_duration_seconds",
    Kind.HISTOGRAM,
    "Seconds from a study's arrival to its answer, of those that were answered; studies that end within one second of "
    "each other share their mean",
    buckets=_SECONDS,
)
QUEUE_SECONDS = Metric(
    "glioserve_queue_duration_seconds",
    Kind.HISTOGRAM,
    "Seconds that a study waited for its first stage; studies and canaries that end within one second of each other "
    "share their mean",
    buckets=_SECONDS[:14],
)
REPAIRS = Metric(
    "glioserve_repairs_total",
    Kind.COUNTER,
    "Reloads of a model by the supervisor: a process was dead, hung or too large",
    (_STEPS, Label("reason", REPAIR_REASONS)),
)
CANARIES = Metric(
    "glioserve_canaries_total",
    Kind.COUNTER,
    "Canary requests by what became of them; a silent one counts as a failure only where a process was idle, "
    "or where the classifier executed nothing meanwhile",
    (_STEPS, Label("outcome", CANARY_OUTCOMES)),
)
CANARY_FAILURES = Metric(
    "glioserve_canary_failures_total",
    Kind.COUNTER,
    "Canary requests that a model failed, or left waiting while a process was idle or the classifier executed nothing",
    (_STEPS,),
)
IN_FLIGHT = Metric("glioserve_stage_in_flight", Kind.GAUGE, "Processes of a Python model that are at work", (_STEPS,))
OLDEST_REQUEST = Metric(
    "glioserve_stage_oldest_request_seconds",
    Kind.GAUGE,
    "Seconds since the longest running call of a Python model began",
    (_STEPS,),
)
STAGE_MEMORY = Metric(
    "glioserve_stage_memory_bytes",
    Kind.GAUGE,
    "Resident memory of the largest process of a Python model",
    (_STEPS,),
)
MEMORY = Metric(
    "glioserve_memory_bytes", Kind.GAUGE, "Memory in use in the server's cgroup, without what the kernel can drop"
)
MEMORY_LIMIT = Metric("glioserve_memory_limit_bytes", Kind.GAUGE, "Smallest limit on the server's memory")
SHARED_MEMORY = Metric("glioserve_shared_memory_bytes", Kind.GAUGE, "Used part of /dev/shm")
SHARED_MEMORY_LIMIT = Metric("glioserve_shared_memory_limit_bytes", Kind.GAUGE, "Size of /dev/shm")
CERTIFICATE_EXPIRY = Metric(
    "glioserve_certificate_expiry_timestamp_seconds",
    Kind.GAUGE,
    "Unix time at which the first of the gRPC port's certificates expires; absent without TLS",
)
BELOW_FLOOR = Metric(
    "glioserve_below_floor",
    Kind.GAUGE,
    "1 where the running Triton is below a floor: security, known holes are open; function, it may stop dispatching",
    (Label("floor", FLOORS),),
)
BUILD_INFO = Metric(
    "glioserve_build_info",
    Kind.GAUGE,
    "1, with the versions of what serves",
    (
        Label("version", origin="version of glioserve"),
        Label("contract", origin="version of the contract"),
        Label("triton", origin="version of Triton"),
        Label("triton_release", origin="container release of that Triton"),
    ),
)
MODEL_INFO = Metric(
    "glioserve_model_info",
    Kind.GAUGE,
    "1 for each version of the classifier in the repository, with its identity",
    (
        VERSION,
        Label("digest", origin="first 12 digits of the weights' digest"),
        Label("preprocessing", origin="first 12 digits of the preprocessing digest"),
        Label("architecture", origin="name of the network in the recipe"),
        Label("serving", ("yes", "no")),
    ),
)
OUTCOME_STUDIES = Metric(
    "glioserve_outcome_studies",
    Kind.GAUGE,
    "Answered studies whose truth has been added, by the classifier's version, the truth and the answer; "
    "these four are absent without a study log",
    (VERSION, Label("truth", ANSWERS[:2]), Label("answer", ANSWERS)),
)
OUTCOME_RATE = Metric(
    "glioserve_outcome_rate_ratio",
    Kind.GAUGE,
    "Sensitivity and specificity in operation, the interval that holds at every look, and the evaluation's value",
    (VERSION, Label("rate", RATES), Label("of", ("value", "lower", "upper", "evaluated"))),
)
OUTCOME_EVIDENCE = Metric(
    "glioserve_outcome_evidence_ratio",
    Kind.GAUGE,
    "Evidence that a rate is below what the version's evaluation said; 40 and more is called worse",
    (VERSION, Label("rate", RATES)),
)
OUTCOME_WORSE = Metric(
    "glioserve_outcome_worse",
    Kind.GAUGE,
    "1 where a rate has become worse than the version's evaluation said",
    (VERSION, Label("rate", RATES)),
)
SHADOW_STUDIES = Metric(
    "glioserve_shadow_studies_total",
    Kind.COUNTER,
    "Live studies that the candidate was asked about, by its version, the result and the scanner's manufacturer; a "
    "flip is another label than the caller got",
    (
        VERSION,
        Label("result", SHADOW_RESULTS),
        Label("manufacturer", origin="known short name of the manufacturer; empty where it is unknown"),
    ),
)
SHADOW_DIFFERENCE = Metric(
    "glioserve_shadow_difference_ratio",
    Kind.HISTOGRAM,
    "Distance of the candidate's score from the served one",
    (VERSION,),
    (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0),
)
SHADOW_SCORE = Metric(
    "glioserve_shadow_score_ratio",
    Kind.HISTOGRAM,
    "Probability of recurrence by the candidate",
    (VERSION,),
    SCORE.buckets,
)

AUDIT_RECORDS = Metric(
    "glioserve_audit_records_total", Kind.COUNTER, "Records of studies that the audit log has taken; 0 without one"
)
STUDY_LOG_FAILURES = Metric(
    "glioserve_study_log_failures_total",
    Kind.COUNTER,
    "Attempts to keep records of studies that failed; the records wait",
)
OLDEST_RECORD = Metric(
    "glioserve_study_log_oldest_record_seconds",
    Kind.GAUGE,
    "Age of the record of a study that has waited longest to be kept; 0 where none waits",
)

SUPERVISOR_METRICS = (
    READY, START_TIME, STUDY_SECONDS, QUEUE_SECONDS, REPAIRS, CANARIES, CANARY_FAILURES, IN_FLIGHT, OLDEST_REQUEST,
    STAGE_MEMORY, MEMORY, MEMORY_LIMIT, SHARED_MEMORY, SHARED_MEMORY_LIMIT, CERTIFICATE_EXPIRY, BELOW_FLOOR, BUILD_INFO,
    MODEL_INFO, AUDIT_RECORDS, STUDY_LOG_FAILURES, OLDEST_RECORD, OUTCOME_STUDIES, OUTCOME_RATE, OUTCOME_EVIDENCE,
    OUTCOME_WORSE, SHADOW_STUDIES, SHADOW_DIFFERENCE, SHADOW_SCORE, *DRIFT_METRICS,
)  # fmt: skip
"""Metrics of the supervisor, on the port of the probes beside all those of Triton's port."""
_CLIENT_CODES = tuple(code.token for code in ErrorCode if code.token < "GLIO-42")
CLIENT_CALLS = Metric(
    "glioserve_client_calls_total",
    Kind.COUNTER,
    "Calls by outcome and error code; one of a closed client or a cancelled task has no code",
    (
        Label("outcome", MODEL_OUTCOMES),
        Label("code", ("", *_CLIENT_CODES)),
    ),
    pairs=(
        *((outcome, "") for outcome in (ANSWERED, ABSTAINED, "cancelled", "failed")),
        *((outcome_of(code), code.token) for code in ErrorCode if code.token in _CLIENT_CODES),
    ),
)
CLIENT_SECONDS = Metric(
    "glioserve_client_call_duration_seconds",
    Kind.HISTOGRAM,
    "Seconds of a call, de-identification, all its attempts and the pauses between them included",
    (Label("outcome", MODEL_OUTCOMES),),
    _SECONDS,
)
CLIENT_RETRIES = Metric(
    "glioserve_client_retries_total",
    Kind.COUNTER,
    "Attempts that followed one that failed, by the code of that failure",
    (Label("code", _CLIENT_CODES),),
)
CLIENT_SENT = Metric("glioserve_client_sent_bytes_total", Kind.COUNTER, "Bytes of requests, each attempt's counted")
CLIENT_RECEIVED = Metric("glioserve_client_received_bytes_total", Kind.COUNTER, "Bytes of answers")
CLIENT_METRICS = (CLIENT_CALLS, CLIENT_SECONDS, CLIENT_RETRIES, CLIENT_SENT, CLIENT_RECEIVED)
"""Metrics of the Python client, in the registry of the application that asks for them."""
METRICS = (*MODEL_METRICS, *SUPERVISOR_METRICS)
