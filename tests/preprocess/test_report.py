"""The answer: which class, how sure, and a heat map at its place."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glioserve_contract import ErrorCode, GlioserveError, Modality, from_dict, to_dict
from glioserve_contract.records.facts.parity import ParityRecord
from glioserve_contract.records.manifest import MANIFEST_SCHEMA, Manifest, ServedVersion
from glioserve_contract.records.preprocess import PreprocessRecord, Quality, QualityCheck
from glioserve_contract.records.recipe import RECIPE_SCHEMA, Architecture, Grid, Recipe, preprocessing_digest
from glioserve_contract.records.report import Report
from glioserve_dicom.volumes.geometry import apply, network_geometry
from glioserve_preprocess.report.answer import answer, cam_geometry
from support.studies.geometries import covering_geometries, places_lps_mm
from support.studies.scans import oblique

GRID = Grid((32, 32, 32), (4.0, 4.0, 4.0))
RECIPE = Recipe(
    schema=RECIPE_SCHEMA,
    name="test",
    architecture=Architecture("resnet10"),
    channels=(Modality.T1, Modality.T1CE, Modality.T2),
    classes=("necrosis", "recurrence"),
    grid=GRID,
)
CHECK = QualityCheck("brain_volume", 1.5, "litre", 0.9, 2.2, "ok")


def served(recipe=RECIPE, start=0.0, step=4.0):
    manifest = Manifest(
        schema=MANIFEST_SCHEMA,
        recipe=recipe,
        weights_digest="sha256:" + "ab" * 32,
        preprocessing_digest=preprocessing_digest(recipe),
        cam_grid=(8, 8, 8),
        cam_start_voxels=start,
        cam_step_voxels=step,
        files={},
        parity=ParityRecord(),
    )
    return ServedVersion("classifier", "3", manifest)


def record(reference=None, checks=(CHECK,), recipe=RECIPE):
    centre = np.array([10.0, -5.0, 20.0])
    network = network_geometry(GRID, centre)
    verdict = "review" if any(c.verdict == "review" for c in checks) else "ok"
    return PreprocessRecord(
        contract_version="1.0.0",
        preprocessing_digest=preprocessing_digest(recipe),
        reference=Modality.T1CE,
        reference_grid=(reference or network).record(),
        network_grid=network.record(),
        series=(),
        registrations=(),
        quality=Quality(verdict, checks),
    )


BRAIN = np.ones((32, 32, 32), np.uint8)
CAM = np.zeros((2, 8, 8, 8), np.float32)


def logits(necrosis, recurrence):
    return np.array([necrosis, recurrence], np.float32)


@pytest.mark.parametrize(("pair", "label"), [((2.0, -1.0), "necrosis"), ((-1.0, 2.0), "recurrence")])
def test_score_is_the_probability_of_recurrence(pair, label):
    result = answer(served(), logits(*pair), CAM, BRAIN, record()).report
    assert result.label == label
    assert result.score == pytest.approx(1 / (1 + np.exp(pair[0] - pair[1])))
    assert result.probabilities["recurrence"] == result.score
    assert sum(result.probabilities.values()) == pytest.approx(1)


def test_the_recipes_class_order_is_obeyed():
    swapped = replace(RECIPE, classes=("recurrence", "necrosis"))
    result = answer(served(swapped), np.array([3.0, 0.0], np.float32), CAM, BRAIN, record())
    assert result.report.label == "recurrence"
    assert result.probabilities[1] == pytest.approx(result.report.score)


def test_the_threshold_and_the_temperature_are_the_recipes():
    strict = replace(RECIPE, threshold=0.9, temperature=2.0)
    report = answer(served(strict), logits(0.0, 2.0), CAM, BRAIN, record()).report
    assert report.score == pytest.approx(1 / (1 + np.exp(-1)))
    assert report.label == "necrosis"
    assert (
        answer(served(replace(RECIPE, threshold=0.5)), logits(0, 0), CAM, BRAIN, record()).report.label == "recurrence"
    )


def test_a_review_takes_the_label_away_and_says_why():
    small = QualityCheck("brain_volume", 0.5, "litre", 0.9, 2.2, "review")
    report = answer(served(), logits(0, 2), CAM, BRAIN, record(checks=(small,))).report
    assert report.label == ""
    assert report.abstained_because == ("brain_volume 0.5 litre is outside 0.9 to 2.2",)
    assert report.score > 0.5


def test_an_empty_heat_map_is_said_to_be_empty():
    result = answer(served(), logits(0, 2), CAM, BRAIN, record())
    assert result.report.heatmap.peak_lps_mm is None
    assert any("heat map is empty" in w for w in result.report.warnings)
    assert result.heatmap.max() == 0


@given(
    st.tuples(*[st.integers(1, 6)] * 3),
    st.integers(0, 10_000),
    st.sampled_from(["necrosis", "recurrence"]),
    st.sampled_from([(0.0, 4.0), (1.5, 4.0)]),
)
@settings(max_examples=40, deadline=None)
def test_the_peak_lands_where_the_network_saw_it_from_any_orientation(index, seed, predicted, lattice):
    start, step = lattice
    z, y, x = index
    cam = np.zeros((2, 8, 8, 8), np.float32)
    cam[0 if predicted == "necrosis" else 1, z, y, x] = 3.0
    cam[1 if predicted == "necrosis" else 0, 7 - z, 7 - y, 7 - x] = 9.0  # the other class's map must not show
    network = network_geometry(GRID, np.array([10.0, -5.0, 20.0]))
    true = apply(network.lps_from_voxel, np.array([[x, y, z]]) * step + start)[0]
    reference = oblique((90, 90, 45), (2.0, 2.0, 4.0), seed)
    middle = apply(reference.lps_from_voxel, np.array([[44.5, 44.5, 22.0]]))[0]
    reference.lps_from_voxel[:3, 3] += np.array([10.0, -5.0, 20.0]) - middle
    pair = logits(2, 0) if predicted == "necrosis" else logits(0, 2)
    result = answer(served(start=start, step=step), pair, cam, BRAIN, record(reference))
    assert result.report.heatmap.explained_class == predicted
    assert result.heatmap.shape == reference.shape
    assert result.heatmap.max() == 1
    # The hottest voxel is one of those around the true place: linear interpolation is not round, so it is not always
    # the nearest, but it is within a voxel of the network's, a quarter of the map's cells.
    assert np.linalg.norm(np.subtract(result.report.heatmap.peak_lps_mm, true)) < min(GRID.spacing_mm)


CENTRE = (10.0, -5.0, 20.0)
"""Centre of the network's grid in :func:`record`."""


