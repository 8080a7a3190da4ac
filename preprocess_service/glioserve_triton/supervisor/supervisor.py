"""The loop that watches a running server: it sees what fails, repairs it, and keeps the probes truthful.

It sees a dead process of a Python model in /proc, a hanging one by its heartbeat and by canary requests, a Triton that
does not answer by its health service, and a classifier that fails by a deep probe. What it cannot repair ends the
server, for Kubernetes to start it anew.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from tritonclient.utils import InferenceServerException

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.tensors import CLASSIFIER_MODEL
from glioserve_triton.adapters.heartbeat import read_heartbeats
from glioserve_triton.admin import ServerAdmin
from glioserve_triton.channel import open_client
from glioserve_triton.process.logs import Log
from glioserve_triton.process.server import TritonServer
from glioserve_triton.stubs import Stub, stopped, stubs_of
from glioserve_triton.supervisor import canary
from glioserve_triton.supervisor.canary import Answer, Outcome
from glioserve_triton.supervisor.health import Health
from glioserve_triton.supervisor.metrics import SupervisorMetrics
from glioserve_triton.supervisor.questions import Question, background
from glioserve_triton.supervisor.regions import Regions
from glioserve_triton.supervisor.repair import Repairs
from glioserve_triton.supervisor.stages import Reason, Stages, oldest_s
from glioserve_triton.supervisor.triton_page import classifier_failures, triton_page
from glioserve_triton.waiting import StopCheck

T = TypeVar("T")
LOOK_INTERVAL_S = 0.2
LIVE_INTERVAL_S = 1.0
LIVE_TIMEOUT_S = 5.0
LIVE_FAILURES_NOT_READY = 2
LIVE_FAILURES_FATAL = 6
MISSED_FATAL_S = 5.0
"""Time without a look at the processes after which the supervisor ends the server."""
CANARY_INTERVAL_S = 10.0
CANARY_TIMEOUT_S = 5.0
DEEP_INTERVAL_S = 60.0
DEEP_TIMEOUT_S = 60.0
DEEP_SHARE = 100
"""The deep probe takes at most one part of so many of the classifier's time."""
DEEP_FAILURES_NOT_READY = 2
DEEP_FAILURES_REPAIR = 3
DEEP_AGAIN_S = 15.0
"""Pause of the deep probe once the server is out of service: memory that another program took of a GPU may come back
before a repair, and Prometheus, which by the chart scrapes as often, sees the failures before the server ends."""
SCRAPE_INTERVAL_S = 1.0
"""Studies that end between two scrapes share the mean of their durations in the metrics."""


@dataclass(frozen=True)
class Limits:
    """Bounds that an operator sets."""

    hung_after_s: float = 300.0
    """A call of a Python model that runs longer is taken for a hang, and its process is replaced."""
    memory_bytes: int = 4 << 30
    """A process of a Python model that is larger is replaced between two requests."""


@dataclass(frozen=True)
class _Probe:
    """Outcome of a deep probe; without a ``problem``, one that is not alive says nothing about the classifier."""

    outcome: Outcome
    problem: str = ""
    lost: bool = False
    """True where Triton counts it among the requests that a backend lost."""


