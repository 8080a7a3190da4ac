"""One resampling to another grid: what it is equal to, what it lets through, and what it never does."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from glioserve_contract.records.recipe import Grid
from glioserve_dicom.volumes.geometry import Geometry, apply, network_geometry
from glioserve_preprocess.tensor.grid import antialias_sigma_mm, sample, sample_mask
from support.studies.geometries import (
    axis_flips,
    axis_orders,
    covering_geometries,
    places_lps_mm,
    reordered,
    rigid_motions,
    volumes,
)
from support.studies.scans import oblique

CENTRE = (12.0, -7.0, 30.0)
HERE = np.eye(4)


def straight(size, spacing_mm, centre=(0.0, 0.0, 0.0)):
    """A grid with LPS axes about ``centre``."""
    return network_geometry(Grid(size, spacing_mm), np.array(centre))


def source_voxels(source, target, motion):
    """Place of each target voxel in source voxels, [z, y, x, 3]."""
    places = places_lps_mm(target)
    return apply(source.voxel_from_lps @ motion, places.reshape(-1, 3)).reshape(places.shape)


def inside(source, target, motion, margin=0.0):
    """Return which target voxels lie in the source's field of view, ``margin`` (x, y, z) voxels from its border."""
    voxels = source_voxels(source, target, motion)
    return ((voxels >= -0.5 + margin) & (voxels <= np.array(source.size_voxels) - 0.5 - margin)).all(axis=-1)


def two_steps(voxels, source, target, motion):
    """The definition, the slow way: smooth the whole source, then interpolate it linearly at the composed places."""
    sigmas = np.array(antialias_sigma_mm(source, target, motion)) / source.spacing_mm
    smooth = np.pad(voxels.astype(np.float64), 2, mode="edge")  # beyond its border the source goes on as it ends
    for axis, sigma in zip((2, 1, 0), sigmas, strict=True):
        if sigma > 0:
            smooth = ndimage.gaussian_filter1d(smooth, sigma, axis, mode="nearest", radius=int(np.ceil(3 * sigma)))
    coordinates = source_voxels(source, target, motion)[..., ::-1].reshape(-1, 3).T + 2
    return ndimage.map_coordinates(smooth, coordinates, order=1, mode="nearest").reshape(target.shape)


