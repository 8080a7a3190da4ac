"""The Python client of a glioserve server: a DICOM study or volumes in, a typed, explained answer out.

    with GliomaClient("triton:8001") as client:
        prediction = client.predict(DicomStudy.from_directory("study"))
    write_outputs(prediction, "out")

Every failure is an exception of :mod:`glioserve_client.errors`. Not for clinical use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from glioserve_client.calls.version import __version__
from glioserve_contract import ErrorCode, GlioserveError, Modality

if TYPE_CHECKING:
    from glioserve_client.calls.aio import AsyncGliomaClient
    from glioserve_client.calls.results import Outcome, PredictionFuture, ServerInfo
    from glioserve_client.client import GliomaClient
    from glioserve_client.errors import (
        CodedError,
        ModelAnswerError,
        ServerError,
        SetUpError,
        StudyError,
        TransportError,
    )
    from glioserve_client.options import NO_RETRY, ConnectionOptions, RetryPolicy, TlsOptions
    from glioserve_client.outputs import WrittenOutputs, summary, write_outputs
    from glioserve_client.prediction import Heatmap, Label, Prediction
    from glioserve_client.study import DicomStudy, Study, Volume, VolumeStudy

__all__ = [
    "NO_RETRY",
    "AsyncGliomaClient",
    "CodedError",
    "ConnectionOptions",
    "DicomStudy",
    "ErrorCode",
    "GliomaClient",
    "GlioserveError",
    "Heatmap",
    "Label",
    "Modality",
    "ModelAnswerError",
    "Outcome",
    "Prediction",
    "PredictionFuture",
    "RetryPolicy",
    "ServerError",
    "ServerInfo",
    "SetUpError",
    "Study",
    "StudyError",
    "TlsOptions",
    "TransportError",
    "Volume",
    "VolumeStudy",
    "WrittenOutputs",
    "__version__",
    "summary",
    "write_outputs",
]

_NAMES_OF = {
    "calls.aio": ("AsyncGliomaClient",),
    "calls.results": ("Outcome", "PredictionFuture", "ServerInfo"),
    "client": ("GliomaClient",),
    "errors": ("CodedError", "ModelAnswerError", "ServerError", "SetUpError", "StudyError", "TransportError"),
    "options": ("NO_RETRY", "ConnectionOptions", "RetryPolicy", "TlsOptions"),
    "outputs": ("WrittenOutputs", "summary", "write_outputs"),
    "prediction": ("Heatmap", "Label", "Prediction"),
    "study": ("DicomStudy", "Study", "Volume", "VolumeStudy"),
}
"""Names by the module that they are loaded from when they are first used: gRPC, pydicom and the libraries that draw
pictures are slow to load, and not every caller needs all of them."""
_HOMES = {name: module for module, names in _NAMES_OF.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    elif name in _NAMES_OF:  # `glioserve_client.errors` without an import of its own
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
