"""The night's faults in their order: what strikes, which alerts it must ring, and what their runbooks say to do, done.

``NUMBER of PAGE`` in an action is a step under *What to do* of ``docs/runbooks/PAGE.md``. Faults that fail studies come
first, so that the long windows of the availability's alerts end within the night.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from night import strikes as s
from night import versions as v
from night.strikes import Night


@dataclass(frozen=True)
class Fault:
    """One fault."""

    name: str
    alerts: tuple[str, ...]
    """Alerts that it must ring; none where the server must bear it in silence."""
    strike: Callable[[Night], object]
    action: str
    act: Callable[[Night], object]
    also: frozenset[str] = frozenset()
    """Alerts that may ring beside them, for the same reason."""
    ends_late: bool = False
    """True where a long window must pass: the next fault strikes meanwhile."""
    from_start: bool = False
    """True where the night begins with it, and its alerts ring until its turn comes."""


AVAILABILITY = tuple(f"GlioserveAvailabilityBurn{how}" for how in ("Fast", "Slow", "Creeping"))
BURN = frozenset(AVAILABILITY)
LATENCY = frozenset({"GlioserveLatencyBurnFast", "GlioserveLatencyBurnSlow"})
REPAIR = BURN | {"GlioserveStageReplaced", "GlioserveNoPodReady", "GlioserveCanaryFailing", "GlioserveStalled"}
"""Alerts of a repair, whose few real seconds are minutes here: meanwhile no study may end."""
FAULTS = (
    Fault(
        "a certificate of 10 days",
        ("GlioserveCertificateExpires",),
        s.nothing,
        "1, 2: renewed, the pods started anew",
        s.new_pod,
        from_start=True,
    ),
    Fault(
        "the processes of preprocess can start no more threads (a limit of their control groups)",
        ("GlioserveInternalErrors", *AVAILABILITY),
        s.forbid_threads,
        "2 of InternalErrors: what was changed last undone; 3 of AvailabilityBurnFast: the same",
        s.end_limits,
        REPAIR | LATENCY,
        ends_late=True,
    ),
    Fault(
        "callers give up after 1.5 s at a held-up pod",
        ("GlioserveManyCancelled",),
        s.give_up,
        "2: they wait longer",
        s.nothing,
        BURN | LATENCY | {"GlioserveStalled", "GlioserveQueueGrowing", "GlioserveRejects"},
        ends_late=True,
    ),
    Fault(
        "callers send what is not DICOM",
        ("GlioserveManyRefused",),
        lambda night: night.traffic.bad(s.BAD_STUDIES),
        "1: the caller is told, and stops",
        s.nothing,
        ends_late=True,
    ),
    Fault(
        "a limit throttles the processes of preprocess (a quota of their control groups)",
        ("GlioserveStageSlow", "GlioserveLatencyBurnFast", "GlioserveLatencyBurnSlow"),
        s.throttle,
        "1 of StageSlow: no limit more; 2 of LatencyBurnFast: its processors given",
        s.end_throttling,
        BURN | {"GlioserveQueueGrowing", "GlioserveRejects", "GlioserveStalled", "GlioserveStageHangs"},
        ends_late=True,
    ),
    Fault(
        "kill -9 of the report's process",
        ("GlioserveStageReplaced",),
        Night.killed_at_the_time,
        "1: nothing",
        s.nothing,
        REPAIR,
    ),
    Fault("SIGSTOP of a preprocess process", (), s.stop_a_process, "–", s.nothing),
    Fault(
        "the report's process killed four times",
        ("GlioserveStageReplacedOften",),
        s.kill_again_and_again,
        "1: what ends the processes is stopped",
        s.nothing,
        REPAIR,
    ),
    Fault(
        "tritonserver killed twice, the container started anew, the second time under a quota",
        ("GlioserveRestarts", "GlioserveNoPodReady"),
        s.crash_twice,
        "3 of Restarts: what ended it is stopped; 2 of NoPodReady: the quota undone",
        s.end_limits,
        REPAIR | {"GlioserveNotScraped"},
    ),
    Fault(
        "both processes of preprocess hang, studies wait",
        ("GlioserveStageHangs", "GlioserveStalled"),
        s.hang,
        "1 of both: waited for the replacement; 3: the studies kept",
        s.wait_for_the_replacement,
        REPAIR | LATENCY | {"GlioserveRejects", "GlioserveQueueGrowing"},
    ),
    Fault(
        "more studies than the queue takes",
        ("GlioserveRejects", "GlioserveQueueGrowing"),
        s.fill_the_queue,
        "1 of Rejects: nothing; 3 of QueueGrowing: the backlog ends",
        lambda night: night.hold.unlink(),
        BURN | LATENCY | {"GlioserveStalled", "GlioserveManyRefused"},
    ),
    Fault(
        "studies that wait longer than they may",
        ("GlioserveRejects",),
        s.let_them_expire,
        "1: nothing",
        s.nothing,
        BURN | {"GlioserveStalled", "GlioserveQueueGrowing"},
    ),
    Fault(
        "a promoted version whose logits overflow in float16",
        ("GlioserveModelErrors",),
        v.start_with_an_overflow,
        "1: rolled back, the pod started anew",
        v.roll_back_and_start_anew,
        BURN | {"GlioserveVersionSkew", "GlioserveStalled"},  # every study fails, so that none succeeds while some wait
    ),
    Fault(
        "another program takes the memory that the classifier's runs need (an error of its backend, in a GPU's place)",
        ("GlioserveCanaryFailing",),
        s.take_the_memory,
        "1: what took the memory is ended",
        s.give_the_memory_back,
        REPAIR | {"GlioserveInternalErrors", "GlioserveRestarts"},
    ),
    Fault(
        "ten outcomes with the wrong truth",
        ("GlioserveModelWorse",),
        lambda night: s.add_outcomes(night, "necrosis"),
        "2: the outcomes corrected",
        lambda night: s.add_outcomes(night, "recurrence", "--correct"),
    ),
    Fault(
        "the study log's volume is full",
        ("GlioserveStudyLogFailing",),
        lambda night: s.fill(night.release.pod.study_log(), 1.0),
        "1: room made",
        lambda night: (night.release.pod.study_log() / s.REMAINS).unlink(),
    ),
    Fault(
        "/dev/shm nine tenths full",
        ("GlioserveSharedMemoryNearLimit",),
        lambda night: s.fill(night.release.pod.shared_memory(), 0.9),
        "2: a new pod",
        s.new_pod,
    ),
    Fault(
        "memory near its limit (a file in the limit's place)",
        ("GlioserveMemoryNearLimit",),
        s.lower_the_limit,
        "1: the limit raised",
        s.raise_the_limit,
    ),
    Fault(
        "Prometheus scrapes a wrong port",
        ("GlioserveNotScraped",),
        s.scrape_wrongly,
        "1: the port corrected",
        lambda night: night.release.tell_prometheus(),
    ),
    Fault(
        "a pod with another preprocessing under the same version",
        ("GlioserveFingerprintMismatch",),
        v.start_with_other_preprocessing,
        "1: the pod taken away",
        v.leave,
    ),
    Fault(
        "a pod on which another version was promoted",
        ("GlioserveVersionSkew",),
        v.start_with_version_two,
        "1: the promotion undone",
        v.undo_the_promotion,
    ),
    Fault(
        "XID 79 of the pod's GPU (a page in the place of dcgm-exporter's)",
        ("GlioserveGpuErrors",),
        s.break_a_gpu,
        "1, 2: another pod elsewhere, this one away, the GPU reset",
        s.move_the_pod,
    ),
    Fault(
        "a site's studies are unlike the training",
        ("GlioserveDrift",),
        v.ask_a_version_of_another_training,
        "5: the reference made again with them",
        v.train_with_these_studies,
    ),
    Fault(
        "a Triton below both floors (a table of releases in which it is the newest, in the place of a newer one)",
        ("GlioserveBelowFloor",),
        s.nothing,
        "1: new pods with the newer one, all others away",
        s.roll_out_above_the_floors,
        from_start=True,
    ),
)
