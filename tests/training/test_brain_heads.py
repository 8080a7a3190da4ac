"""The synthetic heads that the brain network is trained on: anatomy, surgery, contrast, scans."""

import numpy as np
import pytest
from scipy import ndimage

from glioserve_training.brain.contrast import draw_contrast
from glioserve_training.brain.head import (
    BOX_HIGH_MM,
    BOX_LOW_MM,
    SPACING_MM,
    HeadTissue,
    axes_mm,
    closed,
    make_head,
    signed_distance_mm,
)
from glioserve_training.brain.scan import GRID_MM, SIZE_MULTIPLE, draw_size, scan_head, scan_volume
from glioserve_training.brain.surgery import operate

pytestmark = pytest.mark.long
VOXEL_LITRES = SPACING_MM**3 / 1e6
BRAIN = [HeadTissue.GREY, HeadTissue.WHITE, HeadTissue.DEEP_GREY, HeadTissue.CEREBELLUM]


@pytest.fixture(scope="module")
def heads():
    return [make_head(seed) for seed in (500, 501)]


def test_a_seed_is_a_head(heads):
    again = make_head(500)
    assert np.array_equal(again.labels, heads[0].labels)
    assert np.array_equal(again.distance, heads[0].distance)
    assert (heads[0].labels != heads[1].labels).mean() > 0.05


def test_a_head_has_a_heads_anatomy(heads):
    for head in heads:
        mask = head.distance < 0
        assert 0.9 < mask.sum() * VOXEL_LITRES < 2.2
        assert ndimage.label(mask)[1] == 1
        # all that is brain is in the mask, and the mask holds little else than brain and fluid
        assert mask[np.isin(head.labels, BRAIN)].mean() > 0.999
        inside = np.isin(head.labels[mask], [*BRAIN, HeadTissue.CSF, HeadTissue.VENTRICLE, HeadTissue.DURA])
        assert inside.mean() > 0.99
        present = set(np.unique(head.labels))
        assert {
            HeadTissue.SKIN,
            HeadTissue.FAT,
            HeadTissue.BONE,
            HeadTissue.EYE,
            HeadTissue.CSF,
            HeadTissue.VESSEL,
        } <= present


def test_the_skull_lies_around_the_brain(heads):
    """Upwards from the brain's top: fluid, bone, scalp, air, in that order."""
    for head in heads:
        z, y, x = (int(c) for c in ndimage.center_of_mass(head.distance < 0))
        column = head.labels[z:, y, x + 10]
        first = {
            t: int(np.argmax(column == t))
            for t in (HeadTissue.BONE, HeadTissue.FAT, HeadTissue.AIR)
            if (column == t).any()
        }
        top = int(np.flatnonzero(head.distance[z:, y, x + 10] < 0).max())
        assert top < first[HeadTissue.BONE] < first[HeadTissue.FAT] < first[HeadTissue.AIR]


def test_left_and_right_eyes_lie_in_front_and_below(heads):
    x, y, z = axes_mm()
    for head in heads:
        eyes = head.labels == HeadTissue.EYE
        brain = head.distance < 0
        for coordinate, sign in ((y, -1), (z, -1)):
            at = np.broadcast_to(coordinate, eyes.shape)
            assert sign * (at[eyes].mean() - at[brain].mean()) > 20
        sides = np.broadcast_to(x, eyes.shape)[eyes]
        assert (sides > 15).any()
        assert (sides < -15).any()


def test_the_distance_is_the_masks(heads):
    for head in heads:
        exact = np.clip(np.rint(signed_distance_mm(head.distance < 0) * 10), -127, 127)
        assert np.array_equal(exact, head.distance)


