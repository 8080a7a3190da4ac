"""Marks of builds that were killed, so that the next start of a pod does not begin the same build again.

Where memory runs out, Kubernetes kills a container whole (it sets cgroup v2's ``memory.oom.group``), so no exit code
of the builder and no handler of ours can say so. The mark is written before the work and removed after it: one that is
found under the lock of its plan was left by a process that was killed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from glioserve_export.files import write_if_changed
from glioserve_tensorrt.toolkit import KilledError

MARK_FILE = "attempt.json"
"""The mark, in the plan's folder of the cache."""
LIMIT_FILES = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""The container's memory limit as cgroup v2 and v1 have it; ``max`` and a number beyond any memory mean none."""
_NO_LIMIT_BYTES = 1 << 60


@contextlib.contextmanager
def marked(entry: Path) -> Iterator[None]:
    """Keep a mark in ``entry`` during the block. Under the lock of ``entry``.

    It stays where this process is killed, and where a program of NVIDIA's was (KilledError).
    """
    mark = entry / MARK_FILE
    content = {
        "begun": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "memory_limit_bytes": memory_limit_bytes(),
    }
    write_if_changed(mark, (json.dumps(content) + "\n").encode())
    try:
        yield
    except KilledError:
        raise
    except BaseException:
        mark.unlink(missing_ok=True)
        raise
    mark.unlink(missing_ok=True)


def killed_before(entry: Path) -> str | None:
    """Return why not to try again in ``entry``, under its lock.

    None where no attempt was killed, or where the memory limit has been raised since.
    """
    try:
        mark: Any = json.loads((entry / MARK_FILE).read_bytes())
        begun, limit_then = str(mark["begun"]), mark["memory_limit_bytes"]
        limit_then = None if limit_then is None else int(limit_then)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):  # it is there, so there was an attempt
        begun, limit_then = "an unknown time", None
    limit_now = memory_limit_bytes()
    if limit_then is not None and (limit_now is None or limit_now > limit_then):
        return None
    limit = "" if limit_then is None else f" at a memory limit of {limit_then / (1 << 30):.1f} GiB"
    return (
        f"The attempt that began at {begun} was killed{limit}, most often for want of memory, and is not repeated. "
        f"Raise the limit, delete {entry.name}/{MARK_FILE} from the cache, or build without --allow-failure."
    )


def memory_limit_bytes() -> int | None:
    """Return the memory limit of this container; None where there is none or it cannot be read."""
    for file in LIMIT_FILES:
        try:
            limit = int(file.read_text())
        except (OSError, ValueError):
            continue
        return limit if limit < _NO_LIMIT_BYTES else None
    return None
