"""Connections of this package to a server: in plain text, or by TLS with credentials that are held in memory.

Certificates may be replaced on disk while a server runs on those that it read at its start; credentials in memory stay
the ones that fit it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import grpc
import tritonclient.grpc as triton


@dataclass(frozen=True)
class ChannelTls:
    """TLS towards a server that asks for it; PEM texts."""

    root_certificates: bytes | None = None
    """Certificates that are trusted: the authorities', or the server's own; None: the roots that gRPC brings."""
    private_key: bytes | None = field(default=None, repr=False)
    """The caller's private key, for mutual TLS."""
    certificate_chain: bytes | None = None
    """The caller's certificate chain, for mutual TLS."""
    server_name: str | None = None
    """The name in the server's certificate where it differs from the URL's host."""


_ARGUMENTS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # gRPC's own second between attempts to connect would be most of a small server's start.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    # Servers come and go on reused ports: no channel may be shared with one to an earlier server.
    ("grpc.use_local_subchannel_pool", 1),
)


def open_client(url: str, tls: ChannelTls | None = None) -> triton.InferenceServerClient:
    """Return a client of the server at ``url``; ``tls`` None is plain text, for this machine or a trusted network."""
    arguments, credentials = list(_ARGUMENTS), None
    if tls is not None:
        credentials = grpc.ssl_channel_credentials(tls.root_certificates, tls.private_key, tls.certificate_chain)
        if tls.server_name is not None:
            arguments.append(("grpc.ssl_target_name_override", tls.server_name))
    return triton.InferenceServerClient(url, creds=credentials, channel_args=arguments)
