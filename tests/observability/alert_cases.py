"""The series for which each alert must fire, and those for which it must stay quiet, in promtool's notation.

A step is a minute unless the case says otherwise. Sparse traffic, 0.2 studies a minute, is one study in five steps:
``sparse(n)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from support.cluster.rules import LABELS, POD

DAY = 24 * 60


@dataclass(frozen=True)
class Case:
    """One look at one alert."""

    alert: str
    fires: bool
    at: str
    series: Mapping[str, str] = field(default_factory=dict)
    why: str = ""
    step: str = "1m"


def of(name: str, labels: str = "", pod: str = POD) -> str:
    own = LABELS.replace(POD, pod)
    return f"{name}{{{own}{',' if labels else ''}{labels}}}"


def studies(outcome: str, code: str = "") -> str:
    return of("glioserve_studies_total", f'outcome="{outcome}",code="{code}"')


def sparse(minutes: int, first: int = 0) -> str:
    """A counter of one study every five minutes."""
    return " ".join(str(first + minute // 5) for minute in range(minutes + 1))


def steps(*parts: tuple[int, float]) -> str:
    """A series that holds each value for so many minutes."""
    return " ".join(f"{value:g}" for minutes, value in parts for _ in range(minutes))


def took(le: str) -> str:
    return of("glioserve_study_duration_seconds_bucket", f'le="{le}"')


DONE = of("glioserve_study_duration_seconds_count")
ANSWERED, FAILED, REJECTED = studies("answered"), studies("failed", "GLIO-3101"), studies("rejected", "GLIO-4101")
PENDING = of("nv_inference_pending_request_count", 'model="preprocess",version="1"')
REPAIRED = of("glioserve_repairs_total", 'model="preprocess",reason="dead"')
MEMORY, LIMIT = of("glioserve_memory_bytes"), of("glioserve_memory_limit_bytes")
SHM, SHM_LIMIT = of("glioserve_shared_memory_bytes"), of("glioserve_shared_memory_limit_bytes")
CERTIFICATE = of("glioserve_certificate_expiry_timestamp_seconds")
READY = of("glioserve_ready")
OLDEST_RECORD, RECORDS_LOST = of("glioserve_study_log_oldest_record_seconds"), of("glioserve_study_records_lost_total")


def stage(le: str, name: str = "register") -> str:
    return of("glioserve_stage_duration_seconds_bucket", f'stage="{name}",le="{le}"')


STAGE_COUNT = of("glioserve_stage_duration_seconds_count", 'stage="register"')


def model(digest: str, version: str = "2", pod: str = POD, serving: str = "yes") -> str:
    labels = f'version="{version}",digest="{digest}",preprocessing="p",architecture="resnet10",serving="{serving}"'
    return of("glioserve_model_info", labels, pod)


def build(version: str, pod: str = POD) -> str:
    return of(
        "glioserve_build_info", f'version="{version}",contract="2.1.0",triton="2.75.0",triton_release="26.11"', pod
    )


def drifted(feature: str, pod: str = POD, site: str = "north") -> str:
    return of("glioserve_drift_flagged", f'version="2",site="{site}",feature="{feature}"', pod)


OTHER = f"{POD}1"
SPECIFICITY = 'version="2",rate="specificity"'
EVIDENCE = of("glioserve_outcome_evidence_ratio", SPECIFICITY)
WORSE = of("glioserve_outcome_worse", SPECIFICITY)

CASES = (
    Case("GlioserveModelWorse", True, "5m", {EVIDENCE: "12 30 55x5", WORSE: "0 0 1x5"}),
    Case("GlioserveModelWorse", True, "9m", {EVIDENCE: "55x9", WORSE: "1x9"}, "it was worse once, and stays so"),
    Case("GlioserveModelWorse", False, "5m", {EVIDENCE: "30x5", WORSE: "0x5"}, "not enough to say so"),
    Case("GlioserveModelWorse", False, "5m", {READY: "1x5"}, "no outcome was added"),
    Case("GlioserveNoPodReady", True, "10m", {READY: "0x10", of("glioserve_ready", pod=OTHER): "0x10"}),
    Case(
        "GlioserveNoPodReady", False, "10m", {READY: "0x10", of("glioserve_ready", pod=OTHER): "1x10"}, "one is ready"
    ),
    Case("GlioserveNotScraped", True, "15m", {'glioserve_ready{namespace="mri",pod="another-0"}': "1x15"}),
    Case("GlioserveNotScraped", False, "15m", {READY: "0x15"}),
    Case("GlioserveRestarts", True, "30m", {of("glioserve_start_time_seconds"): steps((10, 5), (5, 600), (16, 900))}),
    Case("GlioserveRestarts", False, "30m", {of("glioserve_start_time_seconds"): steps((10, 5), (21, 600))}, "once"),
    Case("GlioserveStalled", True, "20m", {PENDING: "2x20", ANSWERED: "7x20"}),
    Case(
        "GlioserveStalled",
        True,
        "20m",
        {PENDING: "2x20", ANSWERED: "7x20", studies("expired", "GLIO-4101"): "0+1x20"},
        "those that wait in vain do not count as progress",
    ),
    Case("GlioserveStalled", False, "20m", {PENDING: "0x20", ANSWERED: "7x20"}, "nothing waits"),
    Case("GlioserveStalled", False, "21m", {PENDING: "1x21", ANSWERED: sparse(21)}, "sparse, but it goes on"),
    Case("GlioserveAvailabilityBurnFast", True, "65m", {ANSWERED: "0+1x65", FAILED: "0+0.5x65"}),
    Case(
        "GlioserveAvailabilityBurnFast",
        True,
        "65m",
        {ANSWERED: sparse(65), FAILED: steps((46, 0), (5, 1), (5, 2), (10, 4))},
        "sparse: four of sixteen",
    ),
    Case(
        "GlioserveAvailabilityBurnFast",
        False,
        "65m",
        {ANSWERED: sparse(65), FAILED: steps((60, 0), (6, 1))},
        "sparse: one failure rings no alert",
    ),
    Case(
        "GlioserveAvailabilityBurnFast",
        False,
        "65m",
        {ANSWERED: "0+1x65", FAILED: steps((10, 0), (56, 20))},
        "over for most of an hour",
    ),
    Case(
        "GlioserveAvailabilityBurnFast",
        False,
        "65m",
        {ANSWERED: "0+1x65", studies("refused", "GLIO-1201"): "0+1x65"},
        "bad input",
    ),
    Case("GlioserveAvailabilityBurnSlow", True, "370m", {ANSWERED: "0+1x370", FAILED: "0+0.1x370"}),
    Case(
        "GlioserveAvailabilityBurnSlow",
        True,
        "370m",
        {ANSWERED: sparse(370), REJECTED: steps((341, 0), (10, 4), (20, 6))},
        "sparse: six of eighty",
    ),
    Case("GlioserveAvailabilityBurnSlow", False, "370m", {ANSWERED: "0+1x370", FAILED: "0+0.02x370"}),
    Case(
        "GlioserveAvailabilityBurnSlow",
        False,
        "370m",
        {ANSWERED: sparse(370), FAILED: steps((350, 0), (21, 2))},
        "sparse: two failures",
    ),
    Case(
        "GlioserveAvailabilityBurnCreeping",
        True,
        f"{3 * DAY}m",
        {ANSWERED: f"0+15x{3 * DAY // 15}", FAILED: f"0+0.3x{3 * DAY // 15}"},
        step="15m",
    ),
    Case(
        "GlioserveAvailabilityBurnCreeping",
        False,
        f"{3 * DAY}m",
        {ANSWERED: f"0+15x{3 * DAY // 15}", FAILED: f"0+0.075x{3 * DAY // 15}"},
        step="15m",
    ),
    Case("GlioserveLatencyBurnFast", True, "65m", {took("60.0"): "0+0.2x65", DONE: "0+1x65"}),
    Case("GlioserveLatencyBurnFast", True, "65m", {took("60"): "0x65", DONE: sparse(65)}, "sparse: all are slow"),
    Case("GlioserveLatencyBurnFast", False, "65m", {took("60.0"): "0+0.9x65", DONE: "0+1x65"}),
    Case(
        "GlioserveLatencyBurnFast",
        False,
        "65m",
        {took("60.0"): sparse(60) + " 12" * 5, DONE: sparse(65)},
        "sparse: one is slow",
    ),
    Case("GlioserveLatencyBurnSlow", True, "370m", {took("60.0"): "0+0.7x370", DONE: "0+1x370"}),
    Case("GlioserveLatencyBurnSlow", False, "370m", {took("60.0"): "0+0.9x370", DONE: "0+1x370"}),
    Case("GlioserveStageReplaced", True, "10m", {REPAIRED: steps((8, 0), (3, 1))}),
    Case("GlioserveStageReplaced", False, "40m", {REPAIRED: steps((8, 0), (33, 1))}, "half an hour ago"),
    Case("GlioserveStageReplacedOften", True, "50m", {REPAIRED: "0+0.1x50"}),
    Case("GlioserveStageReplacedOften", False, "50m", {REPAIRED: steps((10, 0), (20, 1), (21, 2))}),
    Case(
        "GlioserveStageHangs",
        True,
        "10m",
        {of("glioserve_stage_oldest_request_seconds", 'model="preprocess"'): "0+60x10"},
    ),
    Case(
        "GlioserveStageHangs",
        False,
        "10m",
        {of("glioserve_stage_oldest_request_seconds", 'model="preprocess"'): "90x10"},
    ),
    Case(
        "GlioserveCanaryFailing", True, "10m", {of("glioserve_canary_failures_total", 'model="classifier"'): "0+1x10"}
    ),
    Case(
        "GlioserveCanaryFailing",
        True,
        "5m",
        {of("glioserve_canary_failures_total", 'model="classifier"'): "0x8 2 0x11"},
        "two at once, one scrape before the server ends and begins at 0 again",
        "15s",
    ),
    Case(
        "GlioserveCanaryFailing",
        False,
        "20m",
        {of("glioserve_canary_failures_total", 'model="classifier"'): steps((6, 0), (15, 1))},
        "once",
    ),
    Case(
        "GlioserveStageSlow",
        True,
        "65m",
        {stage("15"): "0x65", stage("45"): sparse(65), stage("+Inf"): sparse(65), STAGE_COUNT: sparse(65)},
    ),
    Case(
        "GlioserveStageSlow",
        False,
        "65m",
        {stage("15"): sparse(65), stage("45"): sparse(65), stage("+Inf"): sparse(65), STAGE_COUNT: sparse(65)},
    ),
    Case(
        "GlioserveStageSlow",
        False,
        "65m",
        {s: steps((50, 0), (16, 1)) for s in (stage("45"), stage("+Inf"), STAGE_COUNT)} | {stage("15"): "0x65"},
        "one study",
    ),
    Case("GlioserveQueueGrowing", True, "20m", {PENDING: "0+1x20"}),
    Case(
        "GlioserveQueueGrowing", False, "20m", {PENDING: steps((9, 0), (3, 16), (9, 0))}, "a burst that is worked off"
    ),
    Case("GlioserveRejects", True, "10m", {REJECTED: steps((8, 0), (3, 1))}),
    Case("GlioserveRejects", False, "30m", {REJECTED: steps((8, 0), (23, 1))}),
    Case("GlioserveMemoryNearLimit", True, "10m", {MEMORY: "95x10", LIMIT: "100x10"}),
    Case("GlioserveMemoryNearLimit", False, "10m", {MEMORY: steps((5, 80), (2, 95), (4, 80)), LIMIT: "100x10"}),
    Case("GlioserveSharedMemoryNearLimit", True, "10m", {SHM: "90x10", SHM_LIMIT: "100x10"}),
    Case("GlioserveSharedMemoryNearLimit", False, "10m", {SHM: "50x10", SHM_LIMIT: "100x10"}),
    Case("GlioserveModelErrors", True, "10m", {studies("failed", "GLIO-2102"): steps((8, 0), (3, 1))}),
    Case("GlioserveModelErrors", False, "10m", {studies("failed", "GLIO-2102"): "3x10", FAILED: "0+1x10"}),
    Case("GlioserveInternalErrors", True, "10m", {FAILED: steps((8, 0), (3, 1))}),
    Case("GlioserveInternalErrors", False, "10m", {FAILED: "5x10", studies("failed", "GLIO-3103"): "0+1x10"}),
    Case("GlioserveStudyLogFailing", True, "5m", {OLDEST_RECORD: "0+60x10"}),
    Case("GlioserveStudyLogFailing", True, "10m", {RECORDS_LOST: steps((8, 0), (3, 1))}, "for one that was lost"),
    Case("GlioserveStudyLogFailing", False, "30m", {OLDEST_RECORD: "60x30", RECORDS_LOST: steps((8, 0), (23, 1))}),
    Case("GlioserveManyRefused", True, "370m", {ANSWERED: "0x370", studies("refused", "GLIO-1301"): sparse(370)}),
    Case(
        "GlioserveManyRefused",
        False,
        "370m",
        {ANSWERED: "0x370", studies("refused", "GLIO-1301"): steps((300, 0), (71, 3))},
        "three studies of a quiet night",
    ),
    Case("GlioserveManyRefused", False, "370m", {ANSWERED: "0+1x370", studies("refused", "GLIO-1301"): sparse(370)}),
    Case(
        "GlioserveManyCancelled", True, "370m", {ANSWERED: sparse(370), studies("cancelled", "GLIO-3104"): sparse(370)}
    ),
    Case(
        "GlioserveManyCancelled",
        False,
        "370m",
        {ANSWERED: sparse(370), studies("cancelled", "GLIO-3104"): steps((360, 0), (11, 2))},
    ),
    Case("GlioserveFingerprintMismatch", True, "10m", {studies("failed", "GLIO-2101"): steps((8, 0), (3, 1))}),
    Case("GlioserveFingerprintMismatch", True, "10m", {model("aaa"): "1x10", model("bbb", pod=OTHER): "1x10"}),
    Case(
        "GlioserveFingerprintMismatch",
        False,
        "10m",
        {model("aaa"): "1x10", model("aaa", pod=OTHER): "1x10", model("bbb", version="3", serving="no"): "1x10"},
    ),
    Case("GlioserveVersionSkew", True, "40m", {build("1.0.0"): "1x40", build("1.1.0", OTHER): "1x40"}),
    Case("GlioserveVersionSkew", True, "40m", {model("a"): "1x40", model("b", version="3", pod=OTHER): "1x40"}),
    Case(
        "GlioserveVersionSkew", False, "40m", {build("1.0.0"): "1x20", build("1.1.0", OTHER): "_x10 1x30"}, "a rollout"
    ),
    Case("GlioserveCertificateExpires", True, "10m", {CERTIFICATE: f"{20 * DAY * 60}x10"}),
    Case("GlioserveCertificateExpires", False, "10m", {CERTIFICATE: f"{22 * DAY * 60}x10"}),
    Case("GlioserveBelowFloor", True, "20m", {of("glioserve_below_floor", 'floor="security"'): "1x20"}),
    Case("GlioserveBelowFloor", False, "20m", {of("glioserve_below_floor", 'floor="security"'): "0x20"}),
    Case("GlioserveGpuErrors", True, "10m", {of("DCGM_FI_DEV_XID_ERRORS", 'gpu="0",Hostname="n1"'): "79x10"}),
    Case(
        "GlioserveGpuErrors",
        True,
        "10m",
        {
            f'DCGM_FI_DEV_ECC_DBE_VOL_TOTAL{{exported_namespace="mri",exported_pod="{POD}",gpu="0"}}': steps(
                (8, 0), (3, 1)
            )
        },
    ),
    Case(
        "GlioserveGpuErrors",
        False,
        "10m",
        {
            of("DCGM_FI_DEV_XID_ERRORS", 'gpu="0",Hostname="n1"'): "0x10",
            of("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", 'gpu="0",Hostname="n1"'): "2x10",
            'DCGM_FI_DEV_XID_ERRORS{namespace="other",pod="another-0",gpu="1",Hostname="n1"}': "79x10",
        },
        "another's GPU",
    ),
    Case("GlioserveDrift", True, "10m", {drifted("score"): "0 0 1x8", drifted("manufacturer"): "0x10"}),
    Case(
        "GlioserveDrift",
        True,
        "10m",
        {drifted("score"): "0x10", drifted("score", OTHER): "1x10"},
        "one pod of two sees it",
    ),
    Case("GlioserveDrift", False, "10m", {drifted("score"): "0x10", drifted("manufacturer", site="south"): "0x10"}),
    Case("GlioserveDrift", False, "10m", {drifted("score"): steps((7, 0), (4, 1))}, "not for five minutes yet"),
)
