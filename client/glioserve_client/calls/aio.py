"""The client for asyncio: the same methods as the synchronous one, and the same course of a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any

import grpc
import grpc.aio

from glioserve_client.calls.attempts import CONCURRENCY, PROBE_TIMEOUT_S, Attempts, Waiting
from glioserve_client.calls.results import Drawn, Outcome, ServerInfo
from glioserve_client.calls.settings import Metadata, positive
from glioserve_client.calls.shell import Shell
from glioserve_client.calls.stop import Stop
from glioserve_client.connect.channels import Channels, status_of
from glioserve_client.prediction import Prediction
from glioserve_client.study import Study, checked_study
from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.tensors import ENSEMBLE


class AsyncGliomaClient(Shell):
    """A glioserve server at ``url``, for asyncio; use it as an asynchronous context manager, or :meth:`close` it.

    It belongs to the event loop in which it is first used. De-identification runs in threads, so the loop goes on.
    Arguments and errors are those of :class:`glioserve_client.GliomaClient`.
    """

    def _begin(self) -> None:
        # Opened at the first call: asyncio's channel belongs to that call's loop.
        self._channels = Channels(self._settings, self._transport.aio_channel, self._retire, self._closed_error)
        self._retiring: set[asyncio.Task[None]] = set()

    async def predict(
        self,
        study: Study,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
        heatmap: bool = True,
        series: Mapping[Modality, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Prediction:
        """Send ``study`` and return the answer; cancelling the task ends the call, at the server too."""
        self._check_usable()
        checked_study(study)
        attempts = Attempts(
            self._settings, timeout_s=timeout_s, request_id=request_id, heatmap=heatmap, headers=headers
        )
        stop = Stop()
        self._under_way.add(stop)
        try:
            with attempts.telling():
                request = await asyncio.to_thread(self._encoded, study, series, attempts, stop)
                attempts.prepared(request, self._regions)
                while True:
                    try:
                        answer = await self._infer(*await asyncio.to_thread(attempts.next_message), stop)
                        return attempts.prediction(answer)
                    except GlioserveError as error:
                        await asyncio.sleep(attempts.pause_after(error))
                        stop.check()
        finally:
            stop.set()
            self._under_way.discard(stop)

    async def submit(
        self,
        study: Study,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
        heatmap: bool = True,
        series: Mapping[Modality, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> asyncio.Task[Prediction]:
        """Start :meth:`predict` and return its task, which can be cancelled."""
        self._check_usable()
        checked_study(study)
        call = self.predict(
            study, timeout_s=timeout_s, request_id=request_id, heatmap=heatmap, series=series, headers=headers
        )
        return asyncio.create_task(call)

    async def predict_many(
        self,
        studies: Iterable[Study | Callable[[], Study]],
        *,
        concurrency: int = CONCURRENCY,
        progress: Callable[[int], object] | None = None,
        timeout_s: float | None = None,
        heatmap: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Outcome]:
        """Send many studies, a few at a time, and yield each result as it comes, failures among them.

        As :meth:`glioserve_client.GliomaClient.predict_many`; functions that read a study run in threads.
        """
        waiting = Drawn(studies, concurrency, progress)
        under_way: set[asyncio.Task[Outcome]] = set()
        done, drawn = 0, waiting.next()
        try:
            while drawn is not None or under_way:
                while drawn is not None and len(under_way) < concurrency:
                    under_way.add(asyncio.create_task(self._outcome(*drawn, timeout_s, heatmap, headers)))
                    drawn = waiting.next()
                finished, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for task in finished:
                    done += 1
                    if progress is not None:
                        progress(done)
                    yield task.result()
            waiting.check()
        finally:
            for task in under_way:
                task.cancel()

    async def ready(self, *, timeout_s: float = PROBE_TIMEOUT_S) -> bool:
        """Return whether the server can be reached and serves the model now; False for any reason."""
        return await self._probe(positive(timeout_s)) is None

    async def is_ready(self, *, timeout_s: float = PROBE_TIMEOUT_S) -> bool:
        """Return :meth:`ready`, of which this is the earlier name."""
        return await self.ready(timeout_s=timeout_s)

    async def wait_until_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until the server is :meth:`ready`, for ``timeout_s`` at most; raise UnavailableError then.

        What waiting does not change is raised at once, as by :meth:`glioserve_client.GliomaClient.wait_until_ready`.
        """
        waiting = Waiting(timeout_s, PROBE_TIMEOUT_S)
        while (problem := await self._probe(waiting.probe_timeout_s())) is not None:
            await asyncio.sleep(waiting.pause_after(problem))

    async def server_info(self, *, timeout_s: float = PROBE_TIMEOUT_S) -> ServerInfo:
        """Return what the server and its model say of themselves. Raises GlioserveError as :meth:`predict` does."""
        positive(timeout_s)
        server = await self._call("ServerMetadata", timeout_s)
        model = await self._call("ModelMetadata", timeout_s, self.model_name)
        ready = await self._probe(timeout_s) is None
        return ServerInfo(server.name, server.version, model.name, tuple(model.versions), ready)

    async def close(self) -> None:
        """Close the channel; calls under way end with the error that the client is closed. Closing twice is fine."""
        if self._closed:
            return
        self._closed = True
        for stop in list(self._under_way):
            stop.set(self._closed_error())
        for channel in self._channels.close():
            await channel.close()
        if self._regions is not None:
            await asyncio.to_thread(self._regions.close)

    async def __aenter__(self) -> AsyncGliomaClient:
        self._check_usable()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _outcome(
        self,
        index: int,
        study: Study | Callable[[], Study],
        timeout_s: float | None,
        heatmap: bool,
        headers: Mapping[str, str] | None,
    ) -> Outcome:
        try:
            loaded = await asyncio.to_thread(study) if callable(study) else study
            return Outcome(index, await self.predict(loaded, timeout_s=timeout_s, heatmap=heatmap, headers=headers))
        except Exception as error:  # noqa: BLE001 - one study's failure is its own
            return Outcome(index, error=error)

    async def _infer(self, content: bytes, timeout_s: float, metadata: Metadata, stop: Stop) -> bytes:
        stop.check()
        with self._channels.methods() as methods:
            call = methods.infer(content, timeout=timeout_s, metadata=metadata)
            stop.on_set(call.cancel)
            try:
                answer: bytes = await call
                return answer
            except grpc.RpcError as error:
                stop.check()
                raise self._settings.failure(*status_of(error)) from error
            except (asyncio.CancelledError, grpc.aio.UsageError):
                stop.check()  # the client was closed; else the caller's task was cancelled
                raise
            finally:
                stop.on_set(None)
                call.cancel()

    async def _call(self, name: str, timeout_s: float, *model: str) -> Any:
        self._check_usable()
        metadata = await asyncio.to_thread(self._settings.metadata)
        with self._channels.methods() as methods:
            try:
                return await methods.call(name, metadata, timeout_s, *model)
            except grpc.RpcError as error:
                raise self._settings.failure(*status_of(error)) from error

    async def _probe(self, timeout_s: float) -> GlioserveError | None:
        """Return what keeps the server from being ready, or None."""
        try:
            if (await self._call("ModelReady", timeout_s, self.model_name)).ready:
                return None
            if self.model_name != ENSEMBLE.name and (await self._call("ModelReady", timeout_s, ENSEMBLE.name)).ready:
                await self._call("ModelMetadata", timeout_s, self.model_name)
        except GlioserveError as error:
            return error
        return GlioserveError(ErrorCode.NOT_SERVED)

    def _retire(self, channel: Any) -> None:
        closing = asyncio.get_running_loop().create_task(channel.close())
        self._retiring.add(closing)
        closing.add_done_callback(self._retiring.discard)
