"""``glioserve serve`` as a cluster runs it: on fixed ports, in a mount namespace of its own, started anew if it ends.

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
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from glioserve_triton.process.options import free_ports
from glioserve_triton.supervisor.stubs import Stub, stubs_of

HOST = "127.0.0.1"
READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 120.0
SHARED_MEMORY_MIB = 256
TEMPORARY_MIB = 64


class Deployment:
    """One server and whoever starts it anew, as a context manager."""

    def __init__(self, repository: Path, folder: Path, arguments: Sequence[str] = ()) -> None:
        self.repository, self._folder, self._arguments = repository, folder, list(arguments)
        self.grpc_port, self.metrics_port, self.probe_port = free_ports(HOST, 3)
        self.log: list[str] = []
        self.starts = 0
        self.exit_codes: list[int] = []
        self._stop = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)

    @property
    def url(self) -> str:
        """``host:port`` of the gRPC port."""
        return f"{HOST}:{self.grpc_port}"

    def __enter__(self) -> Deployment:
        self._keeper.start()
        self.wait_until_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self.signal_supervisor(signal.SIGTERM)
        self._keeper.join(STOP_TIMEOUT_S)
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    def _keep(self) -> None:
        """Start the server, and start it anew whenever it ends, until told to stop."""
        while not self._stop.is_set():
            self.starts += 1
            self._process = subprocess.Popen(self._command(), stderr=subprocess.PIPE, text=True, errors="replace")
            assert self._process.stderr is not None
            with self._process.stderr as stream:
                self.log.extend(line.rstrip("\n") for line in stream)
            self.exit_codes.append(self._process.wait())

    def _command(self) -> list[str]:
        temporary = self._folder / "tmp"
        temporary.mkdir(exist_ok=True)
        serve = [sys.executable, "-m", "glioserve_cli.main", "serve", "--repository", str(self.repository)]
        ports = {"grpc": self.grpc_port, "http": 0, "metrics": self.metrics_port, "probe": self.probe_port}
        serve += [f"--{name}-port={port}" for name, port in ports.items()]
        mounts = (
            f"mount -t tmpfs -o size={SHARED_MEMORY_MIB}m tmpfs /dev/shm && "
            f"mount -t tmpfs -o size={TEMPORARY_MIB}m tmpfs {shlex.quote(str(temporary))} && "
        )
        command = f"{mounts} TMPDIR={shlex.quote(str(temporary))} exec {shlex.join([*serve, *self._arguments])}"
        return ["unshare", "--mount", "sh", "-c", command]

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

    def wait_until_ready(self, timeout_s: float = READY_TIMEOUT_S) -> float:
        """Wait for ``/readyz``; return the seconds that it took. TimeoutError with the log's end where it does not."""
        began = time.monotonic()
        while not self.is_ready():
            if time.monotonic() - began > timeout_s:
                raise TimeoutError("not ready; the end of the log:\n" + "\n".join(self.log[-20:]))
            time.sleep(0.05)
        return time.monotonic() - began

    def signal_supervisor(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor, which is the command that ``unshare`` became."""
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)

    @property
    def supervisor_pid(self) -> int:
        """Process id of the supervisor."""
        assert self._process is not None
        return self._process.pid

    @property
    def guardian_pid(self) -> int:
        """Process id of the guardian."""
        return _children(self.supervisor_pid)[0]

    @property
    def triton_pid(self) -> int:
        """Process id of tritonserver."""
        return _children(self.guardian_pid)[0]

    def stubs(self, model: str) -> list[Stub]:
        """Return the living processes of a Python model."""
        return [s for s in stubs_of(self.triton_pid).values() if s.model == model and not s.dead]

    def inside(self, path: str) -> Path:
        """Return a path as the server sees it, for a process outside its namespace."""
        return Path(f"/proc/{self.supervisor_pid}/root{path}")

    def temporary(self) -> Path:
        """Return the server's temporary folder."""
        return self.inside(str(self._folder / "tmp"))

    def memory_mib(self) -> float:
        """Return the resident memory of tritonserver and its stubs, in MiB."""
        pids = [self.triton_pid, *stubs_of(self.triton_pid)]
        return sum(_resident_kib(pid) for pid in pids) / 1024

    def shared_memory_mib(self) -> float:
        """Return the shared memory in use in the server's namespace, in MiB."""
        usage = os.statvfs(self.inside("/dev/shm"))
        return (usage.f_blocks - usage.f_bfree) * usage.f_frsize / (1 << 20)

    def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until ``condition`` holds; return whether it did in time."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _resident_kib(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    match = re.search(r"^VmRSS:\s+(\d+)", status, re.MULTILINE)
    return int(match[1]) if match else 0
