"""Explain why no connection can be made: whether waiting may help, or the address or a TLS setting has to be corrected.

gRPC says of most such faults that a socket was closed. So a port that took a connection and closed it is asked once
more, with nothing but the opening bytes of each protocol, for the reason.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from dataclasses import dataclass

from glioserve_client.options import TlsOptions
from glioserve_contract import ErrorCode, GlioserveError

LOOK_TIMEOUT_S = 2.0
"""Bound on each of the connections that a look makes, three at most."""
_UNTRUSTED = re.compile(r"CERTIFICATE_VERIFY_FAILED: (?P<why>[^:]*)")
_NAME = re.compile(r"Hostname Verification Check failed|not in peer certificate", re.IGNORECASE)
_WORTH_A_LOOK = re.compile(
    r"Socket closed|[Hh]andshake|reset by peer|WRONG_VERSION_NUMBER|GOAWAY|End of TCP stream|"
    r"parsing HTTP/2|Unwrap failed"
)
_TARGET = re.compile(r"(?:dns://[^/]*/|dns:|ipv4:|ipv6:)?(?P<host>\[[^\]]+\]|[^:/]+):(?P<port>\d+)")
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_HTTP1_REQUEST = b"GET / HTTP/1.1\r\nHost: glioserve\r\nConnection: close\r\n\r\n"
_SETTINGS = 4
_HANDSHAKE_RECORD, _CERTIFICATE_REQUEST, _SERVER_HELLO_DONE = 22, 13, 14
_LONGEST_HELLO = 1 << 18
_CLIENT_ALERTS = re.compile(
    r"ALERT_(?:CERTIFICATE|BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|UNKNOWN_CA|HANDSHAKE_FAILURE)"
)


def connection_fault(url: str, tls: TlsOptions | None, text: str) -> GlioserveError | None:
    """Return GLIO-4108 where a connection to ``url`` failed for a reason that waiting does not change, else None.

    Args:
        url: gRPC target that could not be reached.
        tls: how it was to be reached.
        text: gRPC's own words on the failure.
    """
    if (untrusted := _UNTRUSTED.search(text)) is not None:
        return _mismatch(
            f"The server's certificate is not trusted: {untrusted['why']}.",
            "Name the file of the authority that signed it (root_certificates, --tls-ca); an expired one the operator "
            "replaces.",
        )
    if _NAME.search(text):
        return _mismatch(
            "The server's certificate is for another name than the address has.",
            "Use the name that the certificate is for, or give it apart (server_name, --tls-server-name).",
        )
    target = _TARGET.fullmatch(url)
    if target is None or not _WORTH_A_LOOK.search(text):
        return None
    address = (target["host"].strip("[]"), int(target["port"]))
    with contextlib.suppress(OSError):
        return _fault_in_clear(address) if tls is None else _fault_by_tls(address, tls)
    return None


def _fault_in_clear(address: tuple[str, int]) -> GlioserveError | None:
    if _speaks_http2(address):
        return None
    if (fault := _fault_of_http1(address)) is not None:
        return fault
    if _look_by_tls(address, None).shook_hands:
        return _mismatch("The server speaks TLS only.", "Connect by TLS (tls=TlsOptions(...), --tls, --tls-ca).")
    return None


def _fault_by_tls(address: tuple[str, int], tls: TlsOptions) -> GlioserveError | None:
    look = _look_by_tls(address, tls)
    if look.served:
        return None
    if look.alert or _asks_for_certificate(address):
        if tls.certificate_chain is None:
            return _mismatch(
                "The server asks for a client's certificate, and none was given.",
                "Name the certificate and its key (certificate_chain and private_key; --tls-cert and --tls-key).",
            )
        reason = f" ({look.alert.lower().replace('_', ' ')})" if look.alert else ""
        return _mismatch(
            f"The server does not take the client's certificate{reason}.",
            "Use a certificate that has not expired and was signed by an authority that the server trusts.",
        )
    if look.shook_hands:
        return None
    if _speaks_http2(address):
        return _mismatch("The server speaks no TLS.", "Connect in plain text, or have the server's TLS turned on.")
    return _fault_of_http1(address)


def _fault_of_http1(address: tuple[str, int]) -> GlioserveError | None:
    if not _reply(address, _HTTP1_REQUEST).startswith(b"HTTP/1."):
        return None
    return _mismatch(
        f"Port {address[1]} is an HTTP port, not a gRPC port.", "Name the gRPC port (8001, where nothing else was set)."
    )


def _speaks_http2(address: tuple[str, int]) -> bool:
    reply = _reply(address, _HTTP2_PREFACE)
    return len(reply) > 3 and reply[3] == _SETTINGS


def _reply(address: tuple[str, int], opening: bytes) -> bytes:
    """Return the first bytes that the port answers to ``opening``; nothing where it closes."""
    with socket.create_connection(address, LOOK_TIMEOUT_S) as connection:
        connection.settimeout(LOOK_TIMEOUT_S)
        with contextlib.suppress(OSError):
            connection.sendall(opening)
            return connection.recv(16)
    return b""


@dataclass(frozen=True)
class _Look:
    """Result of a TLS handshake that trusts any server and sends nothing of the caller's."""

    shook_hands: bool = False
    served: bool = False
    """The server went on after the handshake."""
    alert: str = ""
    """The server's complaint about the client's certificate."""


