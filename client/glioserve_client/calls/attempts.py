"""The course of one call without its transport: what is sent, when it is sent again, and what the answer is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

from glioserve_client.calls.message import arrays_of, infer_message
from glioserve_client.calls.settings import Metadata, Settings, checked_request_id, positive
from glioserve_client.options import check_headers
from glioserve_client.prediction import Prediction
from glioserve_client.request import Request
from glioserve_client.shared_memory.regions import Placed, Regions, is_lost
from glioserve_client.telemetry.call import LOG, CallTelemetry
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.tensors import DEADLINE_PARAMETER, ENSEMBLE, HEATMAP, HEATMAP_AFFINE, HEATMAP_PARAMETER

RETRIED = frozenset({ErrorCode.UNAVAILABLE, ErrorCode.NOT_SERVED, ErrorCode.STAGE_LOST, ErrorCode.TOO_MANY_STUDIES})
"""Codes that another attempt may cure: no server, a full queue, a server that drains or that lost a process, a
gateway's rate."""
MOST_LOST = 3
"""Attempts that may each lose a process of the server: a study that ends every process must not go on for ever."""
LOST_PAUSE_S = 3.0
"""Pause after a process was lost, times the number lost so far: the server replaces it within seconds."""
PROBE_TIMEOUT_S = 5.0
"""Longest time that a question for the server's readiness may take."""
_MAY_PASS = frozenset({ErrorCode.INTERNAL})
"""Codes that say nothing of a study's fate at another attempt, and yet may be gone at the next probe: a connection that
broke while the server started has this one."""
CONCURRENCY = 4
"""Studies of ``predict_many`` that are under way at one time."""


