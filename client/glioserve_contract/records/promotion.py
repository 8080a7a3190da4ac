"""``classifier/promotion.json``: which version of a repository serves, and how that came about.

The record is the truth; the version policies in the classifier's configurations follow from it. A repository that
has none (made before there was one) serves its newest version.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Literal

from glioserve_contract.codec import Digest, SchemaError, from_dict
from glioserve_contract.errors import ErrorCode, GlioserveError
from glioserve_contract.records.facts.publication import GateVerdict
from glioserve_contract.records.version_1 import promotion_of_1
from glioserve_contract.seal import BLANK_SEAL, seal_holds
from glioserve_contract.tensors import CLASSIFIER_MODEL

PROMOTION_FILE = "promotion.json"
PromotionSchema = Literal["glioserve/promotion/2"]
PROMOTION_SCHEMA: PromotionSchema = "glioserve/promotion/2"

Action = Literal["publish", "promote", "rollback"]


@dataclass(frozen=True)
class CanaryRecord:
    """A live server's answer to the canary study, once it serves the version."""

    version: str
    """Version of the classifier that answered."""
    score: float
    """Probability of recurrence, 0 to 1."""
    label: str
    """``necrosis``, ``recurrence`` or ``abstained``."""
    reference_case: float | None = None
    """Score of the version's reference case, before its temperature; absent where it has none."""


@dataclass(frozen=True)
class Change:
    """One change of what serves, or an attempt at one that was undone."""

    action: Action
    """Kind of the change; ``publish``: the first version of a repository serves at once."""
    to_version: int
    """Version that was to serve."""
    at: str
    """Time of the change: UTC, ISO 8601."""
    from_version: int | None = None
    """Version that served before; absent for the first."""
    gate: GateVerdict | None = None
    """The gate's verdict; absent where a change that was cut off was undone."""
    override: str | None = None
    """Reason for the change although the gate refused; absent where it passed."""
    canary: dict[str, CanaryRecord] = field(default_factory=dict)
    """Answer of each live server to the canary study, by its address; empty where only files were changed."""
    undone: str | None = None
    """Failure that let ``from_version`` go on serving; absent where the change was done."""

    def in_order(self) -> tuple[int | None, int | None]:
        """Return the versions concerned, the one that served afterwards last."""
        pair = (self.from_version, self.to_version)
        return pair if self.undone is None else (pair[1], pair[0])


@dataclass(frozen=True)
class Begun:
    """A change on a live server whose end is not written yet; where no process works on it, it was cut off."""

    action: Action
    """Kind of the change."""
    to_version: int
    """Version that is to serve."""
    from_version: int
    """Version that served before."""
    at: str
    """Time when it was begun: UTC, ISO 8601."""


@dataclass(frozen=True)
class Promotion:
    """The versions of a repository that serve and served, and every change of it."""

    schema: PromotionSchema
    """Name and version of this schema."""
    serving: int
    """Version that serves."""
    previous: int | None = None
    """Version that a rollback goes to; absent where there is none."""
    begun: Begun | None = None
    """Change whose end is not written yet; absent where there is none."""
    history: tuple[Change, ...] = ()
    """Changes, oldest first; none is ever removed."""
    seal: Digest = BLANK_SEAL
    """``sha256:…`` of the record's own text with these digits as zeros (:mod:`glioserve_contract.seal`)."""

    def check(self, path: str) -> None:
        """Raise SchemaError for a version below 1."""
        for name in ("serving", "previous"):
            value: int | None = getattr(self, name)
            if value is not None and value < 1:
                raise SchemaError(f"{path}.{name}", f"must be 1 or more, not {value}")

    def recency(self, version: int) -> int:
        """Return a number that is greater, the later ``version`` served last; -1 where it never did."""
        order = [number for change in self.history for number in change.in_order()]
        order.append(self.serving)
        return max((i for i, number in enumerate(order) if number == version), default=-1)


def parse_promotion(text: bytes) -> Promotion:
    """Return the record of its file's bytes, of schema 2 or 1 (GLIO-5108)."""
    try:
        promotion = from_dict(Promotion, promotion_of_1(json.loads(text)))
    except (UnicodeDecodeError, json.JSONDecodeError, SchemaError) as error:
        raise broken_record(f"does not fit its schema: {error}") from error
    if not seal_holds(text):
        raise broken_record("is not as it was written: a byte of it changed")
    return promotion


def broken_record(problem: str) -> GlioserveError:
    """Return GLIO-5108 for a record with this ``problem``, and what to do."""
    return GlioserveError(
        ErrorCode.INVALID_REPOSITORY,
        f"{CLASSIFIER_MODEL.name}/{PROMOTION_FILE} {problem}. Put it back from a backup; or move it away, whereupon "
        "the newest version counts as serving, and promote the version that should (`glioserve repository promote`).",
    )
