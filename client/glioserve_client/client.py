"""The gRPC client: one call from a study to a typed answer, always under a deadline."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any

import grpc

from glioserve_client.calls.attempts import CONCURRENCY, PROBE_TIMEOUT_S, RETRIED, Attempts, Waiting
from glioserve_client.calls.results import Drawn, Outcome, PredictionFuture, ServerInfo
from glioserve_client.calls.settings import Metadata, positive
from glioserve_client.calls.shell import Shell
from glioserve_client.calls.stop import Stop
from glioserve_client.connect.channels import Channels, status_of
from glioserve_client.prediction import Prediction
from glioserve_client.study import Study, checked_study
from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.tensors import ENSEMBLE

__all__ = ["PROBE_TIMEOUT_S", "RETRIED", "GliomaClient"]

_MOST_SUBMITTED = 64
"""Threads of :meth:`GliomaClient.submit`; further studies wait for one."""


class GliomaClient(Shell):
    """A glioserve server at ``url``; use it as a context manager, or :meth:`close` it.

    One client serves any number of threads; keep it, a connection is worth reusing. It does not survive a fork:
    make one per process. :class:`AsyncGliomaClient` has the same methods for asyncio.

    Args:
        url: gRPC target, ``host:port`` or ``dns:///host:port``.
        timeout_s: deadline of a call, all its attempts included. There is always one.
        tls: None for plain text, which only a trusted network may carry.
        retry: the pauses between attempts where no server could take the study, and a bound on their number;
            by default a study is sent again until its deadline.
        model_name: the ensemble.
        identified: send DICOM as it is, names and all. The server's operator must have allowed it.
        headers: gRPC metadata of every call (``authorization``, ``traceparent``).
        connection: the channel; the environment's ``http_proxy`` is ignored unless it says otherwise.
        token: returns the token of the moment, sent as ``authorization: Bearer``. It is asked before each attempt, by
            any thread, so that it keeps a token as long as that is valid.
        shared_memory: file with the operator's token, for a server on this host that takes volumes by shared memory;
            by default they travel as any study does.
        caller: this service's name, for the server's count of studies by caller, where its operator has named it; a
            gateway that proves who calls puts its own word in the place of this one.
        metrics: registry of prometheus-client for the client's metrics; clients may share one.
        transport: opens the channels in place of gRPC, in tests (:mod:`glioserve_client.testing`).

    Raises:
        ValueError: an argument is malformed.
        InvalidTlsError: a TLS file cannot be read or used.
    """

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._channels = Channels(self._settings, self._transport.channel, lambda c: c.close(), self._closed_error)

    def predict(
        self,
        study: Study,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
        heatmap: bool = True,
        series: Mapping[Modality, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Prediction:
        """Send ``study`` and return the answer.

        Args:
            study: DICOM files or volumes.
            timeout_s: this call's deadline instead of the client's: one budget for de-identification, all
                attempts and the pauses between them.
            request_id: shows up in the server's logs and traces, so never patient data; random by default.
            heatmap: False spares the server the heat map and the network its voxels.
            series: which series of a DICOM study stands for a sequence, where headers cannot tell or are wrong:
                its own SeriesInstanceUID, or ``UID#part`` for one stack of it (a report names parts).
            headers: more gRPC metadata for this call.

        Returns:
            The answer, checked against the contract and against itself.

        Raises:
            GlioserveError: the leaf of :mod:`glioserve_client.errors` that fits, with ``request_id`` and ``attempts``.
            TypeError: ``study`` is not a study.
            ValueError: an argument is malformed.
            RuntimeError: the client is closed, before the call or during it.
        """
        self._check_usable()
        checked_study(study)
        attempts = Attempts(
            self._settings, timeout_s=timeout_s, request_id=request_id, heatmap=heatmap, headers=headers
        )
        return self._run(study, series, attempts, Stop())

    def submit(
        self,
        study: Study,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
        heatmap: bool = True,
        series: Mapping[Modality, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> PredictionFuture:
        """Start :meth:`predict` in a thread of the client and return its future, which can be cancelled."""
        checked_study(study)
        return self._started(
            study, timeout_s=timeout_s, request_id=request_id, heatmap=heatmap, series=series, headers=headers
        )

    def predict_many(
        self,
        studies: Iterable[Study | Callable[[], Study]],
        *,
        concurrency: int = CONCURRENCY,
        progress: Callable[[int], object] | None = None,
        timeout_s: float | None = None,
        heatmap: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[Outcome]:
        """Send many studies, a few at a time, and yield each result as it comes, failures among them.

        ``studies`` is drawn from as there is room, so a generator holds only those under way in memory. Studies that
        are still under way when the iterator is closed are cancelled.

        Args:
            studies: the studies, or functions that read one: what they raise is that study's outcome.
            concurrency: most studies under way at one time.
            progress: called with the number of studies that are done, after each.
            timeout_s: deadline of each study, from when it is started.
            heatmap: as of :meth:`predict`.
            headers: as of :meth:`predict`.

        Yields:
            Outcomes in the order in which the studies are done; ``index`` is a study's place among those given.
        """
        waiting = Drawn(studies, concurrency, progress)
        under_way: dict[Future[Prediction], int] = {}
        done, drawn = 0, waiting.next()
        try:
            while drawn is not None or under_way:
                while drawn is not None and len(under_way) < concurrency:
                    started = self._started(drawn[1], timeout_s=timeout_s, heatmap=heatmap, headers=headers)
                    under_way[started] = drawn[0]
                    drawn = waiting.next()
                for finished in wait(under_way, return_when=FIRST_COMPLETED).done:
                    done += 1
                    if progress is not None:
                        progress(done)
                    yield Outcome.of(under_way.pop(finished), finished)
            waiting.check()
        finally:
            for future in under_way:
                future.cancel()

    def ready(self, *, timeout_s: float = PROBE_TIMEOUT_S) -> bool:
        """Return whether the server can be reached and serves the model now.

        It is False for any reason, wrong credentials too, which :meth:`wait_until_ready` and :meth:`server_info` raise.
        """
        return self._probe(positive(timeout_s)) is None

    def is_ready(self, *, timeout_s: float = PROBE_TIMEOUT_S) -> bool:
        """Return :meth:`ready`, of which this is the earlier name."""
        return self.ready(timeout_s=timeout_s)

    def wait_until_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until the server is :meth:`ready`.

        Args:
            timeout_s: longest time to wait.

        Raises:
            UnavailableError: the model was not ready in time; the message has the last reason.
            GlioserveError: at once, where waiting changes nothing: wrong credentials (GLIO-4106, GLIO-4109, GLIO-4110),
                an address or TLS setting that does not fit (GLIO-4107, GLIO-4108), a misspelt model (GLIO-4106),
                another program at the port (GLIO-4105).
            ValueError: ``timeout_s`` is not a positive number.
        """
        waiting = Waiting(timeout_s, PROBE_TIMEOUT_S)
        while (problem := self._probe(waiting.probe_timeout_s())) is not None:
            time.sleep(waiting.pause_after(problem))

    def server_info(self, *, timeout_s: float = PROBE_TIMEOUT_S) -> ServerInfo:
        """Return what the server and its model say of themselves. Raises GlioserveError as :meth:`predict` does."""
        positive(timeout_s)
        server = self._call("ServerMetadata", timeout_s)
        model = self._call("ModelMetadata", timeout_s, self.model_name)
        return ServerInfo(
            server.name, server.version, model.name, tuple(model.versions), self._probe(timeout_s) is None
        )

    def close(self) -> None:
        """Close the channel; calls under way end with the error that the client is closed. Closing twice is fine."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            under_way, pool = list(self._under_way), self._pool
        for stop in under_way:
            stop.set(self._closed_error())
        for channel in self._channels.close():
            channel.close()
        if self._regions is not None:
            self._regions.close()
        if pool is not None:
            pool.shutdown(wait=False)

    def __enter__(self) -> GliomaClient:
        self._check_usable()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _started(
        self,
        study: Study | Callable[[], Study],
        *,
        series: Mapping[Modality, str] | None = None,
        request_id: str | None = None,
        timeout_s: float | None,
        heatmap: bool,
        headers: Mapping[str, str] | None,
    ) -> PredictionFuture:
        """Start a call in a thread of the client; a function is called there for its study."""
        self._check_usable()
        attempts = Attempts(
            self._settings, timeout_s=timeout_s, request_id=request_id, heatmap=heatmap, headers=headers
        )
        stop = Stop()
        future = PredictionFuture(stop)

        def work() -> None:
            try:
                loaded = study() if callable(study) else study
                checked_study(loaded)
                attempts.start()
                future.settle(self._run(loaded, series, attempts, stop))
            except BaseException as error:  # noqa: BLE001 - the future has it
                future.settle(error=error)

        with self._lock:
            self._pool = self._pool or ThreadPoolExecutor(_MOST_SUBMITTED, "glioserve-client")
            self._pool.submit(work)
        return future

    def _run(self, study: Study, series: Mapping[Modality, str] | None, attempts: Attempts, stop: Stop) -> Prediction:
        with attempts.telling(), self._stoppable(stop):
            attempts.prepared(self._encoded(study, series, attempts, stop), self._regions)
            while True:
                try:
                    return attempts.prediction(self._infer(*attempts.next_message(), stop))
                except GlioserveError as error:
                    stop.pause(attempts.pause_after(error))

    def _infer(self, content: bytes, timeout_s: float, metadata: Metadata, stop: Stop) -> bytes:
        stop.check()
        with self._channels.methods() as methods:
            try:
                call = methods.infer.future(content, timeout=timeout_s, metadata=metadata)
            except ValueError:  # grpc's word for a closed channel
                raise self._closed_error() from None
            stop.on_set(call.cancel)
            try:
                answer: bytes = call.result()
                return answer
            except (grpc.RpcError, grpc.FutureCancelledError) as error:
                stop.check()
                raise self._settings.failure(*status_of(call)) from error
            finally:
                stop.on_set(None)
                call.cancel()  # where an interrupt left it under way

    def _call(self, name: str, timeout_s: float, *model: str) -> Any:
        self._check_usable()
        metadata = self._settings.metadata()
        with self._channels.methods() as methods:
            try:
                return methods.call(name, metadata, timeout_s, *model)
            except grpc.RpcError as error:
                raise self._settings.failure(*status_of(error)) from error
            except ValueError:
                raise self._closed_error() from None

    def _probe(self, timeout_s: float) -> GlioserveError | None:
        """Return what keeps the server from being ready, or None."""
        try:
            if self._call("ModelReady", timeout_s, self.model_name).ready:
                return None
            if self.model_name != ENSEMBLE.name and self._call("ModelReady", timeout_s, ENSEMBLE.name).ready:
                # The server has loaded what it serves. Whether it has ever heard of a model, only its metadata tells.
                self._call("ModelMetadata", timeout_s, self.model_name)
        except GlioserveError as error:
            return error
        return GlioserveError(ErrorCode.NOT_SERVED)

    @contextlib.contextmanager
    def _stoppable(self, stop: Stop) -> Iterator[None]:
        """Let :meth:`close` end the call."""
        with self._lock:
            self._under_way.add(stop)
        try:
            self._check_usable()
            yield
        finally:
            with self._lock:
                self._under_way.discard(stop)
