"""Tell in the log which Triton serves, and what is known against it."""

from __future__ import annotations

from glioserve_triton.process.logs import Log
from glioserve_triton.process.server import TritonServer


def tell_standing(server: TritonServer, log: Log) -> None:
    """Log the version of a server that runs; a warning where it is embedded, below a floor, or unknown."""
    standing = server.standing
    if server.embedded:
        log.event(
            f"development server: {standing.name} of the nvidia-pytriton wheel {standing.fault or 'is served'}; "
            "keep it on the loopback and use NVIDIA's container in production (docs/security.md)",
            "warning",
        )
    elif standing.fault is not None:
        log.event(f"{standing.name} {standing.fault} (docs/security.md)", "warning")
    else:
        log.event("server version", triton=standing.version, release=standing.release)
