"""The truth about one study that was answered, as pathology or follow-up found it later."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from glioserve_contract.codec import Digest

Truth = Literal["necrosis", "recurrence"]
Source = Literal["pathology", "adjudicated"]


@dataclass(frozen=True)
class OutcomeRecord:
    """One line of ``outcomes.jsonl``: the truth, and what was answered, so that it outlives the study log."""

    recorded_at: str
    """Time at which it was added, UTC, RFC 3339."""
    request_id: str
    """Request id of the answer."""
    truth: Truth
    """The disease that was there."""
    source: Source
    """``pathology``: tissue; ``adjudicated``: follow-up and a board's decision."""
    answered_at: str
    """Time of the answer."""
    version: str
    """Version of the classifier that answered."""
    digest: Digest
    """Digest of its weights."""
    score: float
    """Probability of recurrence in the answer."""
    label: str
    """Label of the answer; empty where the server abstained."""
    groups: dict[str, str] = field(default_factory=dict)
    """Subgroups of the study by name (``manufacturer``, ``field_strength``, ``caller``)."""
    corrects: bool = False
    """True where it replaces an earlier truth of the same request."""
