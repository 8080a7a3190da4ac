"""Results beside a prediction: its future, an outcome among many, and the server's account of itself."""

from __future__ import annotations

import contextlib
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field

from glioserve_client.calls.stop import Stop
from glioserve_client.prediction import Prediction
from glioserve_contract import ErrorCode, GlioserveError


class PredictionFuture(Future[Prediction]):
    """The answer to come. :meth:`cancel` ends the call wherever it is, at the server too."""

    def __init__(self, stop: Stop) -> None:
        super().__init__()
        self._stop = stop

    def cancel(self) -> bool:
        """End the call; return False where it is done already."""
        cancelled = super().cancel()
        if cancelled:
            self._stop.set()
        return cancelled

    def settle(self, prediction: Prediction | None = None, error: BaseException | None = None) -> None:
        """Set the result, unless the future was cancelled meanwhile."""
        with contextlib.suppress(InvalidStateError):
            if prediction is not None:
                self.set_result(prediction)
            else:
                self.set_exception(error)


@dataclass(frozen=True)
class Outcome:
    """One study's result among many: a prediction or an error."""

    index: int
    """Place of the study among those given, from 0."""
    prediction: Prediction | None = None
    error: Exception | None = field(default=None)

    @classmethod
    def of(cls, index: int, future: Future[Prediction]) -> Outcome:
        """Return the outcome of a future that is done."""
        if future.cancelled():
            return cls(index, error=GlioserveError(ErrorCode.CANCELLED, "The call was cancelled by its caller."))
        error = future.exception()
        if error is None:
            return cls(index, future.result())
        if not isinstance(error, Exception):
            raise error
        return cls(index, error=error)

    def result(self) -> Prediction:
        """Return the prediction, or raise the error."""
        if self.prediction is None:
            assert self.error is not None
            raise self.error
        return self.prediction


@dataclass(frozen=True)
class ServerInfo:
    """The server and its model as they describe themselves."""

    server: str
    """Name that the inference server gives itself; glioserve's is that of the run, new at each start."""
    server_version: str
    model: str
    model_versions: tuple[str, ...]
    ready: bool
    """True where the model takes studies now."""
