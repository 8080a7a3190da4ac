"""``glioserve serve --gateway`` as a cluster runs it: on fixed ports, in a mount namespace, started anew if it ends.

/dev/shm and the temporary folder are small file systems of the namespace, so that they can be filled without harm to
the machine. It needs the right to make a mount namespace (``unshare``).
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from chaos.entrance import HOST, Entrance
from glioserve_triton.process.options import free_ports

READY_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 120.0
SHARED_MEMORY_MIB = 256
TEMPORARY_MIB = 64
_READY = re.compile(r"\] ready grpc=(\S+)")


class Deployment:
    """One server and the process that starts it anew, as a context manager."""

    def __init__(
        self, repository: Path, folder: Path, admin_token: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.repository, self.folder, self.admin_token = repository, folder, admin_token
        folder.mkdir(exist_ok=True)
        gateway_port, status_port, self.http_port, self.metrics_port, self.probe_port = free_ports(HOST, 5)
        self.entrance = Entrance(folder, gateway_port, status_port)
        (folder / "token").write_text(admin_token)
        self.log: list[str] = []
        self.starts = 0
        self.exit_codes: list[int] = []
        self._environment = dict(environment or {})
        self._stop = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)

    def __enter__(self) -> Deployment:
        self._keeper.start()
        if not self.wait_for(self.is_ready, READY_TIMEOUT_S):
            raise TimeoutError("not ready; the end of the log:\n" + "\n".join(self.log[-20:]))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self.signal_supervisor(signal.SIGTERM)
        self._keeper.join(STOP_TIMEOUT_S)
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    @property
    def server_url(self) -> str:
        """``host:port`` of Triton's own gRPC port, which the last start chose; empty before the first."""
        return next((m[1] for line in reversed(self.log.copy()) if (m := _READY.search(line))), "")

    @property
    def supervisor_pid(self) -> int:
        """Process id of the supervisor, which is the command that ``unshare`` became."""
        assert self._process is not None
        return self._process.pid

    def probe(self, path: str = "/readyz") -> int:
        """Return the status of a probe; 0 where nothing answers."""
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.probe_port}{path}", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    def is_ready(self) -> bool:
        """Return whether ``/readyz`` is 200 now."""
        return self.probe() == 200

    def signal_supervisor(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor."""
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)

    def inside(self, path: str) -> Path:
        """Return a path as the server sees it, for a process outside its namespace."""
        return Path(f"/proc/{self.supervisor_pid}/root{path}")

    def temporary(self) -> Path:
        """Return the server's temporary folder."""
        return self.inside(str(self.folder / "tmp"))

    def shared_memory(self) -> Path:
        """Return the server's /dev/shm."""
        return self.inside("/dev/shm")

    def shared_memory_mib(self) -> float:
        """Return the shared memory in use in the server's namespace, in MiB."""
        usage = os.statvfs(self.shared_memory())
        return (usage.f_blocks - usage.f_bfree) * usage.f_frsize / (1 << 20)

    def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until ``condition`` holds; return whether it did in time."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def _keep(self) -> None:
        """Start the server, and start it anew whenever it ends, until told to stop."""
        while not self._stop.is_set():
            self.starts += 1
            environment = {**os.environ, **self._environment}
            self._process = subprocess.Popen(
                self._command(), stderr=subprocess.PIPE, text=True, errors="replace", env=environment
            )
            assert self._process.stderr is not None
            with self._process.stderr as stream:
                self.log.extend(line.rstrip("\n") for line in stream)
            self.exit_codes.append(self._process.wait())

    def _command(self) -> list[str]:
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        serve = [sys.executable, "-m", "glioserve_cli.main", "serve", "--repository", str(self.repository)]
        ports = {"http": self.http_port, "metrics": self.metrics_port, "probe": self.probe_port}
        serve += [f"--{name}-port={port}" for name, port in ports.items()]
        serve += ["--http", "--admin-token-file", str(self.folder / "token")]
        serve += ["--gateway", str(self.entrance.options_file)]
        mounts = (
            f"mount -t tmpfs -o size={SHARED_MEMORY_MIB}m tmpfs /dev/shm && "
            f"mount -t tmpfs -o size={TEMPORARY_MIB}m tmpfs {shlex.quote(str(temporary))} && "
        )
        command = f"{mounts} TMPDIR={shlex.quote(str(temporary))} exec {shlex.join(serve)}"
        return ["unshare", "--mount", "sh", "-c", command]