class Supervisor:
    """Watches ``server``, which is ready, until it is asked to stop."""

    def __init__(
        self, server: TritonServer, health: Health, metrics: SupervisorMetrics, log: Log, limits: Limits | None = None
    ) -> None:
        """Take the processes of now for those that should be there: one that dies later is missed, whenever it does."""
        self._server, self._health, self._metrics, self._log = server, health, metrics, log
        limits = limits or Limits()
        self._stages = Stages(limits.hung_after_s, limits.memory_bytes)
        self._stages.begin(stubs_of(server.process.pid))
        self._metrics.watch({*self._stages.models, *server.steps})
        self._client = open_client(server.grpc_url, server.channel_tls)
        self._repairs = Repairs(server)
        self._regions = Regions(server.process.run.shared_memory_prefix)
        self._live_failures = self._deep_failures = 0
        self._idle_throughout: dict[str, bool] = {}
        self._classifier_failures = 0
        self._server_stopped_looks = 0
        self._untold: dict[str, str] = {}
        """Reasons for which the reference cases of versions could not be read, as they were reported."""
        self._missed_looks = 0
        self._told_failures: set[str] = set()
        self._renewed_s: dict[str, float] = {}
        """Time at which each repaired model was whole again; earlier questions do not tell of its new processes."""

    def watch(self, stop: StopCheck, every_look: Callable[[], None]) -> None:
        """Watch until ``stop`` says so; ``every_look`` is called each time round.

        Raises:
            GlioserveError: GLIO-5111 where tritonserver ended by itself; GLIO-5128 where a part cannot be repaired.
        """
        python_models = [m for m in self._stages.models if m != CLASSIFIER_MODEL.name]
        with background() as pool, self._server.admin() as admin:
            shared: Question[None] | None = None
            if self._server.options.shared_memory_token is not None:
                # Imported where it is needed: the client's package is part of a start's time.
                from glioserve_triton.shared_memory import FORGET_INTERVAL_S, forget_orphans

                shared = Question(pool, partial(forget_orphans, admin, self._log), FORGET_INTERVAL_S)
                shared.soon()
            self._live = Question(pool, self._ask_live, LIVE_INTERVAL_S)
            self._canaries = {
                m: Question(pool, partial(self._ask_canaries, pool, m), CANARY_INTERVAL_S) for m in python_models
            }
            self._deep = Question(pool, partial(self._ask_deep, admin), DEEP_INTERVAL_S)
            url = self._server.metrics_url
            self._scrape = Question(pool, lambda: self._metrics.look(lambda: triton_page(url)), SCRAPE_INTERVAL_S)
            try:
                while not stop():
                    self._look_or_miss()
                    if shared is not None:
                        shared.answer()
                    self._health.came_round()
                    every_look()
                    time.sleep(LOOK_INTERVAL_S)
            finally:
                self._repairs.close()
                self._client.close()

    def _look_or_miss(self) -> None:
        """Look round; GLIO-5128 where this process cannot see or ask any more: no descriptors, threads or memory."""
        try:
            self._look()
            self._missed_looks = 0
        except (OSError, RuntimeError, MemoryError) as error:  # RuntimeError: a thread cannot be made
            self._missed_looks += 1
            if self._missed_looks * LOOK_INTERVAL_S > MISSED_FATAL_S:
                raise GlioserveError(ErrorCode.NOT_HEALED, f"The supervisor cannot look: {error}.") from error
        questions: list[Question[Any]] = [self._live, self._scrape, self._deep, *self._canaries.values()]
        for question in questions:
            if question.failures and question.failure not in self._told_failures:
                self._told_failures.add(question.failure)
                self._log.event("the server cannot be asked", "warning", reason=question.failure)
            if question.failures >= LIVE_FAILURES_FATAL:
                raise GlioserveError(ErrorCode.NOT_HEALED, f"The server cannot be asked: {question.failure}.")

    def _look(self) -> None:
        process = self._server.process
        if (code := process.poll()) is not None:
            raise self._server.failure(f"tritonserver ended by itself with code {code}")
        self._continue_server(process.pid)
        stubs = stubs_of(process.pid)
        beats = read_heartbeats(process.run.path)
        self._server.damaged = self._server.damaged or any(stub.dead for stub in stubs.values())
        for model, reason in self._stages.faults(stubs, beats).items():
            self._repair(model, reason)
        if self._stages.load_hangs(stubs):
            raise GlioserveError(
                ErrorCode.NOT_HEALED, "A process died while its model was loaded, and Triton waits for it for good."
            )
        self._finish_repairs()
        if given_back := self._regions.give_back(stubs, self._stages.in_service):
            self._log.event("shared memory of replaced processes is given back", mib=given_back >> 20)
        self._judge_live()
        for model, question in self._canaries.items():
            idle = self._stages.idle(model, stubs, beats)
            self._idle_throughout[model] = idle and (self._idle_throughout.get(model, True) or not question.open)
            self._judge_canaries(model, question)
        self._judge_classifier()
        for model in self._stages.models:
            own = [beats[pid] for pid in beats.keys() & stubs.keys() if stubs[pid].model == model]
            self._metrics.in_flight.labels(model).set(sum(beat.busy_since_s is not None for beat in own))
            self._metrics.oldest_request.labels(model).set(oldest_s(own))
            self._metrics.memory.labels(model).set(_largest(stubs, model))
        self._metrics.ready.set(not self._health.not_ready_because())

    def _repair(self, model: str, reason: Reason) -> None:
        if self._repairs.is_running(model):
            return
        if reason is not Reason.MEMORY:  # nothing fails meanwhile: the new processes come before the old ones go
            self._health.report(model, f"a process is {reason.value} and is being replaced")
        self._log.event("repair begins", "warning", model=model, reason=reason.value)
        self._metrics.repairs.labels(model, reason.value).inc()
        self._repairs.begin(model, reason)
        self._stages.repair_begins(model)

    def _finish_repairs(self) -> None:
        for repair in self._repairs.done():
            if repair.failure:
                self._log.event("repair failed", "error", model=repair.model, reason=repair.failure)
                if repair.reason is Reason.MEMORY:  # the large processes answer as before; the limit is tried again
                    self._stages.repair_failed(repair.model)
                    continue
                if self._repairs.has_failed_for_good(repair.model):
                    raise GlioserveError(ErrorCode.NOT_HEALED, f"{repair.model}: {repair.failure}")
                self._repairs.begin(repair.model, repair.reason)
                continue
            self._stages.renewed(repair.model, stubs_of(self._server.process.pid))
            self._renewed_s[repair.model] = time.monotonic()
            self._health.report(repair.model, None)
            self._log.event("repaired", model=repair.model, reason=repair.reason.value)

    def _continue_server(self, pid: int) -> None:
        self._server_stopped_looks = self._server_stopped_looks + 1 if stopped(pid) else 0
        if self._server_stopped_looks * LOOK_INTERVAL_S > LIVE_INTERVAL_S:
            self._log.event("tritonserver was stopped by a signal and is continued", "warning")
            os.kill(pid, signal.SIGCONT)

    def _ask_live(self) -> str:
        """Return what is wrong with the server as a whole; empty where nothing is."""
        models = (*self._server.steps, self._server.options.model)
        try:
            if not self._client.is_server_live(client_timeout=LIVE_TIMEOUT_S):
                return "it says that it is not live"
            absent = [m for m in models if not self._client.is_model_ready(m, client_timeout=LIVE_TIMEOUT_S)]
        except InferenceServerException as error:
            return f"it does not answer ({error.status() or 'no status'})"
        return f"not loaded: {', '.join(absent)}" if absent else ""

    def _judge_live(self) -> None:
        problem = self._live.answer()
        if problem is None:
            return
        self._live_failures = self._live_failures + 1 if problem else 0
        if self._live_failures >= LIVE_FAILURES_FATAL:
            self._server.damaged = True
            raise GlioserveError(ErrorCode.NOT_HEALED, f"tritonserver: {problem}.")
        settled = self._live_failures == 0 or self._live_failures >= LIVE_FAILURES_NOT_READY
        if settled and self._health.report("tritonserver", problem or None):
            self._log.event("tritonserver", "warning" if problem else "info", problem=problem or "none any more")

    def _ask_canaries(self, pool: ThreadPoolExecutor, model: str) -> list[Answer]:
        """Send one canary for each process of the model, all at once."""
        count = self._stages.processes(model)
        asked = [
            pool.submit(canary.ask, self._client, model, CANARY_TIMEOUT_S, self._server.own_parameters)
            for _ in range(count)
        ]
        return [future.result() for future in asked]

    def _judge_canaries(self, model: str, question: Question[list[Answer]]) -> None:
        answers = question.answer()
        if answers is None:
            return
        outcomes = [answer.outcome for answer in answers]
        self._metrics.canaries_answered(model, outcomes)
        if dead := outcomes.count(Outcome.DEAD):
            self._metrics.canary_failed(model, lost=dead)
        if self._is_outdated(model, question):
            return
        if dead:
            self._repair(model, Reason.DEAD)
        elif Outcome.SILENT in outcomes and self._idle_throughout[model]:
            self._metrics.canary_failed(model, lost=0)
            self._repair(model, Reason.HUNG)

    def _is_outdated(self, model: str, question: Question[T]) -> bool:
        """Return whether the question's answer may be of processes that a repair replaces or has replaced."""
        return self._repairs.is_running(model) or question.asked_s < self._renewed_s.get(model, 0.0)

    def _ask_deep(self, admin: ServerAdmin) -> _Probe:
        """Ask the classifier for an answer, and for those of its versions to their reference cases."""
        began, own = time.monotonic(), self._server.own_parameters
        self._deep.interval_s = DEEP_INTERVAL_S
        try:
            answer, hangs = canary.ask_classifier(self._client, admin, DEEP_TIMEOUT_S, own)
            if answer.outcome is Outcome.ALIVE:
                tls, cases = self._server.channel_tls, self._server.cases
                cases.check(self._server.grpc_url, tls=tls, parameters=own, unread=self._unread)
                self._deep.interval_s = max(DEEP_INTERVAL_S, DEEP_SHARE * (time.monotonic() - began))
        except GlioserveError as error:
            return _Probe(Outcome.DEAD, error.detail)
        failed = hangs or answer.outcome is Outcome.DEAD
        return _Probe(answer.outcome, answer.detail if failed else "", answer.lost)

    def _judge_classifier(self) -> None:
        page = self._scrape.answer() or ""
        failures = classifier_failures(page) if page else self._classifier_failures
        if failures > self._classifier_failures and self._deep_failures < DEEP_FAILURES_NOT_READY:
            self._deep.soon()
        self._classifier_failures = failures
        if CLASSIFIER_MODEL.name not in self._server.steps:
            return
        probe = self._deep.answer()
        if probe is None or self._is_outdated(CLASSIFIER_MODEL.name, self._deep):
            return
        problem = probe.problem
        self._metrics.canaries_answered(CLASSIFIER_MODEL.name, [probe.outcome])
        if not problem:
            if probe.outcome is Outcome.ALIVE:
                self._deep_failures = 0
                self._health.report(CLASSIFIER_MODEL.name, None)
            return
        self._deep_failures += 1
        self._metrics.canary_failed(CLASSIFIER_MODEL.name, lost=int(probe.lost))
        self._log.event("deep probe failed", "warning", model=CLASSIFIER_MODEL.name, problem=problem)
        self._deep.soon(DEEP_AGAIN_S if self._deep_failures >= DEEP_FAILURES_NOT_READY else 0.0)
        if self._deep_failures >= DEEP_FAILURES_NOT_READY:
            self._health.report(CLASSIFIER_MODEL.name, problem)
        if self._deep_failures == DEEP_FAILURES_REPAIR:
            self._repair(CLASSIFIER_MODEL.name, Reason.HUNG if probe.outcome is Outcome.SILENT else Reason.DEAD)
        elif self._deep_failures > DEEP_FAILURES_REPAIR:
            raise GlioserveError(ErrorCode.NOT_HEALED, f"{CLASSIFIER_MODEL.name}: {problem}")

    def _unread(self, version: str, error: GlioserveError) -> None:
        """Tell once of a loaded version whose case cannot be read: the server goes on with what it has loaded."""
        if self._untold.get(version) != error.detail:
            self._untold[version] = error.detail
            self._log.event("reference case unread", "warning", classifier_version=version, reason=error.detail)


def _largest(stubs: dict[int, Stub], model: str) -> int:
    return max((stub.memory_bytes for stub in stubs.values() if stub.model == model), default=0)
