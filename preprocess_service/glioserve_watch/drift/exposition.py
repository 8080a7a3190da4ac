"""The monitor's streams as Prometheus' gauges, by the contract's table."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from glioserve_contract.metrics.drift import FLAGGED, KS, PSI, STUDIES_SEEN
from glioserve_watch.drift.monitor import DriftMonitor


class DriftCollector(Collector):
    """A collector that tells a monitor's streams when the page is asked for; without a monitor it tells none."""

    def __init__(self) -> None:
        self.monitor: DriftMonitor | None = None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the families of drift; a flag is reported for every feature that has enough studies."""
        psi, ks, flagged, studies = (
            GaugeMetricFamily(metric.name, metric.description, labels=metric.label_names)
            for metric in (PSI, KS, FLAGGED, STUDIES_SEEN)
        )
        for report in self.monitor.reports() if self.monitor else ():
            place = [report.version, report.site]
            studies.add_metric(place, report.studies)
            for (feature, window), drifted in report.found.items():
                psi.add_metric([*place, feature, str(window)], drifted.psi)
                ks.add_metric([*place, feature, str(window)], drifted.ks)
            for feature in dict.fromkeys(name for name, _ in report.found):
                flagged.add_metric([*place, feature], float(feature in report.flags))
        yield from (psi, ks, flagged, studies)
