"""The night's faults: how each strikes, which alerts it must ring, and what their runbooks say to do, done.

``NUMBER of PAGE`` in an action is a step under *What to do* of ``docs/runbooks/PAGE.md``.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from glioserve_cli.main import main
from glioserve_contract.limits import MAX_WAITING_STUDIES
from glioserve_contract.tensors import PREPROCESS_MODEL, REPORT_MODEL
from glioserve_registry.demo_model import demo_repository
from glioserve_registry.layout.repository import add_version
from glioserve_registry.promoting.promotion import promote, rollback
from glioserve_registry.recipe_override import with_changed_recipe
from night.drift import OTHERS, set_reference
from night.pods import STAGE_TIMEOUT_S, Pod, Release
from night.traffic import Traffic

INSTANCES = 2
IN_FLIGHT = 'glioserve_stage_in_flight\\{model="preprocess"\\}'
"""Pattern of the series that has the processes of preprocess at work."""
BAD_STUDIES = 150
IMPATIENT = 14
"""Studies at a time whose callers give up: fewer than fit into the queue."""
REPAIR_TIMEOUT_S = 60.0
WRONG_PORT = 9
OUTCOMES = 10
AGAIN_S = 4.0
"""Seconds in which the drift of a second pod would ring, were there any."""
SITE_STUDIES = 24
"""Studies of a site; drift is measured from 20 on."""
REMAINS = "remains"
BLOCK_BYTES = 1 << 16


@dataclass
class Night:
    """Parts that faults strike, and that are repaired."""

    release: Release
    traffic: Traffic
    hold: Path
    """File for as long as which preprocess begins no study."""
    folder: Path
    outcomes: list[str] = field(default_factory=list)
    """Request ids of the studies that got an outcome."""

    def wait_until_busy(self) -> None:
        """Wait until both processes of preprocess hold a study."""
        self.release.wait_for(lambda: self.release.pod.metric(IN_FLIGHT) >= INSTANCES, 20.0)

    def killed_at_the_time(self) -> None:
        """Kill the report's process once it is there and the pod is ready."""
        self.release.wait_for(lambda: bool(self.release.pod.stubs(REPORT_MODEL.name)), REPAIR_TIMEOUT_S)
        self.release.kill(REPORT_MODEL.name)
        self.release.wait_for(lambda: not self.release.pod.is_ready(), 5.0)
        self.release.wait_for(self.release.pod.is_ready, REPAIR_TIMEOUT_S)


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


def nothing(_: Night) -> None:
    """Do nothing, which is what the page says."""


def stop_a_process(night: Night) -> None:
    """Stop a process of preprocess by a signal; the supervisor is to continue it."""
    os.kill(night.release.pod.stubs(PREPROCESS_MODEL.name)[0].pid, signal.SIGSTOP)


def kill_again_and_again(night: Night) -> None:
    """Kill the report's process four times, each time once the pod is ready again."""
    for _ in range(4):
        night.killed_at_the_time()


def hang(night: Night) -> None:
    """Have both processes of preprocess hold a study, and three more wait."""
    night.hold.touch()
    night.traffic.at_once(INSTANCES, "hangs")
    night.wait_until_busy()
    night.traffic.at_once(3, "waits")


def wait_for_the_replacement(night: Night) -> None:
    """Wait until the supervisor has replaced the processes; the studies that held them are kept, not sent again."""
    page = night.release.pod
    repaired = 'glioserve_repairs_total\\{model="preprocess",reason="hung"\\}'
    night.release.wait_for(lambda: page.metric(repaired) >= 1, STAGE_TIMEOUT_S + REPAIR_TIMEOUT_S)
    night.hold.unlink()
    night.release.wait_for(page.is_ready, REPAIR_TIMEOUT_S)


def fill_the_queue(night: Night) -> None:
    """Send more studies than a held-up pod can have waiting."""
    night.hold.touch()
    night.traffic.at_once(INSTANCES + MAX_WAITING_STUDIES + 12, "backlog")


def let_them_expire(night: Night) -> None:
    """Send studies that may wait a second only, to a held-up pod."""
    night.hold.touch()
    night.traffic.at_once(INSTANCES, "held")
    night.wait_until_busy()
    night.traffic.at_once(6, "expiring", timeout_s=1.0)
    time.sleep(3.0)
    night.hold.unlink()


