"""Metrics of a client's calls for Prometheus, in the application's own registry (extra ``metrics``)."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from glioserve_contract import metrics as m

if TYPE_CHECKING:  # its package is needed only where metrics are asked for
    from prometheus_client import CollectorRegistry as CollectorRegistry  # named by the client too

_LOCK = threading.Lock()
_MADE: weakref.WeakKeyDictionary[CollectorRegistry, ClientCounts] = weakref.WeakKeyDictionary()
"""Series of each registry: a registry takes a name once, and several clients may share it."""


class ClientCounts:
    """The series of one registry, by the contract's table."""

    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Histogram  # the application has it, or it had no registry

        def counter(metric: m.Metric) -> Counter:
            made = Counter(metric.name, metric.description, metric.label_names, registry=registry)
            for values in metric.series() if metric.labels else ():  # a rate sees only what was there before
                made.labels(*values)
            return made

        self.calls, self.retries = counter(m.CLIENT_CALLS), counter(m.CLIENT_RETRIES)
        self.sent, self.received = counter(m.CLIENT_SENT), counter(m.CLIENT_RECEIVED)
        self.seconds = Histogram(
            m.CLIENT_SECONDS.name,
            m.CLIENT_SECONDS.description,
            m.CLIENT_SECONDS.label_names,
            registry=registry,
            buckets=m.CLIENT_SECONDS.buckets,
        )
        for values in m.CLIENT_SECONDS.series():
            self.seconds.labels(*values)

    def ended(self, outcome: str, code: str, seconds: float) -> None:
        """Count a call that has ended."""
        self.calls.labels(outcome, code).inc()
        self.seconds.labels(outcome).observe(seconds)


def counts_in(registry: CollectorRegistry) -> ClientCounts:
    """Return the series in ``registry``, made at the first call.

    Raises:
        TypeError: it is not a registry of prometheus-client.
    """
    if not callable(getattr(registry, "register", None)):
        raise TypeError("metrics must be a CollectorRegistry of prometheus-client")
    with _LOCK:
        if (made := _MADE.get(registry)) is None:
            made = _MADE[registry] = ClientCounts(registry)
        return made
