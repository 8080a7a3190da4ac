"""Channels to a server, and the methods that a client calls on them, synchronous or asynchronous alike."""

from __future__ import annotations

from typing import Any

import grpc

from glioserve_client.calls.settings import Settings
from glioserve_client.protocol import message, method

_UNARY = ("ModelReady", "ServerMetadata", "ModelMetadata")


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

    def call(self, name: str, settings: Settings, timeout_s: float, *model: str) -> Any:
        """Call a method other than ``infer``: return its response, or what an asynchronous channel awaits."""
        request = message(f"{name}Request")(**dict(zip(("name",), model, strict=False)))
        return self._others[name](request, timeout=timeout_s, metadata=tuple(settings.headers.items()))


def open_channel(settings: Settings, module: Any = grpc) -> Methods:
    """Return the methods on a new channel of ``module``: :mod:`grpc` or :mod:`grpc.aio`."""
    options = settings.connection.channel_arguments(settings.tls)
    tls = settings.tls
    if tls is None:
        return Methods(module.insecure_channel(settings.url, options=options))
    files = (tls.root_certificates, tls.private_key, tls.certificate_chain)
    credentials = grpc.ssl_channel_credentials(*(path.read_bytes() if path is not None else None for path in files))
    return Methods(module.secure_channel(settings.url, credentials, options=options))


def status_of(error: Any) -> tuple[str, str]:
    """Return the status' name and details of a failed call."""
    code = error.code()
    return (code.name if code is not None else "", error.details() or "")
