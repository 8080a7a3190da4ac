"""A plan against the network's stored answers: every profile, every study, the recipe's own limits.

The studies are the probes of :mod:`probes`, the answers those of ``vectors.npz``: the fp32 network's, as the ONNX file
was proven to give them. No torch, no ONNX Runtime.
"""

from __future__ import annotations

from pathlib import Path

from glioserve_contract import GlioserveError
from glioserve_contract.records.facts.variants import ComparisonRecord
from glioserve_contract.records.manifest import Manifest, model_id
from glioserve_contract.records.plan import mismatch
from glioserve_export.graphs.vectors import Vectors
from glioserve_export.shape_profiles import BATCHES
from glioserve_export.variants.compare import Comparison, compare
from glioserve_tensorrt.toolkit import PlanAnswers, RunRequest, Toolkit

ProfileFigures = dict[str, ComparisonRecord]
"""Figures by profile (``batch 8``)."""


def check(
    plan: Path, vectors: Vectors, manifest: Manifest, toolkit: Toolkit, work: Path, timeout_s: float
) -> ProfileFigures:
    """Run the plan on the version's vectors; GLIO-5120 with the figures where it answers otherwise."""
    request = RunRequest(plan=plan, images=vectors.images, batches=BATCHES, work=work, timeout_s=timeout_s)
    figures = {}
    for batch, answers in zip(BATCHES, toolkit.run(request), strict=True):
        name = f"batch {batch}"
        figures[name] = _held(name, manifest, vectors, answers).record()
    return figures


def _held(name: str, manifest: Manifest, vectors: Vectors, answers: PlanAnswers) -> Comparison:
    if {tuple(row) for row in answers.model_id.tolist()} != {model_id(manifest.weights_digest)}:
        raise mismatch(f"The plan's MODEL_ID ({name}) is not that of the version's weights.")
    try:
        comparison = compare(manifest.recipe, vectors.logits, vectors.cam, answers.logits, answers.cam)
    except GlioserveError as error:  # a variant's error: other shapes than the reference's
        raise mismatch(f"The plan's profile for {name}: {error.detail}") from error
    problems = comparison.problems(manifest.recipe.variant_limits)
    if problems:
        raise mismatch(
            f"The plan answers otherwise than ONNX by its profile for {name}, over {comparison.studies} studies: "
            f"{'; '.join(problems)}."
        )
    return comparison
