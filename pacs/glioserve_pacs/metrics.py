"""Metrics of the bridge for Prometheus, on a port of its own. No label carries anything of a patient or a study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_pacs.records.study import Phase

_WAITS_S = (10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0, 86400.0)
_FIRST, _SUPERSEDING = "first", "superseding"


class Metrics:
    """Metrics of one bridge, in a registry of their own."""

    def __init__(self) -> None:
        made = self.registry = CollectorRegistry()
        self._studies = Gauge("glioserve_pacs_studies", "Studies in each phase.", ["phase"], registry=made)
        self._stored = Counter("glioserve_pacs_answers_stored", "Answers stored in the PACS.", ["kind"], registry=made)
        self._failures = Counter("glioserve_pacs_failures", "Failures, by their code.", ["code"], registry=made)
        self._reachable = Gauge(
            "glioserve_pacs_reachable", "1 while the PACS answers, 0 while it does not.", registry=made
        )
        self._wait = Histogram(
            "glioserve_pacs_wait_seconds",
            "Seconds from a study's last image to its stored results.",
            buckets=_WAITS_S,
            registry=made,
        )
        self.received = Counter(
            "glioserve_pacs_images_received", "Images sent to the bridge's own port.", registry=made
        )
        self.turned_away = Counter(
            "glioserve_pacs_associations_refused", "Callers that are not on the allow-list.", registry=made
        )
        self.deferred = Counter(
            "glioserve_pacs_deferred", "Studies and images not taken, since the queue was full.", registry=made
        )
        for kind in (_FIRST, _SUPERSEDING):
            self._stored.labels(kind)
        for code in ErrorCode:  # a rate sees only series that were there before
            self._failures.labels(code.token)

    def count(self, counts: Mapping[Phase, int]) -> None:
        """Set the number of studies in each phase."""
        for phase, number in counts.items():
            self._studies.labels(phase.value).set(number)

    def stored(self, *, superseding: bool, wait_s: float) -> None:
        """Count an answer whose results are in the PACS."""
        self._stored.labels(_SUPERSEDING if superseding else _FIRST).inc()
        self._wait.observe(max(0.0, wait_s))

    def failed(self, code: str) -> None:
        """Count a failure."""
        self._failures.labels(code).inc()

    def reachable(self, yes: bool) -> None:
        """Note whether the PACS answers."""
        self._reachable.set(yes)

    @contextmanager
    def served(self, host: str, port: int) -> Iterator[int]:
        """Serve the page at ``/metrics`` and yield its port.

        Raises:
            GlioserveError: GLIO-5138 where the port cannot be opened.
        """
        try:
            server, thread = start_http_server(port, host, self.registry)
        except OSError as error:
            detail = f"The metrics port {port} cannot be opened: {error.strerror}."
            raise GlioserveError(ErrorCode.INVALID_BRIDGE, detail) from error
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
