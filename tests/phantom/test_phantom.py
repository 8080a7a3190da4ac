"""Phantoms: deterministic, plausible heads whose ground truth is true."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glioserve_contract import Modality
from glioserve_dicom.volumes.geometry import Geometry, apply, network_geometry
from glioserve_phantom import make_phantom
from glioserve_phantom.acquisition import rigid
from glioserve_phantom.anatomy import BOX_HIGH_MM, BOX_LOW_MM, PhantomTissue, subject_points, ventricles
from glioserve_phantom.lesion import draw_lesion
from glioserve_phantom.shapes import Noise, ellipsoid
from support.studies.phantoms import small_phantom


def fine_grid(centre: tuple[float, float, float], size: int = 48, spacing_mm: float = 2.0) -> Geometry:
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = np.array(centre) - spacing_mm * (size - 1) / 2
    return Geometry((size, size, size), affine)


def test_equal_seeds_make_equal_phantoms() -> None:
    first, again, other = (make_phantom(s, spacing_mm=4.0) for s in (11, 11, 12))
    np.testing.assert_array_equal(first.volume(Modality.T2).voxels, again.volume(Modality.T2).voxels)
    assert first.subject == again.subject != other.subject
    assert first.lesion != other.lesion


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_sequence_meets_the_papers_slice_rule_and_keeps_its_motion(seed: int) -> None:
    phantom = make_phantom(seed)
    assert set(phantom.acquisitions) == set(Modality)
    for modality, acquisition in phantom.acquisitions.items():
        assert acquisition.geometry.size_voxels[2] >= 32
        assert acquisition.slice_thickness_mm <= acquisition.geometry.spacing_mm[2]
        moved = phantom.moving_lps_from_reference_lps(modality, Modality.T1CE)
        np.testing.assert_allclose(moved[:3, :3] @ moved[:3, :3].T, np.eye(3), atol=1e-12)
        assert np.linalg.det(moved[:3, :3]) == pytest.approx(1)
    motion = phantom.moving_lps_from_reference_lps(Modality.T2, Modality.T1CE)
    head = np.array([phantom.lesion_centre_lps_mm(Modality.T1CE)])
    assert np.linalg.norm(apply(motion, head) - head) > 0.1


def test_the_diagnosis_changes_the_inside_of_the_lesion_alone() -> None:
    ring, solid = small_phantom(3, "necrosis"), small_phantom(3, "recurrence")
    assert dataclasses.replace(ring.lesion, diagnosis="recurrence") == solid.lesion
    differing = ring.head.labels != solid.head.labels
    assert differing.sum() > 50
    assert set(np.unique(ring.head.labels[differing])) == {PhantomTissue.NECROTIC}
    assert set(np.unique(solid.head.labels[differing])) == {PhantomTissue.ENHANCING}
    np.testing.assert_array_equal(ring.head.lesion, solid.head.lesion)
    assert not (differing & (ring.head.lesion == 0)).any()


@pytest.mark.parametrize("seed", [3, 4])
def test_the_head_is_a_head(seed: int) -> None:
    head = small_phantom(seed).head
    litres = head.brain.sum() * 2.0**3 / 1e6
    assert 1.0 < litres < 1.9
    assert set(np.unique(head.labels)) >= {
        PhantomTissue.FAT,
        PhantomTissue.BONE,
        PhantomTissue.CSF,
        PhantomTissue.GREY,
        PhantomTissue.WHITE,
        PhantomTissue.EYE,
    }
    # On a ray from the brain's middle to the left: brain, then bone, then scalp, then air.
    z, y, x = (round(-low / 2.0) for low in BOX_LOW_MM[::-1])
    ray = head.labels[z + 5, y, x:]
    last = {t: int(np.flatnonzero(ray == t).max()) for t in (PhantomTissue.GREY, PhantomTissue.BONE, PhantomTissue.FAT)}
    assert last[PhantomTissue.GREY] < last[PhantomTissue.BONE] < last[PhantomTissue.FAT] < len(ray) - 1


def test_the_ring_is_dark_inside_and_the_solid_is_not_on_t1ce() -> None:
    inside = {}
    for diagnosis in ("necrosis", "recurrence"):
        phantom = small_phantom(8, diagnosis)
        volume = phantom.volume(Modality.T1CE)
        mask = phantom.lesion_mask(Modality.T1CE, volume.geometry) > 0
        voxels = np.argwhere(mask)[:, ::-1]
        centre = np.array(phantom.lesion_centre_lps_mm(Modality.T1CE))
        distance = np.linalg.norm(apply(volume.geometry.lps_from_voxel, voxels.astype(float)) - centre, axis=1)
        values = volume.voxels[mask]
        inside[diagnosis] = values[distance < 5].mean() / np.percentile(values, 90)
    assert inside["necrosis"] < 0.6
    assert inside["recurrence"] > 0.8


@pytest.mark.parametrize("modality", list(Modality))
def test_masks_follow_the_head_into_each_sequence(modality: Modality) -> None:
    phantom = small_phantom(5)
    centre = phantom.lesion_centre_lps_mm(modality)
    grid = fine_grid(centre)
    mask = phantom.lesion_mask(modality, grid)
    assert mask.sum() > 100
    middle = apply(grid.lps_from_voxel, np.argwhere(mask)[:, ::-1].astype(float)).mean(axis=0)
    assert np.linalg.norm(middle - centre) < 4
    brain = phantom.brain_mask(modality, grid)
    assert brain[mask > 0].mean() > 0.97


def test_the_lesion_is_where_the_scanner_sees_it() -> None:
    """Bright voxels of T1ce that the same scan without contrast lacks lie where the truth says, after the motion."""
    phantom = small_phantom(6, "recurrence")
    t1ce = phantom.volume(Modality.T1CE)
    lesion = phantom.lesion_mask(Modality.T1CE, t1ce.geometry) > 0
    brain = phantom.brain_mask(Modality.T1CE, t1ce.geometry) > 0
    typical = np.median(t1ce.voxels[brain])
    assert np.median(t1ce.voxels[lesion]) > 1.35 * typical
    oedema = phantom.volume(Modality.FLAIR)
    there = phantom.lesion_mask(Modality.FLAIR, oedema.geometry) > 0
    brain = phantom.brain_mask(Modality.FLAIR, oedema.geometry) > 0
    assert np.median(oedema.voxels[there]) > 1.2 * np.median(oedema.voxels[brain])


@pytest.mark.parametrize("seed", range(20))
def test_lesions_lie_in_the_brain_and_off_the_ventricles(seed: int) -> None:
    phantom = make_phantom(seed, spacing_mm=4.0)
    lesion, subject = phantom.lesion, phantom.subject
    x, y, z = (np.array([c], dtype=np.float32) for c in lesion.centre_mm)
    assert ventricles(subject, subject_points(subject, (x, y, z)))[0] > 0.5 * min(lesion.radii_mm)
    assert lesion.wall_mm < 0.6 * min(lesion.radii_mm)
    head = phantom.head
    assert head.brain[head.lesion > 0].mean() > 0.97


def test_both_diagnoses_are_drawn_from_the_same_lesions() -> None:
    subject = make_phantom(0, spacing_mm=4.0).subject
    ring, solid = (draw_lesion(np.random.default_rng(5), subject, d) for d in ("necrosis", "recurrence"))
    assert dataclasses.replace(ring, diagnosis="recurrence") == solid


@given(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_noise_is_one_field_at_any_resolution(seed: int) -> None:
    noise = Noise(np.random.default_rng(seed), BOX_LOW_MM, BOX_HIGH_MM, 30.0)
    axes = [np.linspace(-40, 40, 5, dtype=np.float32) for _ in range(3)]
    grid = noise.on_axes(*axes)
    z, y, x = np.meshgrid(*axes[::-1], indexing="ij")
    points = noise.at((x.ravel(), y.ravel(), z.ravel()))
    np.testing.assert_allclose(grid.ravel(), points, atol=1e-4)


def test_noise_has_unit_spread() -> None:
    spreads = []
    for seed in range(8):
        noise = Noise(np.random.default_rng(seed), BOX_LOW_MM, BOX_HIGH_MM, 20.0)
        axis = np.linspace(-90, 90, 40, dtype=np.float32)
        spreads.append(noise.on_axes(axis, axis, axis).std())
    assert np.mean(spreads) == pytest.approx(1, abs=0.07)


def test_ellipsoid_distance_is_exact_on_axes_near_the_surface() -> None:
    points = tuple(np.array(v, dtype=np.float32) for v in ([12.0, 0, 0, 9.0], [0, 21.0, 0, 0], [0, 0, 29.0, 0]))
    distances = ellipsoid((points[0], points[1], points[2]), (0, 0, 0), (10, 20, 30))
    np.testing.assert_allclose(distances, [2, 1, -1, -1], atol=0.25)


def test_rigid_turns_then_shifts() -> None:
    matrix = rigid(np.array([0.0, 0.0, 90.0]), np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(apply(matrix, np.array([[10.0, 0.0, 0.0]])), [[1, 12, 3]], atol=1e-12)


def test_the_network_grid_holds_the_whole_brain() -> None:
    """The demo's 192 mm cube around the brain: nothing of it is lost."""
    phantom = small_phantom(4)
    reference = phantom.acquisitions[Modality.T1CE].geometry
    native = phantom.brain_mask(Modality.T1CE, reference)
    centre = apply(reference.lps_from_voxel, np.argwhere(native)[:, ::-1].astype(float)).mean(axis=0)
    from glioserve_training.settings import DEMO_RECIPE

    target = network_geometry(DEMO_RECIPE.grid, centre)
    kept = phantom.brain_mask(Modality.T1CE, target).sum() * 4.0**3
    assert kept == pytest.approx(phantom.head.brain.sum() * 2.0**3, rel=0.03)