@given(
    covering_geometries(CENTRE, 42.0, st.floats(1.0, 7.0)),
    st.tuples(*[st.floats(-14.0, 14.0)] * 3),
    st.sampled_from([(0.0, 2.0), (0.5, 2.0), (1.5, 4.0)]),
)
@settings(max_examples=40, deadline=None)
def test_a_blob_comes_to_rest_at_its_place_on_the_references_own_grid(reference, offset_mm, lattice):
    """Its centre of mass within half a reference voxel along every axis, however coarse the map and however the
    reference is turned, mirrored and stretched: the map's own voxels are interpolated, so they do not limit it. Its
    hottest voxel can be no nearer than voxels allow: half a diagonal of the coarser grid's.
    """
    start, step = lattice
    network = network_geometry(GRID, np.array(CENTRE))
    cells = cam_geometry(served(start=start, step=step).manifest, network, (int(32 / step),) * 3)
    true, width_mm = np.array(CENTRE) + offset_mm, 8.0
    cam = np.zeros((2, *cells.shape), np.float32)
    cam[1] = np.exp(-0.5 * ((places_lps_mm(cells) - true) ** 2).sum(axis=-1) / width_mm**2)
    cam[1][cam[1] < 0.02] = 0  # nothing that the reference's field of view would cut off
    mass = cam[1][..., np.newaxis]
    true = (places_lps_mm(cells) * mass).sum(axis=(0, 1, 2)) / mass.sum()
    result = answer(served(start=start, step=step), logits(0, 2), cam, BRAIN, record(reference))
    assert result.heatmap.shape == reference.shape
    found = (places_lps_mm(reference) * result.heatmap[..., np.newaxis]).sum(axis=(0, 1, 2)) / result.heatmap.sum()
    off_voxels = apply(reference.voxel_from_lps, np.array([found])) - apply(reference.voxel_from_lps, true[np.newaxis])
    assert np.abs(off_voxels).max() < 0.5
    half_diagonal_mm = max(np.linalg.norm(reference.spacing_mm), np.linalg.norm(cells.spacing_mm)) / 2
    assert np.linalg.norm(np.array(result.report.heatmap.peak_lps_mm) - true) <= half_diagonal_mm


