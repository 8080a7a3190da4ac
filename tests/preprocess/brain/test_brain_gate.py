"""The figures of the quality gate on solids whose figures are known."""

import numpy as np
import pytest

from glioserve_dicom.volumes.geometry import Geometry
from glioserve_preprocess.brain.gate import (
    agreement_check,
    enclosure_check,
    margin_checks,
    position_check,
    shape_checks,
    unsureness_check,
    volume_check,
)
from glioserve_preprocess.brain.network import Margin

SHAPE = (64, 72, 60)
GEOMETRY = Geometry((60, 72, 64), np.diag([3.0, 3.0, 3.0, 1.0]))


def ellipsoid(radii_mm, centre_mm=(0.0, 0.0, 0.0)):
    """Boolean [z, y, x]; ``radii_mm`` and ``centre_mm`` in (x, y, z) about the grid's middle."""
    grids = [(i - (n - 1) / 2) * 3.0 for i, n in zip(np.indices(SHAPE), SHAPE, strict=True)]
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grids[::-1], centre_mm, radii_mm, strict=True)) < 1


def figures(mask):
    return {c.name: c for c in shape_checks(mask, GEOMETRY)}


@pytest.mark.parametrize(("litres", "verdict"), [(0.5, "review"), (1.4, "ok"), (2.6, "review")])
def test_an_implausible_volume_asks_for_a_review(litres, verdict):
    mask = np.zeros(10**6, np.uint8)
    mask[: int(litres * 1e6 / 8)] = 1
    judged = volume_check(mask.reshape(100, 100, 100), Geometry((100, 100, 100), np.diag([2.0, 2.0, 2.0, 1.0])))
    assert judged.verdict == verdict
    assert judged.value == pytest.approx(litres, rel=1e-3)


def test_a_brain_shaped_solid_passes():
    found = figures(ellipsoid((66, 84, 62)))
    assert {c.verdict for c in found.values()} == {"ok"}
    assert found["brain_solidity"].value > 0.95
    assert found["brain_slenderness"].value == pytest.approx(84 / 62, rel=0.02)
    assert found["brain_border"].value == 0


def test_a_lobe_in_the_face_lowers_the_solidity():
    lobed = ellipsoid((62, 80, 50), (0, 10, 20)) | ellipsoid((16, 16, 40), (0, -75, -50))
    assert figures(lobed)["brain_solidity"].verdict == "review"


def test_a_neck_is_slender():
    assert figures(ellipsoid((35, 40, 90)))["brain_slenderness"].verdict == "review"


def test_a_brain_that_is_cut_off_touches_the_border():
    cut = figures(ellipsoid((66, 84, 62), (0, 0, 60)))
    assert cut["brain_border"].verdict == "review"
    assert 0.1 < cut["brain_border"].value < 0.5


def test_an_empty_margin_has_a_volume_alone():
    (judged,) = margin_checks(
        Margin(np.full(SHAPE, -1.0, np.float32), GEOMETRY, "mm"), np.zeros(SHAPE, np.float32), np.zeros(3)
    )
    assert (judged.name, judged.verdict) == ("brain_volume", "review")


@pytest.mark.parametrize("mask", [np.s_[10:11, 20:22, 5:6], np.s_[10:11, 20:60, 5:50]], ids=["specks", "a sheet"])
def test_a_mask_without_thickness_is_judged_and_not_an_error(mask):
    flat = np.zeros(SHAPE, dtype=bool)
    flat[mask] = True
    assert "review" in {c.verdict for c in shape_checks(flat, GEOMETRY)}


def test_the_position_is_measured_from_the_crown():
    mask = ellipsoid((60, 80, 60))
    top_mm = float(np.argwhere(mask)[:, 0].max() * 3.0)
    near, far = (position_check(mask, GEOMETRY, np.array([0, 0, top_mm + mm])) for mm in (15, 70))
    assert (near.verdict, far.verdict) == ("ok", "review")
    assert near.value == pytest.approx(15)


def test_a_brain_lies_in_a_skull_and_a_scalp_and_a_bottle_does_not():
    brain = ellipsoid((55, 70, 55), (0, 0, -10))
    skull = ellipsoid((61, 76, 61), (0, 0, -10))
    scalp = ellipsoid((70, 85, 70), (0, 0, -10))
    head = np.select([brain, skull, scalp], [800, 60, 900], 0).astype(np.float32)
    bottle = np.where(scalp, 800, 0).astype(np.float32)
    in_head, in_bottle = (enclosure_check(brain, image, GEOMETRY) for image in (head, bottle))
    assert (in_head.verdict, in_bottle.verdict) == ("ok", "review")
    assert in_head.value > 0.95
    assert in_bottle.value < 0.05


def test_a_field_of_view_that_ends_at_the_brain_says_nothing_of_the_scalp():
    brain = np.ones(SHAPE, dtype=bool)
    assert enclosure_check(brain, brain.astype(np.float32), GEOMETRY) is None


def test_a_true_distance_is_sure_and_a_flat_one_is_not():
    grids = [(i - (n - 1) / 2) * 3.0 for i, n in zip(np.indices(SHAPE), SHAPE, strict=True)]
    true = (65 - np.sqrt(sum(g**2 for g in grids))).astype(np.float32)
    sure, unsure = (unsureness_check(Margin(true * np.float32(k), GEOMETRY, "mm")) for k in (1, 0.3))
    assert sure.value < 0.05
    assert (sure.verdict, unsure.verdict) == ("ok", "review")
    assert unsureness_check(Margin(true, GEOMETRY, "logit")) is None


def test_agreement_is_dice():
    one, other = ellipsoid((60, 80, 60)), ellipsoid((60, 80, 60), (30, 0, 0))
    assert agreement_check(one, one).value == 1
    apart = agreement_check(one, other)
    assert apart.value == pytest.approx(2 * (one & other).sum() / (one.sum() + other.sum()))
    assert apart.verdict == "review"
    assert agreement_check(one & False, one & False).value == 0
