"""Sources of predictions: a network on this machine, or a live server, each with its own kind of workers."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from glioserve_client import DicomStudy, GliomaClient, TlsOptions
from glioserve_contract.limits import DEFAULT_TIMEOUT_S
from glioserve_contract.tensors import ENSEMBLE
from glioserve_evaluation.runs.prediction import CasePrediction, ModelFacts, Predictor, prediction_of
from glioserve_evaluation.runs.predictors import OfflinePredictor, open_offline, start_worker
from glioserve_preprocess.pipeline import available_cores

READY_TIMEOUT_S = 60.0
"""Time for a server that is only starting to become ready."""


class PredictionSource(Protocol):
    """A source of predictions."""

    @property
    def model(self) -> ModelFacts | None:
        """The network's facts; None where each answer brings them."""

    def opened(self) -> AbstractContextManager[tuple[Predictor, Executor | None]]:
        """Return the predictor and what runs it; no executor means one study after the other."""


@dataclass(frozen=True)
class OfflineSource:
    """An artifact or exported version; several workers are processes, each with its share of the cores."""

    predictor: OfflinePredictor
    model: ModelFacts
    workers: int
    threads: int | None

    @contextmanager
    def opened(self) -> Iterator[tuple[Predictor, Executor | None]]:
        """Yield the predictor and the processes that run it."""
        if self.workers == 1:
            yield self.predictor, None
            return
        # Spawned, not forked: the threads of ITK and ONNX Runtime do not survive a fork.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.workers, context, start_worker, (self.threads,)) as pool:
            yield self.predictor, pool


def open_offline_source(network: Path, workers: int = 1) -> OfflineSource:
    """Return the network in a folder as a source, its files checked; errors are those of :func:`open_offline`."""
    threads = None if workers == 1 else max(1, available_cores() // workers)
    predictor = open_offline(network, threads)
    return OfflineSource(predictor, predictor.model, workers, threads)


@dataclass(frozen=True)
class ServerSource:
    """A live server, which names with each answer the network that gave it; workers are threads of one client."""

    url: str
    workers: int = 1
    timeout_s: float = DEFAULT_TIMEOUT_S
    """Time for one study."""
    tls: TlsOptions | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """gRPC metadata of every call, such as a gateway's token."""
    caller: str | None = None
    """Name by which the server counts the studies."""
    model_name: str = ENSEMBLE.name
    identified: bool = False
    """Send the DICOM files as they are, names included."""

    @property
    def model(self) -> None:
        """Return None, since each answer brings its network's facts."""

    @contextmanager
    def opened(self) -> Iterator[tuple[Predictor, Executor | None]]:
        """Yield the predictor and what runs it; GLIO-4101 where the server does not become ready."""
        with GliomaClient(
            self.url,
            timeout_s=self.timeout_s,
            tls=self.tls,
            headers=self.headers,
            caller=self.caller,
            model_name=self.model_name,
            identified=self.identified,
        ) as client:
            client.wait_until_ready(READY_TIMEOUT_S)
            if self.workers == 1:
                yield LivePredictor(client), None
                return
            with ThreadPoolExecutor(self.workers) as pool:
                yield LivePredictor(client), pool


@dataclass(frozen=True)
class LivePredictor:
    """A predictor that asks a server; it de-identifies as the client does."""

    client: GliomaClient

    def __call__(self, study: Path) -> CasePrediction:
        """Read a study, send it, and return the answer's part that an evaluation uses."""
        answer = self.client.predict(DicomStudy.from_directory(study), heatmap=False)
        return prediction_of(answer.report, "server", answer.model.version)
