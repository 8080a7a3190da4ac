"""A transport without a network: channels whose calls are answered in this process, step by step."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import grpc
import grpc.aio

from glioserve_client.connect.tls import TlsOptions
from glioserve_client.options import ConnectionOptions
from glioserve_client.protocol import message, method
from glioserve_client.testing.canned import Answer, Failure
from glioserve_client.testing.requests import ReceivedRequest, received, response

Step = Answer | Failure
_CLOSED = "Cannot invoke RPC on closed channel!"
_Metadata = Iterable[tuple[str, str]] | None
_Message = Any
"""A message of the protocol, or its bytes where no serializer is named."""
_Writer = Callable[[_Message], bytes]
_Reader = Callable[[bytes], _Message]


class FakeTransport:
    """A transport for :class:`GliomaClient` and :class:`AsyncGliomaClient` that needs no server.

    Args:
        steps: what becomes of the inference requests in turn; the last one stays.
        ready: whether the model reports that it is ready. It may be changed.

    Raises:
        ValueError: there is no step.
    """

    def __init__(self, *steps: Step, ready: bool = True) -> None:
        if not steps:
            raise ValueError("a fake transport needs a step: answer(...) or failure(...)")
        self.ready = ready
        self.requests: list[ReceivedRequest] = []
        """Every attempt so far, in the order in which it came."""
        self._steps, self._lock = list(steps), threading.Lock()

    def channel(self, url: str, tls: TlsOptions | None, connection: ConnectionOptions) -> _Channel:
        """Return a stand-in for :class:`grpc.Channel`."""
        return _Channel(self)

    def aio_channel(self, url: str, tls: TlsOptions | None, connection: ConnectionOptions) -> _AioChannel:
        """Return a stand-in for :class:`grpc.aio.Channel`."""
        return _AioChannel(self)

    def take(self, path: str, content: bytes, timeout_s: float, metadata: _Metadata) -> tuple[bytes | Failure, float]:
        """Return the response to a call, or its failure, and the seconds until then. For the channels alone."""
        if path != method("ModelInfer"):
            return self._told(path, content), 0.0
        request = received(content, dict(metadata or ()), timeout_s)
        with self._lock:
            self.requests.append(request)
            step = self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
        if step.delay_s >= timeout_s:
            return Failure("DEADLINE_EXCEEDED", "Deadline Exceeded"), timeout_s
        return step if isinstance(step, Failure) else response(request, step.outputs), step.delay_s

    def _told(self, path: str, content: bytes) -> bytes | Failure:
        if path == method("ModelReady"):
            made = message("ModelReadyResponse")(ready=self.ready)
        elif path == method("ServerMetadata"):
            made = message("ServerMetadataResponse")(name="fake", version="0")
        else:
            name = message("ModelMetadataRequest").FromString(content).name
            if not self.ready:
                return Failure("NOT_FOUND", f"Request for unknown model: '{name}' has no available versions")
            made = message("ModelMetadataResponse")(name=name, versions=["1"], platform="ensemble")
        told: bytes = made.SerializeToString()
        return told


class _Error(grpc.RpcError):
    """The end of a call by a status."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.details)
        self._failure = failure

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode[self._failure.status]

    def details(self) -> str:
        return self._failure.details


class _Call:
    """A call of a synchronous channel: what :class:`grpc.Future` and :class:`grpc.Call` have that the client uses."""

    def __init__(self, outcome: bytes | Failure, delay_s: float, read: _Reader) -> None:
        self._outcome, self._read = outcome, read
        self._due = time.monotonic() + delay_s
        self._cancelled = threading.Event()

    def result(self) -> _Message:
        if self._cancelled.wait(max(self._due - time.monotonic(), 0.0)):
            raise grpc.FutureCancelledError
        if isinstance(self._outcome, Failure):
            raise _Error(self._outcome)
        return self._read(self._outcome)

    def cancel(self) -> bool:
        self._cancelled.set()
        return True

    def code(self) -> grpc.StatusCode:
        if self._cancelled.is_set():
            return grpc.StatusCode.CANCELLED
        return grpc.StatusCode[self._outcome.status] if isinstance(self._outcome, Failure) else grpc.StatusCode.OK

    def details(self) -> str:
        return self._outcome.details if isinstance(self._outcome, Failure) else ""


class _Method:
    """A method of a synchronous channel."""

    def __init__(self, channel: _Channel, path: str, write: _Writer | None, read: _Reader | None) -> None:
        self._channel, self._path = channel, path
        self._write, self._read = write or bytes, read or bytes

    def __call__(self, request: _Message, timeout: float, metadata: _Metadata = None) -> _Message:
        return self.future(request, timeout, metadata).result()

    def future(self, request: _Message, timeout: float, metadata: _Metadata = None) -> _Call:
        if self._channel.closed:
            raise ValueError(_CLOSED)
        return _Call(
            *self._channel.transport.take(self._path, self._write(request), timeout, metadata), read=self._read
        )


class _Channel:
    def __init__(self, transport: FakeTransport) -> None:
        self.transport, self.closed = transport, False

    def unary_unary(
        self, path: str, request_serializer: _Writer | None = None, response_deserializer: _Reader | None = None
    ) -> _Method:
        return _Method(self, path, request_serializer, response_deserializer)

    def close(self) -> None:
        self.closed = True


class _AioChannel:
    def __init__(self, transport: FakeTransport) -> None:
        self.transport, self.closed = transport, False

    def unary_unary(
        self, path: str, request_serializer: _Writer | None = None, response_deserializer: _Reader | None = None
    ) -> Callable[..., asyncio.Task[_Message]]:
        write, read = request_serializer or bytes, response_deserializer or bytes

        async def course(request: _Message, timeout_s: float, metadata: _Metadata) -> _Message:
            outcome, delay_s = self.transport.take(path, write(request), timeout_s, metadata)
            await asyncio.sleep(delay_s)
            if isinstance(outcome, Failure):
                raise _Error(outcome)
            return read(outcome)

        def call(request: _Message, timeout: float, metadata: _Metadata = None) -> asyncio.Task[_Message]:
            if self.closed:
                raise grpc.aio.UsageError("Channel is closed.")
            return asyncio.get_running_loop().create_task(course(request, timeout, metadata))

        return call

    async def close(self) -> None:
        self.closed = True
