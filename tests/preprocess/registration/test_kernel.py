"""The compiled kernel: its information against a plain histogram, its gradient against differences of its values."""

import threading
import time

import numpy as np
import pytest
from scipy import ndimage

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_preprocess import kernel
from glioserve_preprocess.kernel import Motion, MutualInformation, library
from glioserve_preprocess.registration.rigid import rotation_of

BINS = 24
SHAPE = (14, 18, 16)


def smooth_image(seed, low=1.0, high=BINS - 3.0):
    voxels = ndimage.gaussian_filter(np.random.default_rng(seed).random(SHAPE), 2.5)
    return (low + (voxels - voxels.min()) / np.ptp(voxels) * (high - low)).astype(np.float32)


@pytest.fixture
def information():
    rng = np.random.default_rng(1)
    points = (rng.random((4000, 3)) * SHAPE[::-1]).astype(np.float32) - 0.5
    moving = smooth_image(2)
    here = ndimage.map_coordinates(moving, points.T[::-1], order=1, mode="nearest")
    fixed = np.clip(here + rng.normal(0, 1.5, len(here)), 0, BINS - 1).astype(np.uint8)
    return MutualInformation(points, fixed, moving, BINS)


def turned(seed, size=0.03):
    return np.hstack([np.eye(3), np.zeros((3, 1))]) + np.random.default_rng(seed).normal(0, size, (3, 4))


@pytest.mark.parametrize("seed", range(4))
def test_both_gradients_are_those_of_the_values(information, seed):
    """Central differences; samples cross the border in every direction, so the border's slopes count too.

    Linear interpolation has a kink at every voxel, and samples are kept in single precision: hence the tolerance.
    """
    matrix = turned(seed)
    found = information(matrix)
    assert 0.8 < found.overlap < 0.999
    for index in np.ndindex(3, 4):
        step = np.zeros((3, 4))
        step[index] = 2e-3 if index[1] == 3 else 2e-4
        above, below = information(matrix + step), information(matrix - step)
        size = 2 * step[index]
        largest = np.abs(found.nats_gradient[:, index[1]]).max()
        assert abs((above.nats - below.nats) / size - found.nats_gradient[index]) < 0.02 * largest
        largest = np.abs(found.overlap_gradient[:, index[1]]).max()
        assert abs((above.overlap - below.overlap) / size - found.overlap_gradient[index]) < 0.02 * largest


@pytest.mark.parametrize("count", [3, 7, 1001, 4999, 20011])
@pytest.mark.parametrize("seed", range(3))
def test_no_more_than_everything_overlaps(count, seed):
    """The weights of samples that all lie inside are ones, by products whose last bits differ."""
    rng = np.random.default_rng([count, seed])
    points = rng.uniform(2, 11, (count, 3)).astype(np.float32)
    information = MutualInformation(points, rng.integers(0, BINS, count).astype(np.uint8), smooth_image(seed), BINS)
    assert information(turned(seed, 0.002)).overlap == pytest.approx(1, abs=1e-12)
    assert information(turned(seed, 0.002)).overlap <= 1


def test_the_information_of_a_copy_is_its_entropy_but_for_the_window():
    """Values in the middle of bins, all inside: compared with the same windows on a plain NumPy histogram."""
    rng = np.random.default_rng(3)
    z, y, x = SHAPE
    points = np.stack([rng.integers(0, n, 3000) for n in (x, y, z)], axis=1).astype(np.float32)
    moving = smooth_image(4).round()
    values = moving[tuple(points.astype(int).T[::-1])].astype(int)
    found = MutualInformation(points, values.astype(np.uint8), moving, BINS)(np.eye(3, 4))
    joint = np.zeros((BINS, BINS))
    for offset, weight in ((-1, 1 / 6), (0, 4 / 6), (1, 1 / 6)):
        np.add.at(joint, (values, values + offset), weight)
    joint /= joint.sum()
    outer = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    expected = float((joint[joint > 0] * np.log(joint[joint > 0] / outer[joint > 0])).sum())
    assert found.nats == pytest.approx(expected, rel=1e-9)
    assert found.overlap == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("times_overlap", [False, True])
