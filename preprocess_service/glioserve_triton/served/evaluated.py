"""The rates that the versions' evaluations found, for outcomes to be held against."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from glioserve_contract.tensors import CLASSIFIER_MODEL
from glioserve_triton.served.versions import load_versions
from glioserve_watch.outcomes.evidence import Expectation
from glioserve_watch.outcomes.standing import RATES, RateName


def evaluated_rates(repository: Path) -> Mapping[str, Mapping[RateName, Expectation]]:
    """Return sensitivity and specificity over the answered studies by the digest of a version's weights.

    A version without an evaluation, or without studies of a truth, has none.

    Raises:
        GlioserveError: GLIO-5103 and others where a version's manifest cannot be read.
    """
    found: dict[str, dict[RateName, Expectation]] = {}
    for served in load_versions(repository / CLASSIFIER_MODEL.name):
        evaluation = served.manifest.evaluation
        figures = {name: evaluation.figure(name) for name in RATES} if evaluation else {}
        rates = {name: Expectation.of_figure(f.value, f.n) for name, f in figures.items() if f is not None}
        found[served.manifest.weights_digest] = rates
    return found
