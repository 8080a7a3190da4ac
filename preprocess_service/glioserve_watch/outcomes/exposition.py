"""Outcomes on the supervisor's page of metrics: read again whenever the book has changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from glioserve_contract import GlioserveError
from glioserve_contract import metrics as m
from glioserve_contract.records.studies.outcome import OutcomeRecord
from glioserve_watch.outcomes.book import OutcomeBook
from glioserve_watch.outcomes.evidence import Expectation
from glioserve_watch.outcomes.standing import RateName, Standing, standings

Expected = Callable[[], Mapping[str, Mapping[RateName, Expectation]]]
"""Function that returns the rates by the evaluation, by the digest of the weights."""


class OutcomeCollector(Collector):
    """The gauges of one book."""

    def __init__(self, book: OutcomeBook, expected: Expected) -> None:
        self._book, self._expected = book, expected
        self._read_at: tuple[int, int] | None = None
        self._outcomes: tuple[OutcomeRecord, ...] = ()
        self._standings: tuple[Standing, ...] = ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the families; a book that cannot be read leaves what was read before."""
        self._refresh()
        studies, rates, evidence, worse = (
            GaugeMetricFamily(metric.name, metric.description, labels=metric.label_names)
            for metric in (m.OUTCOME_STUDIES, m.OUTCOME_RATE, m.OUTCOME_EVIDENCE, m.OUTCOME_WORSE)
        )
        for (version, truth, answer), n in sorted(Counter(map(_cell, self._outcomes)).items()):
            studies.add_metric((version, truth, answer), n)
        for standing in self._standings:
            for name, rate in standing.rates.items():
                own = (standing.version, name)
                values = {"value": rate.value, "lower": rate.lower, "upper": rate.upper, "evaluated": rate.expected}
                for of, value in values.items():
                    if value is not None:
                        rates.add_metric((*own, of), value)
                if rate.evidence is not None:
                    evidence.add_metric(own, rate.evidence)
                    worse.add_metric(own, float(rate.worse_after is not None))
        yield from (studies, rates, evidence, worse)

    def _refresh(self) -> None:
        try:
            stat = self._book.file.stat()
        except OSError:
            return
        read_at = (stat.st_mtime_ns, stat.st_size)
        if read_at == self._read_at:
            return
        try:
            outcomes = self._book.read()
            self._outcomes, self._standings = outcomes, standings(outcomes, self._expected())
        except (GlioserveError, OSError):
            return
        self._read_at = read_at


def _cell(outcome: OutcomeRecord) -> tuple[str, str, str]:
    return outcome.version, outcome.truth, outcome.label or "abstained"
