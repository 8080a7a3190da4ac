"""Results beside a prediction: its future, an outcome among many, and the server's account of itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any

from glioserve_client.calls.stop import Stop
from glioserve_client.prediction import Prediction
from glioserve_client.study import DicomStudy, VolumeStudy
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


class Drawn:
    """Studies with their numbers, drawn from a caller's iterable one by one.

    Where the iterable fails it ends: the studies that are under way are answered before its error is raised.
    """

    def __init__(self, studies: Iterable[Any], concurrency: int, progress: object) -> None:
        """Begin, with the other arguments of ``predict_many`` checked.

        Raises:
            TypeError: one study, what is not iterable, or an argument of another type.
            ValueError: ``concurrency`` is less than 1.
        """
        if isinstance(concurrency, bool) or not isinstance(concurrency, int):
            raise TypeError(f"concurrency must be a whole number, not {type(concurrency).__name__}")
        if concurrency < 1:
            raise ValueError("concurrency must be 1 or more")
        if progress is not None and not callable(progress):
            raise TypeError(f"progress must be a function of the number of studies done, not {type(progress).__name__}")
        one = isinstance(studies, str | bytes | DicomStudy | VolumeStudy)
        if one or not isinstance(studies, Iterable):
            kind = type(studies).__name__
            raise TypeError(f"predict_many takes several studies, as predict_many([study]), not one {kind}")
        self._studies = enumerate(studies)
        self._error: Exception | None = None

    def next(self) -> tuple[int, Any] | None:
        """Return the next study and its number; None where there is none."""
        if self._error is not None:
            return None
        try:
            return next(self._studies, None)
        except Exception as error:  # noqa: BLE001 - raised by `check`
            self._error = error
            return None

    def check(self) -> None:
        """Raise the error that ended the iterable."""
        if self._error is not None:
            raise self._error


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
