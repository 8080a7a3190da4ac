"""A real tritonserver for a test, held to leaving nothing behind: no process, no shared memory, no folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from glioserve_triton.process.options import ServerOptions
from glioserve_triton.process.server import TritonServer

SHARED_MEMORY = Path("/dev/shm")
VANISH_TIMEOUT_S = 60.0


@contextmanager
def running_server(repository: Path, **options: Any) -> Iterator[TritonServer]:
    """A server over ``repository`` that is ready, on free ports of 127.0.0.1; ``options`` are ServerOptions'.

    Fails the test if anything of the server is left when it has stopped, whatever the test did to it.
    """
    server = TritonServer(repository, ServerOptions(**options))
    server.start()
    group, run_folder = server.process.pid, server.process.run.path
    try:
        yield server
    finally:
        server.stop()
        assert_nothing_left(group, run_folder)


def assert_nothing_left(group: int, run_folder: Path) -> None:
    """No living process of the group, no region of the run in /dev/shm, no run folder."""
    assert living_processes(group) == []
    assert regions(run_folder) == []
    assert not run_folder.exists()


def living_processes(group: int) -> list[int]:
    """Process ids of a process group, without the dead that wait to be reaped."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # ended meanwhile
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            found.append(int(stat.parent.name))
    return found


def listening_ports(pids: list[int]) -> set[int]:
    """TCP ports that the processes listen on."""
    held = {os.readlink(link) for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir()}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in held:
                found.add(int(fields[1].rpartition(":")[2], 16))
    return found


def regions(run_folder: Path) -> list[str]:
    """The run's regions in /dev/shm."""
    return [region.name for region in SHARED_MEMORY.glob(f"{run_folder.name}*")]


def wait_until(
    condition: Callable[[], bool], what: str, timeout_s: float = VANISH_TIMEOUT_S, poll_s: float = 0.02
) -> None:
    """Return when ``condition`` holds; fail with ``what`` if it does not within the bound."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"after {timeout_s:g} s still not: {what}"
        time.sleep(poll_s)


def dying_stub(stub: Path) -> None:
    """Put a program that ends at once into the place of Triton's stub: killed before it greets, or without memory."""
    stub.unlink()
    stub.write_text("#!/bin/sh\nexit 1\n")
    stub.chmod(0o755)
