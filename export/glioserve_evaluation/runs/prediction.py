"""The part of an answer that an evaluation uses, and the network that gave it: the same offline and from a server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from glioserve_contract.records.recipe import Recipe, preprocessing_digest, recipe_digest
from glioserve_contract.records.report import Report

Source = Literal["artifact", "exported version", "server"]


@dataclass(frozen=True)
class ModelFacts:
    """Identity of the network that answers, and the values of its recipe that decide the answers."""

    source: Source
    name: str
    version: str
    """Number in its repository; empty offline."""
    weights_digest: str
    recipe_digest: str
    """Digest of the whole recipe."""
    preprocessing_digest: str
    architecture: str
    channels: tuple[str, ...]
    threshold: float
    """LABEL is recurrence iff SCORE >= threshold."""
    temperature: float

    def same_network(self, other: ModelFacts) -> bool:
        """Return True for equal weights and recipes, and so equal answers, at any place and under any number."""
        return (self.weights_digest, self.recipe_digest) == (other.weights_digest, other.recipe_digest)


@dataclass(frozen=True)
class CasePrediction:
    """One study's answer."""

    score: float
    """Probability of recurrence, 0 to 1."""
    abstained: int
    """Number of reasons that the answer has to give no label; 0 where it gives one."""
    quality: Literal["ok", "review"]
    model: ModelFacts


Predictor = Callable[[Path], CasePrediction]
"""Function from a study's folder to its answer; raises :class:`glioserve_contract.GlioserveError` for none."""


def facts_of(recipe: Recipe, weights_digest: str, source: Source, version: str = "") -> ModelFacts:
    """Return the facts of a network with this recipe."""
    return ModelFacts(
        source=source,
        name=recipe.name,
        version=version,
        weights_digest=weights_digest,
        recipe_digest=recipe_digest(recipe),
        preprocessing_digest=preprocessing_digest(recipe),
        architecture=recipe.architecture.name,
        channels=tuple(map(str, recipe.channels)),
        threshold=recipe.threshold,
        temperature=recipe.temperature,
    )


def prediction_of(report: Report, source: Source, version: str = "") -> CasePrediction:
    """Return the part of a report that an evaluation uses, from a server or from this machine."""
    facts = facts_of(report.recipe, report.model.digest, source, version)
    return CasePrediction(report.score, len(report.abstained_because), report.preprocess.quality.verdict, facts)