def test_a_closing_fills_what_a_ball_cannot_reach():
    slab = np.zeros((40, 40, 40), dtype=bool)
    slab[10:30, 10:30, 10:19] = slab[10:30, 10:30, 21:30] = True  # a cleft of 4 mm
    filled = closed(slab, 5.0)
    assert filled[15:25, 15:25, 19:21].all()
    assert not filled[:, :, :9].any()
    wide = slab.copy()
    wide[:, :, 16:24] = False  # 16 mm
    assert not closed(wide, 5.0)[20, 20, 20]


@pytest.mark.long
def test_surgery_leaves_the_mask_and_changes_the_look(heads):
    head = heads[0]
    seen = set()
    for seed in range(12):
        labels = operate(head, np.random.default_rng(seed))
        changed = labels != head.labels
        lesions = [HeadTissue.OEDEMA, HeadTissue.ENHANCING, HeadTissue.NECROTIC, HeadTissue.CAVITY]
        assert (head.distance[np.isin(labels, lesions)] < 0).all()  # lesions are brain
        outside = changed & (head.distance > 10)
        assert not np.isin(labels[outside], BRAIN).any()
        seen |= set(np.unique(labels[changed]))
    assert {HeadTissue.OEDEMA, HeadTissue.ENHANCING, HeadTissue.CAVITY, HeadTissue.FLAP_RIM} <= seen


def test_contrasts_differ_and_air_is_dark():
    drawn = np.array([draw_contrast(np.random.default_rng(i)) for i in range(50)])
    assert drawn.shape == (50, len(HeadTissue))
    assert np.isfinite(drawn).all()
    assert (drawn[:, HeadTissue.AIR] <= 0.08).all()
    fluid_brighter = (drawn[:, HeadTissue.CSF] > drawn[:, HeadTissue.WHITE]).mean()
    assert 0.2 < fluid_brighter < 0.8


def test_a_scan_is_what_the_network_takes(heads):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        size = draw_size(rng)
        sample = scan_head(heads[seed % 2], rng, size)
        assert sample.image.shape == sample.distance_mm.shape == sample.seen.shape == size[::-1]
        assert all(n % SIZE_MULTIPLE == 0 for n in size)
        assert sample.image.dtype == np.float32
        assert sample.image.min() >= 0
        assert sample.image.max() <= 1
        assert (sample.image[~sample.seen] == 0).all()
        brain = (sample.distance_mm < 0) & sample.seen
        assert 0.2 < brain.sum() * GRID_MM**3 / 1e6 < 2.6


def test_a_scan_hangs_on_its_seed_alone(heads):
    one, two, other = (scan_head(heads[0], np.random.default_rng(s), (64, 64, 48)) for s in (3, 3, 4))
    assert np.array_equal(one.image, two.image)
    assert not np.array_equal(one.image, other.image)


def test_a_volume_shows_the_head_where_its_mask_is(heads):
    """Two sequences placed alike: what one's mask says of a point in the scanner, the other's says too."""
    (first, one), (second, two) = (
        scan_volume(heads[0], np.random.default_rng(i), np.random.default_rng(9)) for i in (1, 2)
    )
    assert first.voxels.shape == one.shape == first.geometry.shape
    litres = [m.sum() * np.prod(v.geometry.spacing_mm) / 1e6 for v, m in ((first, one), (second, two))]
    assert litres[0] == pytest.approx(litres[1], rel=0.05)
    centres = []
    for volume, mask in ((first, one), (second, two)):
        voxel = np.append(np.array(ndimage.center_of_mass(mask))[::-1], 1)
        centres.append((volume.geometry.lps_from_voxel @ voxel)[:3])
    assert np.allclose(*centres, atol=3)


def test_the_box_holds_the_head(heads):
    for head in heads:
        for axis in (1, 2):
            for end in (0, -1):
                face = np.take(head.labels, end, axis)
                upper = face[face.shape[0] // 2 :] if axis else face
                assert (upper == HeadTissue.AIR).all()
        assert (head.labels[-1] == HeadTissue.AIR).all()
        assert len(BOX_LOW_MM) == len(BOX_HIGH_MM) == 3
