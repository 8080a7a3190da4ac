"""A pod of the chart: preprocess, classifier and report as stations one after another, with the served bounds."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import simpy

from capacity.stations import End, Limits, Seconds, Station, Study
from glioserve_contract.limits import MAX_CLASSIFIER_BATCH, MAX_WAIT_S, MAX_WAITING_ANSWERS, MAX_WAITING_STUDIES
from glioserve_export.classifier_config import ServingProfile

PREPROCESS_INSTANCES = 2
"""``instance_group`` of model_repository/preprocess."""
LOOK_S = 0.5
"""The sleep of Triton's scheduler, ``default_wait_microseconds`` in its source, for every model."""
PREPROCESS = Limits(PREPROCESS_INSTANCES, MAX_WAITING_STUDIES, MAX_WAIT_S, look_s=LOOK_S)
REPORT = Limits(1, MAX_WAITING_ANSWERS, MAX_WAIT_S, look_s=LOOK_S)


def classifier_limits(profile: ServingProfile) -> Limits:
    """Return the classifier's bounds as the export writes them for a profile."""
    return Limits(
        1,
        MAX_WAITING_ANSWERS,
        MAX_WAIT_S,
        min(profile.max_batch_size, MAX_CLASSIFIER_BATCH),
        profile.queue_delay_us / 1e6,
        min(profile.preferred_batch_sizes, default=1),
        LOOK_S,
    )


def one_after_another(batch: Sequence[Study]) -> float:
    """Return the classifier's seconds on one core, where a batch costs as much as its studies one by one."""
    return sum(study.classifier_s for study in batch)


@dataclass(frozen=True)
class Kind:
    """Description of every pod of a fleet."""

    classifier: Limits
    batch_seconds: Seconds
    """The classifier's seconds for a batch."""
    cores: float
    gpus: int
    start_s: float
    """Seconds from the autoscaler's word until the pod takes studies: node, scheduling, image, loading."""


class Pod:
    """One pod, that takes studies from ``ready_s`` on."""

    def __init__(self, env: simpy.Environment, kind: Kind, ready_s: float, preprocess: Limits = PREPROCESS) -> None:
        self._env, self.ready_s = env, ready_s
        self.preprocess = Station(env, preprocess, self._begin)
        self.classifier = Station(env, kind.classifier, kind.batch_seconds)
        self.report = Station(env, REPORT, lambda batch: sum(study.report_s for study in batch))
        self.in_flight = 0
        self.leaving = False
        """Set where the autoscaler has taken it out: it takes no study more, and ends when it has none."""

    def _begin(self, batch: Sequence[Study]) -> float:
        """Note that the studies begin now; return the seconds of their preprocessing."""
        for study in batch:
            study.begun_s = self._env.now
        return sum(study.preprocess_s for study in batch)

    @property
    def takes_studies(self) -> bool:
        """Return whether a study sent now is taken."""
        return self._env.now >= self.ready_s and not self.leaving

    @property
    def waiting(self) -> int:
        """Studies that wait for any model: what the autoscaler is told."""
        return self.preprocess.waiting + self.classifier.waiting + self.report.waiting

    def answer(self, study: Study) -> Generator[simpy.Event, End, End]:
        """Work on a study; return how it ended."""
        self.in_flight += 1
        end = End.DONE
        for station in (self.preprocess, self.classifier, self.report):
            end = yield station.submit(study)
            if end is not End.DONE:
                break
        self.in_flight -= 1
        return end
