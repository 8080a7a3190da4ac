"""Triton's own page of metrics: read, and what it tells of studies that none of our models counts."""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from glioserve_contract import ErrorCode
from glioserve_contract.metrics import (
    ABSTAINED,
    ANSWERED,
    EXPIRED,
    REJECTED,
    STUDIES,
    STUDY_BYTES,
    TRITON_DURATION,
    TRITON_FAILURES,
    TRITON_QUEUE,
    TRITON_SUCCESSES,
    outcome_of,
)
from glioserve_contract.tensors import CLASSIFIER_MODEL, ENSEMBLE, PREPROCESS_MODEL

SCRAPE_TIMEOUT_S = 3.0
_LOST_REASON, _EXPIRED_REASON, _CANCELLED_REASON = "BACKEND", "REJECTED", "CANCELED"
"""Triton's reasons for requests that a dead process had or a native backend failed, that waited too long in a queue,
and that their callers gave up before a model began."""
_COUNTED_TWICE = 2
"""An ensemble counts each of its failures so often (docs/user_guide/metrics.md of Triton)."""
_READ = re.compile(
    rf"(?:{TRITON_FAILURES}|{TRITON_SUCCESSES}|{TRITON_DURATION}|{TRITON_QUEUE}|{STUDIES.name}|{STUDY_BYTES.name}_count)"
    r"[{ ]"
)
_MOST_OWED = 64.0

End = tuple[str, str]
"""Outcome and code of a study."""
_FAILED = outcome_of(ErrorCode.INTERNAL)
_LOST: End = (outcome_of(ErrorCode.STAGE_LOST), ErrorCode.STAGE_LOST.token)
_CANCELLED: End = (outcome_of(ErrorCode.CANCELLED), ErrorCode.CANCELLED.token)
_EXPIRED: End = (EXPIRED, ErrorCode.UNAVAILABLE.token)
_REJECTED: End = (REJECTED, ErrorCode.UNAVAILABLE.token)


def triton_page(url: str | None) -> str:
    """Return Triton's page of metrics; empty where it is off or does not answer in time."""
    if url is None:
        return ""
    try:
        with urllib.request.urlopen(url, timeout=SCRAPE_TIMEOUT_S) as answer:  # noqa: S310 - our own server's
            page: bytes = answer.read()
    except (OSError, urllib.error.URLError, http.client.HTTPException):
        return ""
    return page.decode("utf-8", "replace")


def classifier_failures(page: str) -> int:
    """Return the failures on Triton's page that may be the classifier's.

    They are requests that its native backend lost, and studies that a model of ours failed: a backend of ours has typed
    errors, which do not tell the model.
    """
    found = 0.0
    for sample in _samples(page):
        lost = sample.labels.get("reason") == _LOST_REASON and sample.labels.get("model") == CLASSIFIER_MODEL.name
        if lost or (sample.name == STUDIES.name and sample.labels["outcome"] == _FAILED):
            found += sample.value
    return int(found)


_Series = tuple[str, tuple[tuple[str, str], ...]]


@dataclass
class Growth:
    """Increases since the last page."""

    answered: int = 0
    """Studies that the ensemble answered."""
    answered_s: float = 0.0
    """Seconds that they took together."""
    waited: int = 0
    """Studies that left the queue of the first stage."""
    mean_wait_s: float = 0.0


@dataclass
class PageReader:
    """Running totals over Triton's pages.

    A model that is loaded anew begins at 0 again, so every series is summed by its increases. Not for several threads.
    """

    _last: dict[_Series, float] = field(default_factory=dict)
    _ends: dict[End, float] = field(default_factory=lambda: dict.fromkeys((_LOST, _EXPIRED, _CANCELLED), 0.0))
    _typed: float = 0.0
    """Studies that our own models ended without an answer."""
    _ensemble_failures: float = 0.0
    _owed: float = 0.0
    """Studies that the first stage has counted as begun, and Triton not yet as done."""
    _lost: float = 0.0
    _cancelled: float = 0.0
    _rejected: float = 0.0

    def read(self, page: str) -> Growth:
        """Take in one page; return what has grown."""
        sums: dict[str, float] = {}
        seen: dict[_Series, float] = {}
        typed = 0.0
        for sample in _samples(page):
            series = sample.name, tuple(sorted(sample.labels.items()))
            last, seen[series] = self._last.get(series, 0.0), sample.value
            grown = sample.value - last if sample.value >= last else sample.value
            model, reason = sample.labels.get("model"), sample.labels.get("reason")
            if sample.name == STUDIES.name:
                if sample.labels["outcome"] not in (ANSWERED, ABSTAINED):
                    typed += grown
            elif sample.name == TRITON_FAILURES and model != ENSEMBLE.name:
                self._end(reason, grown)
            else:
                key = f"{sample.name} {model}"
                sums[key] = sums.get(key, 0.0) + grown
        self._last = seen
        self._typed += typed
        self._ensemble_failures += sums.get(f"{TRITON_FAILURES} {ENSEMBLE.name}", 0.0)
        done = sums.get(f"{TRITON_SUCCESSES} {PREPROCESS_MODEL.name}", 0.0)
        self._owed = min(self._owed + typed + sums.get(f"{STUDY_BYTES.name}_count None", 0.0), _MOST_OWED)
        waited = min(self._owed, done)
        self._owed -= waited
        queue_us = sums.get(f"{TRITON_QUEUE} {PREPROCESS_MODEL.name}", 0.0)
        return Growth(
            int(sums.get(f"{TRITON_SUCCESSES} {ENSEMBLE.name}", 0.0)),
            sums.get(f"{TRITON_DURATION} {ENSEMBLE.name}", 0.0) / 1e6,
            int(waited),
            queue_us / 1e6 / done if done else 0.0,
        )

    def ends(self, lost_canaries: int, silent_canaries: int = 0) -> dict[End, int]:
        """Return the studies that ended without a model of ours, by outcome and code.

        Triton counts canaries that it lost, and those that were given up in a queue, as it counts studies.

        Those that a full queue refused are in no counter of Triton's but the ensemble's, which has all failures: they
        are what is left of it.
        """
        self._lost = max(self._lost, self._ends[_LOST] - lost_canaries)
        self._cancelled = max(self._cancelled, self._ends[_CANCELLED] - silent_canaries)
        told = {**self._ends, _LOST: self._lost, _CANCELLED: self._cancelled}
        left = self._ensemble_failures // _COUNTED_TWICE - self._typed - sum(told.values())
        self._rejected = max(self._rejected, left)
        return {end: int(number) for end, number in {**told, _REJECTED: self._rejected}.items()}

    def _end(self, reason: str | None, grown: float) -> None:
        end = {_LOST_REASON: _LOST, _EXPIRED_REASON: _EXPIRED, _CANCELLED_REASON: _CANCELLED}.get(reason or "")
        if end is not None:
            self._ends[end] += grown


def with_ends(page: str, ends: Mapping[End, int]) -> str:
    """Return the page with further ends of studies added to its own, in the one family that has them."""
    left, place = dict(ends), None
    lines: list[str] = []
    for line in page.splitlines():
        sample = next(iter(_samples(line)), None) if line.startswith(f"{STUDIES.name}{{") else None
        if sample is not None:
            outcome, code = sample.labels["outcome"], sample.labels["code"]
            line = _line(outcome, code, sample.value + left.pop((outcome, code), 0))
            place = len(lines) + 1
        lines.append(line)
    if place is None:
        lines += [f"# HELP {STUDIES.name} {STUDIES.description}", f"# TYPE {STUDIES.name} {STUDIES.kind}"]
        place = len(lines)
    lines[place:place] = [_line(outcome, code, number) for (outcome, code), number in left.items()]
    return "\n".join(lines) + "\n"


def _line(outcome: str, code: str, number: float) -> str:
    return f'{STUDIES.name}{{code="{code}",outcome="{outcome}"}} {int(number)}'


def _samples(page: str) -> Iterable[Sample]:
    """Yield the samples that are read here. Without their family each is one of type unknown, by its own name."""
    lines = "".join(line + "\n" for line in page.splitlines() if _READ.match(line))
    for family in text_string_to_metric_families(lines):
        yield from family.samples
