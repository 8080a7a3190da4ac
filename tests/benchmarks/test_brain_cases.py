"""The cases of the brain benchmarks: truth goes where the voxels go, and spoiling spoils."""

import sys
from pathlib import Path

import numpy as np
import pytest

from glioserve_contract import Modality
from glioserve_dicom.volumes.geometry import Geometry, SequenceVolume

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))  # its modules are scripts, no package
from brain.cases import BrainCase, perturbed
from brain.spoilt import KINDS


@pytest.fixture(scope="module")
def case():
    """A bright ball off the middle of a dim one, on thick slices; the bright one is the brain."""
    shape = (26, 120, 120)
    z, y, x = ((i - n / 2) * s for i, n, s in zip(np.indices(shape), shape, (5.5, 2.0, 2.0), strict=True))
    brain = np.sqrt((x - 8) ** 2 + (y + 5) ** 2 + z**2) < 45
    head = np.sqrt(x**2 + y**2 + z**2) < 70
    voxels = (np.where(brain, 800, np.where(head, 300, 0))).astype(np.float32)
    geometry = Geometry(shape[::-1], np.diag([2.0, 2.0, 5.5, 1.0]))
    return BrainCase("ball", "balls", SequenceVolume(Modality.T1, voxels, geometry), brain)


@pytest.mark.parametrize("seed", range(4))
def test_a_perturbed_copys_mask_goes_with_its_voxels(case, seed):
    copy = perturbed(case, np.random.default_rng(seed), seed)
    assert copy.volume.voxels.shape == copy.mask.shape == copy.volume.geometry.shape
    inside, outside = copy.volume.voxels[copy.mask], copy.volume.voxels[~copy.mask]
    assert np.median(inside) > 1.5 * np.percentile(outside, 90)
    centre = np.argwhere(copy.mask).mean(axis=0)[::-1]
    moved = copy.volume.geometry.lps_from_voxel @ np.append(centre, 1)
    first = np.argwhere(case.mask).mean(axis=0)[::-1]
    was = case.volume.geometry.lps_from_voxel @ np.append(first, 1)
    assert 1 < np.linalg.norm((moved - was)[:3]) < 12 * np.sqrt(3) + 3
    assert copy.mask.sum() == pytest.approx(case.mask.sum(), rel=0.25)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_every_way_of_spoiling_changes_the_voxels_and_keeps_them_sound(case, kind):
    spoilt = kind(case, np.random.default_rng(1))
    assert spoilt.volume.voxels.dtype == np.float32
    assert np.isfinite(spoilt.volume.voxels).all()
    assert spoilt.volume.voxels.shape == spoilt.mask.shape == spoilt.volume.geometry.shape
    same = spoilt.volume.voxels.shape == case.volume.voxels.shape
    assert not same or not np.array_equal(spoilt.volume.voxels, case.volume.voxels) or kind.__name__ == "upside_down"
    again = kind(case, np.random.default_rng(1))
    assert np.array_equal(again.volume.voxels, spoilt.volume.voxels)


def test_half_a_brain_and_no_head_have_no_right_mask(case):
    for kind in KINDS:
        spoilt = kind(case, np.random.default_rng(2))
        assert spoilt.mask.any() == (kind.__name__ not in ("half", "no_head"))
