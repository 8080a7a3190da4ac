"""Types of Triton's Python backend: the part of ``triton_python_backend_utils`` that our models use.

Triton's module exists only inside its stub process and has no types; these protocols describe it.
Source: https://github.com/triton-inference-server/python_backend (``pb_stub.cc``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]


class NamedTensor(Protocol):
    """A named input or output tensor."""

    def name(self) -> str:
        """Return the tensor's name."""

    def as_numpy(self) -> Array:
        """Return the values; strings are ``bytes`` in an array of objects."""


class RequestError(Protocol):
    """Triton's own error, which a response carries to the caller."""

    def code(self) -> int:
        """Return the status."""


class Request(Protocol):
    """One inference request."""

    def is_cancelled(self) -> bool:
        """Return whether the caller has given up."""

    def parameters(self) -> str:
        """Return the request's parameters as a JSON object."""

    def request_id(self) -> str:
        """Return the id that the caller gave the request; empty for none."""

    def requested_output_names(self) -> Iterable[str]:
        """Return the names of the outputs that the caller asks for."""


class Response(Protocol):
    """One inference response: output tensors, or an error. Models make it and look no further."""


class Metric(Protocol):
    """One series of a metric family."""

    def increment(self, value: float) -> None:
        """Add to a counter."""

    def observe(self, value: float) -> None:
        """Add an observation to a histogram."""


class MetricFamily(Protocol):
    """A metric with its help text, whose series differ by their labels."""

    def Metric(self, labels: Mapping[str, str], buckets: Sequence[float] = ...) -> Metric:  # noqa: N802
        """Return a new series; ``buckets`` are for histograms alone."""


class MetricFamilyType(Protocol):
    """The class of metric families."""

    COUNTER: int
    HISTOGRAM: int

    def __call__(self, *, name: str, description: str, kind: int) -> MetricFamily:
        """Return a new family."""


class TritonErrorType(Protocol):
    """The class of Triton's errors, with its statuses."""

    INVALID_ARG: int
    NOT_FOUND: int
    UNAVAILABLE: int
    CANCELLED: int
    UNSUPPORTED: int
    INTERNAL: int

    def __call__(self, message: str, code: int) -> RequestError:
        """Return a new error."""


class Logger(Protocol):
    """The server's log."""

    def log_error(self, message: str) -> None:
        """Write a line of level error."""

    def log_warn(self, message: str) -> None:
        """Write a line of level warning."""


class BackendUtils(Protocol):
    """The module ``triton_python_backend_utils``."""

    Logger: Logger
    MetricFamily: MetricFamilyType
    TritonError: TritonErrorType

    def Tensor(self, name: str, values: Array, /) -> NamedTensor:  # noqa: N802
        """Return a new tensor."""

    def InferenceResponse(  # noqa: N802
        self, output_tensors: Sequence[NamedTensor] = ..., error: RequestError | None = None
    ) -> Response:
        """Return a new response."""

    def get_input_tensor_by_name(self, request: Request, name: str, /) -> NamedTensor | None:
        """Return an input of the request; None where the request lacks it."""
