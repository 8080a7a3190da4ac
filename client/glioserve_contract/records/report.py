"""The whole answer to one study: the JSON of the ``REPORT`` tensor.

:func:`glioserve_contract.to_dict` and ``from_dict`` carry it over the wire.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from glioserve_contract.codec import Digest, canonical_json, sha256_digest
from glioserve_contract.records.grid import Vector
from glioserve_contract.records.preprocess import PreprocessRecord
from glioserve_contract.records.recipe import Recipe


@dataclass(frozen=True)
class ModelRecord:
    """Identity of the network that answered."""

    name: str
    """Name of the recipe."""
    version: str
    """Triton's version of the classifier."""
    digest: Digest
    """``sha256:…`` of the trained weights, returned by the graph itself."""
    architecture: str
    """Name of the network in the exporter's registry (``resnet10``)."""


@dataclass(frozen=True)
class HeatmapRecord:
    """About HEATMAP: Grad-CAM of the predicted class, restricted to the brain, scaled to a maximum of 1."""

    explained_class: str
    """Class that the map speaks for."""
    peak_lps_mm: Vector | None
    """Centre of the hottest voxel in LPS, in mm; None when the map is empty."""
    inside_brain: float
    """Share of the raw map's mass that lies inside the brain mask, 0 to 1. The rest is not shown: the network's input
    is 0 there."""


@dataclass(frozen=True)
class Report:
    """The ``REPORT`` tensor: the whole answer but for the heat map's voxels."""

    contract_version: str
    """Semantic version of the contract; refuse an answer of another major version."""
    notice: str
    """Words that every output must show beside the answer."""
    score: float
    """Probability of recurrence after the recipe's temperature, 0 to 1."""
    label: Literal["necrosis", "recurrence", ""]
    """``recurrence`` where ``score`` is at least ``threshold``, else ``necrosis``; empty when the server abstains."""
    abstained_because: tuple[str, ...]
    """Quality checks that ask for a review; empty where there is a label."""
    probabilities: dict[str, float]
    """Probability of each class; they sum to 1."""
    threshold: float
    """The recipe's threshold on ``score``."""
    model: ModelRecord
    """The network that answered."""
    heatmap: HeatmapRecord | None
    """About the heat map; absent where none was asked for."""
    warnings: tuple[str, ...]
    """All remarks for a reader: those of ``preprocess``, then the report's own."""
    timings_s: dict[str, float]
    """Wall seconds per stage: those of ``preprocess``, then the report's own."""
    recipe: Recipe
    """Recipe of the network that answered, whole."""
    preprocess: PreprocessRecord
    """Preprocessing of the study before the network saw it: series, grids, registrations, quality, provenance."""


def untimed_digest(report: Report) -> Digest:
    """Return the digest of all that a report says but its times: two answers of equal bytes have the same one."""
    preprocess = replace(report.preprocess, timings_s={})
    return sha256_digest(canonical_json(replace(report, timings_s={}, preprocess=preprocess)).encode())