def test_heat_outside_the_brain_is_not_shown_but_counted():
    cam = np.zeros((2, 8, 8, 8), np.float32)
    cam[1, 4, 4, 1], cam[1, 4, 4, 6] = 3.0, 1.0
    half = BRAIN.copy()
    half[:, :, :16] = 0
    result = answer(served(), logits(0, 2), cam, half, record())
    assert result.report.heatmap.inside_brain == pytest.approx(0.25, abs=0.02)
    assert any("25% of the raw heat map" in w for w in result.report.warnings)
    x_of_peak = np.unravel_index(result.heatmap.argmax(), result.heatmap.shape)[2]
    assert x_of_peak == 24
    assert result.heatmap[:, :, :16].max() == 0


def test_without_a_heat_map_nothing_of_it_is_made():
    result = answer(served(), logits(0, 2), CAM, BRAIN, record(), with_heatmap=False)
    assert result.heatmap is None
    assert result.report.heatmap is None
    assert "heatmap" not in result.report.timings_s


def test_the_report_survives_the_wire():
    report = answer(served(), logits(0, 2), CAM, BRAIN, record()).report
    assert from_dict(Report, to_dict(report)) == report


def test_the_model_is_named_by_version_and_digest():
    model = answer(served(), logits(0, 2), CAM, BRAIN, record()).report.model
    assert (model.version, model.digest) == ("3", "sha256:" + "ab" * 32)


def test_a_lowered_slice_rule_is_confessed():
    lowered = RECIPE.with_min_slices(20)
    report = answer(served(lowered), logits(0, 2), CAM, BRAIN, record(recipe=lowered)).report
    assert "This server lowered the model's min_slices from 32 to 20." in report.warnings


@pytest.mark.parametrize(
    ("bad_logits", "bad_cam"),
    [
        (logits(np.nan, 0), CAM),
        (logits(0, 1), np.full_like(CAM, np.inf)),
        (np.zeros(3, np.float32), CAM),
        (logits(0, 1), CAM[:1]),
    ],
)
def test_a_broken_classifier_is_caught(bad_logits, bad_cam):
    with pytest.raises(GlioserveError) as caught:
        answer(served(), bad_logits, bad_cam, BRAIN, record())
    assert caught.value.code is ErrorCode.INVALID_MODEL_OUTPUT


def test_a_version_of_another_preprocessing_is_refused():
    with pytest.raises(GlioserveError) as caught:
        answer(served(replace(RECIPE, min_slices=20)), logits(0, 1), CAM, BRAIN, record())
    assert caught.value.code is ErrorCode.UNKNOWN_MODEL


def test_the_cam_lattice_starts_on_the_first_voxel_not_on_the_extent():
    network = network_geometry(GRID, np.zeros(3))
    lattice = cam_geometry(served().manifest, network, (8, 8, 8))
    np.testing.assert_allclose(lattice.lps_from_voxel[:3, 3], network.lps_from_voxel[:3, 3])
    np.testing.assert_allclose(lattice.spacing_mm, 16.0)
