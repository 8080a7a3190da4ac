"""Canary requests: does a model answer at all? Sent to each Python model and, rarely, to the classifier.

A canary holds zeros of the model's own shapes and the parameter that marks the supervisor's own requests. Our Python
models answer it at once, by an error with their process id, and do not count it as a study. Any answer but that of a
dead process shows that the model works, so models of others may be asked too. The classifier has to compute an answer
to the zeros.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from glioserve_contract.errors import DEAD_STAGE, find_code
from glioserve_contract.tensors import CLASSIFIER_MODEL
from glioserve_triton.admin import ServerAdmin


class Outcome(str, Enum):
    """Outcome of one canary."""

    ALIVE = "alive"
    DEAD = "dead"
    """A process of the model is dead, or the model failed in the backend."""
    SILENT = "silent"
    """No answer in time: the model hangs, or all its processes are busy."""
    UNKNOWN = "unknown"
    """The server refused the request before any model saw it: full queue, model not loaded, no connection."""


@dataclass(frozen=True)
class Answer:
    """Outcome of a canary, and the server's words where it failed."""

    outcome: Outcome
    seconds: float
    detail: str = ""

    @property
    def lost(self) -> bool:
        """True where Triton counts the canary among the requests that a backend lost; our models' errors are others."""
        return self.outcome is Outcome.DEAD and find_code(self.detail) is None


def ask(client: triton.InferenceServerClient, model: str, timeout_s: float, parameters: Mapping[str, str]) -> Answer:
    """Send one canary to ``model``, with the parameters of an own request, and return the outcome; never raises."""
    began = time.monotonic()
    computes = model == CLASSIFIER_MODEL.name
    try:
        inputs = _zeros(client.get_model_metadata(model, client_timeout=timeout_s))
        left_s = max(timeout_s - (time.monotonic() - began), 0.01)
        client.infer(model, inputs, parameters=dict(parameters), client_timeout=left_s)
    except InferenceServerException as error:
        outcome = _outcome(error)
        if computes and outcome is Outcome.ALIVE:  # an answer, but not the one that it must be able to give
            outcome = Outcome.DEAD
        return Answer(outcome, time.monotonic() - began, "" if outcome is Outcome.ALIVE else error.message())
    return Answer(Outcome.ALIVE, time.monotonic() - began)


def ask_classifier(
    client: triton.InferenceServerClient, admin: ServerAdmin, timeout_s: float, parameters: Mapping[str, str]
) -> tuple[Answer, bool]:
    """Send one canary to the classifier; return the outcome, and whether the classifier hangs.

    Where a canary is left waiting, executions that end meanwhile are studies that come before it. Where none ends, the
    classifier hangs: a native backend has no process of its own that would tell.
    """
    before = _executions(admin)
    answer = ask(client, CLASSIFIER_MODEL.name, timeout_s, parameters)
    if answer.outcome is Outcome.SILENT and before is not None and _executions(admin) == before:
        return replace(answer, detail=f"it has executed nothing for {timeout_s:g} s, while a canary waits"), True
    return answer, False


def _executions(admin: ServerAdmin) -> int | None:
    try:
        return admin.executions(CLASSIFIER_MODEL.name)
    except InferenceServerException:  # Triton does not answer, which another question finds
        return None


def _outcome(error: InferenceServerException) -> Outcome:
    status, message = (error.status() or "").rpartition(".")[2], error.message() or ""
    if DEAD_STAGE.search(message):
        return Outcome.DEAD
    if status == "DEADLINE_EXCEEDED":
        return Outcome.SILENT
    if status in ("UNAVAILABLE", "NOT_FOUND", "CANCELLED"):
        return Outcome.UNKNOWN
    return Outcome.DEAD if status == "INTERNAL" else Outcome.ALIVE


def _zeros(metadata: object) -> list[triton.InferInput]:
    inputs = []
    for tensor in metadata.inputs:  # type: ignore[attr-defined]
        shape = [1 if size < 0 else int(size) for size in tensor.shape]
        value = triton.InferInput(tensor.name, shape, tensor.datatype)
        dtype = triton_to_np_dtype(tensor.datatype)
        values = np.full(shape, b"{}", dtype=object) if tensor.datatype == "BYTES" else np.zeros(shape, dtype)
        value.set_data_from_numpy(values)
        inputs.append(value)
    return inputs
