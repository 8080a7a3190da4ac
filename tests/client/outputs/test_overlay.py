"""The picture: a marker on the patient's left is on the viewer's right, whatever the acquisition."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glioserve_client import Prediction
from glioserve_client.outputs.anatomy import Anatomy, AnatomyProblem, NoAnatomy
from glioserve_client.outputs.colour import STRONGEST_ALPHA, blend, heat_alpha, heat_rgb, window
from glioserve_client.outputs.overlay import Overlay, draw_overlay
from glioserve_client.outputs.panels import Crop, Panel, slices_to_show
from support.results.answers import blob, outputs_of, report_of
from support.studies.heads import MARKER_LPS_MM, ORIENTATIONS, head_grid, head_volume

RIGHT_OF_MARKER = MARKER_LPS_MM * (-1, 1, 1)
"""The marker's mirror image: brain, on the patient's right."""


@cache
def marked(orientation: str) -> Overlay:
    """Return an overlay whose heat lies on the marker."""
    return overlay(orientation, MARKER_LPS_MM)


NO_ANATOMY = Anatomy(None, AnatomyProblem(NoAnatomy.NOT_GIVEN, "No study was given."))


def overlay(orientation: str, centre: np.ndarray, *, anatomy: bool = True, radius_mm: float = 6.0) -> Overlay:
    shape, affine = head_grid(ORIENTATIONS[orientation], (1.8, 1.8, 4.0))
    heat = blob(shape, affine, centre, radius_mm)
    prediction = Prediction.from_outputs(outputs_of(report_of(heat, affine), heat), heatmap=True, request_id="r")
    drawn = Anatomy(head_volume(shape, affine)) if anatomy else NO_ANATOMY
    return draw_overlay(prediction, prediction.heatmap, drawn)


def colour(picture: Overlay, pixel: tuple[float, float]) -> np.ndarray:
    return np.array(picture.image.getpixel((round(pixel[0]), round(pixel[1]))), dtype=float)


def planes(picture: Overlay) -> dict[str, Panel]:
    return {panel.plane: panel for panel in picture.panels[:3]}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_heat_on_the_left_is_red_on_the_viewers_right(orientation: str) -> None:
    picture = marked(orientation)
    shown = picture.pixels_of(MARKER_LPS_MM)
    assert {panel.plane for panel, _ in shown} == {"axial", "coronal", "sagittal"}
    for panel, pixel in shown:
        red, green, blue = colour(picture, pixel)
        assert red > 1.4 * green, (panel.plane, (red, green, blue))
        left, top, right, bottom = panel.box
        middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
        if panel.plane == "sagittal":
            assert pixel[0] < middle_x  # anterior is on the viewer's left
        else:
            assert pixel[0] > middle_x  # left is on the viewer's right
        assert pixel[1] < middle_y  # anterior is up in an axial picture, superior in the others
    axial = planes(picture)["axial"]
    mirrored = (axial.box[0] + axial.box[2] - 1 - axial.pixel_of(MARKER_LPS_MM)[0], axial.pixel_of(MARKER_LPS_MM)[1])
    red, green, blue = colour(picture, mirrored)
    assert max(red, green, blue) - min(red, green, blue) <= 2  # no heat on the other side


@pytest.mark.parametrize("orientation", ["axial", "axial, feet last", "axial, prone", "sagittal", "coronal"])
def test_the_anatomys_marker_is_there_too(orientation: str) -> None:
    """Heat elsewhere in the marker's own three planes leaves the marker bare: bright where it is, not mirrored."""
    picture = overlay(orientation, MARKER_LPS_MM + np.array([0, 45, 0]))
    axial = next(p for p in picture.panels[:3] if p.plane == "axial")
    here, there = axial.pixel_of(MARKER_LPS_MM), axial.pixel_of(RIGHT_OF_MARKER)
    assert colour(picture, here).min() > 240
    assert colour(picture, there).max() < 190
    assert here[0] > there[0]
    assert here[1] == pytest.approx(there[1])
    assert axial.edge_letters == ("R", "L", "A", "P")


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_millimetre_is_as_long_in_every_direction(orientation: str) -> None:
    for panel in marked(orientation).panels:
        view = panel.view
        column, row, slice_ = (view.lps_from_display[:3, axis] / view.spacing_mm[axis] for axis in range(3))
        axes = {"axial": (column, row), "coronal": (column, slice_), "sagittal": (row, slice_)}[panel.plane]
        middle = [(a + b - 1) / 2 for a, b in zip(panel.crop.start, panel.crop.stop, strict=True)]
        middle[{"axial": 2, "coronal": 1, "sagittal": 0}[panel.plane]] = panel.index
        centre = (view.lps_from_display @ (*middle, 1.0))[:3]
        start = np.array(panel.pixel_of(centre))
        lengths = [np.linalg.norm(np.array(panel.pixel_of(centre + 20 * axis)) - start) for axis in axes]
        assert lengths[0] == pytest.approx(lengths[1], rel=0.02)
        assert min(lengths) > 20  # at least a pixel per millimetre


