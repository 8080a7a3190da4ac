"""The Python client of a glioserve server: a DICOM study or volumes in, a typed, explained answer out.

    with GliomaClient("triton:8001") as client:
        prediction = client.predict(DicomStudy.from_directory("study"))
    write_outputs(prediction, "out")

Every failure is an exception of :mod:`glioserve_client.errors`. Not for clinical use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from glioserve_client.calls.aio import AsyncGliomaClient
from glioserve_client.calls.results import Outcome, PredictionFuture, ServerInfo
from glioserve_client.calls.version import __version__
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
from glioserve_client.prediction import Heatmap, Label, Prediction
from glioserve_client.study import DicomStudy, Study, Volume, VolumeStudy
from glioserve_contract import ErrorCode, GlioserveError, Modality

if TYPE_CHECKING:
    from glioserve_client.outputs import WrittenOutputs, summary, write_outputs

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

_OF_OUTPUTS = ("WrittenOutputs", "summary", "write_outputs")
"""Names that are loaded when they are first used: their libraries draw pictures, which not every caller wants."""


def __getattr__(name: str) -> Any:
    if name in _OF_OUTPUTS:
        return getattr(importlib.import_module("glioserve_client.outputs"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
