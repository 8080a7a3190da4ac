"""The supervisor's own metrics, and one page that has them beside Triton's and the Python models'."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from glioserve_contract import ErrorCode
from glioserve_contract.metrics import (
    CANARY_FAILURES,
    IN_FLIGHT,
    OLDEST_REQUEST,
    READY,
    REPAIRS,
    STAGE_MEMORY,
    STUDIES,
    SUPERVISOR_METRICS,
)

SCRAPE_TIMEOUT_S = 3.0
_FAILURES = "nv_inference_request_failure"
_LOST_REASON = "BACKEND"
"""Triton's reason for requests that a dead process had, or that failed in a native backend; models report no others."""


class SupervisorMetrics:
    """Counters and gauges of the supervisor."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        text = {m.name: m.description for m in SUPERVISOR_METRICS}

        def gauge(name: str, labels: Iterable[str] = ()) -> Gauge:
            return Gauge(name, text[name], list(labels), registry=self._registry)

        def counter(name: str, labels: Iterable[str]) -> Counter:
            return Counter(name, text[name], list(labels), registry=self._registry)

        self.ready = gauge(READY)
        self.repairs = counter(REPAIRS, ["model", "reason"])
        self.canary_failures = counter(CANARY_FAILURES, ["model"])
        self.in_flight = gauge(IN_FLIGHT, ["model"])
        self.oldest_request = gauge(OLDEST_REQUEST, ["model"])
        self.memory = gauge(STAGE_MEMORY, ["model"])
        self._lost = self._lost_canaries = 0

    def watch(self, models: Iterable[str], reasons: Iterable[str]) -> None:
        """Make the series of each model, so that a rate of something new is seen."""
        for model in models:
            self.canary_failures.labels(model)
            for reason in reasons:
                self.repairs.labels(model, reason)

    def canary_failed(self, model: str, *, lost: bool) -> None:
        """Count a canary that failed; ``lost`` where Triton counts it as a request that the backend failed."""
        self.canary_failures.labels(model).inc()
        self._lost_canaries += lost

    def page(self, triton_page: str) -> bytes:
        """Return Triton's page with our families added, studies lost with a process among the models' own."""
        failures = sum(failures_by_model(triton_page).values())
        self._lost = max(self._lost, failures - self._lost_canaries)
        lost = f'{STUDIES}{{outcome="failed",code="{ErrorCode.STAGE_LOST.token}"}} {self._lost}\n'
        if f"# TYPE {STUDIES} " in triton_page:
            head, _, tail = triton_page.partition(f"# TYPE {STUDIES} counter\n")
            merged = f"{head}# TYPE {STUDIES} counter\n{lost}{tail}"
        else:
            merged = f"{triton_page}# TYPE {STUDIES} counter\n{lost}"
        return merged.encode() + generate_latest(self._registry)


def triton_page(url: str | None) -> str:
    """Return Triton's page of metrics; empty where it is off or does not answer in time."""
    if url is None:
        return ""
    try:
        with urllib.request.urlopen(url, timeout=SCRAPE_TIMEOUT_S) as answer:  # noqa: S310 - our own server's
            page: bytes = answer.read()
    except (OSError, urllib.error.URLError, http.client.HTTPException):
        return ""
    return page.decode("utf-8", "replace")


def failures_by_model(page: str) -> Mapping[str, int]:
    """Return the requests that each model lost in its backend, from Triton's page."""
    found: dict[str, int] = {}
    lines = "".join(line + "\n" for line in page.splitlines() if line.startswith(f"{_FAILURES}{{"))
    for family in text_string_to_metric_families(lines):
        for sample in family.samples:
            if sample.labels.get("reason") == _LOST_REASON:
                model = sample.labels.get("model", "")
                found[model] = found.get(model, 0) + int(sample.value)
    return found
