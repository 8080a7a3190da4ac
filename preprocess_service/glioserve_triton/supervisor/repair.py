"""Repair of one model of the running server: its processes are replaced by new ones, then a canary must answer."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from tritonclient.utils import InferenceServerException

from glioserve_contract import GlioserveError
from glioserve_contract.tensors import CLASSIFIER_MODEL
from glioserve_triton.channel import open_client
from glioserve_triton.process.server import TritonServer
from glioserve_triton.supervisor.canary import Outcome, ask, ask_classifier
from glioserve_triton.supervisor.stages import Reason

RELOAD_TIMEOUT_S = 120.0
CANARY_TIMEOUT_S = 30.0
CLASSIFIER_TIMEOUT_S = 120.0
"""Time for the classifier's canary, before which a full batch of the largest network may be executed on one core."""
MOST_ATTEMPTS = 3
"""Repairs of one model that may fail in a row."""


@dataclass(frozen=True)
class Repair:
    """Outcome of one repair; ``failure`` is empty where it worked."""

    model: str
    reason: Reason
    failure: str = ""


class Repairs:
    """Runs repairs in the background, one at a time for each model."""

    def __init__(self, server: TritonServer) -> None:
        self._server = server
        self._pool = ThreadPoolExecutor(1, "repair")
        self._running: dict[str, Future[Repair]] = {}
        self._failed: dict[str, int] = {}

    def close(self) -> None:
        """Let go of what still runs; calls have deadlines."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def is_running(self, model: str) -> bool:
        """Return whether the model is being repaired."""
        return model in self._running

    def begin(self, model: str, reason: Reason) -> None:
        """Begin to repair the model."""
        self._running[model] = self._pool.submit(self._repair, model, reason)

    def done(self) -> list[Repair]:
        """Return the repairs that have ended since the last call."""
        ended = [model for model, future in self._running.items() if future.done()]
        outcomes = [self._running.pop(model).result() for model in ended]
        for repair in outcomes:
            failed = repair.failure and repair.reason is not Reason.MEMORY  # nothing was broken before that one
            self._failed[repair.model] = self._failed.get(repair.model, 0) + 1 if failed else 0
        return outcomes

    def has_failed_for_good(self, model: str) -> bool:
        """Return whether repairs of the model have failed as often as they may."""
        return self._failed.get(model, 0) >= MOST_ATTEMPTS

    def _repair(self, model: str, reason: Reason) -> Repair:
        server, computes = self._server, model == CLASSIFIER_MODEL.name
        with server.admin() as admin, open_client(server.grpc_url, server.channel_tls) as client:
            try:
                admin.reload(model, RELOAD_TIMEOUT_S)
            except InferenceServerException as error:
                return Repair(model, reason, f"it cannot be loaded: {error.message()}")
            own = server.own_parameters
            if computes:
                answer, hangs = ask_classifier(client, admin, CLASSIFIER_TIMEOUT_S, own)
            else:
                answer, hangs = ask(client, model, CANARY_TIMEOUT_S, own), False
        if hangs or answer.outcome is Outcome.DEAD:
            return Repair(model, reason, answer.detail)
        return Repair(model, reason, self._wrong_case() if computes else "")

    def _wrong_case(self) -> str:
        """Return what is wrong with the classifier's networks and their answers to reference cases; empty for nothing.

        The files may be others by now than those that the server started with.
        """
        server = self._server
        try:
            server.cases.check(server.grpc_url, tls=server.channel_tls, parameters=server.own_parameters)
            server.cases.verify_networks()
        except GlioserveError as error:
            return error.detail
        return ""
