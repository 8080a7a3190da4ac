"""The study log of a server: what is made from the records that its models leave of studies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from glioserve_triton.process.logs import Log
from glioserve_triton.process.server import TritonServer
from glioserve_triton.supervisor.metrics import SupervisorMetrics
from glioserve_watch.audit.files import AUDIT_FOLDER
from glioserve_watch.audit.lines import Head
from glioserve_watch.audit.log import AuditLog
from glioserve_watch.folder import hold_folder, hold_part_of
from glioserve_watch.keeper import Keeper, Sink


@dataclass(frozen=True)
class StudyLog:
    """An open study log, which no other server uses."""

    folder: Path
    audit: AuditLog


@contextmanager
def open_study_log(folder: Path | None, log: Log, *, shared: bool, keep_days: int | None) -> Iterator[StudyLog | None]:
    """Hold the study log in ``folder``, or with ``shared`` a part of it, and write its head into the server's own log.

    Raises:
        GlioserveError: GLIO-5134 where it cannot be used.
    """
    if folder is None:
        yield None
        return

    def tell(what: str, head: Head) -> None:
        log.event(what, folder=held.path, head=head)

    held = hold_part_of(folder) if shared else hold_folder(folder)
    try:
        software = f"glioserve {version('glioserve')}"
        audit = AuditLog(held.path / AUDIT_FOLDER, keep_days, told=tell, software=software)
        if audit.cut_bytes:
            log.event("audit log was cut off by a kill and is whole again", "warning", removed_bytes=audit.cut_bytes)
        try:
            yield StudyLog(held.path, audit)
        finally:
            audit.close()
    finally:
        held.release()


def keep_studies(server: TritonServer, study_log: StudyLog | None, metrics: SupervisorMetrics, log: Log) -> Keeper:
    """Begin to take the records of a running server that keeps them. The caller closes the keeper."""
    assert server.spool is not None
    sinks: list[Sink] = []
    if study_log is not None:
        sinks.append(study_log.audit)

    def each_round() -> None:
        if study_log is not None:
            study_log.audit.take_ends(metrics.triton_ends())
            study_log.audit.look()
            metrics.audited(study_log.audit.records_written)

    def tell(failure: OSError | None) -> None:
        if failure is None:
            log.event("records of studies are kept again")
            return
        metrics.study_log_failures.inc()
        log.event("records of studies cannot be kept and wait", "error", reason=failure.strerror)

    metrics.watch_spool(server.spool)
    return Keeper(server.spool, sinks, tell, each_round).start()
