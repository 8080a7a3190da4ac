"""The Python models' metrics: their series through Triton's own page, and which facts of a study each takes.

Every value comes from the records of the contract, and every label from the table's closed sets; what is in neither is
not counted. Counting never fails a study.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import product

from glioserve_contract import GlioserveError
from glioserve_contract import metrics as m
from glioserve_contract.parameters import parse_parameters
from glioserve_contract.records.preprocess import NAMED_BY_CALLER, PreprocessRecord, SeriesRecord
from glioserve_contract.records.report import Report
from glioserve_contract.sequences import Modality, PixelKind
from glioserve_contract.tensors import CALLER_PARAMETER
from glioserve_triton import allocator
from glioserve_triton.adapters.backend_api import BackendUtils, Metric, MetricFamily, Request
from glioserve_triton.adapters.heartbeat import own_heartbeat
from glioserve_triton.impossible_shapes import refuse_impossible_shapes

CALLERS = "GLIOSERVE_CALLERS"
"""Names of callers in the environment of the Python models, with commas between them."""
MOST_OPEN_VALUES = 64
"""Values of a metric's open label, such as the classifier's version; later ones are not counted."""
_OPEN_VALUE = re.compile(r"[0-9]{1,10}")
_METERS_PER_MM = 1e-3

Observation = tuple[m.Metric, tuple[str, ...], float]
"""A metric, the values of its labels, and the value to observe or to add."""


class Metrics:
    """The families, with every series there from the start, so that a rate of something new is seen.

    Every Python model makes them as it is loaded, and with them its heartbeat, which tells that it waits for work, its
    settings of the allocator, and its guard against impossible shapes.
    """

    def __init__(self, pb_utils: BackendUtils, declared: tuple[m.Metric, ...] = m.MODEL_METRICS) -> None:
        own_heartbeat()
        allocator.set_for_python_model()
        refuse_impossible_shapes(pb_utils)
        kinds = {
            m.Kind.COUNTER: pb_utils.MetricFamily.COUNTER,
            m.Kind.HISTOGRAM: pb_utils.MetricFamily.HISTOGRAM,
        }
        self._families: dict[m.Metric, MetricFamily] = {}
        self._series: dict[tuple[m.Metric, tuple[str, ...]], Metric] = {}
        for metric in declared:
            self._families[metric] = pb_utils.MetricFamily(
                name=metric.name, description=metric.description, kind=kinds[metric.kind]
            )
            for values in metric.series() if metric is not m.CALLER_STUDIES else _caller_series():
                self._make(metric, values)

    def count(self, outcome: str, code: str, caller: str) -> None:
        """Count one study that ends here; ``caller`` is that of :func:`caller_of`."""
        self._tell(m.STUDIES, (outcome, code), 1)
        self._tell(m.CALLER_STUDIES, (caller, outcome), 1)

    def spans(self, model: str, exported: int, dropped: int) -> None:
        """Count spans of a model that have left it."""
        for outcome, count in zip(m.SPAN_OUTCOMES, (exported, dropped), strict=True):
            if count:
                self._tell(m.SPANS, (model, outcome), count)

    def serves(self, versions: Iterable[str]) -> None:
        """Make the series of these versions of the classifier, so that the first answer of each is seen."""
        for version in versions:
            for metric in self._families:
                if metric.label_names and metric.labels[0] is m.VERSION:
                    self._make_open(metric, (version,))

    def record_lost(self) -> None:
        """Count one record of a study that was lost."""
        self._tell(m.RECORDS_LOST, (), 1)

    def input_lost(self) -> None:
        """Count one input that could not be kept."""
        self._tell(m.INPUTS_LOST, (), 1)

    def preprocessed(self, record: PreprocessRecord, request_bytes: int) -> None:
        """Count what preprocessing did to one study."""
        for metric, values, value in (*of_record(record), (m.STUDY_BYTES, (), request_bytes)):
            self._tell(metric, values, value)

    def reported(self, report: Report, caller: str) -> None:
        """Count one answer."""
        self.count(m.ANSWERED if report.label else m.ABSTAINED, "", caller)
        for metric, values, value in of_report(report):
            self._tell(metric, values, value)

    def _tell(self, metric: m.Metric, values: tuple[str, ...], value: float) -> None:
        if (metric, values) not in self._series:
            self._make_open(metric, values[: _open_labels(metric)])
        series = self._series.get((metric, values))
        if series is None:
            return
        if metric.kind is m.Kind.HISTOGRAM:
            series.observe(value)
        else:
            series.increment(value)

    def _make_open(self, metric: m.Metric, opened: tuple[str, ...]) -> None:
        """Make all series of a metric that have these values of its open labels, where they may be some."""
        known = {values[: len(opened)] for one, values in self._series if one is metric}
        fits = metric in self._families and opened and all(map(_OPEN_VALUE.fullmatch, opened))
        if fits and opened not in known and len(known) < MOST_OPEN_VALUES:
            for values in product(*(label.values for label in metric.labels[len(opened) :])):
                self._make(metric, (*opened, *values))

    def _make(self, metric: m.Metric, values: tuple[str, ...]) -> Metric:
        labels = dict(zip(metric.label_names, values, strict=True))
        family = self._families[metric]
        series = family.Metric(labels, list(metric.buckets)) if metric.buckets else family.Metric(labels)
        self._series[metric, values] = series
        return series


def _open_labels(metric: m.Metric) -> int:
    """Return how many of the labels are open; they are the first ones."""
    return sum(not label.values for label in metric.labels)


def named_callers() -> tuple[str, ...]:
    """Return the callers that the server's operator named."""
    return tuple(filter(None, os.environ.get(CALLERS, "").split(",")))