def give_up(night: Night) -> None:
    """Send studies to a held-up pod whose callers give up soon, twice."""
    for _ in range(2):
        night.hold.touch()
        night.traffic.impatient(IMPATIENT)
        night.hold.unlink()
        night.release.wait_for(lambda: night.release.pod.metric(IN_FLIGHT) == 0, 20.0)


def crash_twice(night: Night) -> None:
    """Kill tritonserver, and again when the container has been started anew."""
    for _ in range(2):
        night.release.wait_for(night.release.pod.is_ready, REPAIR_TIMEOUT_S)
        night.release.crash(night.release.pod)


def new_pod(night: Night) -> None:
    """Start another pod and take the one away that was there: a rollout with one pod more than before."""
    old = night.release.pods[0]
    night.release.start()
    night.release.stop(old)


def fill(folder: Path, share: float) -> None:
    """Fill the file system of a folder up to a share, by a file :data:`REMAINS`."""
    usage = os.statvfs(folder)
    wanted = int(usage.f_blocks * usage.f_frsize * share) - (usage.f_blocks - usage.f_bfree) * usage.f_frsize
    with suppress(OSError), (folder / REMAINS).open("wb", buffering=0) as stream:  # a last block may not fit
        for _ in range(0, wanted, BLOCK_BYTES):
            stream.write(b"\0" * BLOCK_BYTES)


def add_outcomes(night: Night, *words: str) -> None:
    """Add the same outcome to studies that the pod has answered, by the command line."""
    pod = night.release.pod
    night.release.wait_for(lambda: sum(name == pod.name for name, _ in night.traffic.answered) >= OUTCOMES + 2, 60.0)
    if not night.outcomes:
        night.outcomes = [request for name, request in night.traffic.answered if name == pod.name][:OUTCOMES]
    for request in night.outcomes:
        command = ["outcome", "add", request, *words, "--source", "pathology", "--study-log", str(pod.study_log())]
        with redirect_stdout(io.StringIO()):
            code = main(command)
        if code:
            raise RuntimeError(f"{command} ended with {code}")


def lower_the_limit(night: Night) -> None:
    """Set the limit that the pod finds just above what it uses."""
    pod = night.release.pod
    pod.limit_file.write_text(f"{int(pod.metric('glioserve_memory_bytes') * 1.04)}\n")


def raise_the_limit(night: Night) -> None:
    """Set the limit far above what the pod uses, which on one machine is what all its processes use."""
    pod = night.release.pod
    pod.limit_file.write_text(f"{int(pod.metric('glioserve_memory_bytes') * 20)}\n")


def scrape_wrongly(night: Night) -> None:
    """Have Prometheus scrape a port at which nothing listens."""
    night.release.tell_prometheus(lambda _: f"127.0.0.1:{WRONG_PORT}")


def start_with_other_preprocessing(night: Night) -> None:
    """Start a pod whose version 1 has another preprocessing than that of the first pod."""
    night.release.start(repository=demo_repository(night.folder / "other", min_slices=12))


def start_with_version_two(night: Night) -> None:
    """Start a pod on a copy of the repository in which another version was promoted."""
    copy = night.folder / "promoted"
    shutil.copytree(night.release.repository, copy)
    made = night.folder / "version 2"
    with_changed_recipe(copy / "classifier" / "1", made, lambda recipe: replace(recipe, threshold=0.6))
    promote(copy, add_version(copy, made))
    night.release.start(repository=copy)


def ask_a_version_of_another_training(night: Night) -> None:
    """Start a pod whose version was trained on other studies, and send it those of the night."""
    copy = night.folder / "watched"
    shutil.copytree(night.release.repository, copy)
    set_reference(copy, OTHERS)
    night.traffic.to(night.release.start(repository=copy), SITE_STUDIES)


def train_with_these_studies(night: Night) -> None:
    """Make the reference again with the night's studies among them, for a new pod, and send it as many."""
    old = last(night)
    set_reference(old.repository, (*OTHERS, *[night.traffic.score(old)] * len(OTHERS)))
    night.release.stop(old)
    night.traffic.to(night.release.start(repository=old.repository), SITE_STUDIES)
    time.sleep(AGAIN_S)


def last(night: Night) -> Pod:
    """Return the pod that came last."""
    return night.release.pods[-1]


