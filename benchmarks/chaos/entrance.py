"""The way into a deployment: the gateway's options, its certificate and key, and clients that use them."""

from __future__ import annotations

import json
import secrets
import socket
import ssl
from pathlib import Path

import grpc

from glioserve_client import GliomaClient, RetryPolicy, TlsOptions
from support.network.pki import SERVER, Authority

HOST = "127.0.0.1"
HEADERS_TIMEOUT_S, UPLOAD_TIMEOUT_S = 4, 10
"""The gateway's bounds on headers and handshakes, and on a whole request: short, for slow callers to meet them."""


class Entrance:
    """A gateway's files in a folder: TLS by an authority of its own, and one caller with a key."""

    def __init__(self, folder: Path, port: int, status_port: int) -> None:
        self.port, self.status_port = port, status_port
        self._live, self._staged = folder / "live", folder / "staged"
        for made in (self._live, self._staged):
            made.mkdir(parents=True)
        self._authority = Authority(folder, "authority")
        self.key = secrets.token_urlsafe(32)
        (folder / "keys").write_text(f"chaos:{self.key}\n")
        self.install_certificate()
        self.options_file = folder / "gateway.yaml"
        options = {
            "listen": {"host": HOST, "port": port},
            "status": {"host": HOST, "port": status_port},
            "tls": {"certificate": str(self._live / "server.pem"), "private_key": str(self._live / "server.key")},
            "api_keys_file": str(folder / "keys"),
            "rate": {"studies_per_minute": 1_000_000, "burst": 1_000_000},
            "timeouts": {"headers_s": HEADERS_TIMEOUT_S, "upload_s": UPLOAD_TIMEOUT_S},
        }
        self.options_file.write_text(json.dumps(options))

    def install_certificate(self, days: tuple[float, float] = (-1, 2)) -> None:
        """Rename a new certificate into place, valid from ``days[0]`` to ``days[1]`` from now; its key before it."""
        made = self._authority.issue("server", hosts=[HOST], usage=SERVER, days=days)
        for name in ("server.key", "server.pem"):
            staged = self._staged / name
            staged.write_bytes(made.with_name(name).read_bytes())
            staged.replace(self._live / name)

    def client(self, retry: RetryPolicy | None = None, port: int | None = None) -> GliomaClient:
        """Return a client with the caller's key; ``port`` leads it past something between it and the gateway."""
        return GliomaClient(
            f"{HOST}:{port or self.port}",
            tls=TlsOptions(self._authority.file),
            headers={"authorization": f"Bearer {self.key}"},
            retry=retry or RetryPolicy(longest_pause_s=2.0),
        )

    def channel(self) -> grpc.Channel:
        """Return a channel of gRPC's own to the gateway."""
        trusted = grpc.ssl_channel_credentials(self._authority.file.read_bytes())
        return grpc.secure_channel(f"{HOST}:{self.port}", trusted, [("grpc.use_local_subchannel_pool", 1)])

    def socket(self, timeout_s: float) -> ssl.SSLSocket:
        """Return a TLS connection to the gateway that speaks HTTP/2 in name."""
        context = ssl.create_default_context(cafile=str(self._authority.file))
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection((HOST, self.port), timeout_s)
        try:
            return context.wrap_socket(plain, server_hostname=HOST)
        except BaseException:
            plain.close()
            raise
