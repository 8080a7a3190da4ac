"""The takers of the records of studies that the server's models leave."""

from __future__ import annotations

from glioserve_triton.process.logs import Log
from glioserve_triton.process.server import TritonServer
from glioserve_watch.keeper import Keeper, Sink


def keep_studies(server: TritonServer, log: Log) -> Keeper | None:
    """Begin to take the records of a running server; None where it keeps none. The caller closes the keeper."""
    if server.spool is None:
        return None
    sinks: list[Sink] = []

    def tell(failure: OSError | None) -> None:
        if failure is None:
            log.event("records of studies are kept again")
        else:
            log.event("records of studies cannot be kept and wait", "error", reason=failure.strerror)

    return Keeper(server.spool, sinks, tell).start()
