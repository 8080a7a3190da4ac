"""The supervisor's own metrics, and one page that has them beside Triton's and the Python models'."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib.metadata import version
from itertools import product
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from glioserve_contract import CONTRACT_VERSION, GlioserveError
from glioserve_contract import metrics as m
from glioserve_contract.records.promotion import PROMOTION_FILE
from glioserve_contract.records.studies.shadow import ShadowRecord
from glioserve_contract.tensors import CLASSIFIER_MODEL
from glioserve_dicom.identity import MANUFACTURERS
from glioserve_triton.process.server import TritonServer
from glioserve_triton.process.sizing import use_here
from glioserve_triton.served.evaluated import evaluated_rates
from glioserve_triton.served.promotions import load_serving
from glioserve_triton.served.versions import load_versions
from glioserve_triton.supervisor.canary import Outcome
from glioserve_triton.supervisor.triton_page import PageReader, with_ends
from glioserve_watch.drift.exposition import DriftCollector
from glioserve_watch.outcomes.book import OutcomeBook
from glioserve_watch.outcomes.exposition import OutcomeCollector
from glioserve_watch.spool import oldest_waiting_s

_DIGITS = 12


class SupervisorMetrics:
    """Counters, gauges and histograms of the supervisor, by the contract's table."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series for each, which no rule or panel reads
        self._registry = CollectorRegistry()
        self.ready = self._gauge(m.READY)
        self.repairs = self._counter(m.REPAIRS)
        self.canary_failures = self._counter(m.CANARY_FAILURES)
        self.in_flight = self._gauge(m.IN_FLIGHT)
        self.oldest_request = self._gauge(m.OLDEST_REQUEST)
        self.memory = self._gauge(m.STAGE_MEMORY)
        self._canaries = self._counter(m.CANARIES)
        self._study_s, self._queue_s = self._histogram(m.STUDY_SECONDS), self._histogram(m.QUEUE_SECONDS)
        self._use = {
            metric: self._gauge(metric) for metric in (m.MEMORY, m.MEMORY_LIMIT, m.SHARED_MEMORY, m.SHARED_MEMORY_LIMIT)
        }
        self._below_floor = self._gauge(m.BELOW_FLOOR)
        self._build_info, self._model_info = self._gauge(m.BUILD_INFO), self._gauge(m.MODEL_INFO)
        self._shadow_studies = self._counter(m.SHADOW_STUDIES)
        self._shadow_difference = self._histogram(m.SHADOW_DIFFERENCE)
        self._shadow_score = self._histogram(m.SHADOW_SCORE)
        self._gauge(m.START_TIME).set(time.time())
        self._audited, self._audited_so_far = self._counter(m.AUDIT_RECORDS), 0
        self.study_log_failures, self._oldest_record = self._counter(m.STUDY_LOG_FAILURES), self._gauge(m.OLDEST_RECORD)
        self.drift = DriftCollector()
        self._registry.register(self.drift)
        self._reader, self._lost_canaries, self._silent_canaries = PageReader(), 0, 0
        self._repository: Path | None = None
        self._models_told_ns = -1
        self._lock = threading.Lock()

    def _gauge(self, metric: m.Metric) -> Gauge:
        return Gauge(metric.name, metric.description, metric.label_names, registry=self._registry)

    def _counter(self, metric: m.Metric) -> Counter:
        return Counter(metric.name, metric.description, metric.label_names, registry=self._registry)

    def _histogram(self, metric: m.Metric) -> Histogram:
        return Histogram(
            metric.name, metric.description, metric.label_names, registry=self._registry, buckets=metric.buckets
        )

    def watch(self, models: Iterable[str]) -> None:
        """Make the series of each model, so that a rate of something new is seen."""
        for model in models:
            self.canary_failures.labels(model)
            for reason in m.REPAIR_REASONS:
                self.repairs.labels(model, reason)
            for outcome in m.CANARY_OUTCOMES:
                self._canaries.labels(model, outcome)

    def serves(self, server: TritonServer) -> None:
        """Tell which server runs, when its certificate expires, and, from now on, the versions of the classifier."""
        standing, self._repository = server.standing, server.repository
        triton, release = standing.version or "unknown", standing.release or "unknown"
        self._build_info.labels(version("glioserve"), CONTRACT_VERSION, triton, release).set(1)
        self._below_floor.labels("security").set(standing.below_security)
        self._below_floor.labels("function").set(standing.below_function)
        if server.tls is not None:
            self._gauge(m.CERTIFICATE_EXPIRY).set(server.tls.not_after.timestamp())

    def canaries_answered(self, model: str, outcomes: Iterable[Outcome]) -> None:
        """Count what became of canaries."""
        for outcome in outcomes:
            self._canaries.labels(model, outcome.value).inc()
            self._silent_canaries += outcome is Outcome.SILENT

    def canary_failed(self, model: str, *, lost: int) -> None:
        """Count a question that failed; Triton counts so many of its canaries as requests that the backend lost."""
        self.canary_failures.labels(model).inc()
        self._lost_canaries += lost

    def watch_spool(self, spool: Path) -> None:
        """Tell from now on how long records of studies have waited in the spool."""
        self._oldest_record.set_function(lambda: oldest_waiting_s(spool))

    def audited(self, records: int) -> None:
        """Count the records that the audit log has taken since the start."""
        self._audited.inc(records - self._audited_so_far)
        self._audited_so_far = records

    def triton_ends(self) -> Mapping[tuple[str, str], int]:
        """Return the studies that Triton ended itself since the start, by outcome and code."""
        with self._lock:
            return self._reader.ends(self._lost_canaries, self._silent_canaries)

    def watch_outcomes(self, book: OutcomeBook, repository: Path) -> None:
        """Tell from now on what the outcomes in ``book`` say of the versions of the repository."""
        self._registry.register(OutcomeCollector(book, lambda: evaluated_rates(repository)))

    def watch_candidate(self, version: str) -> None:
        """Make the series of a candidate, so that a rate of something new is seen."""
        for result, manufacturer in product(m.SHADOW_RESULTS, ("", *sorted(MANUFACTURERS))):
            self._shadow_studies.labels(version, result, manufacturer)
        self._shadow_difference.labels(version)
        self._shadow_score.labels(version)

    def shadowed(self, version: str, result: str, record: ShadowRecord | None) -> None:
        """Count a study that the candidate ``version`` was asked about."""
        manufacturer = record.groups.get("manufacturer", "") if record else ""
        self._shadow_studies.labels(version, result, manufacturer).inc()
        if record is not None:
            difference = abs(record.candidate.score - record.served.score)
            self._shadow_difference.labels(version).observe(difference)
            self._shadow_score.labels(version).observe(record.candidate.score)

    def look(self, fetch: Callable[[], str]) -> str:
        """Fetch a page of Triton's, take in what has ended since the last one, and return it; any thread may call this.

        One page is fetched at a time: of two that are taken in the wrong order the older would look like counters that
        began again at 0, and all of it would be counted twice.
        """
        with self._lock:
            return self._taken(fetch())

    def _taken(self, triton_page: str) -> str:
        if triton_page:
            grown = self._reader.read(triton_page)
            for _ in range(grown.answered):
                self._study_s.observe(grown.answered_s / grown.answered)
            for _ in range(grown.waited):
                self._queue_s.observe(grown.mean_wait_s)
        return triton_page

    def page(self, fetch: Callable[[], str]) -> bytes:
        """Return Triton's page with our families added, and the studies that Triton ended among the models' own."""
        self._tell_models()
        use = use_here()
        for metric, size_bytes in (
            (m.MEMORY, use.memory_bytes),
            (m.MEMORY_LIMIT, use.memory_limit_bytes),
            (m.SHARED_MEMORY, use.shared_bytes),
            (m.SHARED_MEMORY_LIMIT, use.shared_limit_bytes),
        ):
            self._use[metric].set(size_bytes)
        with self._lock:
            triton_page = self._taken(fetch())
            ends: Mapping[tuple[str, str], int] = self._reader.ends(self._lost_canaries, self._silent_canaries)
        return with_ends(triton_page, ends).encode() + generate_latest(self._registry)

    def _tell_models(self) -> None:
        """Tell the versions of the classifier and which of them serves, again after every promotion."""
        if self._repository is None:
            return
        classifier = self._repository / CLASSIFIER_MODEL.name
        record = classifier / PROMOTION_FILE
        with suppress(GlioserveError, OSError):  # files that break while the server runs leave what was told
            changed_ns = max((p.stat().st_ctime_ns for p in (classifier, record) if os.path.exists(p)), default=-1)
            if changed_ns == self._models_told_ns:
                return
            versions, serving = load_versions(classifier), load_serving(self._repository).version
            self._model_info.clear()
            for served in versions:
                manifest = served.manifest
                digests = (manifest.weights_digest, manifest.preprocessing_digest)
                weights, preprocessing = (digest.removeprefix("sha256:")[:_DIGITS] for digest in digests)
                serves = "yes" if served.version == serving else "no"
                architecture = manifest.recipe.architecture.name
                self._model_info.labels(served.version, weights, preprocessing, architecture, serves).set(1)
            self._models_told_ns = changed_ns
