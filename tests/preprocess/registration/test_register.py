"""Rigid registration against phantoms whose true motion is known, and against what it must not accept."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_dicom.volumes.geometry import Geometry, SequenceVolume, apply, canonical
from glioserve_phantom import make_phantom
from glioserve_preprocess.brain.extraction import mask_points_lps_mm
from glioserve_preprocess.registration import search
from glioserve_preprocess.registration.pyramid import LEVELS_MM, prepare
from glioserve_preprocess.registration.register import examine, mean_displacement_mm, register, register_all
from glioserve_preprocess.registration.rigid import RADIUS_MM, Rigid, Similarity, rotation_of

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))  # its modules are scripts, no package
from registration.cases import real_study
from registration.hard import REALISTIC


def motion(angles_deg, shift_mm):
    a, b, c = np.deg2rad(angles_deg)
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = x @ y @ z, shift_mm
    return matrix


SMALL, LARGE = motion((6, -5, 8), (9, -7, 6)), motion((-20, 25, 19), (22, -28, 18))


@pytest.fixture(scope="module")
def brain(phantom, phantom_volumes):
    geometry = phantom_volumes[Modality.T1CE].geometry
    return mask_points_lps_mm(phantom.brain_mask(Modality.T1CE, geometry), geometry)


def moved(volume, extra):
    geometry = volume.geometry
    return replace(volume, geometry=Geometry(geometry.size_voxels, extra @ geometry.lps_from_voxel))


def error_mm(phantom, brain, found, modality, extra):
    true = extra @ phantom.moving_lps_from_reference_lps(modality, Modality.T1CE)
    return float(np.linalg.norm(apply(found, brain) - apply(true, brain), axis=1).mean())


@pytest.mark.parametrize("modality", [Modality.T1, Modality.T2])
@pytest.mark.parametrize("extra", [np.eye(4), SMALL, LARGE], ids=["as scanned", "moved further", "moved far"])
def test_the_true_motion_is_found(phantom, phantom_volumes, brain, modality, extra):
    found = register(phantom_volumes[Modality.T1CE], moved(phantom_volumes[modality], extra))
    assert error_mm(phantom, brain, found.moving_lps_from_reference_lps, modality, extra) < 0.5
    assert found.verdict == "ok"
    assert found.similarity > found.similarity_before
    assert found.second_start_mm < 2
    np.testing.assert_allclose(np.linalg.det(found.moving_lps_from_reference_lps[:3, :3]), 1, atol=1e-6)


def test_the_same_bits_on_any_number_of_threads(phantom_volumes):
    moving = [phantom_volumes[m] for m in (Modality.T1, Modality.T2)]
    one, several = (register_all(phantom_volumes[Modality.T1CE], moving, threads) for threads in (1, 3))
    for a, b in zip(one, several, strict=True):
        assert np.array_equal(a.moving_lps_from_reference_lps, b.moving_lps_from_reference_lps)
        assert (a.similarity, a.contrast, a.second_start_mm) == (b.similarity, b.contrast, b.second_start_mm)


def test_no_blas_starts_threads_meanwhile(phantom_volumes, monkeypatch):
    """One that starts threads for a 4 x 4 inverse would let them spin for as long as the search runs."""
    seen, climb = set(), search.Similarity.climb

    def looked_at(*arguments, **options):
        seen.update(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
        return climb(*arguments, **options)

    monkeypatch.setattr(search.Similarity, "climb", looked_at)
    with threadpool_limits(2, user_api="blas"):
        register(phantom_volumes[Modality.T1CE], phantom_volumes[Modality.T1])
        assert {i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"} == {2}
    assert seen == {1}


def test_exchanged_roles_give_the_inverse(phantom_volumes, brain):
    t1ce, t2 = phantom_volumes[Modality.T1CE], phantom_volumes[Modality.T2]
    there = register(t1ce, t2).moving_lps_from_reference_lps
    back = register(t2, t1ce).moving_lps_from_reference_lps
    assert mean_displacement_mm(back @ there, brain) < 0.3


def test_a_cavity_in_one_scan_only(phantom, phantom_volumes, brain):
    """An operation between two sequences of a merged study leaves it so: 4 cm of the brain are fluid."""
    t2 = phantom_volumes[Modality.T2]
    centre = apply(phantom.moving_lps_from_reference_lps(Modality.T2, Modality.T1CE), brain.mean(axis=0)[np.newaxis])
    z, y, x = np.indices(t2.voxels.shape)
    places = apply(t2.geometry.lps_from_voxel, np.stack([x, y, z], axis=-1).reshape(-1, 3).astype(float))
    hole = (np.linalg.norm(places - centre - [30, 10, 20], axis=1) < 20).reshape(t2.voxels.shape)
    emptied = replace(t2, voxels=np.where(hole, np.percentile(t2.voxels, 99), t2.voxels).astype(np.float32))
    found = register(phantom_volumes[Modality.T1CE], emptied)
    assert hole.sum() > 1000
    assert error_mm(phantom, brain, found.moving_lps_from_reference_lps, Modality.T2, np.eye(4)) < 0.5
    assert found.verdict == "ok"


def part_of(volume, axis, start, stop):
    """Voxels ``start`` to ``stop`` along an array axis, where they were."""
    affine = volume.geometry.lps_from_voxel.copy()
    affine[:3, 3] += affine[:3, 2 - axis] * start
    voxels = np.ascontiguousarray(np.moveaxis(np.moveaxis(volume.voxels, axis, 0)[start:stop], 0, axis))
    z, y, x = voxels.shape
    return SequenceVolume(volume.modality, voxels, Geometry((x, y, z), affine))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_half_of_the_field_of_view(phantom, phantom_volumes, brain, axis):
    t1 = phantom_volumes[Modality.T1]
    count = t1.voxels.shape[axis]
    half = moved(part_of(t1, axis, count // 4, 3 * count // 4), SMALL)
    found = register(phantom_volumes[Modality.T1CE], half)
    assert error_mm(phantom, brain, found.moving_lps_from_reference_lps, Modality.T1, SMALL) < 1
    assert 0.25 < found.overlap < 0.95


def test_what_shows_no_head_is_refused_by_name(phantom_volumes):
    t2 = phantom_volumes[Modality.T2]
    noise = replace(t2, voxels=np.random.default_rng(0).random(t2.voxels.shape, dtype=np.float32))
    with pytest.raises(GlioserveError, match="t2 could not be aligned to t1ce") as caught:
        register_all(phantom_volumes[Modality.T1CE], [phantom_volumes[Modality.T1], noise])
    assert caught.value.code is ErrorCode.REGISTRATION_FAILED


@pytest.mark.long
@pytest.mark.parametrize("modality", [Modality.T1, Modality.T2])
def test_another_head_does_not_pass_as_well_aligned(phantom_volumes, modality):
    other = make_phantom(12, "recurrence").volume(modality)
    (found,) = examine(phantom_volumes[Modality.T1CE], [other])
    assert found.refusal or found.verdict == "review"


def test_a_constant_volume_is_refused(phantom_volumes):
    t1 = phantom_volumes[Modality.T1]
    with pytest.raises(GlioserveError) as caught:
        register(phantom_volumes[Modality.T1CE], replace(t1, voxels=np.full_like(t1.voxels, 7)))
    assert caught.value.code is ErrorCode.REGISTRATION_FAILED


@pytest.mark.parametrize("modality", [Modality.T1CE, Modality.T2])
def test_a_sequence_on_itself_needs_no_review(phantom_volumes, modality):
    found = register(phantom_volumes[modality], replace(phantom_volumes[modality], modality=Modality.T1))
    assert found.verdict == "ok"
    assert found.overlap <= 1
    assert found.displacement_mm < 0.05


@pytest.mark.parametrize("steps", [-4, -1, 0, 1, 4])
def test_ideal_figures_need_no_review_whatever_rounding_did(phantom_volumes, steps):
    found = register(phantom_volumes[Modality.T1CE], phantom_volumes[Modality.T1])
    rounding = steps * np.spacing(1.0)
    ideal = replace(
        found, overlap=1 + rounding, similarity_before=found.similarity - rounding, rival=abs(rounding),
        both_ways_mm=rounding, contrast=1e9,
    )  # fmt: skip
    assert ideal.verdict == "ok"
    assert all(c.low <= c.value <= c.high for c in ideal.checks)


@pytest.mark.parametrize("one", [Modality.T1CE, Modality.T2])
def test_a_real_patients_sequences_need_no_review(one):
    real = real_study()
    if real is None:
        pytest.skip("needs the optional data in ../shared/data")
    volumes = {m: canonical(v) for m, v in real.volumes.items()}
    reference = volumes.pop(one)
    for found in register_all(reference, list(volumes.values())):
        assert [c.name for c in found.checks if c.verdict != "ok"] == []


@pytest.mark.parametrize("kind", REALISTIC)
def test_a_poorer_scan_needs_no_review(phantom_volumes, kind):
    rng = np.random.default_rng(5)
    t1ce, t2 = (REALISTIC[kind](rng, phantom_volumes[m]) for m in (Modality.T1CE, Modality.T2))
    assert register(t1ce, t2).verdict == "ok"


def test_each_figure_has_its_range(phantom_volumes):
    found = register(phantom_volumes[Modality.T1CE], phantom_volumes[Modality.T1])
    assert [c.name for c in found.checks] == [
        f"t1_registration_{n}" for n in ("contrast", "gain", "overlap", "rival", "both_ways")
    ]
    for change in (
        {"contrast": 1.2},
        {"overlap": 0.2},
        {"rival": 0.95},
        {"similarity_before": 9.0},
        {"both_ways_mm": 2.5},
    ):
        assert replace(found, **change).verdict == "review"
        assert not replace(found, **change).refusal
    for change in ({"contrast": 1.05}, {"overlap": 0.05}, {"displacement_mm": 900.0}, {"similarity": 0.01}):
        assert replace(found, **change).refusal


@pytest.mark.parametrize("level", [0, 1])
def test_the_gradient_is_that_of_the_similarity(phantom_volumes, level):
    """Central differences over a tenth of a voxel, along each of the six parameters; far from the optimum."""
    similarity = Similarity(*(prepare(phantom_volumes[m]) for m in (Modality.T1CE, Modality.T2)), level, 20_000, seed=1)
    at = np.array([9.0, -6.0, 4.0, 5.0, -7.0, 3.0])
    for objective in (similarity.nats, similarity.shared_nats):
        gradient = objective(at)[1]
        for axis in range(6):
            step = np.zeros(6)
            step[axis] = 0.1 * LEVELS_MM[level]
            slope = (objective(at + step)[0] - objective(at - step)[0]) / (2 * step[axis])
            assert abs(slope - gradient[axis]) < 0.03 * np.abs(gradient).max()


def test_a_very_large_field_of_view_is_refined_at_two_millimetres():
    rng = np.random.default_rng(0)
    large = SequenceVolume(Modality.T1, rng.random((330, 330, 330), dtype=np.float32), Geometry((330,) * 3, np.eye(4)))
    usual = SequenceVolume(Modality.T1, large.voxels[:200], Geometry((330, 330, 200), np.eye(4)))
    assert prepare(large).levels[-1].geometry.spacing_mm == (2.0, 2.0, 2.0)
    assert prepare(usual).levels[-1].geometry.spacing_mm == (1.0, 1.0, 1.0)


def test_displacement_is_a_distance():
    points = np.random.default_rng(0).uniform(-60, 60, (50, 3))
    assert mean_displacement_mm(np.eye(4), points) == 0
    assert mean_displacement_mm(motion((0, 0, 0), (3, 4, 0)), points) == pytest.approx(5)


@pytest.mark.parametrize("vector", [(0, 0, 0), (1e-9, 0, 0), (0.3, -0.2, 0.5), (0, 0, 3.1), (1e-4, -2e-4, 1e-4)])
def test_the_rotation_and_its_slopes(vector):
    vector = np.array(vector, dtype=float)
    matrix, jacobian = rotation_of(vector)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)
    for axis in range(3):
        step = np.zeros(3)
        step[axis] = 1e-6
        turn = (rotation_of(vector + step)[0] @ rotation_of(vector - step)[0].T - np.eye(3)) / 2e-6
        slope = np.array([turn[2, 1], turn[0, 2], turn[1, 0]])
        np.testing.assert_allclose(slope, jacobian[:, axis], atol=1e-6)
    assert np.array_equal(rotation_of(np.zeros(3))[0], np.eye(3))


def test_parameters_and_matrix_are_each_others_inverse():
    pivot = np.array([10.0, -20.0, 30.0])
    rigid = Rigid(pivot, np.array([0.1 * RADIUS_MM, -0.3 * RADIUS_MM, 0.2 * RADIUS_MM, 4.0, -5.0, 6.0]))
    np.testing.assert_allclose(Rigid.of_matrix(rigid.matrix, pivot).parameters_mm, rigid.parameters_mm, atol=1e-9)
    np.testing.assert_allclose(apply(rigid.matrix, pivot[np.newaxis])[0], pivot + np.array([4, -5, 6]))