class Attempts:
    """One call: its deadline, its identifier, and the count of its attempts. Its errors are those of the clients."""

    def __init__(
        self,
        settings: Settings,
        *,
        timeout_s: float | None,
        request_id: str | None,
        heatmap: bool,
        headers: Mapping[str, str] | None,
    ) -> None:
        if not isinstance(heatmap, bool):
            raise ValueError(f"heatmap must be True or False, not {type(heatmap).__name__}")
        self._settings = settings
        self._timeout_s = settings.timeout_s if timeout_s is None else positive(timeout_s)
        self.identifier = checked_request_id(request_id)
        self._headers = check_headers(headers or {})
        self.telemetry = CallTelemetry(settings.url, self.identifier, settings.counts)
        self._heatmap = heatmap
        self._names = [t.name for t in ENSEMBLE.outputs if heatmap or t not in (HEATMAP, HEATMAP_AFFINE)]
        self._request: Request | None = None
        self._regions: Regions | None = None
        self._placed: Placed | None = None
        self._count = self._lost = 0
        self.start()

    def start(self) -> None:
        """Let the deadline run from now, where the call waited for a thread or for its study to be read."""
        self._started = self._prepared = time.monotonic()
        self._deadline = self._started + self._timeout_s

    def check(self) -> None:
        """Raise DeadlineExceededError while the study is prepared for longer than there is time."""
        if time.monotonic() >= self._deadline:
            detail = "The deadline passed before the study could be sent."
            raise GlioserveError(ErrorCode.DEADLINE_EXCEEDED, detail)

    def prepared(self, request: Request, regions: Regions | None = None) -> None:
        """Take the encoded study; volumes go by shared memory where there are regions."""
        self._request, self._regions = request, regions if request.may_be_shared else None
        self._prepared = time.monotonic()

    def next_message(self) -> tuple[bytes, float, Metadata]:
        """Return the bytes of the next attempt, the seconds that it may take, and its metadata.

        A provider of tokens is asked here, so that each attempt has a token of its own time.
        """
        assert self._request is not None
        self._count += 1
        self.check()
        traced = self.telemetry.begin_attempt()
        metadata = self._settings.metadata(self._headers, traced)
        parameters: dict[str, bool | int | str] = dict(self._request.parameters)
        if not self._heatmap:
            parameters[HEATMAP_PARAMETER] = False
        remaining_s = self._deadline - time.monotonic()
        # Microseconds; queues that honour it drop a late request.
        parameters["timeout"] = max(1, int(remaining_s * 1e6))
        if self._settings.clocks.agree:
            parameters[DEADLINE_PARAMETER] = int((time.time() + remaining_s) * 1000)
        if self._regions is not None and self._placed is None:
            self._placed = self._regions.place(self._request.inputs)
        content = infer_message(
            self._request if self._placed is None else replace(self._request, inputs=self._placed.inputs),
            model_name=self._settings.model_name,
            request_id=self.identifier,
            outputs=self._names,
            parameters=parameters,
        )
        self.telemetry.sent(len(content))
        return content, max(self._deadline - time.monotonic(), 0.001), metadata

    def pause_after(self, error: GlioserveError) -> float:
        """Return the pause before the next attempt; raise the error where another one does not help or is too late."""
        self.telemetry.failed(error)
        pause_s = self._pause_after(error)
        self.telemetry.again(error, pause_s)
        return pause_s

    def _pause_after(self, error: GlioserveError) -> float:
        clocks = self._settings.clocks
        if error.code is ErrorCode.DEADLINE_PASSED and clocks.agree:
            clocks.agree = False  # this call's deadline has not passed, or gRPC would have said so
            LOG.warning("the server's clock is ahead of this one; deadlines are not stated any more")
            return 0.0
        if self._placed is not None and is_lost(self._placed, error) and self._regions is not None:
            self._regions.give_up(self._placed)  # the server was started anew: the next attempt has a new one
            self._placed = None
            self._lost += 1
            if self._lost <= MOST_LOST:
                return 0.0
        if error.code not in RETRIED:
            raise error
        pause_s = self._settings.retry.pause_s(self._count)
        if error.code is ErrorCode.STAGE_LOST:
            self._lost += 1
            pause_s = max(pause_s, LOST_PAUSE_S * self._lost)
        most = self._settings.retry.max_attempts
        last = (most is not None and self._count >= most) or self._lost > MOST_LOST
        if last or time.monotonic() + pause_s >= self._deadline or not self._settings.budget.spend():
            raise error
        return pause_s

    def prediction(self, answer: bytes) -> Prediction:
        """Return the checked answer."""
        assert self._request is not None
        if self._regions is not None and self._placed is not None:
            self._regions.give_back(self._placed)
            self._placed = None
        prediction = Prediction.from_outputs(
            arrays_of(answer, self._names),
            heatmap=self._heatmap,
            request_id=self.identifier,
            attempts=self._count,
            client_warnings=self._request.warnings,
            client_timings_s={
                "prepare": self._prepared - self._started,
                "call": time.monotonic() - self._prepared,
            },
            original_series_uids=self._request.original_series_uids,
        )
        self.telemetry.answered(len(answer), abstained=bool(prediction.abstained_because))
        return prediction

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """Tell of the call, and give an error the call's identifier and its number of attempts."""
        try:
            with self.telemetry.call():
                yield
        except GlioserveError as error:
            error.request_id, error.attempts = self.identifier, self._count
            raise
        finally:
            if self._regions is not None and self._placed is not None:
                self._regions.give_up(self._placed)
                self._placed = None


class Waiting:
    """A wait for the server to be ready: how long a probe may take, and when to give up."""

    def __init__(self, timeout_s: float, probe_timeout_s: float) -> None:
        self._timeout_s = positive(timeout_s)
        self._deadline = time.monotonic() + timeout_s
        self._probe_timeout_s = probe_timeout_s
        self._pause_s = 0.05

    def probe_timeout_s(self) -> float:
        """Return the longest time that the next probe may take."""
        return min(self._probe_timeout_s, max(self._deadline - time.monotonic(), 0.01))

    def pause_after(self, problem: GlioserveError) -> float:
        """Return the pause before the next probe; raise where waiting does not help, or there is no time for one."""
        if not problem.retryable and problem.code not in _MAY_PASS:
            raise problem
        if time.monotonic() + self._pause_s >= self._deadline:
            detail = f"The model is not ready after {self._timeout_s:g} s: {problem.detail}"
            raise GlioserveError(ErrorCode.UNAVAILABLE, detail) from problem
        pause_s, self._pause_s = self._pause_s, min(self._pause_s * 2, 1.0)
        return pause_s
