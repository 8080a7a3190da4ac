"""``publication`` of a manifest, and the gate's verdict, which a promotion keeps too."""

from __future__ import annotations

from dataclasses import dataclass

from glioserve_contract.codec import Digest
from glioserve_contract.seal import BLANK_SEAL


@dataclass(frozen=True)
class GateRule:
    """One line of a gate's verdict."""

    name: str
    """Name of the rule."""
    passed: bool
    """True where the version fulfils the rule."""
    found: str
    """Finding about the version, in words."""
    limit: str
    """Requirement of the rule, in words."""

    def __str__(self) -> str:
        return f"{self.name}: {self.found} ({self.limit})"


@dataclass(frozen=True)
class GateVerdict:
    """A gate's verdict on a version: every rule, passed or not."""

    passed: bool
    """True where every rule passed."""
    rules: tuple[GateRule, ...]
    """The rules, in the order in which they were asked."""

    def with_rules(self, more: tuple[GateRule, ...]) -> GateVerdict:
        """Return the verdict with further rules."""
        return GateVerdict(self.passed and all(rule.passed for rule in more), (*self.rules, *more))

    @property
    def failed(self) -> tuple[GateRule, ...]:
        """The rules that did not pass."""
        return tuple(rule for rule in self.rules if not rule.passed)


@dataclass(frozen=True)
class PublicationRecord:
    """Publication of a version into its repository."""

    at: str
    """Time of the publication: UTC, ISO 8601."""
    glioserve: str
    """Version of glioserve that published it."""
    contract: str
    """Version of the contract under which it was published."""
    source_manifest: Digest
    """``sha256:…`` of the exported folder's manifest."""
    gate: GateVerdict
    """Verdict of the repository's gate."""
    override: str | None = None
    """Reason for publishing although the gate refused; absent where it passed."""
    seal: Digest = BLANK_SEAL
    """``sha256:…`` of the manifest's own text with these digits as zeros (:mod:`glioserve_contract.seal`)."""
