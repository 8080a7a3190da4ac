"""A fleet of pods under the arrivals of a day: clients that try again, and the chart's autoscaler with its delays."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import simpy

from capacity.pod import Kind, Pod
from capacity.stations import End, Study
from glioserve_client.options import RetryPolicy

RETRY = RetryPolicy()


@dataclass(frozen=True)
class Autoscaler:
    """A HorizontalPodAutoscaler on the studies that wait, as the chart has it. Times in seconds."""

    waiting_per_pod: float
    """``autoscaling.pendingPerPod``."""
    least: int
    most: int
    up_every_s: float
    """Time in which at most one pod is added."""
    down_every_s: float
    down_after_s: float
    """``scaleDown.stabilizationWindowSeconds``: the highest wish of this time counts."""
    scrape_s: float = 15.0
    """The chart's ``metrics.serviceMonitor.interval``."""
    sync_s: float = 15.0
    """Kubernetes' ``--horizontal-pod-autoscaler-sync-period``, its default."""
    tolerance: float = 0.1
    """Kubernetes' ``--horizontal-pod-autoscaler-tolerance``, its default."""

    def wish(self, pods: int, waiting: int) -> int:
        """Return how many pods are wanted where there are ``pods`` and so many studies wait."""
        wanted = pods
        if abs(waiting / (self.waiting_per_pod * pods) - 1) > self.tolerance:
            wanted = math.ceil(waiting / self.waiting_per_pod)
        return min(self.most, max(self.least, wanted))


@dataclass(frozen=True)
class Outcome:
    """Result of a run of the fleet."""

    studies: Sequence[Study]
    pod_seconds: float
    most_pods: int
    seconds: float

    @property
    def answered(self) -> list[Study]:
        """Studies that were answered before their callers gave up."""
        return [study for study in self.studies if study.ended_s <= study.deadline_s]

    @property
    def turned_away(self) -> float:
        """Share of the attempts that were rejected or expired."""
        refusals = sum(study.refusals for study in self.studies)
        return refusals / (refusals + len(self.answered))

    @property
    def lost(self) -> int:
        """Studies without an answer, all attempts made."""
        return len(self.studies) - len(self.answered)

    @property
    def mean_pods(self) -> float:
        """Pods over the whole time, those that start included."""
        return self.pod_seconds / self.seconds

    def percentile_s(self, share: float) -> float:
        """Return a percentile of the seconds from arrival to answer; infinite where studies were lost in it."""
        times = sorted(study.response_s for study in self.answered) + [math.inf] * self.lost
        return times[min(len(times) - 1, math.ceil(share * len(times)) - 1)]


class Fleet:
    """Pods of one kind. Each attempt goes to a pod that is drawn evenly: many clients each go round on their own."""

    def __init__(self, kind: Kind, pods: int, seed: int) -> None:
        self.env = simpy.Environment()
        self._kind, self._draw = kind, np.random.default_rng(seed)
        self._pods = [Pod(self.env, kind, 0.0) for _ in range(pods)]
        self._pod_seconds, self._most, self._counted_s = 0.0, pods, 0.0
        self._scraped = 0

    def run(self, studies: Sequence[Study], seconds: float, autoscaler: Autoscaler | None = None) -> Outcome:
        """Let the studies come, for so many seconds and until all have ended."""
        arriving = self.env.process(self._arrive(studies))
        if autoscaler is not None:
            self.env.process(self._scrape(autoscaler.scrape_s))
            self.env.process(self._scale(autoscaler))
        self.env.run(until=seconds)
        self._count()
        pod_seconds = self._pod_seconds
        self.env.run(until=arriving)
        return Outcome(studies, pod_seconds, self._most, seconds)

    def _arrive(self, studies: Sequence[Study]) -> Generator[simpy.Event, None, None]:
        sent = []
        for study in studies:
            yield self.env.timeout(study.arrived_s - self.env.now)
            sent.append(self.env.process(self._send(study)))
        yield self.env.all_of(sent)

    def _send(self, study: Study) -> Generator[simpy.Event, End, None]:
        """Send a study until it is answered or its caller's deadline has passed, with the client's pauses."""
        attempt = 1
        while True:
            takers = [pod for pod in self._pods if pod.takes_studies]
            if takers:
                end = yield from takers[int(self._draw.integers(len(takers)))].answer(study)
                if end is End.DONE:
                    study.ended_s = self.env.now
                    return
            study.refusals += 1
            pause_s = self._draw.random() * min(RETRY.longest_pause_s, RETRY.first_pause_s * 2.0 ** (attempt - 1))
            if self.env.now + pause_s > study.deadline_s:
                return
            yield self.env.timeout(pause_s)
            attempt += 1

    def _scrape(self, interval_s: float) -> Generator[simpy.Event, None, None]:
        """Note what waits, as Prometheus does; half an interval off the autoscaler's own clock."""
        yield self.env.timeout(interval_s / 2)
        while True:
            self._scraped = sum(pod.waiting for pod in self._pods if not pod.leaving)
            yield self.env.timeout(interval_s)

    def _scale(self, scaler: Autoscaler) -> Generator[simpy.Event, None, None]:
        """Add or take out one pod at a time, by what was scraped last."""
        wishes: deque[tuple[float, int]] = deque()
        up_s = down_s = -math.inf
        while True:
            yield self.env.timeout(scaler.sync_s)
            now = self.env.now
            staying = [pod for pod in self._pods if not pod.leaving]
            wishes.append((now, scaler.wish(len(staying), self._scraped)))
            while wishes[0][0] < now - scaler.down_after_s:
                wishes.popleft()
            self._count()
            if wishes[-1][1] > len(staying) and now - up_s >= scaler.up_every_s:
                self._pods.append(Pod(self.env, self._kind, now + self._kind.start_s))
                up_s = now
            elif max(wish for _, wish in wishes) < len(staying) and now - down_s >= scaler.down_every_s:
                staying[-1].leaving = True
                down_s = now
            self._pods = [pod for pod in self._pods if not pod.leaving or pod.in_flight]
            self._most = max(self._most, len(self._pods))

    def _count(self) -> None:
        """Add the pods' seconds since the last look."""
        self._pod_seconds += len(self._pods) * (self.env.now - self._counted_s)
        self._counted_s = self.env.now