BURN = frozenset(f"GlioserveAvailabilityBurn{how}" for how in ("Fast", "Slow", "Creeping"))
REPAIR = BURN | {"GlioserveStageReplaced", "GlioserveNoPodReady", "GlioserveCanaryFailing"}
FAULTS = (
    Fault(
        "a certificate of 10 days",
        ("GlioserveCertificateExpires",),
        nothing,  # the night begins with it
        "1, 2: renewed, the pods started anew",
        new_pod,
    ),
    Fault(
        "callers give up after 1.5 s at a held-up pod",
        ("GlioserveManyCancelled",),
        give_up,
        "2: they wait longer",
        nothing,
        BURN | {"GlioserveStalled", "GlioserveQueueGrowing", "GlioserveRejects"},
        ends_late=True,
    ),
    Fault(
        "callers send what is not DICOM",
        ("GlioserveManyRefused",),
        lambda night: night.traffic.bad(BAD_STUDIES),
        "1: the caller is told, and stops",
        nothing,
        ends_late=True,
    ),
    Fault(
        "kill -9 of the report's process",
        ("GlioserveStageReplaced",),
        Night.killed_at_the_time,
        "1: nothing",
        nothing,
        REPAIR,
    ),
    Fault("SIGSTOP of a preprocess process", (), stop_a_process, "–", nothing),
    Fault(
        "the report's process killed four times",
        ("GlioserveStageReplacedOften",),
        kill_again_and_again,
        "1: what ends the processes is stopped",
        nothing,
        REPAIR,
    ),
    Fault(
        "ten outcomes with the wrong truth",
        ("GlioserveModelWorse",),
        lambda night: add_outcomes(night, "necrosis"),
        "2: the outcomes corrected",
        lambda night: add_outcomes(night, "recurrence", "--correct"),
    ),
    Fault(
        "the study log's volume is full",
        ("GlioserveStudyLogFailing",),
        lambda night: fill(night.release.pod.study_log(), 1.0),
        "1: room made",
        lambda night: (night.release.pod.study_log() / REMAINS).unlink(),
    ),
    Fault(
        "tritonserver killed twice, the container started anew",
        ("GlioserveRestarts",),
        crash_twice,
        "3: what ended it is stopped",
        nothing,
        REPAIR | {"GlioserveNotScraped"},
    ),
    Fault(
        "both processes of preprocess hang, studies wait",
        ("GlioserveStageHangs", "GlioserveStalled"),
        hang,
        "1 of both: waited for the replacement; 3: the studies kept",
        wait_for_the_replacement,
        REPAIR | {"GlioserveRejects", "GlioserveQueueGrowing"},
    ),
    Fault(
        "more studies than the queue takes",
        ("GlioserveRejects", "GlioserveQueueGrowing"),
        fill_the_queue,
        "1 of Rejects: nothing; 3 of QueueGrowing: the backlog ends",
        lambda night: night.hold.unlink(),
        BURN | {"GlioserveStalled", "GlioserveManyRefused"},
    ),
    Fault(
        "studies that wait longer than they may",
        ("GlioserveRejects",),
        let_them_expire,
        "1: nothing",
        nothing,
        BURN | {"GlioserveStalled", "GlioserveQueueGrowing"},
    ),
    Fault(
        "/dev/shm nine tenths full",
        ("GlioserveSharedMemoryNearLimit",),
        lambda night: fill(night.release.pod.shared_memory(), 0.9),
        "2: a new pod",
        new_pod,
    ),
    Fault(
        "memory near its limit (a file in the limit's place)",
        ("GlioserveMemoryNearLimit",),
        lower_the_limit,
        "1: the limit raised",
        raise_the_limit,
    ),
    Fault(
        "Prometheus scrapes a wrong port",
        ("GlioserveNotScraped",),
        scrape_wrongly,
        "1: the port corrected",
        lambda night: night.release.tell_prometheus(),
    ),
    Fault(
        "a pod with another preprocessing under the same version",
        ("GlioserveFingerprintMismatch",),
        start_with_other_preprocessing,
        "1: the pod taken away",
        lambda night: night.release.stop(last(night)),
    ),
    Fault(
        "a pod on which another version was promoted",
        ("GlioserveVersionSkew",),
        start_with_version_two,
        "1: the promotion undone",
        lambda night: rollback(last(night).repository),
    ),
    Fault(
        "a site's studies are unlike the training",
        ("GlioserveDrift",),
        ask_a_version_of_another_training,
        "5: the reference made again with them",
        train_with_these_studies,
    ),
)
