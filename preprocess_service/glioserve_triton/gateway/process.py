"""Envoy on this machine, in front of one server: started, watched, notified of changed files, ended with its owner."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import math
import os
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.install import install_advice
from glioserve_triton.gateway.configuration import ADMIN_SOCKET, configuration, write_configuration
from glioserve_triton.gateway.options import Address, GatewayOptions, invalid, read_options
from glioserve_triton.process.guarded import GuardedProcess, OnLine
from glioserve_triton.process.options import free_ports
from glioserve_triton.process.run_folder import RunFolder
from glioserve_triton.waiting import StopCheck, never

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
ASK_INTERVAL_S = 2.0
MOST_SILENT = 2
"""An Envoy that leaves so many questions in a row unanswered is taken for hung."""
_ADMIN_TIMEOUT_S = 2.0
_POLL_S = 0.05
_ACTIVE = "http.gateway.downstream_rq_active"
_REJECTED = "config rejected"
_FORMAT = "%Y-%m-%dT%TZ %L %P envoy] %v"
"""Envoy's log in the form of Triton's."""

Told = Callable[[str], None]
_Stamps = tuple[tuple[int, int, int] | None, ...]


class Gateway:
    """A running gateway. It cannot outlive this process."""

    def __init__(
        self, file: Path, servers: tuple[str, ...], on_line: OnLine | None = None, envoy: Path | None = None
    ) -> None:
        """Read the options in ``file`` for a gateway in front of ``servers`` (``host:port``); GLIO-5131 where unfit.

        ``on_line`` is called, by a thread, with every line of Envoy's log and of the access log.
        """
        self._file, self._servers, self._on_line = file, servers, on_line
        self._envoy = find_envoy(envoy)
        self._options = self._read()
        self._stamp = self._stamped()
        self._run: RunFolder | None = None
        self._asked_s, self._silent = time.monotonic(), 0
        self._problem = ""
        """Reason for which changed options are not taken; empty where there is none."""
        self._process: GuardedProcess | None = None

    @property
    def url(self) -> str:
        """``host:port`` that callers on this machine use."""
        host, port = self._options.listen.host, self._options.listen.port
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def options(self) -> GatewayOptions:
        """The options as they are in force."""
        return self._options

    @property
    def silent(self) -> bool:
        """True while Envoy has left the last question unanswered."""
        return self._silent > 0

    @property
    def process(self) -> GuardedProcess:
        """The running process. RuntimeError before :meth:`start` and after :meth:`stop`."""
        if self._process is None:
            raise RuntimeError("the gateway is not running")
        return self._process

    def start(self, give_up: StopCheck = never) -> None:
        """Start Envoy and wait until callers can connect; GLIO-5131, with the end of its log, where they cannot."""
        self._run, self._silent = RunFolder(), 0
        try:
            start_file = write_configuration(self._options, self._run.path)
            command = [str(self._envoy), "--config-path", str(start_file), "--concurrency", str(self._options.workers)]
            command += ["--disable-hot-restart", "--log-level", "warning", "--log-format", _FORMAT]
            # Connections of before a change are asked to end at their next answer, and have the time of one study.
            longest_s = math.ceil(self._options.timeouts.study_s + self._options.timeouts.upload_s)
            command += ["--drain-strategy", "immediate", "--drain-time-s", str(longest_s)]
            command += ["--file-flush-interval-msec", "500"]
            environment = {"PATH": os.defpath, "TMPDIR": str(self._run.path)}
            self._process = GuardedProcess(command, environment, self._run, self._on_line)
        except BaseException:
            self._run.remove()
            raise
        try:
            self._wait_until_ready(give_up)
        except BaseException:
            self.stop()
            raise

    def tend(self, tell: Told) -> None:
        """Start Envoy again where it has ended or hangs, and have it take options and keys that have changed on disk.

        What was done, or could not be, is handed to ``tell``. Options that cannot be changed while it runs (memory,
        threads, the status port) are those of the next start. GLIO-5128 where it cannot be started again.
        """
        code = self.process.poll()
        if code is not None or self._hangs():
            what = "does not answer" if code is None else f"ended by itself with code {code}"
            tell(f"the gateway {what}; it is started again")
            self.process.kill()
            try:
                self.start()
            except (GlioserveError, OSError) as error:
                why = error.detail if isinstance(error, GlioserveError) else f"{error.strerror}."
                raise GlioserveError(ErrorCode.NOT_HEALED, f"The gateway {what}. {why}") from error
        if (stamp := self._stamped()) != self._stamp:
            self._take_changes(stamp, tell)

    def _take_changes(self, stamp: _Stamps, tell: Told) -> None:
        problem = ""
        try:
            options = self._read()
            assert self._run is not None
            write_configuration(options, self._run.path)
        except GlioserveError as error:
            problem, self._stamp = error.detail, stamp
        except OSError as error:  # no room for the configuration, say: it is tried again
            problem = f"its changed options cannot be written ({error.strerror})."
        else:
            self._options, self._stamp = options, stamp
            tell("the gateway has taken its changed options")
        if problem and problem != self._problem:
            tell(f"the gateway goes on as before: {problem}")
        self._problem = problem

    def wait_until_idle(self, timeout_s: float, hurry: StopCheck = never) -> bool:
        """Wait until every answer has reached its caller. Whether it has, in the time."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and not hurry():
            if self._process is None or self._process.poll() is not None or self._in_flight() == 0:
                return True
            time.sleep(_POLL_S)
        return False

    def stop(self) -> None:
        """End Envoy; safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate(STOP_TIMEOUT_S)

    def _read(self) -> GatewayOptions:
        options = read_options(self._file).before(self._servers)
        configuration(options, Path())  # reads what the options name, so that a fault is told here
        if options.listen.port == 0:  # chosen once, so that it is the same after Envoy's next start
            (port,) = free_ports(options.listen.host, 1)
            known = getattr(self, "_options", None)
            port = known.listen.port if known is not None else port
            options = replace(options, listen=Address(options.listen.host, port))
        return options

    def _stamped(self) -> _Stamps:
        """Return what changes when the options or the keys do."""
        jwt = self._options.jwt
        named = (self._options.api_keys_file, jwt.jwks_file if jwt is not None else None)
        return tuple(_stamp(file) for file in (self._file, *(Path(name) for name in named if name)))

    def _wait_until_ready(self, give_up: StopCheck) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._listens():
            code = self.process.poll()
            if _REJECTED in self.process.tail():
                raise invalid(f"Envoy does not take its configuration; the end of its log:\n{self.process.tail()}\n")
            if code is not None or time.monotonic() > deadline or give_up():
                what = "did not start in time" if code is None else f"ended with code {code}"
                raise invalid(f"Envoy {what}; the end of its log:\n{self.process.tail()}\n")
            time.sleep(_POLL_S)

    def _hangs(self) -> bool:
        """Return whether Envoy has not answered several times in a row; it is asked at most once in an interval."""
        if time.monotonic() - self._asked_s < ASK_INTERVAL_S:
            return False
        self._silent = 0 if self._ask("/ready") else self._silent + 1
        self._asked_s = time.monotonic()
        return self._silent >= MOST_SILENT

    def _listens(self) -> bool:
        answer = self._ask("/listeners?format=json")
        listeners = json.loads(answer or b"{}").get("listener_statuses", ())
        return any(listener["name"] == "gateway" for listener in listeners) and self._ask("/ready") == b"LIVE\n"

    def _in_flight(self) -> int | None:
        answer = self._ask(f"/stats?filter=^{_ACTIVE}$").decode()
        return int(answer.rpartition(":")[2]) if answer.strip() else None

    def _ask(self, path: str) -> bytes:
        """Return the administration's answer; nothing while it has none."""
        assert self._run is not None
        connection = _UnixConnection(self._run.path / ADMIN_SOCKET)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", path)
            return connection.getresponse().read()
        return b""


def find_envoy(named: Path | None) -> Path:
    """Return Envoy's binary: the one that is named, the Python package's, or that on the PATH; else GLIO-5131."""
    if named is not None:
        if not (named.is_file() and os.access(named, os.X_OK)):
            raise invalid(f"{named.name} is not a program that can be run")
        return named
    package = importlib.util.find_spec("envoy")
    for folder in (package.submodule_search_locations if package else None) or ():
        if os.access(binary := Path(folder) / "_bin" / "envoy", os.X_OK):
            return binary
    if found := shutil.which("envoy"):
        return Path(found)
    raise invalid(f"Envoy was not found: {install_advice('gateway')}; or name it with --envoy")


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_ADMIN_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        state = file.stat()
    except OSError:
        return None
    # ctime moves with a change of permissions too, mtime does not.
    return state.st_ctime_ns, state.st_ino, state.st_size
