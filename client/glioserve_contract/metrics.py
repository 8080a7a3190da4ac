"""Names, labels and buckets of the metrics that our models add to Triton's own.

Tests hold dashboards and alerts to them. A label never carries anything of a patient or a request.
"""

from glioserve_contract.errors import ErrorCode

STUDIES = "glioserve_studies_total"
STUDIES_HELP = "Studies by outcome (answered, abstained, refused, failed, cancelled) and error code"
STAGE_SECONDS = "glioserve_stage_duration_seconds"
STAGE_SECONDS_HELP = "Wall seconds per stage of a study that was answered"

STAGES = ("read", "series", "assemble", "register", "brain", "grid", "normalise", "report", "heatmap")
STAGE_BUCKETS_S = (0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)

SERVER_CODES = tuple(code for code in ErrorCode if code.token < "GLIO-4")
"""Codes that a server can answer with; the others arise at the caller or at set-up."""


def outcome_of(code: ErrorCode) -> str:
    """Return ``refused`` where the study is at fault, ``cancelled`` where its caller waits no more, else ``failed``."""
    if code in (ErrorCode.CANCELLED, ErrorCode.DEADLINE_PASSED):
        return "cancelled"
    return "refused" if code.token < "GLIO-2" else "failed"