def test_a_point_off_the_slice_or_the_crop_is_on_no_panel() -> None:
    picture = marked("axial")
    panel = planes(picture)["axial"]
    assert panel.pixel_of(MARKER_LPS_MM) is not None
    assert panel.pixel_of(MARKER_LPS_MM + np.array([0, 0, 9.0])) is None
    assert panel.pixel_of(MARKER_LPS_MM + np.array([300.0, 0, 0])) is None
    assert picture.pixels_of((0, 0, 4000)) == []


def test_anatomy_stays_visible_under_the_strongest_heat() -> None:
    grey = np.array([0.0, 255.0])
    dark, bright = blend(grey, np.ones(2)).astype(float).mean(axis=1)
    assert bright - dark > 0.3 * 255
    assert STRONGEST_ALPHA < 0.7


def test_colours_run_from_green_to_red_and_fade() -> None:
    heat = np.linspace(0, 1, 101)
    rgb, alpha = heat_rgb(heat), heat_alpha(heat)
    assert rgb[-1].argmax() == 0
    assert rgb[-1][0] > 5 * rgb[-1][1]
    assert rgb[0].argmax() == 1
    assert (np.diff(rgb[:, 0] - rgb[:, 1]) > 0).all()
    assert (np.diff(alpha) >= 0).all()
    assert (alpha[0], alpha[5]) == (0, 0)
    assert alpha[-1] == STRONGEST_ALPHA


def test_the_window_spans_the_head_and_not_one_bright_voxel() -> None:
    volume = np.zeros((20, 20, 20), np.float32)
    volume[5:15, 5:15, 5:15] = np.linspace(100, 500, 1000).reshape(10, 10, 10)
    volume[10, 10, 10] = 1e6
    grey = window(volume)
    assert (grey.min(), grey.max()) == (0, 255)
    assert 80 < grey[10, 7, 7] < 200
    assert not window(np.full((3, 3, 3), 7.0, np.float32)).any()


@given(st.integers(1, 60), st.integers(1, 14), st.integers(0, 10_000))
def test_the_slices_shown_hold_the_peak_and_are_in_order(slices: int, count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    heat = (random.random((slices, 3, 3)) ** 3).astype(np.float32)
    peak = int(np.unravel_index(np.argmax(heat), heat.shape)[0])
    chosen = slices_to_show(heat, peak, count, Crop((0, 0, 0), (3, 3, slices)))
    assert peak in chosen
    assert chosen == sorted(set(chosen))
    assert len(chosen) <= min(count, slices)
    assert 0 <= chosen[0] <= chosen[-1] < slices


def test_without_anatomy_the_heat_is_still_drawn() -> None:
    picture = overlay("sagittal", MARKER_LPS_MM, anatomy=False)
    _, pixel = picture.pixels_of(MARKER_LPS_MM)[0]
    red, green, _ = colour(picture, pixel)
    assert red > 1.4 * green


def test_an_empty_heat_map_is_drawn_without_a_peak() -> None:
    shape, affine = head_grid(ORIENTATIONS["axial"], (3.0, 3.0, 6.0))
    heat = np.zeros(shape, np.float32)
    prediction = Prediction.from_outputs(outputs_of(report_of(heat, affine), heat), heatmap=True, request_id="r")
    picture = draw_overlay(prediction, prediction.heatmap, Anatomy(head_volume(shape, affine)))
    pixels = np.asarray(picture.image).astype(int)
    box = picture.panels[0].box
    inside = pixels[box[1] : box[3], box[0] : box[2]]
    assert (inside.max(axis=-1) - inside.min(axis=-1)).max() <= 20  # grey but for the letters' own tint


@pytest.mark.parametrize("shape", [(1, 8, 8), (8, 1, 8), (2, 2, 2), (300, 4, 4)])
def test_odd_grids_are_drawn(shape: tuple[int, int, int]) -> None:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    heat = blob(shape, affine, (1, 1, 1), 2.0)
    prediction = Prediction.from_outputs(outputs_of(report_of(heat, affine), heat), heatmap=True, request_id="r")
    picture = draw_overlay(prediction, prediction.heatmap, Anatomy(heat * 100))
    assert picture.image.width == 1600
    assert picture.image.height < 4000