def _look_by_tls(address: tuple[str, int], tls: TlsOptions | None) -> _Look:
    context = _trusting_context()
    if tls is not None:
        tls.identify(context)
    shook_hands = False
    with socket.create_connection(address, LOOK_TIMEOUT_S) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=(tls and tls.server_name) or address[0]) as wrapped:
                shook_hands = True
                wrapped.sendall(_HTTP2_PREFACE)
                # TLS 1.3 complains about the client's certificate only now.
                return _Look(shook_hands, served=bool(wrapped.recv(16)))
        except ssl.SSLError as error:
            if _CLIENT_ALERTS.search(error.reason or ""):
                return _Look(shook_hands, alert=(error.reason or "").partition("ALERT_")[2])
        except OSError:  # closed or silent
            pass
    return _Look(shook_hands)


def _asks_for_certificate(address: tuple[str, int]) -> bool:
    """Return whether the server asks for a client's certificate. TLS 1.2 says so in clear; gRPC only closes."""
    context = _trusting_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(received, to_send, server_hostname=address[0]).do_handshake()
    seen = b""
    with socket.create_connection(address, LOOK_TIMEOUT_S) as connection:
        connection.settimeout(LOOK_TIMEOUT_S)
        with contextlib.suppress(OSError):
            connection.sendall(to_send.read())
            while not {_CERTIFICATE_REQUEST, _SERVER_HELLO_DONE} & set(_handshake_messages(seen)):
                block = connection.recv(1 << 14)
                if not block or len(seen) > _LONGEST_HELLO:
                    break
                seen += block
    return _CERTIFICATE_REQUEST in _handshake_messages(seen)


def _handshake_messages(stream: bytes) -> list[int]:
    """Return the types of the handshake's messages in a TLS 1.2 stream, as far as they are in clear."""
    messages = b""
    while len(stream) > 5 and stream[0] == _HANDSHAKE_RECORD:
        length = int.from_bytes(stream[3:5], "big")
        messages, stream = messages + stream[5 : 5 + length], stream[5 + length :]
    types = []
    while len(messages) >= 4:
        types.append(messages[0])
        messages = messages[4 + int.from_bytes(messages[1:4], "big") :]
    return types


def _trusting_context() -> ssl.SSLContext:
    """Return a context for a look only: the server's own identity was gRPC's to judge."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def _mismatch(detail: str, action: str) -> GlioserveError:
    return GlioserveError(ErrorCode.CONNECTION_MISMATCH, detail, action)
