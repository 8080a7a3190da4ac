"""The reference case at import and export: the network and its graph must give it the expected score (GLIO-5117)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations

import numpy as np
import torch
from torch import nn

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.recipe import Recipe
from glioserve_contract.records.reference_case import check_score, score_of
from glioserve_contract.tensors import IMAGE, LOGITS
from glioserve_export.graphs.parity import open_session
from glioserve_networks.reference_case import CaseImage, StoredCase


def check_network(network: nn.Module, case: StoredCase, recipe: Recipe) -> float:
    """Return the network's score; GLIO-5117 also names orders of channels that would give the expected one."""
    logits = network_logits(network, case.image)
    try:
        return check_score(logits, recipe, "the network")
    except GlioserveError as error:
        if not np.isfinite(logits).all():
            raise
        orders = [", ".join(order) for order in _orders_that_fit(network, case.image, recipe)]
        hint = f" It is right with the channels in the order {' or '.join(orders)}." if orders else ""
        raise GlioserveError(ErrorCode.REFERENCE_CASE_FAILED, error.detail + hint) from error


def check_graph(model: bytes, case: StoredCase, recipe: Recipe) -> float:
    """Return the ONNX graph's score."""
    (logits,) = open_session(model).run([LOGITS.name], {IMAGE.name: case.image[None]})
    return check_score([float(value) for value in logits[0]], recipe, "the exported graph")


def unnoticed_swaps(network: nn.Module, case: StoredCase, recipe: Recipe) -> tuple[tuple[str, str], ...]:
    """Return pairs of channels that could be swapped without the case's score leaving its tolerance."""
    assert recipe.reference_case is not None
    pairs = []
    for i, j in combinations(range(len(recipe.channels)), 2):
        order = list(range(len(recipe.channels)))
        order[i], order[j] = j, i
        score = score_of(network_logits(network, case.image[order]), recipe)
        if abs(score - recipe.reference_case.score) <= recipe.reference_case.tolerance:
            pairs.append((recipe.channels[i].value, recipe.channels[j].value))
    return tuple(pairs)


def network_logits(network: nn.Module, image: CaseImage) -> list[float]:
    """Return the two logits of one study [C, D, H, W]; GLIO-5101 where the network cannot take the recipe's grid."""
    try:
        with torch.inference_mode():
            logits = network(torch.from_numpy(image)[None])
    except RuntimeError as error:
        raise GlioserveError(
            ErrorCode.INVALID_RECIPE, f"The network cannot take the grid {image.shape[1:]} of the recipe: {error}."
        ) from error
    if logits.shape != (1, 2):
        raise GlioserveError(
            ErrorCode.UNSUPPORTED_ARCHITECTURE, f"The network answers {list(logits.shape)} to one study, not [1, 2]."
        )
    return [float(value) for value in logits[0]]


def _orders_that_fit(network: nn.Module, image: CaseImage, recipe: Recipe) -> Iterator[tuple[str, ...]]:
    """Yield the orders of ``recipe.channels`` that would give the expected score: at most 24 of four channels."""
    case = recipe.reference_case
    assert case is not None
    names = [m.value for m in recipe.channels]
    # With the recipe's order o, place i of the network is shown channel o[i]; a right recipe would show it order[i].
    for places in list(permutations(range(len(names))))[1:]:
        score = score_of(network_logits(network, image[list(places)]), recipe)
        if abs(score - case.score) <= case.tolerance:
            yield tuple(names[place] for place in places)
