"""Parts that a bridge works with, and the options by which it works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from glioserve_pacs.answering import Made
from glioserve_pacs.archives import Destination, Query, Source
from glioserve_pacs.metrics import Metrics
from glioserve_pacs.records.audit import AuditLog
from glioserve_pacs.records.files import Files
from glioserve_pacs.records.state import State
from glioserve_pacs.records.study import Report


class Answers(Protocol):
    """The server, as :class:`glioserve_pacs.answering.Answering` asks it."""

    def version(self) -> str:
        """Return the version of the network that serves now."""
        ...

    def answer(self, folder: Path, predecessor: Report | None, study_instance_uid: str) -> Made:
        """Have the study in ``folder`` answered."""
        ...


@dataclass(frozen=True)
class Settings:
    """Options of the bridge: which studies it looks for, how often, and what it does with them."""

    queries: tuple[Query, ...] = ()
    """Studies that were named; empty to look for new ones."""
    stable_s: float = 300.0
    """Seconds without a new image after which a study may be complete."""
    poll_s: float = 30.0
    """Seconds between two looks at the PACS."""
    window_days: int = 7
    """Studies of this age, by StudyDate, are looked for."""
    most_under_way: int = 100
    """Most studies that wait, are answered or stored at one time; further ones stay in the PACS meanwhile."""
    keep_received_s: float = 72 * 3600.0
    """Seconds for which images that were sent to the bridge stay after the last one."""
    once: bool = False
    """End when every study that the first look found is settled or has failed."""
    dry_run: bool = False
    """Ask no server and store nothing: say what would be done."""


@dataclass(frozen=True)
class Parts:
    """Parts that a bridge works with."""

    source: Source
    destination: Destination
    answers: Answers
    choose: Callable[[Path], str]
    """Function that returns the digest of the recipe's choice in a folder, or raises StudyError."""
    state: State
    files: Files
    audit: AuditLog
    metrics: Metrics
    source_is_own: bool = False
    """True where the images were sent to the bridge and no other place has them for it."""
    texts: Callable[[Made], dict[str, str]] = lambda _: {}
    """Function that makes further files to store with the results, by name."""