def caller_of(request: Request) -> str:
    """Return the label of the request's caller: its name where the operator named it, else ``other``."""
    try:
        caller = str(parse_parameters(request.parameters()).get(CALLER_PARAMETER))
    except GlioserveError:
        return m.OTHER_CALLER
    return caller if caller in named_callers() else m.OTHER_CALLER


def _caller_series() -> Iterator[tuple[str, ...]]:
    yield from product((*named_callers(), m.OTHER_CALLER), m.MODEL_OUTCOMES)


def of_record(record: PreprocessRecord) -> Iterator[Observation]:
    """Yield what the record of one study's preprocessing adds to the metrics."""
    yield from _of_timings(record.timings_s)
    yield m.STUDY_SLICES, (), sum(series.slices for series in record.series)
    if record.provenance is not None:
        sizes = [sequence.native_grid.size_voxels for sequence in record.provenance.sequences]
        yield m.STUDY_VOXELS, (), sum(x * y * z for x, y, z in sizes)
    for series in record.series:
        yield m.SERIES, (series.modality.value, _decision(series)), 1
        yield m.OPINIONS, (series.modality.value, _opinion(series)), 1
    for registration in record.registrations:
        modality = registration.modality.value
        yield m.DISPLACEMENT, (modality,), registration.mean_displacement_mm * _METERS_PER_MM
        yield m.SIMILARITY, (modality,), registration.similarity
    for check in record.quality.checks:
        yield m.QUALITY, (check_name(check.name), check.verdict), 1
        if check.name == "brain_volume":
            yield m.BRAIN_VOLUME, (), check.value


def of_report(report: Report) -> Iterator[Observation]:
    """Yield what one answer adds to the metrics."""
    own = {stage: seconds for stage, seconds in report.timings_s.items() if stage in ("report", "heatmap")}
    yield from _of_timings(own)
    version = report.model.version
    yield m.ANSWERS_TOTAL, (version, report.label or "abstained"), 1
    yield m.SCORE, (version,), report.score


def check_name(name: str) -> str:
    """Return the name of a quality check without the sequence that it begins with."""
    if name in m.QUALITY_CHECKS:
        return name
    return next((name.removeprefix(f"{s}_") for s in Modality if name.startswith(f"{s}_")), name)


def _of_timings(timings_s: Mapping[str, float]) -> Iterator[Observation]:
    for stage, seconds in timings_s.items():
        yield m.STAGE_SECONDS, (stage,), seconds


def _decision(series: SeriesRecord) -> str:
    if NAMED_BY_CALLER in series.reasons:
        return "named"
    return "preferred" if series.runners_up else "only"


def _opinion(series: SeriesRecord) -> str:
    if series.pixels is None:
        return "unasked"
    if series.pixels.kind is None:
        return "open"
    return "agrees" if series.pixels.kind is PixelKind[series.modality.name] else "differs"
