"""Draw ``overlay.png``: the reference series' slices under the Grad-CAM, and all that must be read with them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from glioserve_client.outputs.anatomy import Anatomy
from glioserve_client.outputs.colour import blend, window
from glioserve_client.outputs.display import AxialView, axial_view
from glioserve_client.outputs.panels import Crop, Panel, ViewPlane, crop_to_head, peak_of, slices_to_show, whole
from glioserve_client.outputs.words import (
    DISPLAY_WORDS,
    headline,
    heatmap_words,
    label_words,
    model_words,
    quality_words,
)
from glioserve_client.prediction import Heatmap, Label, Prediction

WIDTH_PX = 1600
MARGIN_PX = 32
GAP_PX = 12
HEADER_PX, FOOTER_PX = 196, 84
PLANES_PX = 500
"""Greatest height of the row of three planes."""
TILES_PER_ROW = 6
TILE_ROWS = 2
TALLEST_TILE_PX = 320
COLOUR_BAR_PX = 96
"""Width kept for the colour bar and its numbers."""

BACKGROUND, BLACK, INK, FAINT = (14, 17, 22), (0, 0, 0), (236, 239, 244), (150, 158, 170)
AMBER, SCALE = (246, 190, 80), (58, 64, 74)
LABEL_COLOURS = {Label.RECURRENCE: (214, 69, 65), Label.NECROSIS: (48, 140, 98), None: (150, 110, 30)}
NO_ANATOMY_GREY = 48.0


@dataclass(frozen=True, eq=False)
class Overlay:
    """The picture and the panels in it."""

    image: Image.Image
    panels: tuple[Panel, ...]

    def pixels_of(self, point_lps_mm: npt.ArrayLike) -> list[tuple[Panel, tuple[float, float]]]:
        """Return where a point of the patient is on the picture: each panel that shows it, with the canvas (x, y)."""
        found = ((panel, panel.pixel_of(point_lps_mm)) for panel in self.panels)
        return [(panel, pixel) for panel, pixel in found if pixel is not None]


def draw_overlay(prediction: Prediction, heatmap: Heatmap, anatomy: Anatomy) -> Overlay:
    """Draw the heat map over the anatomy, or over a plain grey with the reason when there is none."""
    view = axial_view(heatmap.voxels.shape, heatmap.lps_from_voxel)
    heat = view.of(heatmap.voxels)
    if anatomy.voxels is None:
        grey, crop = np.full(heat.shape, NO_ANATOMY_GREY, np.float32), whole(heat.shape)
    else:
        grey = window(view.of(anatomy.voxels))
        crop = crop_to_head(grey, heat, view)
    peak = peak_of(heat, crop)
    planes = _plane_panels(view, crop, peak, HEADER_PX)
    tiles_top = max(panel.box[3] for panel in planes) + 3 * GAP_PX
    chosen = slices_to_show(heat, peak[2], TILES_PER_ROW * TILE_ROWS, crop)
    tiles = _tile_panels(view, crop, chosen, tiles_top)
    bottom = max(panel.box[3] for panel in tiles)

    canvas = Image.new("RGB", (WIDTH_PX, bottom + FOOTER_PX), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    for panel in (*planes, *tiles):
        canvas.paste(panel.render(grey, heat), panel.box[:2])
        _edge_letters(draw, panel, 20 if panel in planes else 14)
    for panel in planes:
        _caption(draw, panel, panel.plane)
        if heat.any():
            _cross(draw, panel, view, peak)
    for panel in tiles:
        _caption(draw, panel, f"{panel.index + 1}/{heat.shape[0]}")
        if panel.index == peak[2] and heat.any():
            draw.rectangle(_around(panel.box), outline=AMBER, width=2)
    _header(draw, prediction)
    _colour_bar(canvas, draw, HEADER_PX, max(panel.box[3] for panel in planes))
    _footer(draw, prediction, anatomy, bottom)
    return Overlay(canvas, (*planes, *tiles))


def _plane_panels(view: AxialView, crop: Crop, peak: tuple[int, int, int], top: int) -> tuple[Panel, ...]:
    """Return three planes through the peak, side by side, in one scale."""
    through: dict[ViewPlane, int] = {"axial": peak[2], "coronal": peak[1], "sagittal": peak[0]}
    sizes = {plane: crop.size_mm(view, plane) for plane in through}
    room = WIDTH_PX - 2 * MARGIN_PX - COLOUR_BAR_PX - 3 * GAP_PX
    scale = min(PLANES_PX / max(h for _, h in sizes.values()), room / sum(w for w, _ in sizes.values()))
    gap = GAP_PX + (room - sum(w for w, _ in sizes.values()) * scale) / 3
    tallest = max(h for _, h in sizes.values()) * scale
    panels, left = [], float(MARGIN_PX)
    for plane, index in through.items():
        width, height = (mm * scale for mm in sizes[plane])
        panels.append(Panel(plane, index, _box(left, top + (tallest - height) / 2, width, height), crop, view))
        left += width + gap
    return tuple(panels)


def _tile_panels(view: AxialView, crop: Crop, slices: list[int], top: int) -> tuple[Panel, ...]:
    """Return the panels of axial slices in reading order, inferior first."""
    cell = (WIDTH_PX - 2 * MARGIN_PX - (TILES_PER_ROW - 1) * GAP_PX) / TILES_PER_ROW
    width_mm, height_mm = crop.size_mm(view, "axial")
    scale = min(cell / width_mm, TALLEST_TILE_PX / height_mm)
    width, height = width_mm * scale, height_mm * scale
    panels = []
    for number, index in enumerate(slices):
        row, column = divmod(number, TILES_PER_ROW)
        left = MARGIN_PX + column * (cell + GAP_PX) + (cell - width) / 2
        panels.append(Panel("axial", index, _box(left, top + row * (height + GAP_PX), width, height), crop, view))
    return tuple(panels)


def _box(left: float, top: float, width: float, height: float) -> tuple[int, int, int, int]:
    return round(left), round(top), round(left) + max(1, round(width)), round(top) + max(1, round(height))


def _around(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    return box[0] - 2, box[1] - 2, box[2] + 1, box[3] + 1


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _edge_letters(draw: ImageDraw.ImageDraw, panel: Panel, size: int) -> None:
    left, top, right, bottom = panel.box
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    places = (
        (left + 6, middle_y, "lm"),
        (right - 6, middle_y, "rm"),
        (middle_x, top + 5, "mt"),
        (middle_x, bottom - 6, "mb"),
    )
    for (x, y, anchor), letter in zip(places, panel.edge_letters, strict=True):
        draw.text((x, y), letter, INK, _font(size), anchor, stroke_width=2, stroke_fill=BLACK)


def _caption(draw: ImageDraw.ImageDraw, panel: Panel, text: str) -> None:
    x, y = panel.box[0] + 6, panel.box[1] + 5
    draw.text((x, y), text, FAINT, _font(14), "lt", stroke_width=2, stroke_fill=BLACK)


def _cross(draw: ImageDraw.ImageDraw, panel: Panel, view: AxialView, peak: tuple[int, int, int]) -> None:
    """Draw thin lines through the peak that leave the peak itself free."""
    pixel = panel.pixel_of((view.lps_from_display @ (*peak, 1.0))[:3])
    if pixel is None:
        return
    left, top, right, bottom = panel.box
    x, y, clear, reach = *pixel, 22, 40
    for ends in (
        (max(left, x - reach), y, max(left, x - clear), y),
        (min(right, x + clear), y, min(right, x + reach), y),
        (x, max(top, y - reach), x, max(top, y - clear)),
        (x, min(bottom, y + clear), x, min(bottom, y + reach)),
    ):
        draw.line(ends, fill=INK, width=1)


def _header(draw: ImageDraw.ImageDraw, prediction: Prediction) -> None:
    x = float(MARGIN_PX)
    draw.text((x, 28), headline(prediction), INK, _font(38), "lt")
    x += draw.textlength(headline(prediction), _font(38)) + 28
    words = (
        label_words(prediction) if prediction.label is not None else f"score {prediction.score:.2f} alone says little"
    )
    width = draw.textlength(words, _font(22))
    draw.rounded_rectangle((x, 24, x + width + 36, 66), 21, fill=LABEL_COLOURS[prediction.label])
    draw.text((x + 18, 45), words, (255, 255, 255), _font(22), "lm")
    draw.text((MARGIN_PX, 82), f"Model {model_words(prediction)}", FAINT, _font(17), "lt")
    draw.text((MARGIN_PX, 108), quality_words(prediction), FAINT, _font(17), "lt")
    _wrapped(draw, prediction.notice, 138, AMBER)
    _score_scale(draw, prediction)


def _score_scale(draw: ImageDraw.ImageDraw, prediction: Prediction) -> None:
    """Draw the score on its scale from necrosis to recurrence, with the threshold."""
    left, right, y = WIDTH_PX - MARGIN_PX - 420, WIDTH_PX - MARGIN_PX - 8, 52
    draw.rounded_rectangle((left, y - 5, right, y + 5), 5, fill=SCALE)
    threshold = left + prediction.threshold * (right - left)
    draw.line((threshold, y - 12, threshold, y + 12), fill=INK, width=2)
    draw.text((threshold, y + 30), f"threshold {prediction.threshold:g}", FAINT, _font(14), "ms")
    draw.text((left, y + 30), "necrosis", FAINT, _font(14), "ls")
    draw.text((right, y + 30), "recurrence", FAINT, _font(14), "rs")
    x = left + prediction.score * (right - left)
    draw.ellipse((x - 9, y - 9, x + 9, y + 9), fill=LABEL_COLOURS[prediction.label], outline=INK, width=2)


def _wrapped(draw: ImageDraw.ImageDraw, text: str, top: int, colour: tuple[int, int, int]) -> None:
    """Draw at most two lines of full width."""
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if draw.textlength(longer, _font(17)) > WIDTH_PX - 2 * MARGIN_PX:
            lines.append(line)
            longer = word
        line = longer
    for number, content in enumerate([*lines, line][:2]):
        draw.text((MARGIN_PX, top + 22 * number), content, colour, _font(17), "lt")


def _colour_bar(canvas: Image.Image, draw: ImageDraw.ImageDraw, top: int, bottom: int) -> None:
    """Draw the colours as they lie over a middle grey, with their numbers."""
    left, height = WIDTH_PX - MARGIN_PX - COLOUR_BAR_PX + 30, max(40, bottom - top - 60)
    heat = np.repeat(np.linspace(1, 0, height)[:, None], 22, axis=1)
    canvas.paste(Image.fromarray(blend(np.full(heat.shape, 90.0), heat)), (left, top + 30))
    draw.text((left + 11, top + 20), "most", FAINT, _font(15), "mb")
    draw.text((left + 11, top + height + 40), "least", FAINT, _font(15), "mt")
    for value in (1.0, 0.75, 0.5, 0.25, 0.0):
        y = top + 30 + (1 - value) * (height - 1)
        draw.line((left + 22, y, left + 27, y), fill=FAINT)
        draw.text((left + 32, y), f"{value:g}", FAINT, _font(14), "lm")


def _footer(draw: ImageDraw.ImageDraw, prediction: Prediction, anatomy: Anatomy, bottom: int) -> None:
    draw.text((MARGIN_PX, bottom + 18), heatmap_words(prediction), INK, _font(16), "lt")
    if anatomy.problem is not None:
        draw.text((MARGIN_PX, bottom + 44), anatomy.problem.sentence, AMBER, _font(16), "lt")
    else:
        draw.text((MARGIN_PX, bottom + 44), DISPLAY_WORDS, FAINT, _font(16), "lt")