@pytest.mark.parametrize("away", [(0, 0, 0), (3, -2, 2, 1.5, -1, 1), (-2, 3, -3, -1, 2, 1)])
def test_the_climb_ends_where_no_direction_gains(information, away, times_overlap):
    """The values all around the top are lower; the value is the information's own at the end's affine map."""
    motion = Motion(np.eye(3), np.zeros(3), np.array([8.0, 9.0, 7.0]), 10.0)
    moved = MutualInformation(
        information._points - np.float32([8, 9, 7]), information._fixed_bins, information._moving, BINS
    )
    options = {"voxel_mm": 1.0, "tolerance": 1e-4, "iterations": 60, "times_overlap": times_overlap}
    start = np.resize(np.array(away, dtype=float) / 3, 6)
    end, value = moved.climb(motion, start, **options)

    def objective(parameters):
        rotation = rotation_of(parameters[:3] / 10)[0]
        found = moved(np.hstack([rotation, (motion.pivot_lps_mm + parameters[3:])[:, np.newaxis]]))
        return found.nats * (found.overlap if times_overlap else 1)

    assert value == pytest.approx(objective(end), rel=1e-6)
    assert value >= objective(start)
    for step in np.vstack([np.eye(6), -np.eye(6)]) * 0.5:
        assert objective(end + step) < value
    again, _ = moved.climb(motion, start, **options)
    assert np.array_equal(again, end)


def test_a_climb_without_any_overlap_stays_where_it_is(information):
    motion = Motion(np.eye(3), np.full(3, 1e5), np.zeros(3), 10.0)
    start = np.arange(6.0)
    end, value = information.climb(motion, start, voxel_mm=1.0, tolerance=1e-4, iterations=9, times_overlap=False)
    assert np.array_equal(end, start)
    assert value == 0


def test_no_overlap_is_zero_not_a_number(information):
    away = np.eye(3, 4)
    away[:, 3] = 1e6
    found = information(away)
    assert (found.nats, found.overlap) == (0, 0)
    assert not found.nats_gradient.any()
    lost = information(np.full((3, 4), np.nan))
    assert (lost.nats, lost.overlap) == (0, 0)


def test_the_weight_falls_over_one_voxel_and_nothing_jumps(information):
    shifts = np.linspace(1, 20, 381)
    found = []
    for shift in shifts:
        matrix = np.eye(3, 4)
        matrix[0, 3] = shift
        found.append(information(matrix).overlap)
    assert found[0] > 0.9
    assert found[-1] == 0
    assert (np.diff(found) <= 0).all()
    assert np.abs(np.diff(found)).max() < 0.01


def test_the_same_bits_every_time_and_on_every_thread(information):
    matrix = turned(9)
    expected = information(matrix)
    results = []

    def work():
        mine = MutualInformation(information._points, information._fixed_bins, information._moving, BINS)
        results.extend(mine(matrix) for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80
    assert all(r.nats == expected.nats and (r.nats_gradient == expected.nats_gradient).all() for r in results)


def test_other_threads_run_meanwhile():
    """The kernel lets go of the interpreter: a counter in Python goes on while one long call runs."""
    rng = np.random.default_rng(5)
    count = 3_000_000
    points = (rng.random((count, 3)) * SHAPE[::-1]).astype(np.float32)
    long_call = MutualInformation(points, np.zeros(count, np.uint8), smooth_image(6), BINS)
    thread = threading.Thread(target=long_call, args=(np.eye(3, 4),))
    ticks = 0
    thread.start()
    while thread.is_alive():
        ticks += 1
        time.sleep(0.001)
    assert ticks > 3


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"moving": np.full(SHAPE, BINS - 2.5, np.float32)}, "moving voxel"),
        ({"moving": np.full(SHAPE, np.nan, np.float32)}, "moving voxel"),
        ({"moving": np.ones((1, 4, 4), np.float32)}, "moving"),
        ({"fixed_bins": np.full(10, BINS, np.uint8)}, "fixed sample"),
        ({"points": np.zeros((9, 3), np.float32)}, "points"),
    ],
)
def test_what_would_write_outside_the_histogram_is_refused(change, text):
    good = {"points": np.zeros((10, 3), np.float32), "fixed_bins": np.zeros(10, np.uint8), "moving": smooth_image(0)}
    with pytest.raises(ValueError, match=text):
        MutualInformation(**{**good, **change}, bins=BINS)


def test_a_kernel_that_was_not_built_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    kernel._library.cache_clear()
    with pytest.raises(GlioserveError, match="not built") as caught:
        MutualInformation(np.zeros((3, 3), np.float32), np.zeros(3, np.uint8), smooth_image(0), BINS)
    assert caught.value.code is ErrorCode.MISSING_LIBRARY
    kernel._library.cache_clear()


def test_a_kernel_of_another_build_is_not_called(monkeypatch):
    monkeypatch.setattr(library, "ABI", library.ABI + 1)
    for name in library.KERNELS:
        with pytest.raises(GlioserveError, match=name) as caught:
            library.load(name)
        assert caught.value.code is ErrorCode.MISSING_LIBRARY
