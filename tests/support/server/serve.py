"""``glioserve serve`` as a process, with its log."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.server.triton import wait_until

TIMEOUT_S = 60
_READY = re.compile(r"ready grpc=(\S+) (?:http=\S+ )?metrics=(\S+)")


class Serve:
    """A running ``glioserve serve`` and what it has logged."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            for line in stream:
                self.lines.append(line.rstrip("\n"))

    @property
    def log(self) -> str:
        """All that it has written so far."""
        return "\n".join(self.lines.copy())

    def grpc_url(self) -> str:
        """Return where it serves, once it is ready."""
        wait_until(lambda: bool(_READY.search(self.log)) or self.process.poll() is not None, "ready")
        match = _READY.search(self.log)
        assert match, self.log
        return match[1]

    def line(self, text: str) -> str:
        """The first line that contains ``text``, once it is there."""
        wait_until(lambda: text in self.log or self.process.poll() is not None, text)
        found = next((line for line in self.lines.copy() if text in line), None)
        assert found is not None, self.log
        return found

    def probe_url(self, path: str = "") -> str:
        """Return where its probes are, from the start on."""
        wait_until(lambda: "] probes port=" in self.log or self.process.poll() is not None, "probes")
        match = re.search(r"probes port=(\d+)", self.log)
        assert match, self.log
        return f"http://127.0.0.1:{match[1]}{path}"

    def end(self) -> int:
        """Its exit code, once it has ended by itself."""
        code = self.process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        return code

    def server_pid(self) -> int:
        """tritonserver's process id: the grandchild."""
        guardian = children(self.process.pid)[0]
        return children(guardian)[0]


@contextmanager
def serving(
    repository: Path, *arguments: str, prefix: tuple[str, ...] = (), variables: Mapping[str, str] | None = None
) -> Iterator[Serve]:
    """Serve on free ports; killed at the end, whatever the test did. ``prefix`` is put before the command."""
    command = [*prefix, sys.executable, "-m", "glioserve_cli.main", "serve", "--repository", str(repository)]
    ports = ["--grpc-port", "0", "--http-port", "0", "--metrics-port", "0", "--probe-port", "0"]
    environment = {**os.environ, **(variables or {})}
    process = subprocess.Popen([*command, *ports, *arguments], stderr=subprocess.PIPE, text=True, env=environment)
    serve = Serve(process)
    try:
        yield serve
    finally:
        process.kill()
        serve.end()


def children(pid: int) -> list[int]:
    """Process ids of a process's children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def polled(serve: Serve, paths: Sequence[str] = ("/startupz", "/readyz")) -> Iterator[int]:
    """Statuses of the probes, asked every 20 ms for as long as the command answers."""
    url = serve.probe_url()
    while serve.process.poll() is None:
        for path in paths:
            try:
                with urllib.request.urlopen(url + path, timeout=5) as answer:
                    yield answer.status
            except urllib.error.HTTPError as error:
                with error:
                    yield error.code
            except OSError:
                return
        time.sleep(0.02)
