"""Shared memory of callers of this machine: what dead ones left behind is taken back.

A caller that is killed leaves no file, but the server keeps its region mapped until it is told to forget it.
"""

from __future__ import annotations

from tritonclient.utils import InferenceServerException

from glioserve_client.shared_memory.names import is_orphan, sweep
from glioserve_triton.admin import ServerAdmin
from glioserve_triton.process.logs import Log

FORGET_INTERVAL_S = 5.0


def forget_orphans(admin: ServerAdmin, log: Log) -> None:
    """Have the server forget the regions of dead callers, and remove their files; one that it reads waits its turn."""
    sweep()
    try:
        for name in filter(is_orphan, admin.shared_regions()):
            admin.forget_region(name)
            log.event("shared memory of a caller that has ended is given back", "warning", region=name)
    except InferenceServerException as error:
        log.event("shared memory could not be looked through", reason=error.status() or "no status")
