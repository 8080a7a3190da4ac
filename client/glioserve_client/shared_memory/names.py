"""Name regions of shared memory after the process that owns them, so that a dead owner's are found and removed.

A name ends with the owner's process id, when it started, and the namespace in which that id counts: only who shares the
namespace can tell whether the owner lives, and leaves all others alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path

FOLDER = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory lies on Linux
PREFIX = "glioserve-volumes-"
_NAME = re.compile(rf"{PREFIX}[0-9a-f]{{16}}-(?P<pid>\d+)-(?P<started>\d+)-(?P<namespace>\d+)")


def new_name() -> str:
    """Return a name for a region of this process that cannot be guessed. Raises OSError where there is no /proc."""
    return f"{PREFIX}{secrets.token_hex(8)}-{os.getpid()}-{_started(os.getpid())}-{_namespace()}"


def is_orphan(name: str) -> bool:
    """Return whether a region's owner is known to be dead; False for names of others and of other namespaces."""
    match = _NAME.fullmatch(name)
    if match is None or int(match["namespace"]) != _namespace():
        return False
    try:
        return _started(int(match["pid"])) != int(match["started"])
    except FileNotFoundError:
        return True
    except OSError:
        return False


def sweep() -> list[str]:
    """Remove the files of this user's dead processes from /dev/shm, and return their names.

    A file is there for the moment between its making and its registration only, so that few kills leave one.
    """
    removed = []
    for file in FOLDER.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if file.stat().st_uid == os.getuid() and is_orphan(file.name):
                file.unlink()
                removed.append(file.name)
    return removed


def _started(pid: int) -> int:
    """Return when a process started, in ticks since the boot. Raises FileNotFoundError where there is none."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    if fields[0] in "ZX":
        raise FileNotFoundError  # ended, and not yet waited for
    return int(fields[19])


def _namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino
