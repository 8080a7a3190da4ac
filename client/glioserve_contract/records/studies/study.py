"""The end of one study: a line of the study log, which audit, drift, outcomes and shadows are made from.

It holds no identity: no header, no pixel, no address. ``request_id`` is the caller's own word; the client library makes
a random one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from glioserve_contract.codec import Digest, sha256_digest
from glioserve_contract.records.report import ModelRecord

_PLAIN_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


def plain_request_id(request_id: str) -> str:
    """Return the id where it is a plain word, else its digest: a stranger's may hold anything."""
    return request_id if _PLAIN_ID.fullmatch(request_id) else sha256_digest(request_id.encode()) if request_id else ""


@dataclass(frozen=True)
class StudyFeatures:
    """Figures of one answered study that drift is measured on, by name."""

    numbers: dict[str, float] = field(default_factory=dict)
    """Figures with their unit in the name (``brain_volume_liters``, ``t1_displacement_mm``)."""
    categories: dict[str, str] = field(default_factory=dict)
    """Words of a closed set (``manufacturer``)."""
    histograms: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Shares that sum to 1 (``t1ce_intensity``)."""


@dataclass(frozen=True)
class StudyRecord:
    """One study that a model of ours ended: answered, abstained, refused, failed or cancelled."""

    record_id: str
    """Number of the record, unique among all processes and starts; records sort by it in the order of their ends."""
    ended_at: str
    """Time of the end, UTC, in the form of RFC 3339 with milliseconds (``2026-01-31T23:59:59.000Z``)."""
    request_id: str
    """Triton's request id as the caller sent it, where it is a plain word of at most 64 characters; else its digest."""
    outcome: str
    """Outcome as ``glioserve_studies_total`` counts it."""
    code: str
    """Error code; empty where there is an answer."""
    ended_by: str
    """Name of the model that ended the study."""
    contract_version: str
    """Semantic version of the contract under which the record was written."""
    caller: str = ""
    """Label of the caller from the operator's list; empty where there is none."""
    input_digest: Digest | None = None
    """Digest of the request's input, whatever the order of its files; None where no study log is kept."""
    preprocessing_digest: Digest | None = None
    """Digest of the recipe's part that shapes the network's input; None where there is no answer."""
    image_digest: Digest | None = None
    """Digest of the network's input; None where there is no answer."""
    model: ModelRecord | None = None
    """The network that answered; None where there is no answer."""
    score: float | None = None
    """Probability of recurrence, 0 to 1; None where there is no answer."""
    label: str = ""
    """Label of the answer; empty where the server abstained, and where there is no answer."""
    abstained_because: tuple[str, ...] = ()
    """Quality checks that asked for a review."""
    report_digest: Digest | None = None
    """Digest of the whole report but its times (:func:`glioserve_contract.records.report.untimed_digest`); None where
    there is no answer."""
    timings_s: dict[str, float] = field(default_factory=dict)
    """Wall seconds by stage; empty where there is no answer."""
    features: StudyFeatures | None = None
    """Figures for drift; None where there is no answer."""
