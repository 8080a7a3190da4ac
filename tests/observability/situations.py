"""Whole situations of a release: every series that the rules read, and the alerts that must fire, no more and no fewer.

A pod has all series of its page from its first scrape on, as the server's page has them. Times are minutes, and a value
is given for each: a number, a list, or None for a scrape that failed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from glioserve_contract import metrics as m
from glioserve_contract.metrics.drift import FLAGGED
from support.cluster.rules import FULLNAME

Values = Sequence[float | None]
DAY, HALF = 24 * 60, 12 * 60
QUICK_S = 5.0
"""Bucket from which on answers are counted: each takes less."""
VALUES = {"version": ("2",), "site": ("unnamed",), "feature": ("score",), "stage": ("register", "brain")}
"""Values of labels that have no closed set, or more values than a situation needs."""
CONSTANT: Mapping[str, float] = {
    m.READY.name: 1,
    m.MEMORY.name: 50,
    m.MEMORY_LIMIT.name: 100,
    m.SHARED_MEMORY.name: 10,
    m.SHARED_MEMORY_LIMIT.name: 100,
    m.START_TIME.name: 1000,
    m.BUILD_INFO.name: 1,
    m.MODEL_INFO.name: 1,
}
"""Values of a healthy pod's gauges; all others are 0."""


