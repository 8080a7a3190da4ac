"""Limits on a process by a control group of its own, as the kubelet sets them for a pod. They take root's rights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
PERIOD_US = 100_000


class Limit:
    """A control group for one process, and those that it starts from then on, until it is ended."""

    def __init__(self, pid: int, controller: str, settings: Mapping[str, str]) -> None:
        """Put the process into a new group that has these files."""
        root = _root(controller)
        self._back = root / "cgroup.procs"
        self._group = root / f"glioserve-night-{os.getpid()}-{pid}"
        self._group.mkdir()
        for name, value in settings.items():
            (self._group / name).write_text(value)
        (self._group / "cgroup.procs").write_text(f"{pid}")

    def end(self) -> None:
        """Take the processes out that live, and remove the group."""
        for pid in (self._group / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                self._back.write_text(pid)
        self._group.rmdir()


def quota(pid: int, cores: float) -> Limit:
    """Let a process use no more than this part of a core."""
    quota_us = round(cores * PERIOD_US)
    if _root("cpu") == GROUPS:
        return Limit(pid, "cpu", {"cpu.max": f"{quota_us} {PERIOD_US}"})
    return Limit(pid, "cpu", {"cpu.cfs_period_us": f"{PERIOD_US}", "cpu.cfs_quota_us": f"{quota_us}"})


def no_more_threads(pid: int) -> Limit:
    """Let a process start no further thread; it keeps those that it has."""
    return Limit(pid, "pids", {"pids.max": "1"})


def _root(controller: str) -> Path:
    """Return the folder of the groups that have a controller: its own by version 1 of cgroups, the one of version 2."""
    own = GROUPS / controller
    return own if own.is_dir() else GROUPS
