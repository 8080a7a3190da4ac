"""Names, labels and buckets of the metrics that our models add to Triton's own.

Tests hold dashboards and alerts to them. A label never carries anything of a patient or a request.
"""

from dataclasses import dataclass

from glioserve_contract.errors import ErrorCode

STUDIES = "glioserve_studies_total"
STUDIES_HELP = "Studies by outcome (answered, abstained, refused, failed, cancelled) and error code"
STAGE_SECONDS = "glioserve_stage_duration_seconds"
STAGE_SECONDS_HELP = "Wall seconds per stage of a study that was answered"

STAGES = ("read", "series", "assemble", "register", "brain", "grid", "normalise", "report", "heatmap")
STAGE_BUCKETS_S = (0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)

READY = "glioserve_ready"
REPAIRS = "glioserve_repairs_total"
CANARY_FAILURES = "glioserve_canary_failures_total"
IN_FLIGHT = "glioserve_stage_in_flight"
OLDEST_REQUEST = "glioserve_stage_oldest_request_seconds"
STAGE_MEMORY = "glioserve_stage_memory_bytes"


@dataclass(frozen=True)
class Metric:
    """One metric of the supervisor: name, type, labels and description."""

    name: str
    kind: str
    labels: tuple[str, ...]
    description: str


SUPERVISOR_METRICS = (
    Metric(READY, "gauge", (), "1 while the server is ready, as /readyz tells it"),
    Metric(REPAIRS, "counter", ("model", "reason"), "Reloads of a model by the supervisor (dead, hung, memory)"),
    Metric(CANARY_FAILURES, "counter", ("model",), "Canary requests that a model failed or did not answer in time"),
    Metric(IN_FLIGHT, "gauge", ("model",), "Processes of a Python model that are at work"),
    Metric(OLDEST_REQUEST, "gauge", ("model",), "Seconds since the longest running call of a Python model began"),
    Metric(STAGE_MEMORY, "gauge", ("model",), "Resident memory of the largest process of a Python model"),
)
"""Metrics of the supervisor, on the port of the probes beside all those of Triton's port."""

SERVER_CODES = tuple(code for code in ErrorCode if code.token < "GLIO-4")
"""Codes that a server can answer with; the others arise at the caller or at set-up."""


def outcome_of(code: ErrorCode) -> str:
    """Return ``refused`` where the study is at fault, ``cancelled`` where its caller waits no more, else ``failed``."""
    if code in (ErrorCode.CANCELLED, ErrorCode.DEADLINE_PASSED):
        return "cancelled"
    return "refused" if code.token < "GLIO-2" else "failed"
