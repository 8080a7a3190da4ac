"""A brain model on a scan: the mask comes out where it belongs, whatever the orientation, spacing and size."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from glioserve_contract import ErrorCode, GlioserveError, Modality, from_dict
from glioserve_contract.records.brain_model import BrainModelCard
from glioserve_contract.records.recipe import BrainExtraction
from glioserve_dicom.volumes.geometry import Geometry, SequenceVolume
from glioserve_preprocess.brain.extraction import find_brain
from glioserve_preprocess.brain.model import BrainModel, load_brain_model
from glioserve_preprocess.brain.network import Margin, brain_margin, mask_of_margin
from support.models.brain_models import (
    MOVE,
    NNUNET_LIKE,
    SYNTHSTRIP_LIKE,
    blob_geometry,
    blob_volume,
    distance_network,
    in_blob,
    logits_network,
    moved_mm,
    write_brain_model,
)
from support.studies.geometries import places_lps_mm, reordered
from support.studies.heads import ORIENTATIONS, rotation

ALL_ORIENTATIONS = ["".join(p) for pick in product("LR", "PA", "SI") for p in permutations(pick)]
MIN_DICE = 0.95
MAX_OFF_MM = 1.0
NETWORKS = {"a.onnx": (distance_network, SYNTHSTRIP_LIKE), "b.onnx": (logits_network, NNUNET_LIKE)}


class Recorder:
    """A session that keeps what it is fed and answers with it."""

    def __init__(self) -> None:
        self.fed: npt.NDArray[np.float32] = np.empty(0, np.float32)

    def run(self, _names: list[str], feed: dict[str, npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float32]]:
        (self.fed,) = feed.values()
        return [self.fed.copy()]


def recording(**changes: Any) -> tuple[BrainModel, Recorder]:
    """A model that answers ``probability`` with its own input."""
    card = {**SYNTHSTRIP_LIKE, "output_kind": "probability", "threshold": 0.5, "orientation": "SPL", **changes}
    recorder = Recorder()
    return BrainModel(from_dict(BrainModelCard, card), "sha256:" + "0" * 64, recorder), recorder


def loaded(folder: Path, name: str, **changes: Any) -> BrainModel:
    make, card = NETWORKS[name]
    model = load_brain_model(write_brain_model(folder, name, make(), card, **changes), folder)
    assert model is not None
    return model


def assert_in_place(mask: npt.NDArray[np.uint8], geometry: Geometry, shift_mm: npt.NDArray[np.float64]) -> None:
    """The blob, moved by ``shift_mm``, on this grid: by overlap and by its middle."""
    truth = in_blob(places_lps_mm(geometry) - shift_mm)
    assert 2 * (truth & (mask > 0)).sum() / (truth.sum() + mask.sum()) > MIN_DICE
    middles = [places_lps_mm(geometry)[m > 0].mean(axis=0) for m in (mask, truth)]
    assert np.linalg.norm(middles[0] - middles[1]) < MAX_OFF_MM


@pytest.mark.parametrize(
    ("name", "orientation"),
    [*(("a.onnx", o) for o in ALL_ORIENTATIONS), *(("b.onnx", o) for o in ALL_ORIENTATIONS[::5])],
)
def test_left_stays_left_for_every_orientation_of_a_model(tmp_path: Path, name: str, orientation: str) -> None:
    model, geometry = loaded(tmp_path, name, orientation=orientation), blob_geometry((4.0, 4.0, 4.0))
    mask = mask_of_margin(brain_margin(blob_volume(geometry), model), geometry)
    assert_in_place(mask, geometry, moved_mm(orientation, 4.0))


@pytest.mark.parametrize("flips", list(product((False, True), repeat=3)))
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_left_stays_left_however_a_volume_is_stored(
    tmp_path: Path, order: tuple[int, ...], flips: tuple[bool, ...]
) -> None:
    model = loaded(tmp_path, "a.onnx")
    stored = reordered(blob_volume(blob_geometry((3.0, 4.0, 5.0))), order, flips)
    mask = mask_of_margin(brain_margin(stored, model), stored.geometry)
    assert_in_place(mask, stored.geometry, moved_mm("LIA", 4.0))


@pytest.mark.parametrize("plane", ORIENTATIONS)
@pytest.mark.parametrize(("name", "spacing_mm"), [("a.onnx", (2.0, 2.0, 4.5)), ("b.onnx", (2.5, 2.5, 6.5))])
def test_every_plane_of_a_scanner(
    tmp_path: Path, name: str, plane: str, spacing_mm: tuple[float, float, float]
) -> None:
    """The model's axes are the scan's own: where those are oblique, its move is too."""
    directions = ORIENTATIONS[plane]
    model = loaded(tmp_path, name)
    nearest = np.abs(directions).argmax(axis=0)  # L, P or S of each column
    x, y, z = np.array([200.0, 215.0, 205.0])[nearest]
    volume = blob_volume(blob_geometry(spacing_mm, directions, (x, y, z)))
    mask = mask_of_margin(brain_margin(volume, model), volume.geometry)
    axes = np.stack([directions[:, c] * np.sign(directions[a, c]) for a, c in enumerate(np.argsort(nearest))])
    assert_in_place(mask, volume.geometry, moved_mm(model.card.orientation, 4.0) @ axes)


def test_the_margin_is_in_the_models_unit_and_positive_inside(tmp_path: Path) -> None:
    volume = blob_volume(blob_geometry((4.0, 4.0, 4.0)), dark=1.0)
    distance, logit = (brain_margin(volume, loaded(tmp_path, name)) for name in NETWORKS)
    assert (distance.unit, logit.unit) == ("mm", "logit")
    assert brain_margin(volume, recording()[0]).unit == "probability"
    assert brain_margin(volume, recording(output_kind="logit")[0]).unit == "logit"
    truth = in_blob(places_lps_mm(distance.geometry) - moved_mm("LIA", 4.0))
    for margin in (distance, logit):
        assert margin.values.dtype == np.float32
        assert margin.values.shape == margin.geometry.shape
        assert margin.geometry.spacing_mm == pytest.approx((4.0, 4.0, 4.0))
    assert (
        4 < distance.values[truth].mean() < distance.values.max() == pytest.approx(6.0, abs=0.1)
    )  # half of the slope of 12
    assert -4 > distance.values[~truth].mean() > distance.values.min() == pytest.approx(-6.0, abs=0.1)


def test_the_threshold_moves_the_surface_in_its_own_unit(tmp_path: Path) -> None:
    volume = blob_volume(blob_geometry((4.0, 4.0, 4.0)))
    volumes = {}
    for threshold in (-3, 0, 3):
        model = loaded(tmp_path / str(threshold), "a.onnx", threshold=threshold)
        margin = brain_margin(volume, model)
        volumes[threshold] = int(mask_of_margin(margin, volume.geometry).sum())
        plain = brain_margin(volume, loaded(tmp_path, "a.onnx"))
        np.testing.assert_allclose(margin.values, plain.values + threshold, atol=1e-5)
    assert volumes[-3] < 0.97 * volumes[0]
    assert volumes[3] > 1.03 * volumes[0]


def test_a_probability_and_a_logit_count_upwards() -> None:
    volume = blob_volume(blob_geometry((4.0, 4.0, 4.0)), dark=0.0)
    for changes in ({}, {"output_kind": "logit"}):
        mask = mask_of_margin(brain_margin(volume, recording(**changes)[0]), volume.geometry)
        assert_in_place(mask, volume.geometry, np.zeros(3))


# --- The tensor ---


def test_a_small_scan_is_padded_evenly_with_zeros() -> None:
    model, recorder = recording(size_multiple=16, min_size_voxels=[64, 64, 64], max_size_voxels=[96, 96, 96])
    geometry = blob_geometry((4.0, 4.0, 4.0), extent_mm=(200.0, 264.0, 180.0))
    volume = blob_volume(geometry, dark=50.0)
    brain_margin(volume, model)
    assert recorder.fed.shape == (1, 1, 64, 80, 64)
    assert recorder.fed.dtype == np.float32
    low, high = np.percentile(volume.voxels, [0, 99])
    inner = recorder.fed[0, 0, 9:54, 7:73, 7:57]
    assert inner.shape == geometry.shape
    # SynthStrip's way: the figures are the padded tensor's, whose darkest voxels are the zeros.
    np.testing.assert_allclose(inner, np.clip(volume.voxels / high, 0, 1), atol=1e-5)
    assert low == 50.0
    rest = recorder.fed.copy()
    rest[0, 0, 9:54, 7:73, 7:57] = 0
    assert not rest.any()


@pytest.mark.parametrize(
    ("intensity", "expected"),
    [
        ({"method": "percentile", "percentiles": [10, 90]}, lambda v, n: np.clip((v - n(10)) / (n(90) - n(10)), 0, 1)),
        ({"method": "percentile", "percentiles": [10, 90], "clip": False}, lambda v, n: (v - n(10)) / (n(90) - n(10))),
        ({"method": "zscore", "over": "field_of_view"}, lambda v, _: (v - v.mean()) / v.std()),
        ({"method": "zscore"}, lambda v, _: np.where(v == 0, 0, (v - v[v != 0].mean()) / v[v != 0].std())),
    ],
    ids=["percentile", "unclipped", "zscore", "zscore of what is not 0"],
)
def test_intensities(intensity: dict[str, Any], expected: Any) -> None:
    model, recorder = recording(intensity=intensity)
    geometry = blob_geometry((4.0, 4.0, 4.0), extent_mm=(192.0, 192.0, 192.0))
    voxels = np.random.default_rng(0).normal(300, 100, geometry.shape).astype(np.float32)
    voxels[:8] = 0
    brain_margin(SequenceVolume(Modality.T2, voxels, geometry), model)
    wanted = expected(voxels.astype(np.float64), lambda q: np.percentile(voxels, q))
    np.testing.assert_allclose(recorder.fed[0, 0], wanted, atol=1e-4)


def test_a_large_field_of_view_is_cropped_to_the_head() -> None:
    """The head is off the middle, the field of view holds shoulders, and what is cut is what lies below."""
    geometry = blob_geometry((4.0, 4.0, 4.0), extent_mm=(480.0, 400.0, 440.0), centre_lps_mm=(-90.0, 60.0, -120.0))
    places = places_lps_mm(geometry)
    shoulders = (np.abs(places[..., 2] + 260) < 60) & (np.abs(places[..., 0] + 90) < 200)
    voxels = np.where(in_blob(places) | shoulders, 900, 40).astype(np.float32)
    voxels += np.random.default_rng(1).normal(0, 8, voxels.shape).astype(np.float32)
    model, recorder = recording(
        min_size_voxels=[48, 48, 48],
        max_size_voxels=[48, 64, 64],
        intensity={"method": "percentile", "over": "field_of_view"},
    )
    margin = brain_margin(SequenceVolume(Modality.T1, voxels, geometry), model)
    assert recorder.fed.shape == (1, 1, 48, 64, 64)
    assert margin.geometry.shape == (48, 64, 64)
    assert_in_place(mask_of_margin(margin, geometry), geometry, np.zeros(3))


def test_a_model_of_one_size_gets_it(tmp_path: Path) -> None:
    size = (64, 48, 80)
    extraction = write_brain_model(
        tmp_path,
        "fixed.onnx",
        distance_network(size=size),
        SYNTHSTRIP_LIKE,
        min_size_voxels=list(size),
        max_size_voxels=list(size),
    )
    model = load_brain_model(extraction, tmp_path)
    assert model is not None
    # Narrower than 64 voxels along L, wider than 48 along I, narrower than 80 along A.
    geometry = blob_geometry((3.0, 3.0, 3.0), extent_mm=(198.0, 240.0, 252.0), centre_lps_mm=(3.0, -5.0, 0.0))
    mask = mask_of_margin(brain_margin(blob_volume(geometry, dark=0.0), model), geometry)
    assert_in_place(mask, geometry, moved_mm("LIA", 4.0))


def test_the_head_is_found_at_the_resolution_of_a_fine_model_in_bounded_memory() -> None:
    """Half a metre at 0.5 mm would be a thousand million voxels: only the crop is ever made."""
    geometry = blob_geometry((8.0, 8.0, 8.0), extent_mm=(480.0, 480.0, 480.0), centre_lps_mm=(0.0, 0.0, -100.0))
    model, recorder = recording(spacing_mm=0.5, min_size_voxels=[64, 64, 64], max_size_voxels=[96, 96, 96])
    brain_margin(blob_volume(geometry, dark=0.0), model)
    assert recorder.fed.shape == (1, 1, 96, 96, 96)


# --- The mask ---


def margin_of(values: npt.NDArray[np.float32], spacing_mm: float = 4.0) -> Margin:
    z, y, x = values.shape
    return Margin(values, Geometry((x, y, z), np.diag([spacing_mm] * 3 + [1.0])), "mm")


def test_the_largest_piece_is_kept_and_its_holes_are_filled() -> None:
    values = np.full((30, 30, 30), -1, np.float32)
    values[5:20, 5:20, 5:20] = 1
    values[10:13, 10:13, 10:13] = -1  # a hole
    values[24:28, 24:28, 24:28] = 1  # another piece
    margin = margin_of(values)
    for spacing_mm in (1.0, 4.0, 6.0):
        n = round(120 / spacing_mm)
        target = Geometry((n, n, n), np.diag([spacing_mm] * 3 + [1.0]))
        mask = mask_of_margin(margin, target)
        places = places_lps_mm(target)
        assert mask[(np.abs(places - 48) < 24).all(axis=-1)].all()
        assert not mask[(np.abs(places - 102) < 12).all(axis=-1)].any()


def test_a_cavity_that_is_open_to_the_outside_is_none() -> None:
    values = np.full((20, 20, 20), -1, np.float32)
    values[4:16, 4:16, 4:16] = 1
    values[8:, 9:11, 9:11] = -1
    mask = mask_of_margin(margin_of(values), margin_of(values).geometry)
    np.testing.assert_array_equal(mask > 0, values > 0)


def test_a_mask_may_reach_the_border_and_nothing_lies_beyond_the_margins_grid() -> None:
    inside = margin_of(np.ones((10, 10, 10), np.float32))
    np.testing.assert_array_equal(mask_of_margin(inside, inside.geometry), 1)
    wider = Geometry((30, 30, 30), np.diag([4.0, 4.0, 4.0, 1.0]) + np.array([[0, 0, 0, -40]] * 3 + [[0] * 4]))
    mask = mask_of_margin(inside, wider)
    assert mask.sum() == 1000
    assert mask[10:20, 10:20, 10:20].all()


def test_no_margin_no_mask() -> None:
    nothing = margin_of(np.full((10, 10, 10), -1, np.float32))
    assert not mask_of_margin(nothing, nothing.geometry).any()
    elsewhere = Geometry((8, 8, 8), np.diag([4.0, 4.0, 4.0, 1.0]) + np.array([[0, 0, 0, 500]] * 3 + [[0] * 4]))
    assert not mask_of_margin(margin_of(np.ones((10, 10, 10), np.float32)), elsewhere).any()


def test_the_mask_follows_the_surface_between_the_models_voxels() -> None:
    """A ball of 40 mm by its exact distance at 3 mm, cut at 1 mm: not a stack of cubes."""
    margin = margin_of(np.empty((40, 40, 40), np.float32), 3.0)
    centre = np.array([58.0, 60.0, 59.0])
    values = 40 - np.linalg.norm(places_lps_mm(margin.geometry) - centre, axis=-1)
    target = Geometry((118, 118, 118), np.diag([1.0, 1.0, 1.0, 1.0]))
    mask = mask_of_margin(replace(margin, values=values.astype(np.float32)), target)
    ball = np.linalg.norm(places_lps_mm(target) - centre, axis=-1) < 40
    assert 2 * (ball & (mask > 0)).sum() / (ball.sum() + mask.sum()) > 0.998


def test_an_oblique_target() -> None:
    volume = blob_volume(blob_geometry((2.0, 2.0, 2.0)), dark=0.0)
    margin = brain_margin(volume, recording()[0])
    target = blob_geometry((2.0, 2.0, 4.0), rotation(0, 25) @ rotation(2, 30), (220.0, 220.0, 220.0))
    assert_in_place(mask_of_margin(margin, target), target, np.zeros(3))


# --- Refusals, threads ---


@pytest.mark.parametrize("level", [0.0, 100.0])
@pytest.mark.parametrize("over", ["field_of_view", "nonzero"])
def test_a_scan_of_nothing(level: float, over: str) -> None:
    geometry = blob_geometry()
    model, _ = recording(intensity={"method": "percentile", "over": over})
    with pytest.raises(GlioserveError) as caught:
        brain_margin(SequenceVolume(Modality.T1, np.full(geometry.shape, level, np.float32), geometry), model)
    assert caught.value.code is ErrorCode.BRAIN_NOT_FOUND


def test_an_answer_that_is_not_finite_is_no_brain() -> None:
    model, recorder = recording()
    recorder.run = lambda _names, feed: [np.full(feed["image"].shape, np.nan, np.float32)]  # type: ignore[method-assign]
    with pytest.raises(GlioserveError, match="not finite") as caught:
        brain_margin(blob_volume(blob_geometry()), model)
    assert caught.value.code is ErrorCode.BRAIN_NOT_FOUND


def test_a_cubic_metre_is_refused_by_the_network_too() -> None:
    geometry = Geometry((20, 20, 20), np.diag([50.0, 50.0, 50.0, 1.0]))
    voxels = np.random.default_rng(0).random(geometry.shape, dtype=np.float32)
    with pytest.raises(GlioserveError, match="1000 litres"):
        brain_margin(SequenceVolume(Modality.T1, voxels, geometry), recording()[0])


@pytest.mark.parametrize(("threshold", "found"), [(-100, "0.00 litres"), (100, "8.48 litres")])
def test_a_volume_that_no_brain_has_is_refused(tmp_path: Path, threshold: float, found: str) -> None:
    extraction = write_brain_model(tmp_path, "a.onnx", distance_network(), SYNTHSTRIP_LIKE, threshold=threshold)
    with pytest.raises(GlioserveError, match="brain mask holds") as caught:
        find_brain(blob_volume(blob_geometry()), (), {}, extraction, tmp_path)
    assert caught.value.code is ErrorCode.BRAIN_NOT_FOUND
    assert found in caught.value.detail


def test_any_number_of_threads_gives_the_same_bits(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    scans = []
    for _ in range(6):
        volume = blob_volume(blob_geometry((3.0, 3.0, 4.0)))
        noise = rng.normal(0, 80, volume.voxels.shape).astype(np.float32)
        scans.append(replace(volume, voxels=volume.voxels + noise))
    for name, (make, card) in NETWORKS.items():
        extraction = write_brain_model(tmp_path, name, make(), card)
        alone = [mask_and_margin(v, extraction, tmp_path, 1) for v in scans]
        for threads in (1, 3):
            with ThreadPoolExecutor(4) as pool:
                done = list(pool.map(lambda v: mask_and_margin(v, extraction, tmp_path, threads), scans))  # noqa: B023
            for (mask, values), (mask_alone, values_alone) in zip(done, alone, strict=True):
                np.testing.assert_array_equal(values, values_alone)
                np.testing.assert_array_equal(mask, mask_alone)


def mask_and_margin(
    volume: SequenceVolume, extraction: BrainExtraction, folder: Path, threads: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    model = load_brain_model(extraction, folder, threads)
    assert model is not None
    margin = brain_margin(volume, model)
    return mask_of_margin(margin, volume.geometry), margin.values


def test_the_networks_of_these_tests_do_move_what_they_see() -> None:
    """Else the orientations above would prove nothing."""
    assert len({abs(n) for n in MOVE}) == 3
    assert len({tuple(moved_mm(o, 1.0)) for o in ALL_ORIENTATIONS}) == len(ALL_ORIENTATIONS) == 48
