"""Channels to a server, and the methods that a client calls on them, synchronous or asynchronous alike."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from glioserve_client.calls.settings import Metadata, Settings
from glioserve_client.connect.tls import TlsOptions
from glioserve_client.options import ConnectionOptions
from glioserve_client.protocol import message, method
from glioserve_contract import GlioserveError

Opening = Callable[[str, TlsOptions | None, ConnectionOptions], Any]
_LOG = logging.getLogger("glioserve_client")
_SHARED_MEMORY = ("SystemSharedMemoryRegister", "SystemSharedMemoryUnregister")
_UNARY = ("ModelReady", "ServerMetadata", "ModelMetadata", *_SHARED_MEMORY)


class Methods:
    """The methods of the inference protocol on a channel of :mod:`grpc` or :mod:`grpc.aio`.

    ``infer`` takes and returns bytes; the others take the name of a model, or nothing.
    """

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.infer = channel.unary_unary(method("ModelInfer"))
        self._others = {
            name: channel.unary_unary(
                method(name),
                request_serializer=message(f"{name}Request").SerializeToString,
                response_deserializer=message(f"{name}Response").FromString,
            )
            for name in _UNARY
        }

    def call(self, name: str, metadata: Metadata, timeout_s: float, *model: str) -> Any:
        """Call a method other than ``infer``: return its response, or what an asynchronous channel awaits."""
        return self.send(name, dict(zip(("name",), model, strict=False)), metadata, timeout_s)

    def send(self, name: str, fields: Mapping[str, Any], metadata: Metadata, timeout_s: float) -> Any:
        """Call a method other than ``infer`` with a request of these fields."""
        return self._others[name](message(f"{name}Request")(**fields), timeout=timeout_s, metadata=metadata)


@dataclass(eq=False)
class _Held:
    """A channel's methods, and how many calls use them."""

    methods: Methods
    users: int = 0


class Channels:
    """The channel of a client: opened at the first call, and anew once its TLS files have changed on disk.

    A channel that was replaced is closed when its last call is done. For any number of threads, or one event loop.
    """

    def __init__(
        self, settings: Settings, open_: Opening, retire: Callable[[Any], object], closed: Callable[[], Exception]
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            settings: the client's.
            open_: opens a channel, as a :class:`glioserve_client.connect.transport.Transport` does.
            retire: closes a channel that no call uses any more.
            closed: makes the error of a call after :meth:`close`.
        """
        self._settings, self._open, self._retire, self._closed_error = settings, open_, retire, closed
        self._lock = threading.Lock()
        self._now: _Held | None = None
        self._held: set[_Held] = set()
        self._stamp: object = None
        self._refused: object = None
        self._closed = False

    @contextlib.contextmanager
    def methods(self) -> Iterator[Methods]:
        """Lend the methods for one call. Raises the error of a closed client, and InvalidTlsError as clients do."""
        with self._lock:
            held, unused = self._current()
            held.users += 1
        if unused is not None:
            self._retire(unused)
        try:
            yield held.methods
        finally:
            with self._lock:
                held.users -= 1
                last = held is not self._now and not held.users and held in self._held
                self._held -= {held} if last else set()
            if last:
                self._retire(held.methods.channel)

    def close(self) -> list[Any]:
        """Lend no more methods, and return every channel that is open, for the caller to close."""
        with self._lock:
            self._closed = True
            held, self._held = self._held, set()
            return [each.methods.channel for each in held]

    def _current(self) -> tuple[_Held, Any]:
        """Return what is lent now, and a channel to be closed, or None."""
        if self._closed:
            raise self._closed_error()
        tls, before, unused = self._settings.tls, self._now, None
        stamp = tls.stamp() if tls is not None else None
        if before is not None and stamp in (self._stamp, self._refused):
            return before, None
        try:
            if before is not None and tls is not None:
                tls.check_files()
            now = _Held(Methods(self._open(self._settings.url, tls, self._settings.connection)))
        except (GlioserveError, OSError) as error:
            if before is None:
                raise
            _LOG.warning("changed TLS files are not taken, the earlier ones stay: %s", type(error).__name__)
            self._refused = stamp
            return before, None
        if before is not None:
            _LOG.info("the TLS files have changed; later calls have a new connection")
            if not before.users:
                self._held.discard(before)
                unused = before.methods.channel
        self._now, self._stamp = now, stamp
        self._held.add(now)
        return now, unused


def status_of(error: Any) -> tuple[str, str]:
    """Return the status' name and details of a failed call."""
    code = error.code()
    return (code.name if code is not None else "", error.details() or "")
