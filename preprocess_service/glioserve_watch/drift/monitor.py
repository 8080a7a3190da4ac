"""The monitor: it takes the records of studies and keeps a stream for each version and site that it knows."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from glioserve_contract import GlioserveError
from glioserve_contract.records.studies.drift import DriftReference
from glioserve_contract.records.studies.study import StudyRecord
from glioserve_watch.drift.state import DriftState, StreamState, load_state, save_state
from glioserve_watch.drift.stream import Found, Stream
from glioserve_watch.drift.values import StudyValues, values_of

MOST_SITES = 16
"""Sites that have a stream of their own under one version; further ones share :data:`OTHER_SITES`."""
OTHER_SITES, UNNAMED_SITE = "other", "unnamed"
"""Names of the sites beyond :data:`MOST_SITES` together, and of callers without a label."""
MOST_VERSIONS = 4
"""Versions that are watched; the one without a study for the longest time is forgotten first."""
_REMEMBERED = 1024
"""Records whose numbers are remembered: after a kill the keeper gives at most its last batch again."""

References = Callable[[str, str], DriftReference | None]
"""Function from a version and its weights' digest to its reference; None where it has none."""


@dataclass(frozen=True)
class StreamReport:
    """One stream as metrics and reports tell it."""

    version: str
    site: str
    studies: int
    """Studies of the longest window."""
    features: tuple[str, ...]
    found: Found
    flags: frozenset[str]


class DriftMonitor:
    """A sink of the keeper; :meth:`reports` may be called by any thread."""

    def __init__(
        self, references: References, folder: Path | None, on_flag: Callable[[str, str, str, bool], None]
    ) -> None:
        """Take up the state of ``folder``, where one is kept.

        ``on_flag`` is called with version, site and feature, and whether the flag was set or cleared.

        Raises:
            GlioserveError: GLIO-5134 where the folder's state cannot be read.
        """
        self._references, self._folder, self._on_flag = references, folder, on_flag
        self._lock = threading.Lock()
        self._streams: dict[tuple[str, str], Stream] = {}
        """Streams by version and site, the one that had a study last at the end."""
        self._taken: deque[str] = deque(maxlen=_REMEMBERED)
        state = load_state(folder) if folder else None
        if state is not None:
            self._resume(state)

    def take(self, records: Sequence[StudyRecord]) -> None:
        """Count the answered studies among the records, look at the streams that they joined, and save.

        Each record is counted once, and saved before the keeper removes it: a kill loses no study. OSError says that
        the state could not be saved; the records come again, and those that are counted already are passed over.
        """
        with self._lock:
            known = set(self._taken)
            joined: dict[tuple[str, str], Stream] = {}
            for record in records:
                if record.record_id in known:
                    continue
                self._taken.append(record.record_id)
                if record.model is None or record.features is None or record.score is None:
                    continue
                place = self._place(record.model.version, record.caller or UNNAMED_SITE)
                stream = self._stream(place, record.model.digest)
                if stream is not None:
                    stream.add(_rounded(values_of(record.features, record.score)))
                    joined[place] = stream
            changes = [change for place, stream in joined.items() for change in self._look(place, stream)]
            if self._folder is not None:
                save_state(self._state(), self._folder)
        for change in changes:
            self._on_flag(*change)

    def reports(self) -> list[StreamReport]:
        """Return what is known of every stream."""
        with self._lock:
            return [
                StreamReport(version, site, len(s.studies), s.features, dict(s.found), frozenset(s.flags))
                for (version, site), s in self._streams.items()
            ]

    def _look(self, place: tuple[str, str], stream: Stream) -> list[tuple[str, str, str, bool]]:
        before = set(stream.flags)
        stream.look()
        return [(*place, feature, feature in stream.flags) for feature in sorted(before ^ stream.flags)]

    def _place(self, version: str, site: str) -> tuple[str, str]:
        sites = {s for v, s in self._streams if v == version and s != OTHER_SITES}
        return version, site if site in sites or len(sites) < MOST_SITES else OTHER_SITES

    def _stream(self, place: tuple[str, str], digest: str) -> Stream | None:
        """Return the stream of a place, begun anew where another network has its version's number."""
        stream = self._streams.pop(place, None)
        if stream is None or stream.reference.weights_digest != digest:
            reference = self._references(place[0], digest)
            if reference is None:
                return None
            stream = Stream(reference)
        self._streams[place] = stream
        versions = list(dict.fromkeys(version for version, _ in reversed(self._streams)))
        for old in versions[MOST_VERSIONS:]:
            self._streams = {p: s for p, s in self._streams.items() if p[0] != old}
        return stream

    def _state(self) -> DriftState:
        streams = tuple(
            StreamState(version, site, s.reference.weights_digest, tuple(sorted(s.flags)), tuple(s.studies))
            for (version, site), s in self._streams.items()
        )
        return DriftState("glioserve/drift/1", streams, tuple(self._taken))

    def _resume(self, state: DriftState) -> None:
        self._taken.extend(state.taken)
        self._streams = streams_of(state, self._references)


def streams_of(state: DriftState, references: References) -> dict[tuple[str, str], Stream]:
    """Return the streams of a saved state by version and site; those whose reference is gone are left out."""
    streams = {}
    for saved in state.streams:
        try:
            reference = references(saved.version, saved.weights_digest)
        except GlioserveError:
            continue
        if reference is not None:
            stream = Stream(reference, saved.flags)
            for study in saved.studies:
                stream.add(study)
            stream.look()
            streams[saved.version, saved.site] = stream
    return streams


def _rounded(study: StudyValues) -> StudyValues:
    return StudyValues({name: float(f"{value:.6g}") for name, value in study.numbers.items()}, study.words)
