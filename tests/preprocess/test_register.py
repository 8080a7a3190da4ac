"""Rigid registration against phantoms whose true motion is known."""

import numpy as np
import pytest

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_preprocess.brain import mask_points_lps_mm
from glioserve_preprocess.geometry import Geometry, Volume, apply
from glioserve_preprocess.register import mean_displacement_mm, register


def motion(angles_deg, shift_mm):
    a, b, c = np.deg2rad(angles_deg)
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = x @ y @ z, shift_mm
    return matrix


@pytest.mark.parametrize("modality", [Modality.T1, Modality.T2])
@pytest.mark.parametrize("extra", [np.eye(4), motion((6, -5, 8), (9, -7, 6))], ids=["as scanned", "moved further"])
def test_the_true_motion_is_found(phantom, phantom_volumes, modality, extra):
    reference, moving = phantom_volumes[Modality.T1CE], phantom_volumes[modality]
    moved = Geometry(moving.geometry.size_voxels, extra @ moving.geometry.lps_from_voxel)
    found = register(reference, Volume(modality, moving.voxels, moved)).moving_lps_from_reference_lps
    true = extra @ phantom.moving_lps_from_reference_lps(modality, Modality.T1CE)
    brain = mask_points_lps_mm(phantom.brain_mask(Modality.T1CE, reference.geometry), reference.geometry)
    error_mm = np.linalg.norm(apply(found, brain) - apply(true, brain), axis=1)
    assert error_mm.mean() < 1.0
    np.testing.assert_allclose(np.linalg.det(found[:3, :3]), 1, atol=1e-6)


def test_the_similarity_grows(phantom_volumes):
    result = register(phantom_volumes[Modality.T1CE], phantom_volumes[Modality.T2])
    assert result.similarity > result.similarity_before > 0


def test_what_is_no_head_is_refused(phantom_volumes):
    reference = phantom_volumes[Modality.T1CE]
    noise = np.random.default_rng(0).random(reference.voxels.shape, dtype=np.float32)
    with pytest.raises(GlioserveError) as caught:
        register(reference, Volume(Modality.T2, noise, reference.geometry))
    assert caught.value.code is ErrorCode.REGISTRATION_FAILED
    assert "t2" in str(caught.value)


def test_displacement_of_a_shift_is_its_length():
    points = np.random.default_rng(0).normal(size=(10, 3))
    assert mean_displacement_mm(motion((0, 0, 0), (3, 4, 0)), points) == pytest.approx(5)
