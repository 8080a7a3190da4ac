"""The geometry gate: rounding is told from uneven slices, and uneven slices from missing ones, at any thickness."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_dicom.slices.assemble import assemble
from glioserve_dicom.slices.spacing import even_step
from glioserve_dicom.volumes.geometry import Geometry, apply
from support.studies.encodings import edited, enhanced
from support.studies.pitfalls import same_series
from support.studies.scans import T1_HEADER, oblique, series, stacks

STEPS_MM = st.floats(0.5, 6)
SLICES = st.integers(20, 250)
DECIMALS = st.integers(1, 3)
SEEDS = st.integers(0, 2**16)
FEW_PIXELS = (5, 4)


def grid(seed, step_mm, slices):
    """Positions of an oblique stack [n, 3], and its normal."""
    geometry = oblique((*FEW_PIXELS, slices), (1, 1, step_mm), seed)
    index = np.column_stack([np.zeros((slices, 2)), np.arange(slices)])
    return apply(geometry.lps_from_voxel, index), geometry.lps_from_voxel[:3, 2] / step_mm


def refused(positions, normal):
    with pytest.raises(GlioserveError) as caught:
        even_step(positions, normal, 0.0)
    return caught.value


@given(SEEDS, STEPS_MM, SLICES, DECIMALS)
@settings(max_examples=100, deadline=None)
def test_rounded_positions_are_an_even_grid(seed, step_mm, slices, decimals):
    exact, normal = grid(seed, step_mm, slices)
    rounded = exact.round(decimals)
    step = even_step(rounded, normal, 0.0)
    first = rounded.mean(axis=0) - step * (slices - 1) / 2
    assert np.abs(first - exact[0]).max() < 0.1
    assert np.abs(first + step * (slices - 1) - exact[-1]).max() < 0.1


@pytest.mark.parametrize("axis", [0, 1, 2])
@given(st.floats(0.5, 2), st.floats(0, 0.1), SLICES)
@example(step_mm=0.95, start_mm=0.0, slices=40)
@example(step_mm=1.0001, start_mm=0.0499, slices=20)  # rounded down once or twice, then always up
@settings(max_examples=40, deadline=None)
def test_rounding_along_an_axis_of_the_patient(axis, step_mm, start_mm, slices):
    positions = np.full((slices, 3), -120.0)
    positions[:, axis] = (start_mm + step_mm * np.arange(slices)).round(1)
    assert np.linalg.norm(even_step(positions, np.eye(3)[axis], 0.0)) == pytest.approx(step_mm, abs=0.02)


@given(SEEDS, STEPS_MM, SLICES, st.integers(1, 6), st.data())
@settings(max_examples=100, deadline=None)
def test_a_missing_inner_slice_is_counted(seed, step_mm, slices, decimals, data):
    exact, normal = grid(seed, step_mm, slices)
    gone = data.draw(st.sets(st.integers(1, slices - 2), min_size=1, max_size=3))
    positions = np.delete(exact.round(decimals), sorted(gone), axis=0)
    problem = refused(positions, normal)
    assert problem.code is ErrorCode.MISSING_SLICE
    assert f": {len(gone)} missing." in problem.detail


def test_every_other_slice_missing_in_part():
    exact, normal = grid(3, 0.9, 60)
    problem = refused(np.delete(exact.round(1), np.arange(1, 57, 3), axis=0), normal)
    assert (problem.code, ": 19 missing." in problem.detail) == (ErrorCode.MISSING_SLICE, True)


UNEVEN = {
    "alternating": lambda n, share: share / 2 * (np.arange(n) % 2),
    "once": lambda n, share: share * (np.arange(n) > n // 2),
    "one slice": lambda n, share: share * (np.arange(n) == n // 3),
    "ever wider": lambda n, share: share * np.arange(n) * (np.arange(n) - n + 1) / n,
    "two halves of another spacing": lambda n, share: share * np.maximum(np.arange(n) - n // 2, 0),
    "jitter": lambda n, share: share * np.random.default_rng(n).uniform(-1, 1, n),
}
"""Displacement of each slice in steps, of ``n`` slices whose distances differ by about ``share``."""


@pytest.mark.parametrize("share", [0.05, 0.07, 0.10, 0.15])
@pytest.mark.parametrize("kind", UNEVEN)
@pytest.mark.parametrize(("step_mm", "decimals"), [(0.9, 4), (1.2, 3), (3.0, 2), (5.0, 1), (5.5, 6)])
def test_uneven_slices_are_never_missing_ones(kind, share, step_mm, decimals):
    exact, normal = grid(5, step_mm, 30)
    moved = exact + np.outer(UNEVEN[kind](30, share) * step_mm, normal)
    problem = refused(moved.round(decimals), normal)
    assert problem.code is ErrorCode.IRREGULAR_SPACING
    assert "missing" not in problem.detail


@pytest.mark.parametrize("share", [0.005, 0.01])
@pytest.mark.parametrize("kind", ["alternating", "one slice", "jitter"])
def test_a_hundredth_of_a_step_is_even(kind, share):
    exact, normal = grid(5, 4.0, 30)
    step = even_step(exact + np.outer(UNEVEN[kind](30, share) * 4.0, normal), normal, 0.0)
    assert np.linalg.norm(step) == pytest.approx(4.0, rel=2e-3)


@pytest.mark.parametrize(("step_mm", "slices"), [(1.0, 60), (4.0, 40), (5.5, 24)])
def test_small_errors_of_the_distances_may_add_up(step_mm, slices):
    exact, normal = grid(5, step_mm, slices)
    rng = np.random.default_rng(slices)
    steps = 1 + rng.uniform(-0.01, 0.01, slices - 1)
    drift = np.concatenate([[0], np.cumsum(steps / steps.mean())]) - np.arange(slices)
    assert np.abs(drift).max() > 0.012
    step = even_step(exact + np.outer(drift * step_mm, normal), normal, 0.0)
    assert np.linalg.norm(step) == pytest.approx(step_mm, rel=2e-3)


def test_errors_that_add_up_to_more_are_refused():
    exact, normal = grid(5, 1.0, 200)
    bend = 0.01 * np.maximum(np.arange(200) - 100, 0)  # the second half has slices 1 % further apart
    assert refused(exact + np.outer(bend, normal), normal).code is ErrorCode.IRREGULAR_SPACING


def scan(seed=0, step_mm=1.0, slices=60):
    stored = np.random.default_rng(seed).integers(1, 4000, (slices, *FEW_PIXELS[::-1]))
    geometry = oblique((*FEW_PIXELS, slices), (0.9, 1.1, step_mm), seed)
    return geometry, series(stored, geometry, **T1_HEADER)


def rounded(datasets, keyword, decimals):
    def edit(dataset, _):
        setattr(dataset, keyword, [f"{float(v):.{decimals}f}" for v in dataset[keyword].value])

    return edited(datasets, edit)


def off_mm(volume, geometry: Geometry):
    """The largest distance of a corner of the volume from its place, from whichever end the stack was taken."""
    x, y, z = geometry.size_voxels
    corners = np.array([(i, j, k) for i in (0, x - 1) for j in (0, y - 1) for k in (0, z - 1)], dtype=float)
    ours, true = (apply(g.lps_from_voxel, corners) for g in (volume.geometry, geometry))
    return max(np.linalg.norm(true - place, axis=1).min() for place in ours)


@given(SEEDS, STEPS_MM, st.integers(20, 80), st.booleans())
@settings(max_examples=15, deadline=None)
def test_files_with_rounded_positions(seed, step_mm, slices, is_enhanced):
    geometry, datasets = scan(seed, step_mm, slices)
    datasets = rounded(datasets, "ImagePositionPatient", 1)
    (found,) = stacks([enhanced(datasets)] if is_enhanced else datasets)
    assert found.slices == slices
    assert off_mm(assemble(found, Modality.T1), geometry) < 0.1


@given(SEEDS, st.floats(1.5, 6), st.integers(2, 5), st.sampled_from([1, 3, 6]))
@settings(max_examples=15, deadline=None)
def test_files_with_rounded_orientations(seed, step_mm, decimals, decimals_of_positions):
    geometry, datasets = scan(seed, step_mm, int(150 / step_mm))
    datasets = rounded(datasets, "ImagePositionPatient", decimals_of_positions)
    (found,) = stacks(rounded(datasets, "ImageOrientationPatient", decimals))
    volume = assemble(found, Modality.T1)
    axes = volume.geometry.lps_from_voxel[:3, :3] / volume.geometry.spacing_mm
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
    assert off_mm(volume, geometry) < 0.25


@pytest.mark.parametrize("decimals", [2, 3, 4])
def test_a_cosine_that_is_rounded_up_here_and_down_there(decimals):
    between = 0.7 + 0.5 * 10.0**-decimals
    affine = np.eye(4)
    affine[:2, :2] = [[between, -np.sqrt(1 - between**2)], [np.sqrt(1 - between**2), between]]
    datasets = series(np.ones((30, *FEW_PIXELS[::-1])), Geometry((*FEW_PIXELS, 30), affine), **T1_HEADER)

    def edit(dataset, index):
        values = np.array(dataset.ImageOrientationPatient, float) + (-1e-6 if index % 2 else 1e-6)
        dataset.ImageOrientationPatient = [f"{v:.{decimals}f}" for v in values]

    (found,) = stacks(edited(datasets, edit))
    assert assemble(found, Modality.T1).geometry.size_voxels == (*FEW_PIXELS, 30)


def test_a_second_copy_with_rounded_positions_is_dropped():
    _, datasets = scan(step_mm=0.9)
    copies = rounded(datasets[10:20], "ImagePositionPatient", 1)
    (found,) = stacks([*datasets, *copies])
    assert found.slices == 60
    assert assemble(found, Modality.T1).voxels.shape[0] == 60


def test_another_image_at_a_rounded_position_is_refused():
    _, datasets = scan(step_mm=0.9)
    _, others = scan(step_mm=0.9)
    for dataset in others:
        dataset.PixelData = dataset.PixelData[::-1]
    (found,) = stacks(same_series(datasets, rounded(others, "ImagePositionPatient", 1)))
    with pytest.raises(GlioserveError) as caught:
        assemble(found, Modality.T1)
    assert caught.value.code is ErrorCode.DUPLICATE_SLICE
