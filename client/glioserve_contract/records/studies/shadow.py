"""The answer that a candidate would have given to a study, beside the one that was given."""

from __future__ import annotations

from dataclasses import dataclass, field

from glioserve_contract.codec import Digest


@dataclass(frozen=True)
class ShadowAnswer:
    """One version's answer."""

    version: str
    """Version of the classifier."""
    digest: Digest
    """Digest of its weights."""
    score: float
    """Probability of recurrence, 0 to 1."""
    label: str
    """Label by its own threshold; empty where the quality checks asked for a review."""


@dataclass(frozen=True)
class ShadowRecord:
    """One line of ``shadow.jsonl``."""

    at: str
    """Time of the candidate's answer, UTC, RFC 3339."""
    request_id: str
    """Request id of the study."""
    image_digest: Digest
    """Digest of the network's input, the same for both."""
    served: ShadowAnswer
    """The answer that the caller got."""
    candidate: ShadowAnswer
    """The answer that was written down alone."""
    groups: dict[str, str] = field(default_factory=dict)
    """Subgroups of the study by name."""

    @property
    def result(self) -> str:
        """``same`` or ``flip`` by the labels; ``abstained`` where there was none to compare."""
        if not self.served.label:
            return "abstained"
        return "same" if self.served.label == self.candidate.label else "flip"
