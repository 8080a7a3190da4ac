"""Open a client's channels: by gRPC, or in a caller's own tests by :class:`glioserve_client.testing.FakeTransport`."""

from __future__ import annotations

from typing import Any, Protocol

import grpc
import grpc.aio

from glioserve_client.connect.tls import TlsOptions
from glioserve_client.options import ConnectionOptions


class Transport(Protocol):
    """Opens channels: objects with ``unary_unary`` and ``close``, as gRPC's have."""

    def channel(self, url: str, tls: TlsOptions | None, connection: ConnectionOptions) -> Any:
        """Return a channel of the kind of :class:`grpc.Channel`."""

    def aio_channel(self, url: str, tls: TlsOptions | None, connection: ConnectionOptions) -> Any:
        """Return a channel of the kind of :class:`grpc.aio.Channel`."""


class GrpcTransport:
    """Channels of gRPC. Raises OSError where a TLS file cannot be read."""

    def channel(self, url: str, tls: TlsOptions | None, connection: ConnectionOptions) -> grpc.Channel:
        """Return a :class:`grpc.Channel`, which connects when it is first used."""
        options = connection.channel_arguments(tls)
        if tls is None:
            plain = grpc.insecure_channel(url, options=options)
        else:
            plain = grpc.secure_channel(url, grpc.ssl_channel_credentials(*tls.pem), options=options)
        return grpc.intercept_channel(plain, *connection.interceptors)

    def aio_channel(self, url: str, tls: TlsOptions | None, connection: ConnectionOptions) -> grpc.aio.Channel:
        """Return a :class:`grpc.aio.Channel` of the running event loop."""
        options, interceptors = connection.channel_arguments(tls), list(connection.interceptors)
        if tls is None:
            return grpc.aio.insecure_channel(url, options=options, interceptors=interceptors)
        credentials = grpc.ssl_channel_credentials(*tls.pem)
        return grpc.aio.secure_channel(url, credentials, options=options, interceptors=interceptors)
