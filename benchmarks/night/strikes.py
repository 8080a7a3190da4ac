"""The night's faults as functions: how each strikes a pod or its callers, and how it is repaired."""

from __future__ import annotations

import io
import os
import signal
import time
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path

from glioserve_cli.main import main
from glioserve_contract.limits import MAX_WAITING_STUDIES
from glioserve_contract.tensors import PREPROCESS_MODEL, REPORT_MODEL
from night.gpu import XID_FALLEN_OFF_THE_BUS, GpuExporter
from night.limits import Limit, no_more_threads, quota
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
SLOW_CORES = 0.15
"""Part of a core that a throttled process gets: a study of three core-seconds takes twenty."""
STARTING_CORES = 0.2
"""Part of a core that a throttled start gets: its three core-seconds take a quarter of a minute."""
FAILING_STUDIES = 12
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
    gpus: GpuExporter
    outcomes: list[str] = field(default_factory=list)
    """Request ids of the studies that got an outcome."""
    limits: list[Limit] = field(default_factory=list)
    """Limits that bind processes now."""

    def wait_until_busy(self) -> None:
        """Wait until both processes of preprocess hold a study."""
        self.release.wait_for(lambda: self.release.pod.metric(IN_FLIGHT) >= INSTANCES, 20.0)

    def killed_at_the_time(self) -> None:
        """Kill the report's process once it is there and the pod is ready."""
        self.release.wait_for(lambda: bool(self.release.pod.stubs(REPORT_MODEL.name)), REPAIR_TIMEOUT_S)
        self.release.kill(REPORT_MODEL.name)
        self.release.wait_for(lambda: not self.release.pod.is_ready(), 5.0)
        self.release.wait_for(self.release.pod.is_ready, REPAIR_TIMEOUT_S)


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
    """Kill tritonserver, and again when the container has been started anew, which then gets little of a core."""
    for _ in range(2):
        night.release.wait_for(night.release.pod.is_ready, REPAIR_TIMEOUT_S)
        night.release.crash(night.release.pod)
    night.limits = [quota(night.release.pod.serve.process.pid, STARTING_CORES)]


def new_pod(night: Night) -> None:
    """Start another pod and take the one away that was there: a rollout with one pod more than before."""
    old = night.release.pods[0]
    night.release.start()
    night.release.stop(old)


def roll_out_above_the_floors(night: Night) -> None:
    """Start a pod whose Triton is above both floors, and take all others away."""
    others = night.release.pods.copy()
    night.release.start(above_floors=True)
    for pod in others:
        night.release.stop(pod)


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
        answered = [request for name, request in night.traffic.answered if name == pod.name]
        night.outcomes = answered[-OUTCOMES - 2 : -2]  # a container that is started anew has a new log; the last wait
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


def throttle(night: Night) -> None:
    """Bind each process of preprocess to a small part of a core, and have both always at work."""
    night.limits = [quota(stub.pid, SLOW_CORES) for stub in night.release.pod.stubs(PREPROCESS_MODEL.name)]
    night.traffic.keep_busy(INSTANCES)


def end_throttling(night: Night) -> None:
    """Take the limits away, and the studies that kept the processes busy."""
    night.traffic.let_rest()
    end_limits(night)


def forbid_threads(night: Night) -> None:
    """Let the processes of preprocess start no more threads, and send studies that need some."""
    night.limits = [no_more_threads(stub.pid) for stub in night.release.pod.stubs(PREPROCESS_MODEL.name)]
    night.traffic.others(night.release.pod, FAILING_STUDIES)


def take_the_memory(night: Night) -> None:
    """Let the runs of the classifier find no memory; the studies meanwhile fail."""
    night.release.no_memory.touch()


def give_the_memory_back(night: Night) -> None:
    """Let them find it again, and have the container started anew where its server has ended meanwhile."""
    night.release.no_memory.unlink()
    pod = night.release.pod
    ended = night.release.wait_for(lambda: pod.is_ready() or pod.serve.process.poll() is not None, REPAIR_TIMEOUT_S)
    if ended and pod.serve.process.poll() is not None:
        pod.restart()


def end_limits(night: Night) -> None:
    """Take the limits away."""
    while night.limits:
        night.limits.pop().end()


def break_a_gpu(night: Night) -> None:
    """Have the exporter report XID 79, "GPU has fallen off the bus", of the pod's GPU."""
    night.gpus.xid = XID_FALLEN_OFF_THE_BUS


def move_the_pod(night: Night) -> None:
    """Start a pod elsewhere, take the old one away, and reset the GPU."""
    new_pod(night)
    night.gpus.xid = 0


def last(night: Night) -> Pod:
    """Return the pod that came last."""
    return night.release.pods[-1]