def sparse(minutes: int, first: int = 0) -> list[float]:
    """Return a counter of one study every five minutes, 0.2 a minute."""
    return [float(first + minute // 5) for minute in range(minutes + 1)]


def steady(minutes: int, each: float, first: float = 0) -> list[float]:
    """Return a counter that grows by so many each minute."""
    return [first + each * minute for minute in range(minutes + 1)]


def held(minutes: int, value: float = 0) -> list[float]:
    """Return a series that stays as it is."""
    return [value] * (minutes + 1)


@dataclass
class Pod:
    """All series of one pod."""

    minutes: int
    name: str = f"{FULLNAME}-6d5f7c9b8d-abcde"
    answered: Values | None = None
    """Counter of its answered studies; one every five minutes where none is given."""
    own: dict[str, Values] = field(default_factory=dict)
    """Values of the series whose name and labels begin so (``glioserve_studies_total{outcome="failed"``)."""
    names: dict[str, str] = field(default_factory=dict)
    """Values of open labels that are not the usual ones."""
    born: int = 0
    """Minute of its first scrape."""
    gone: int | None = None
    """Minute after its last one."""
    missed: range = range(0)
    """Minutes whose scrapes failed."""

    def series(self, read: set[str]) -> dict[str, str]:
        """Return the series of the metrics that the rules read, in promtool's notation."""
        answered = list(self.answered if self.answered is not None else sparse(self.minutes))
        made: dict[str, Values] = {}
        for metric in m.METRICS:
            for labels in self._labels(metric):
                for suffix, more in _parts(metric):
                    if metric.name + suffix in read:
                        text = ",".join(f'{k}="{v}"' for k, v in {**labels, **more}.items())
                        key = f"{metric.name}{suffix}{{{text}}}"
                        made[key] = self._values(metric, key, more.get("le"), answered)
        pending = 'nv_inference_pending_request_count{model="preprocess"}'
        made[pending] = self._own(pending) or held(self.minutes)
        place = f'namespace="mri",pod="{self.name}"'
        return {_placed(key, place): self._text(values) for key, values in made.items()}

    def _labels(self, metric: m.Metric) -> list[dict[str, str]]:
        if metric is m.STUDIES:
            return [dict(zip(metric.label_names, ends, strict=True)) for ends in (*m.MODEL_ENDS, *m.TRITON_ENDS)]
        known = [
            (self.names[label.name],) if label.name in self.names else VALUES.get(label.name, label.values or ("x",))
            for label in metric.labels
        ]
        return [dict(zip(metric.label_names, values, strict=True)) for values in product(*known)]

    def _values(self, metric: m.Metric, key: str, le: str | None, answered: list[float]) -> Values:
        if (own := self._own(key)) is not None:
            return own
        if metric.name == m.CERTIFICATE_EXPIRY.name:
            return held(self.minutes, 400 * DAY * 60)
        if metric is m.MODEL_INFO and 'serving="no"' in key:
            return [None] * (self.minutes + 1)
        if key.startswith(f'{m.STUDIES.name}{{outcome="answered"'):
            return answered
        if metric.kind is m.Kind.HISTOGRAM and metric in (m.STUDY_SECONDS, m.STAGE_SECONDS):
            return answered if le is None or float(le) >= QUICK_S else held(self.minutes)
        return held(self.minutes, CONSTANT.get(metric.name, 0))

    def _own(self, key: str) -> Values | None:
        return next((values for begin, values in self.own.items() if key.startswith(begin)), None)

    def _text(self, values: Values) -> str:
        gone = self.gone if self.gone is not None else self.minutes + 1
        told = []
        for minute in range(self.minutes + 1):
            value = values[minute] if minute < len(values) else values[-1]
            there = self.born <= minute < gone and minute not in self.missed and value is not None
            told.append(f"{value:g}" if there else "stale" if minute == gone else "_")
        return " ".join(told)


def _parts(metric: m.Metric) -> list[tuple[str, dict[str, str]]]:
    if metric.kind is not m.Kind.HISTOGRAM:
        return [("", {})]
    return [("_count", {}), *(("_bucket", {"le": f"{bound}"}) for bound in (*metric.buckets, "+Inf"))]


def _placed(key: str, place: str) -> str:
    name, _, labels = key.partition("{")
    return f"{name}{{{place}{',' if labels != '}' else ''}{labels}"


def read_by(rules: Mapping[str, Any]) -> set[str]:
    """Return the names of the metrics that rules read."""
    text = " ".join(rule["expr"] for group in rules["groups"] for rule in group["rules"])
    return set(re.findall(r"\b(?:glioserve|nv|DCGM|kube)_\w+", text))


@dataclass(frozen=True)
class Situation:
    """Events of the situation, and the alerts that must ring at its end."""

    name: str
    at: int
    """Minute of the look."""
    pods: Callable[[], list[Pod]]
    fires: frozenset[str] = frozenset()
    """Alerts without ``Glioserve``, and no other."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Values of the chart."""
    others: Mapping[str, str] = field(default_factory=dict)
    """Series of other exporters, in promtool's notation."""


FAILED = f'{m.STUDIES.name}{{outcome="failed",code="GLIO-3101"'
EXPIRED = f'{m.STUDIES.name}{{outcome="expired"'
START = m.START_TIME.name
PENDING = "nv_inference_pending_request_count"
REPLICAS = f'kube_deployment_spec_replicas{{namespace="mri",deployment="{FULLNAME}"}}'


def fleet(count: int, minutes: int, each: float, **options: Any) -> list[Pod]:
    """Return so many healthy pods, each with so many answers a minute."""
    names = (f"{FULLNAME}-6d5f7c9b8d-{number:05d}" for number in range(count))
    return [Pod(minutes, name, steady(minutes, each), **options) for name in names]


def rollout(count: int, minutes: int, each: int, most: int | None = None) -> list[Pod]:
    """Return the pods of a rollout: after ``each`` minutes the next is replaced, ``most`` of them at most."""
    pods = []
    for number in range(count):
        moved = each * (number + 1) if most is None or number < most else None
        old, new = f"{FULLNAME}-old0000000-{number:05d}", f"{FULLNAME}-new0000000-{number:05d}"
        pods.append(Pod(minutes, old, gone=moved, names={"version": "1.0.0", "digest": "same"}))
        if moved is not None:
            starting = [0.0] * (moved + 2) + [1.0] * max(minutes - moved, 0)
            started = Pod(minutes, new, held(minutes), born=moved + 1, names={"version": "1.1.0", "digest": "same"})
            started.own[m.READY.name] = starting
            pods.append(started)
    return pods


def restarted(minutes: int, *at: int) -> Pod:
    """Return a pod whose container is started anew at these minutes: its counters begin again."""
    pod = Pod(minutes)
    answered, started, count = [], [], 0
    for minute in range(minutes + 1):
        count = 0 if minute in at else count + (minute % 5 == 0)
        answered.append(float(count))
        started.append(float(60 * max((a for a in at if a <= minute), default=0)))
    pod.answered, pod.own[START] = answered, started
    return pod


def failing(minutes: int, answers: Values, fails: Values, missing: Sequence[str] = (), **options: Any) -> Pod:
    """Return a pod that answers some studies and fails others; ``missing`` are metrics that its page lacks."""
    return Pod(minutes, answered=answers, own={FAILED: fails, **dict.fromkeys(missing, (None,))}, **options)


OPTIONAL = (
    *(m.CERTIFICATE_EXPIRY, m.OUTCOME_EVIDENCE, m.OUTCOME_WORSE, FLAGGED, m.OLDEST_RECORD),
    m.RECORDS_LOST,
)
"""Metrics that a pod has only where something is turned on."""
IDLE = {
    "keda": {
        "enabled": True,
        "idleReplicas": 0,
        "prometheusAddress": "http://prometheus:9090",
        "triggers": [{"type": "cron", "metadata": {"timezone": "UTC"}}],
    }
}
SITUATIONS = (
    Situation("0.2 studies a minute, all answered", 480, lambda: [Pod(480)]),
    Situation("no study for half a day", HALF, lambda: [Pod(HALF, answered=held(HALF))]),
    Situation("the first study of half a day", HALF, lambda: [Pod(HALF, answered=[*held(HALF - 2), 1])]),
    Situation("thirty pods, two studies a minute each", 120, lambda: fleet(30, 120, 2.0)),
    Situation(
        "one pod of thirty fails all that it gets",
        90,
        lambda: [
            *fleet(29, 90, 1.0),
            failing(90, held(90), steady(90, 1.0), name=f"{FULLNAME}-6d5f7c9b8d-zzzzz"),
        ],
        frozenset({"InternalErrors", "AvailabilityBurnCreeping"}),
    ),
    Situation(
        "0.2 studies a minute, all fail: the first alert after one, the fast one after three",
        25,
        lambda: [failing(25, held(25), sparse(25))],
        frozenset({"InternalErrors", "AvailabilityBurnFast", "AvailabilityBurnSlow"}),
    ),
    Situation(
        "0.2 studies a minute, one failed half an hour ago",
        90,
        lambda: [failing(90, sparse(90), [*held(59), *held(30, 1)])],
        frozenset({"InternalErrors"}),
    ),
    Situation(
        "no TLS, no study log, no outcome, no reference of drift: their series are missing",
        120,
        lambda: [Pod(120, own={metric.name: [None] for metric in OPTIONAL})],
    ),
    Situation(
        "Triton's part of the page is missing while studies fail",
        60,
        lambda: [failing(60, held(60), sparse(60), missing=(PENDING,))],
        frozenset({"InternalErrors", *(f"AvailabilityBurn{how}" for how in ("Fast", "Slow", "Creeping"))}),
    ),
    Situation("0.2 studies a minute and a study waits now", 60, lambda: [Pod(60, own={PENDING: [*held(58), 1.0]})]),
    Situation("a container is started anew once", 90, lambda: [restarted(90, 45)]),
    Situation(
        "a container is started anew three times", 90, lambda: [restarted(90, 50, 60, 70)], frozenset({"Restarts"})
    ),
    Situation(
        "failures before and after a start anew are added up",
        70,
        lambda: [
            failing(70, steady(70, 0.2), [*held(24), *steady(15, 0.2), *steady(29, 0.2)]),
        ],
        frozenset({"InternalErrors", *(f"AvailabilityBurn{how}" for how in ("Fast", "Slow", "Creeping"))}),
    ),
    Situation(
        "a pod is replaced by another",
        60,
        lambda: [
            Pod(60, f"{FULLNAME}-6d5f7c9b8d-aaaaa", gone=30),
            Pod(60, f"{FULLNAME}-6d5f7c9b8d-bbbbb", sparse(60, -6), born=31),
        ],
    ),
    Situation("Prometheus is away for seven minutes", 60, lambda: [Pod(60, missed=range(30, 37))]),
    Situation(
        "Prometheus sees a pod no more",
        60,
        lambda: [Pod(60, missed=range(40, 61))],
        frozenset({"NotScraped"}),
    ),
    Situation("one pod of two is not scraped", 60, lambda: [*fleet(1, 60, 0.2), Pod(60, missed=range(20, 61))]),
    Situation(
        "thirty pods are replaced, two minutes each", 62, lambda: rollout(30, 62, 2), values={"replicaCount": 30}
    ),
    Situation(
        "a rollout of thirty stands still after ten",
        170,
        lambda: rollout(30, 170, 2, most=10),
        frozenset({"VersionSkew"}),
        values={"replicaCount": 30},
    ),
    Situation(
        "a rollout of two stands still",
        50,
        lambda: rollout(2, 50, 2, most=1),
        frozenset({"VersionSkew"}),
        values={"replicaCount": 2},
    ),
    Situation(
        "pods of a second release that fail are the second's",
        90,
        lambda: [
            Pod(90),
            failing(90, held(90), steady(90, 1.0), name=f"{FULLNAME}-next-6d5f7c9b8d-abcde"),
            failing(90, held(90), steady(90, 1.0), name=f"an{FULLNAME}-6d5f7c9b8d-abcde"),
        ],
    ),
    Situation(
        "a pod hangs with studies that expire",
        40,
        lambda: [
            Pod(
                40,
                answered=[*sparse(20), *held(19, 4)],
                own={
                    PENDING: [*held(20), *held(19, 3)],
                    EXPIRED: [*held(20), *steady(19, 1.0)],
                    f'{m.OLDEST_REQUEST.name}{{model="preprocess"': [*held(20), *steady(19, 60)],
                },
            )
        ],
        frozenset(
            {"Stalled", "Rejects", "StageHangs", *(f"AvailabilityBurn{how}" for how in ("Fast", "Slow", "Creeping"))}
        ),
    ),
    Situation(
        "KEDA has taken the last pod away, and kube-state-metrics says so",
        60,
        lambda: [Pod(60, gone=20)],
        values=IDLE,
        others={REPLICAS: " ".join(["1"] * 20 + ["0"] * 41)},
    ),
    Situation(
        "KEDA wants a pod, and none is there",
        60,
        lambda: [Pod(60, gone=20)],
        frozenset({"NotScraped"}),
        values=IDLE,
        others={REPLICAS: "1x60"},
    ),
)
