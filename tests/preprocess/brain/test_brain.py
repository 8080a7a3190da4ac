"""The brain mask of a study: what is found, what is refused, who votes when the reference is poor."""

import numpy as np
import pytest

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.records.recipe import BrainExtraction
from glioserve_dicom.volumes.geometry import Geometry, SequenceVolume, isotropic_cover
from glioserve_preprocess.brain import extraction as brain_module
from glioserve_preprocess.brain.extraction import find_brain
from glioserve_preprocess.brain.network import Margin
from support.models.brain_models import SYNTHSTRIP_LIKE, distance_network, write_brain_model

METHODS = [BrainExtraction(), BrainExtraction("classical", None, None)]


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.method)
def test_a_phantoms_brain_is_found(phantom, phantom_volumes, method):
    reference = phantom_volumes[Modality.T1CE]
    brain = find_brain(reference, (), {}, method)
    true = phantom.brain_mask(Modality.T1CE, reference.geometry)
    assert brain.mask.shape == reference.voxels.shape
    assert set(np.unique(brain.mask)) == {0, 1}
    assert dice(brain.mask > 0, true > 0) > 0.85
    assert brain.record.method == method.method
    assert brain.record.digest == (method.digest or "")
    assert brain.record.sequences == (Modality.T1CE,)


def orange():
    z, y, x = np.indices((40, 40, 40)) - 20
    return ((x**2 + y**2 + z**2) < 8**2) * 100


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.method)
@pytest.mark.parametrize(
    "voxels", [np.zeros((40, 40, 40)), np.full((40, 40, 40), 100.0), orange()], ids=["empty", "constant", "an orange"]
)
def test_what_is_no_head_is_refused_or_reviewed(voxels, method):
    geometry = Geometry((40, 40, 40), np.diag([4.0, 4.0, 4.0, 1.0]))
    try:
        brain = find_brain(SequenceVolume(Modality.T1CE, voxels.astype(np.float32), geometry), (), {}, method)
        said = "review" if any(c.verdict == "review" for c in brain.checks) else "ok"
    except GlioserveError as error:
        said = error.code.token
    assert said in ("review", ErrorCode.BRAIN_NOT_FOUND.token)


GEOMETRY = Geometry((64, 72, 64), np.diag([3.0, 3.0, 3.0, 1.0]))


def ellipsoid_mm(shift=0.0, flaw=0.0):
    """Signed distance, positive inside, of a brain-sized ellipsoid; ``flaw`` grows a lobe on it."""
    z, y, x = ((i - n / 2) * 3.0 for i, n in zip(np.indices((64, 72, 64)), (64, 72, 64), strict=True))
    inside = 1 - np.sqrt(((x - shift) / 64) ** 2 + (y / 82) ** 2 + (z / 64) ** 2)
    lobe = flaw - np.sqrt((x - 80) ** 2 + (y - 60) ** 2 + (z + 60) ** 2)
    return np.maximum(inside * 68, lobe).astype(np.float32)


@pytest.fixture
def opinions(monkeypatch, tmp_path):
    """``find_brain`` over margins that are given per sequence, and the order in which they were asked for."""
    asked = []

    def run(margins, to_moving=None):
        def margin_of(volume, _model):
            asked.append(volume.modality)
            found = margins[volume.modality]
            if found is None:
                raise GlioserveError(ErrorCode.BRAIN_NOT_FOUND, "no head.")
            return Margin(found, isotropic_cover(volume.geometry, 3.0), "mm")

        monkeypatch.setattr(brain_module, "brain_margin", margin_of)
        extraction = write_brain_model(tmp_path, "a.onnx", distance_network(), SYNTHSTRIP_LIKE)
        inside = ellipsoid_mm()
        head = np.select([inside > 0, inside > -6, inside > -15], [1.0, 0.1, 1.0], 0.0).astype(np.float32)
        volumes = [SequenceVolume(m, head, GEOMETRY) for m in margins]
        matrices = to_moving or {m: np.eye(4) for m in margins}
        return find_brain(volumes[0], volumes[1:], matrices, extraction, tmp_path), asked

    return run


T1CE, T1, T2 = Modality.T1CE, Modality.T1, Modality.T2


def test_a_good_reference_and_a_second_opinion_are_enough(opinions):
    brain, asked = opinions({T1CE: ellipsoid_mm(), T1: ellipsoid_mm(1), T2: ellipsoid_mm(40)})
    assert asked == [T1CE, T1]
    assert brain.record.sequences == (T1CE,)
    assert {c.verdict for c in brain.checks} == {"ok"}
    assert {c.name for c in brain.checks} >= {"brain_volume", "brain_agreement", "brain_border", "brain_solidity"}


def test_where_the_reference_is_poor_all_vote(opinions):
    good = ellipsoid_mm()
    brain, asked = opinions({T1CE: ellipsoid_mm(flaw=62), T1: good, T2: good})
    assert asked == [T1CE, T1, T2]
    assert brain.record.sequences == (T1CE, T1, T2)
    assert dice(brain.mask > 0, good > 0) > 0.97


def test_a_second_opinion_that_is_wrong_is_outvoted(opinions):
    good = ellipsoid_mm()
    brain, _ = opinions({T1CE: good, T1: ellipsoid_mm(shift=45), T2: good})
    assert dice(brain.mask > 0, good > 0) > 0.9


def test_a_sequence_without_a_head_has_no_vote(opinions):
    brain, _ = opinions({T1CE: ellipsoid_mm(), T1: None, T2: None})
    assert brain.record.sequences == (T1CE,)
    assert "brain_agreement" not in {c.name for c in brain.checks}


def test_a_vote_for_nothing_never_wins(opinions):
    """An empty mask has one figure to be doubted, its volume; a poor one may have more, and is a mask."""
    poor, nothing = ellipsoid_mm(flaw=62), np.full(GEOMETRY.shape, -200, np.float32)
    brain, asked = opinions({T1CE: poor, T1: nothing, T2: nothing})
    assert asked == [T1CE, T1, T2]
    assert brain.record.sequences == (T1CE,)
    assert brain.mask.any()


def test_a_mask_far_below_the_crown_asks_for_a_review(opinions):
    """A brain where the neck is."""
    low = np.roll(ellipsoid_mm(), -16, axis=0)
    brain, _ = opinions({T1CE: low})
    assert next(c for c in brain.checks if c.name == "brain_below_crown").verdict == "review"


def test_a_second_opinion_is_carried_by_the_registration(opinions):
    """The other head lies 30 mm to the left in its own space, and the registration says so."""
    matrix = np.eye(4)
    matrix[0, 3] = 30.0
    shifted = {T1CE: ellipsoid_mm(), T1: ellipsoid_mm(shift=30)}
    brain, _ = opinions(shifted, {T1CE: np.eye(4), T1: matrix})
    assert {c.verdict for c in brain.checks} == {"ok"}
    brain, _ = opinions(shifted)
    assert next(c for c in brain.checks if c.name == "brain_agreement").verdict == "review"