@given(
    covering_geometries(CENTRE, 20.0, st.floats(0.9, 7.0)),
    covering_geometries(CENTRE, 15.0, st.floats(2.0, 8.0)),
    rigid_motions(CENTRE, 20.0, 10.0),
    st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_it_is_one_linear_interpolation_of_the_smoothed_source_at_composed_places(source, target, motion, seed):
    voxels = np.random.default_rng(seed).random(source.shape, dtype=np.float32)
    found, seen = sample(voxels, source, target, motion), inside(source, target, motion, 1e-4)
    assert (found[~inside(source, target, motion, -1e-4)] == 0).all()
    np.testing.assert_allclose(found[seen], two_steps(voxels, source, target, motion)[seen], atol=2e-6)


@pytest.mark.parametrize("motion", [HERE, np.array([[0, -1, 0, 3.0], [1, 0, 0, -2], [0, 0, 1, 5], [0, 0, 0, 1]])])
@pytest.mark.parametrize("spacing_mm", [(0.9, 0.9, 5.5), (4.0, 1.0, 1.0), (2.5, 2.5, 2.5)])
def test_parallel_grids_go_axis_by_axis_to_the_same_values(motion, spacing_mm):
    source = straight((40, 30, 12), spacing_mm, (1.0, 2.0, 3.0))
    target = straight((16, 15, 14), (3.0, 2.0, 4.0))
    voxels = np.random.default_rng(0).random(source.shape, dtype=np.float32)
    found, seen = sample(voxels, source, target, motion), inside(source, target, motion)
    assert seen.any()
    np.testing.assert_allclose(found, np.where(seen, two_steps(voxels, source, target, motion), 0), atol=2e-6)
    assert np.array_equal(np.isnan(sample(voxels, source, target, motion, outside=np.nan)), ~seen)


def test_the_same_grid_gives_the_same_bits():
    source = straight((9, 8, 7), (0.7, 1.3, 5.0), (100.0, -200.0, 33.3))
    voxels = np.random.default_rng(0).normal(size=source.shape).astype(np.float32)
    assert np.array_equal(sample(voxels, source, source, HERE), voxels)


@given(covering_geometries(CENTRE, 12.0), rigid_motions(CENTRE), st.sampled_from([1.5, 4.0, 10.0]))
@settings(max_examples=60, deadline=None)
def test_a_constant_stays_constant_up_to_the_very_border_and_is_zero_beyond(source, motion, spacing_mm):
    target = straight((10, 10, 10), (spacing_mm,) * 3, CENTRE)
    found = sample(np.full(source.shape, 700, np.float32), source, target, motion)
    np.testing.assert_allclose(found[inside(source, target, motion, 1e-4)], 700, rtol=1e-5)
    assert (found[~inside(source, target, motion, -1e-4)] == 0).all()


@given(covering_geometries(CENTRE, 30.0, st.floats(0.8, 5.0)), rigid_motions(CENTRE, 20.0, 5.0))
@settings(max_examples=40, deadline=None)
def test_a_ramp_stays_a_ramp_where_the_smoothing_stays_inside(source, motion):
    target = straight((10, 10, 10), (4.0, 4.0, 4.0), CENTRE)
    slope = np.array([0.3, -0.2, 0.5])
    found = sample((places_lps_mm(source) @ slope).astype(np.float32), source, target, motion)
    reach = np.ceil(3 * np.array(antialias_sigma_mm(source, target, motion)) / source.spacing_mm) + 0.5
    well_inside = inside(source, target, motion, reach)
    expected = (places_lps_mm(target) @ motion[:3, :3].T + motion[:3, 3]) @ slope
    np.testing.assert_allclose(found[well_inside], expected[well_inside], atol=1e-3)


@given(volumes(), rigid_motions((0.0, 0.0, 0.0), 180.0, 2.0), st.floats(0.5, 9.0))
@settings(max_examples=40, deadline=None)
def test_nothing_overshoots(volume, motion, spacing_mm):
    centre = apply(volume.geometry.lps_from_voxel, (np.array([volume.geometry.size_voxels]) - 1) / 2)[0]
    target = straight((6, 6, 6), (spacing_mm,) * 3, centre)
    found = sample(volume.voxels + 5, volume.geometry, target, HERE)
    seen = found[found != 0]
    assert ((seen >= volume.voxels.min() + 5 - 1e-5) & (seen <= volume.voxels.max() + 5 + 1e-5)).all()


@pytest.mark.parametrize("shrink", [2.0, 3.0, 4.0, 6.5, 12.0])
def test_what_is_finer_than_the_grid_is_suppressed_by_the_stated_factors(shrink):
    """Voxels are averages over their width, as a scanner's are; amplitudes by multiples of the Nyquist frequency."""
    target = straight((12, 8, 8), (4.0, 4.0, 4.0))
    source = straight((int(70 * shrink / 4), 12, 12), (4.0 / shrink, 4.0, 4.0))

    def passes(times_nyquist):
        per_mm = times_nyquist / (2 * 4.0)
        along_x = 2 * np.pi * per_mm * places_lps_mm(source)[..., 0]
        waves = [np.cos(along_x + phase) * np.sinc(per_mm * 4.0 / shrink) for phase in np.linspace(0, np.pi, 9)]
        return max(float(np.abs(sample(w.astype(np.float32), source, target, HERE)).max()) for w in waves)

    assert passes(0.25) > 0.93
    assert passes(1.0) <= 0.47
    assert passes(1.7) <= 0.13
    assert passes(2.0) <= (0.09 if shrink < 3 else 0.04)


def test_a_checkerboard_of_voxels_becomes_grey_from_every_angle():
    fine = straight((64, 64, 64), (1.0, 1.0, 1.0))
    checkers = (np.indices(fine.shape).sum(0) % 2).astype(np.float32)
    for degrees in (0.0, 12.0, 45.0):
        turn = HERE.copy()
        angle = np.deg2rad(degrees)
        turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        np.testing.assert_allclose(sample(checkers, fine, straight((8, 8, 8), (4.0,) * 3), turn), 0.5, atol=1e-3)


def test_antialiasing_makes_up_the_difference_of_widths_only():
    thick = straight((10, 10, 10), (1.0, 1.0, 5.0))
    target = straight((8, 8, 8), (4.0, 4.0, 4.0))
    x, y, z = antialias_sigma_mm(thick, target, HERE)
    assert x == y == pytest.approx(np.sqrt(15) / 2.3548, rel=1e-3)
    assert z == 0
    assert antialias_sigma_mm(target, target, HERE) == (0, 0, 0)


def test_antialiasing_turns_with_the_registration():
    source = straight((10, 10, 10), (1.0, 1.0, 1.0))
    flat = straight((8, 8, 8), (4.0, 1.0, 1.0))
    quarter = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert antialias_sigma_mm(source, flat, quarter) == pytest.approx((0, np.sqrt(15) / 2.3548, 0), rel=1e-3)


@given(volumes(), axis_orders, axis_flips)
@settings(max_examples=40, deadline=None)
def test_however_axes_are_stored_the_sample_is_the_same(volume, order, flips):
    other = reordered(volume, order, flips)
    centre = apply(volume.geometry.lps_from_voxel, (np.array([volume.geometry.size_voxels]) - 1) / 2)[0]
    target = straight((8, 8, 8), (1.5, 1.5, 1.5), centre)
    a = sample(volume.voxels, volume.geometry, target, HERE)
    b = sample(other.voxels, other.geometry, target, HERE)
    np.testing.assert_allclose(a, b, atol=1e-5)


@given(covering_geometries(CENTRE, 12.0), rigid_motions(CENTRE), st.sampled_from([1.5, 6.0]))
@settings(max_examples=40, deadline=None)
def test_what_nobody_measured_can_be_told_from_a_dark_voxel(source, motion, spacing_mm):
    voxels = np.random.default_rng(0).normal(size=source.shape).astype(np.float32)
    for matrix in (motion, HERE):
        target = straight((10, 10, 10), (spacing_mm,) * 3, CENTRE)
        dark, unknown = (sample(voxels, source, target, matrix, outside=o) for o in (0.0, np.nan))
        assert np.isnan(unknown[~inside(source, target, matrix, -1e-4)]).all()
        assert not np.isnan(unknown[inside(source, target, matrix, 1e-4)]).any()
        assert np.array_equal(np.nan_to_num(unknown), dark)


TURNED = np.array([[0.98, -0.17, 0.05, 2.0], [0.17, 0.98, 0.0, -1.0], [-0.05, 0.01, 1.0, 3.0], [0, 0, 0, 1]])


@pytest.mark.parametrize("motion", [HERE, TURNED], ids=["parallel", "turned"])
def test_where_nobody_looks_nothing_is_computed_and_the_rest_is_the_same(motion):
    source = straight((60, 50, 20), (0.9, 0.9, 3.0))
    target = straight((12, 12, 12), (4.0, 4.0, 4.0))
    voxels = np.random.default_rng(0).random(source.shape, dtype=np.float32)
    where = (np.random.default_rng(1).random(target.shape) < 0.4).astype(np.uint8)
    everywhere = sample(voxels, source, target, motion)
    assert np.array_equal(sample(voxels, source, target, motion, where), np.where(where, everywhere, np.float32(0)))


def test_threads_at_once_give_the_bits_of_one(monkeypatch):
    source = straight((50, 50, 20), (0.9, 0.9, 4.0))
    target = straight((20, 20, 20), (4.0, 4.0, 4.0))
    jobs = [
        (np.random.default_rng(n).random(source.shape, dtype=np.float32), HERE if n % 2 else TURNED) for n in range(8)
    ]
    alone = [sample(voxels, source, target, motion) for voxels, motion in jobs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            together = pool.map(lambda job: sample(job[0], source, target, job[1]), jobs)
            assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_the_number_of_threads_of_the_process_changes_no_bit():
    program = """
import hashlib, numpy as np
from glioserve_contract.records.recipe import Grid
from glioserve_dicom.volumes.geometry import network_geometry
from glioserve_preprocess.tensor.grid import sample
source = network_geometry(Grid((50, 40, 20), (0.9, 0.9, 4.0)), np.zeros(3))
target = network_geometry(Grid((20, 20, 20), (4.0, 4.0, 4.0)), np.zeros(3))
turn = np.eye(4); turn[0, 1], turn[1, 0] = -0.1, 0.1
voxels = np.random.default_rng(0).random(source.shape, dtype=np.float32)
print(*(hashlib.sha256(sample(voxels, source, target, m)).hexdigest() for m in (np.eye(4), turn)))
"""
    found = set()
    for threads in ("1", "5"):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
        environment = {**os.environ, **dict.fromkeys(names, threads)}
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        found.add(done.stdout)
    assert len(found) == 1


@pytest.mark.parametrize("sequence", ["parallel", "turned"])
def test_a_source_far_finer_than_the_target_is_averaged_not_skipped(sequence):
    """0.1 mm to 10 mm: a kernel of 250 voxels along each axis would take hours; blocks of voxels bound it."""
    motion = HERE if sequence == "parallel" else TURNED
    source = straight((601, 203, 23), (0.1, 0.1, 5.0))
    target = straight((4, 3, 8), (10.0, 10.0, 10.0))
    ramp = (places_lps_mm(source) @ (2.0, 0.0, 0.0)).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 100, source.shape).astype(np.float32)
    found = sample(ramp + noise, source, target, motion)
    expected = (places_lps_mm(target) @ motion[:3, :3].T + motion[:3, 3]) @ (2.0, 0.0, 0.0)
    middle = inside(source, target, motion, np.array([135.0, 0, 0]))
    assert middle.sum() > 8
    np.testing.assert_allclose(found[middle], expected[middle], atol=6.0)


def test_a_mask_stays_a_mask():
    source = straight((10, 10, 10), (2.0, 2.0, 2.0))
    mask = np.zeros((10, 10, 10), np.uint8)
    mask[3:7, 3:7, 3:7] = 1
    found = sample_mask(mask, source, straight((20, 20, 20), (1.0, 1.0, 1.0)))
    assert set(np.unique(found)) == {0, 1}
    assert found.sum() == pytest.approx(mask.sum() * 8, rel=0.1)


def ellipsoid_distance(points, centre, radii):
    """First-order signed distance in mm to an ellipsoid's surface, negative inside."""
    scaled = (points - np.array(centre)) / radii
    value = np.linalg.norm(scaled, axis=-1)
    slope = np.linalg.norm(scaled / radii, axis=-1) / np.maximum(value, 1e-9)
    return (value - 1) / np.maximum(slope, 1e-9)


@given(
    covering_geometries(CENTRE, 55.0, st.floats(1.5, 6.0)),
    st.tuples(*[st.floats(35.0, 50.0)] * 3),
    st.sampled_from([2.0, 4.0]),
)
@settings(max_examples=25, deadline=None)
def test_a_mask_comes_back_from_the_network_within_half_a_voxel_of_its_boundary(native, radii, spacing_mm):
    """The voxel is the coarser grid's, because a grid knows a boundary no better than its own voxels do; the bound is
    half its diagonal, because the boundary may run through it any way.
    """
    size = int(120 / spacing_mm)
    network = straight((size,) * 3, (spacing_mm,) * 3, CENTRE)
    distance = ellipsoid_distance(places_lps_mm(native), CENTRE, np.array(radii))
    mask = (distance < 0).astype(np.uint8)
    back = sample_mask(sample_mask(mask, native, network), network, native)
    wrong = np.abs(distance[back != mask])
    half_mm = max(np.linalg.norm(native.spacing_mm), spacing_mm * np.sqrt(3)) / 2
    assert (wrong <= half_mm).all(), f"{wrong.max():.2f} mm, half a voxel is {half_mm:.2f} mm"
    assert int(back.sum()) == pytest.approx(int(mask.sum()), rel=0.03)


def test_slabs_on_threads_give_the_same_bits():
    rng = np.random.default_rng(4)
    source = oblique((40, 36, 20), (1.1, 0.9, 4.0), 3)
    voxels = rng.random(source.shape, dtype=np.float32)
    target = Geometry((31, 29, 7), np.diag([2.0, 2.0, 9.0, 1.0]))
    target.lps_from_voxel[:3, 3] = apply(source.lps_from_voxel, np.array([[4.0, 4.0, 2.0]]))[0]
    where = (rng.random(target.shape) < 0.7).astype(np.uint8)
    one, three = (
        sample(voxels, source, target, np.eye(4), where=where, outside=np.nan, threads=threads) for threads in (1, 3)
    )
    assert np.array_equal(one, three, equal_nan=True)
    assert np.isfinite(one[where > 0]).any()
