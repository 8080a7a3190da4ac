"""The study log of a server: what is made from the records that its models leave of studies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.manifest import ServedVersion
from glioserve_triton.process.logs import Log
from glioserve_triton.process.server import TritonServer
from glioserve_triton.served.drift import watch_drift
from glioserve_triton.shadow.runner import ShadowRunner
from glioserve_triton.supervisor.metrics import SupervisorMetrics
from glioserve_watch.audit.files import AUDIT_FOLDER
from glioserve_watch.audit.lines import Head
from glioserve_watch.audit.log import AuditLog
from glioserve_watch.folder import hold_folder, hold_part_of
from glioserve_watch.inputs import INPUTS_FOLDER, InputKeeper
from glioserve_watch.keeper import Keeper, Sink
from glioserve_watch.outcomes.book import OutcomeBook


@dataclass(frozen=True)
class StudyLog:
    """An open study log."""

    root: Path
    """Folder that the operator named; several servers may share it."""
    folder: Path
    """Folder that no other server uses: the root, or a part of it."""
    audit: AuditLog
    inputs: InputKeeper | None
    """Keeper of the network's inputs; None keeps none."""
    candidate: ServedVersion | None = None
    """Version that sees live studies without answering them."""

    @property
    def kept_inputs(self) -> Path | None:
        """Folder of the network's inputs that are kept."""
        return self.folder / INPUTS_FOLDER if self.inputs is not None else None


@dataclass(frozen=True)
class KeptStudies:
    """All that takes the records of a running server."""

    keeper: Keeper
    shadow: ShadowRunner | None

    def close(self) -> None:
        """Take what the server left, and end."""
        self.keeper.close()
        if self.shadow is not None:
            self.shadow.close()


@contextmanager
def open_study_log(
    folder: Path | None,
    log: Log,
    *,
    shared: bool,
    keep_days: int | None,
    input_bytes: int | None,
    candidate: ServedVersion | None,
) -> Iterator[StudyLog | None]:
    """Hold the study log in ``folder``, or with ``shared`` a part of it, and write its head into the server's own log.

    ``input_bytes`` bounds the inputs of the network that are kept in it; None keeps none.

    Raises:
        GlioserveError: GLIO-5134 where it cannot be used; GLIO-5137 for a candidate without one.
    """
    if folder is None and candidate is not None:
        raise GlioserveError(ErrorCode.INVALID_SHADOW, "Its answers have no place without a --study-log.")
    if folder is None:
        yield None
        return

    def tell(what: str, head: Head) -> None:
        log.event(what, folder=held.path, head=head)

    def lost(error: OSError) -> None:
        log.event("inputs of the network cannot be kept", "error", reason=error.strerror)

    held = hold_part_of(folder) if shared else hold_folder(folder)
    try:
        software = f"glioserve {version('glioserve')}"
        audit = AuditLog(held.path / AUDIT_FOLDER, keep_days, told=tell, software=software)
        if audit.cut_bytes:
            log.event("audit log was cut off by a kill and is whole again", "warning", removed_bytes=audit.cut_bytes)
        try:
            inputs = None if input_bytes is None else InputKeeper(held.path / INPUTS_FOLDER, input_bytes, lost)
            yield StudyLog(folder, held.path, audit, inputs, candidate)
        finally:
            audit.close()
    finally:
        held.release()


def keep_studies(server: TritonServer, study_log: StudyLog | None, metrics: SupervisorMetrics, log: Log) -> KeptStudies:
    """Begin to take the records of a running server that keeps them. The caller closes what is returned."""
    assert server.spool is not None
    monitor = watch_drift(server.repository, study_log.folder if study_log else None, log)
    metrics.drift.monitor = monitor
    sinks: list[Sink] = []
    if study_log is not None:
        sinks.append(study_log.audit)  # first: a sink waits for those before it
        sinks += [study_log.inputs] if study_log.inputs is not None else []
        metrics.watch_outcomes(OutcomeBook(study_log.root), server.repository)
    sinks.append(monitor)
    shadow = None
    if study_log is not None and study_log.candidate is not None and server.shadow_images is not None:
        told = partial(metrics.shadowed, study_log.candidate.version)
        metrics.watch_candidate(study_log.candidate.version)
        shadow = ShadowRunner(study_log.candidate, server.repository, server.shadow_images, study_log.folder, told)
        sinks.append(shadow)
        log.event("a candidate sees live studies", classifier_version=study_log.candidate.version)

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
    return KeptStudies(Keeper(server.spool, sinks, tell, each_round).start(), shadow)
