"""The brain mask on phantoms, and what is refused or reviewed."""

import numpy as np
import pytest

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.recipe import BrainExtraction
from glioserve_preprocess.brain import check_brain, extract_brain
from glioserve_preprocess.geometry import Geometry, Volume


def test_a_phantoms_brain_is_found(phantom, phantom_volumes):
    reference = phantom_volumes[Modality.T1CE]
    mask = extract_brain(reference, BrainExtraction())
    true = phantom.brain_mask(Modality.T1CE, reference.geometry)
    assert mask.shape == reference.voxels.shape
    assert set(np.unique(mask)) == {0, 1}
    assert 2 * (mask & true).sum() / (mask.sum() + true.sum()) > 0.85


@pytest.mark.parametrize("level", [0.0, 100.0], ids=["empty", "constant"])
def test_an_image_without_a_head_is_refused(level):
    geometry = Geometry((40, 40, 40), np.diag([4.0, 4.0, 4.0, 1.0]))
    with pytest.raises(GlioserveError) as caught:
        extract_brain(Volume(Modality.T1CE, np.full((40, 40, 40), level, np.float32), geometry), BrainExtraction())
    assert caught.value.code is ErrorCode.BRAIN_NOT_FOUND


def test_a_brain_of_an_orange_is_refused():
    geometry = Geometry((40, 40, 40), np.diag([4.0, 4.0, 4.0, 1.0]))
    z, y, x = np.indices((40, 40, 40)) - 20
    ball = ((x**2 + y**2 + z**2) < 8**2).astype(np.float32) * 100
    with pytest.raises(GlioserveError) as caught:
        extract_brain(Volume(Modality.T1CE, ball, geometry), BrainExtraction())
    assert caught.value.code is ErrorCode.BRAIN_NOT_FOUND


@pytest.mark.parametrize(("litres", "verdict"), [(0.5, "review"), (1.4, "ok"), (2.6, "review")])
def test_an_implausible_volume_asks_for_a_review(litres, verdict):
    geometry = Geometry((100, 100, 100), np.diag([2.0, 2.0, 2.0, 1.0]))
    mask = np.zeros(10**6, np.uint8)
    mask[: int(litres * 1e6 / 8)] = 1
    check = check_brain(mask.reshape(100, 100, 100), geometry)
    assert check.verdict == verdict
    assert check.value == pytest.approx(litres, rel=1e-3)
